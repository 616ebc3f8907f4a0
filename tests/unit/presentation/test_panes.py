from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.style import Style

from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef
from mqdash.model.views import (
    BrokerView,
    DeadLettersView,
    GraveView,
    HeaderView,
    ProducersView,
    StoryLine,
    StoryView,
    TotalsView,
    WorkersView,
)
from mqdash.safe_text import literal
from mqdash.ui.presentation.dashboard import PANES, PaneName, geometry
from mqdash.ui.presentation.dead_letters import cause_subject, draw_dead_letters
from mqdash.ui.presentation.header import BROKER, Corner, draw_header
from mqdash.ui.presentation.paint import Drawn, Look, Subject, plain
from mqdash.ui.presentation.producers import draw_producers
from mqdash.ui.presentation.story import draw_story
from mqdash.ui.presentation.theme import DARK
from mqdash.ui.presentation.workers import draw_workers
from tests.unit.presentation import sample

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ((literal("K"), literal("kill")), (literal("H"), literal("hang")), (literal("C"), literal("crash")))


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from mqdash.ui.presentation import texts

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    texts._clock.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    texts._clock.cache_clear()


def look(width: int, height: int, **more: Any) -> Look:
    return Look(width, height, DARK, now_s=sample.NOW_S, **more)


def lines(drawn: Drawn) -> list[str]:
    return plain(drawn.rows)


def test_header_says_who_is_there_and_what_all_do_together() -> None:
    first, second = lines(draw_header(sample.lab_header(), look(120, 2), shown="orders"))
    assert first.startswith(
        " mqdash  LAB  nothing here touches a real broker  ● orders rabbitmq   ● clicks kafka   ◐ alerts silent 4 s"
    )
    assert first.endswith("▶ live ")
    for words in ("in 1.24k/s", "out 1.22k/s", "waiting 412   +2/s", "in flight 37", "dead 12 ▲3", "oldest 3.4 s"):
        assert words in second
    assert (len(first), len(second)) == (120, 120)


def test_header_fits_80_columns_and_its_numbers_stand_still() -> None:
    small = lines(draw_header(sample.lab_header(), look(80, 2)))[1]
    big = TotalsView(in_per_s=12.3, out_per_s=1, waiting=9, in_flight=2, dead=0, oldest_s=151)
    other = lines(draw_header(HeaderView(brokers=sample.lab_brokers(), totals=big), look(80, 2)))[1]
    for label in ("in ", "out ", "waiting ", "flight ", "dead ", "oldest "):
        assert small.index(label) == other.index(label)
    assert "oldest 2 m 31 s" in other


def test_header_tells_states_of_links_in_words() -> None:
    def line(**more: Any) -> str:
        broker = BrokerView(name="b", family=Family.KAFKA, **more)
        return lines(draw_header(HeaderView(brokers=(broker,)), look(100, 2)))[0]

    assert "✗ b down, again in 3 s" in line(state=LinkState.DOWN, retry_at_s=sample.NOW_S + 3)
    assert "✗ b refused" in line(state=LinkState.REFUSED)
    assert "◐ b connecting" in line(state=LinkState.CONNECTING)
    assert "◐ b blocked" in line(state=LinkState.UP, blocked="low on memory")
    assert "◌ b closed" in line(state=LinkState.CLOSED)
    info = BrokerInfo(family=Family.KAFKA, version="4", url="kafka://h", writable=False)
    assert "read-only" in line(state=LinkState.UP, info=info)


def test_header_on_a_real_broker_does_not_promise_to_touch_nothing() -> None:
    real = tuple(
        msgspec.structs.replace(broker, url="amqp://127.0.0.1", info=None)  # not connected yet
        for broker in sample.lab_brokers()
    )
    first = lines(draw_header(HeaderView(brokers=real), look(120, 2)))[0]
    assert "LAB" in first
    assert "nothing here" not in first


def test_header_names_are_clickable_and_many_are_counted() -> None:
    drawn = draw_header(sample.lab_header(), look(120, 2), corner=Corner(literal("‖ paused"), good=False))
    x = lines(drawn)[0].index("clicks")
    assert drawn.at(x, 0) == Subject("clicks", BROKER)
    many = tuple(BrokerView(name=f"broker-{at}", family=Family.KAFKA, state=LinkState.UP) for at in range(20))
    assert "+" in lines(draw_header(HeaderView(brokers=many), look(80, 2)))[0]


def test_producers_two_lines_each() -> None:
    drawing = lines(draw_producers(sample.lab_producers(), look(26, 24), keys=KEYS))
    assert drawing[0] == "╭─ 1 Producers ── 5 on ──╮"
    assert drawing[1] == "│ ▶ shop    120/s of 120 │"
    assert drawing[2] == "│   → orders.direct ▂▅▄▆ │"
    assert drawing[7] == "│ ■ sale        5k burst │"


def test_producers_of_the_shown_broker_come_first_and_the_rest_follows() -> None:
    drawn = draw_producers(sample.lab_producers(), look(26, 24), shown="clicks")
    assert drawn.order[0] == Subject("clicks", "p:visitors")
    assert len(drawn.order) == 6


def test_a_list_too_long_scrolls_with_the_selection() -> None:
    drawn = draw_producers(sample.lab_producers(), look(26, 5, selected=Subject("alerts", "p:ops")))
    assert drawn.offset == 3
    assert any("ops" in line for line in lines(drawn))
    top = draw_producers(sample.lab_producers(), look(26, 5))
    assert "▼ 3 more" in lines(top)[-1]


def test_workers_say_state_in_words_and_what_is_in_hand() -> None:
    drawing = lines(draw_workers(sample.lab_workers(), look(30, 24), keys=KEYS))
    assert drawing[1] == "│ ● W1 busy    #8123    31/s │"
    assert drawing[2] == "│   orders 1/1      ━━━━──── │"
    assert drawing[4] == "│ ● W2 busy #8121 ×2    29/s │"
    assert drawing[7] == "│ ✗ W3 killed         2 back │"
    assert drawing[13] == "│ ◉ A1 hung    #7990     0/s │"
    assert drawing[16] == "│ ◌ L1 paused              – │"
    assert drawing[22] == "│ K kill  H hang  C crash    │"


def test_a_worker_shows_the_end_of_a_long_id_and_the_whole_name_of_its_group() -> None:
    view = sample.lab_workers()
    group = QueueRef("clicks", "clicks-app")
    record = msgspec.structs.replace(
        view.rows[0].worker, queue=group, current_id="visitors5aaa-4512", in_flight=29, prefetch=50
    )
    row = msgspec.structs.replace(view.rows[0], worker=record)
    drawing = lines(draw_workers(msgspec.structs.replace(view, rows=(row,)), look(30, 9)))
    assert drawing[1] == "│ ● W1 busy …aa-4512    31/s │"
    assert drawing[2] == "│   clicks-app 29/50 ━━━━─── │"


def test_workers_are_one_line_in_the_narrow_pane() -> None:
    drawing = lines(draw_workers(sample.lab_workers(), look(22, 14)))
    assert drawing[1] == "│ ● W1 busy     31/s │"
    assert drawing[3] == "│ ✗ W3 killed 2 back │"


def test_workers_click_and_selection() -> None:
    drawn = draw_workers(sample.lab_workers(), look(30, 24, selected=Subject("orders", "m:W2")))
    assert drawn.at(5, 4) == Subject("orders", "m:W2")
    selected = DARK.grounds["selection"].bgcolor
    assert all((segment.style or Style()).bgcolor == selected for segment in drawn.rows[4][1:-1])
    assert all((segment.style or Style()).bgcolor != selected for segment in drawn.rows[1])


def test_dead_letters_by_cause_with_the_newest_one_in_detail() -> None:
    chosen = cause_subject(sample.lab_dead_letters().causes[0])
    drawing = lines(draw_dead_letters(sample.lab_dead_letters(), look(62, 13, selected=chosen), keys=KEYS))
    assert "12 seen · 12 held · by cause ▾" in drawing[0]
    assert drawing[2] == "│ ▸      7 PaymentDeclined        W1 W2    22:12:39  ▂ ▄▂▂▆▄ │"
    assert drawing[4].startswith("│        2 expired (ttl 30 s)     –")
    text = "\n".join(drawing)
    assert "#8102  attempt 2 in orders · dead-lettered by W1" in text
    assert '{"order": 8102, "total": 99.5, "card": "declined"}' in text
    assert "PaymentDeclined: card 4242 … insufficient funds" in text
    assert "41 s ago" in text


def test_dead_letters_one_by_one() -> None:
    drawing = "\n".join(lines(draw_dead_letters(sample.lab_dead_letters(), look(62, 13), by="message")))
    assert "#8102" in drawing
    assert "2×" in drawing


def test_dead_letters_nobody_saw_are_told_as_what_the_broker_holds() -> None:
    grave = GraveView(broker="prod", family=Family.RABBITMQ, queue=QueueRef(name="orders.failed"), count=4213)
    view = DeadLettersView(graves=(grave, msgspec.structs.replace(grave, queue=QueueRef(name="x.failed"), count=None)))
    drawn = draw_dead_letters(view, look(62, 13))
    text = "\n".join(lines(drawn))
    assert "4,213 orders.failed" in text.replace("  ", " ").replace("  ", " ")
    assert "· x.failed" in text.replace("  ", " ")
    assert drawn.order[0] == Subject("prod", "q:orders.failed|")


def test_story_is_newest_first_with_dimmer_second_lines() -> None:
    drawing = lines(draw_story(sample.lab_story(), look(58, 13)))
    assert drawing[1] == "│ 22:13:19  W3 was killed holding 2 unacked messages     │"
    assert drawing[2] == "│             broker gave #8119 #8120 to W1, 2nd time    │"
    assert drawing[3].startswith("│ 22:13:17  #8102 dead-lettered by W1")


def test_story_wraps_and_scrolls_by_sentences() -> None:
    drawn = draw_story(sample.lab_story(), look(40, 7, selected=Subject("orders", "line:1")))
    assert "clicks-app rebalanced" in "\n".join(lines(drawn))
    assert len(drawn.order) == 6


def test_a_merged_story_line_says_how_often() -> None:
    view = StoryView(lines=(StoryLine(at_s=0, broker="b", level="info", text="x failed", n=12),))
    assert "x failed ×12" in lines(draw_story(view, look(58, 7)))[1]


@pytest.mark.parametrize("height", [7, 13])
@pytest.mark.parametrize("width", [40, 62])
def test_empty_panes_say_what_will_appear_and_which_key_makes_it(width: int, height: int) -> None:
    drawings = [
        lines(draw_producers(ProducersView(), look(width, height))),
        lines(draw_workers(WorkersView(), look(width, height))),
        lines(draw_dead_letters(DeadLettersView(), look(width, height))),
        lines(draw_story(StoryView(), look(width, height))),
    ]
    for drawing, words in zip(
        drawings, ("p publishes", "appears here by itself", "grouped here", "K kills"), strict=True
    ):
        assert words in " ".join(line.strip("│ ") for line in drawing)


def test_a_filter_that_matches_nothing_says_so() -> None:
    nothing = look(40, 9, filtered="zzz")
    for drawn in (
        draw_producers(sample.lab_producers(), nothing),
        draw_workers(sample.lab_workers(), nothing),
        draw_dead_letters(sample.lab_dead_letters(), nothing),
        draw_story(sample.lab_story(), nothing),
    ):
        assert "/zzz" in lines(drawn)[0]
        assert "Nothing matches the filter" in " ".join(lines(drawn))
    assert [s.id for s in draw_workers(sample.lab_workers(), look(30, 24, filtered="hung")).order] == ["m:A1"]


def test_every_pane_is_exactly_its_rectangle_at_any_size() -> None:
    draws = (
        lambda at: draw_producers(sample.lab_producers(), at, keys=KEYS),
        lambda at: draw_workers(sample.lab_workers(), at, keys=KEYS),
        lambda at: draw_dead_letters(sample.lab_dead_letters(), at, keys=KEYS),
        lambda at: draw_dead_letters(sample.lab_dead_letters(), at, by="message", keys=KEYS),
        lambda at: draw_dead_letters(DeadLettersView(), at, keys=KEYS),
        lambda at: draw_story(sample.lab_story(), at),
    )
    for draw in draws:
        for width in (1, 2, 5, 11, 22, 30, 64, 120):
            for height in (1, 2, 3, 5, 9, 24):
                rows = draw(look(width, height)).rows
                assert [sum(segment.cell_length for segment in row) for row in rows] == [width] * height


@pytest.mark.parametrize("size", [(80, 24), (99, 24), (100, 30), (120, 40), (160, 45), (200, 60), (300, 100)])
@pytest.mark.parametrize("focus", PANES)
@pytest.mark.parametrize("zoomed", [False, True])
def test_the_panes_cover_the_screen_without_overlap(size: tuple[int, int], focus: PaneName, zoomed: bool) -> None:
    found = geometry(*size, focus=focus, zoomed=zoomed)
    cells: set[tuple[int, int]] = set()
    for place in (found.header, found.footer, *found.panes.values()):
        covered = {
            (x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)
        }
        assert not covered & cells
        cells |= covered
    assert len(cells) == size[0] * size[1]
    assert focus in found.panes
    assert set(found.panes) | set(found.folded) == set(PANES)


def test_below_80_by_24_nothing_is_drawn() -> None:
    assert geometry(79, 24).too_small
    assert geometry(80, 23).too_small
    assert not geometry(80, 24).too_small
    assert geometry(80, 24).folded == ("producers",)
    assert geometry(80, 24, focus="producers").folded == ("workers",)
    assert geometry(200, 60).stacked
