"""The dashboard by its keys: what they wish for, what is drawn, what a size does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Label, Static

from mqdash.brokers.embedded import connector
from mqdash.brokers.url import parse_url
from mqdash.model.actors import WorkerState
from mqdash.model.broker import LinkState
from mqdash.model.delivery import Receipt, Sent
from mqdash.model.events import LinkChanged, UserActed
from mqdash.model.message import Draft, Family
from mqdash.model.topology import QueueRef, Route
from mqdash.ui.screens.confirm import Confirm
from mqdash.ui.screens.dashboard import Dashboard
from mqdash.ui.screens.publish import PublishForm
from mqdash.ui.settings import Settings
from tests.support import until
from tests.ui.conftest import Stage, make_stage
from tests.ui.feed import death, link, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def dashboard(stage: Stage) -> Dashboard:
    return stage.app.dashboard


@pytest.fixture
async def running(stage: Stage) -> AsyncIterator[Stage]:
    async with stage.running():
        yield stage


async def test_shows_five_panes_and_what_they_hold(running: Stage) -> None:
    await running.shows("1 Producers", "2 Flow", "3 Workers", "4 Dead letters", "5 Story")
    await running.shows("shop", "orders.direct", "412", "W1 busy", "PaymentDeclined", "you raised shop")
    await running.shows("LAB", "nothing here touches a real broker")


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40), (200, 60)])
async def test_every_supported_size_shows_flow_and_story(stage: Stage, size: tuple[int, int]) -> None:
    async with stage.running(size):
        await stage.shows("2 Flow", "5 Story", "412", "q quit")


async def test_any_resize_is_survived_and_too_small_is_said(running: Stage) -> None:
    assert running.pilot is not None
    for width, height in ((79, 24), (1, 1), (200, 3), (3, 60), (80, 24), (240, 70), (20, 5), (120, 40)):
        await running.pilot.resize_terminal(width, height)
        await running.tick()
        small = width < 80 or height < 24
        assert ("2 Flow" in running.text()) is not small
    await running.pilot.resize_terminal(60, 20)
    await running.shows("too small", "60×20")


async def test_pane_that_did_not_change_costs_nothing(running: Stage) -> None:
    await running.tick(times=30)
    panes = list(dashboard(running).panes.values())
    before = [pane.painted_cells for pane in panes]
    await running.tick(0.0, times=60)
    assert [pane.painted_cells for pane in panes] == before


async def test_one_changed_worker_repaints_only_its_row(running: Stage) -> None:
    pane = dashboard(running).panes["workers"]
    before = pane.painted_cells
    running.bus.publish(worker("W2", running.clock.now(), WorkerState.PAUSED))
    await running.tick(times=3)
    await running.shows("W2 paused")
    assert 0 < pane.painted_cells - before < 60


async def test_tab_and_numbers_move_the_focus_and_the_footer(running: Stage) -> None:
    await running.press("3")
    assert dashboard(running).panes["workers"].has_focus
    await running.shows("H hang", "+ - scale")
    await running.press("tab")
    assert dashboard(running).panes["dead_letters"].has_focus
    await running.press("shift+tab", "shift+tab", "h")
    assert dashboard(running).panes["producers"].has_focus


async def test_folded_producers_unfold_at_80x24(stage: Stage) -> None:
    async with stage.running((80, 24)):
        assert "1 Producers" not in stage.text()
        await stage.press("1")
        await stage.shows("1 Producers", "shop")


async def test_kill_acts_on_the_selected_worker_from_any_pane(running: Stage) -> None:
    await running.press("3", "j", "2", "K")
    await until(lambda: running.control.calls == [("kill", "orders", "W2")])


async def test_cursor_stays_with_its_worker_when_rows_come_and_go(running: Stage) -> None:
    await running.press("3", "j")
    running.bus.publish(worker("A0", running.clock.now()))
    await running.tick(times=3)
    await running.press("K")
    await until(lambda: running.control.calls == [("kill", "orders", "W2")])


@pytest.mark.parametrize(
    ("keys", "call"),
    [
        (("1", "space"), ("toggle", "orders", "shop")),
        (("1", "j", "plus"), ("change_rate", "orders", "audit", 2.0)),
        (("1", "minus"), ("change_rate", "orders", "shop", 0.5)),
        (("1", "r"), ("publish_again", "orders", "shop")),
        (("b",), ("burst", "orders", "shop")),
        (("H",), ("hang", "orders", "W1")),
        (("C",), ("crash_next", "orders", "W1")),
        (("f",), ("finish", "orders", "W1")),
        (("3", "space"), ("pause", "orders", "W1")),
        (("3", "plus"), ("scale", "orders", "W1", 1)),
        (("3", "G", "minus"), ("scale", "orders", "L1", -1)),
    ],
)
async def test_keys_become_wishes(running: Stage, keys: tuple[str, ...], call: tuple[object, ...]) -> None:
    await running.press(*keys)
    await until(lambda: running.control.calls == [call], what=str(running.control.calls))


async def test_what_is_refused_is_said_and_told_in_the_story(running: Stage) -> None:
    running.control.refusing = "orders is open read-only; start mqdash with --write"
    await running.press("K")
    await running.tick(times=10)
    await running.shows("orders is open read-only")
    assert any("read-only" in line.text for line in running.app.store.view().story.lines)


async def test_asks_before_it_harms_and_escape_does_nothing(running: Stage) -> None:
    running.control.asking = "confirm"
    await running.press("K")
    await until(lambda: isinstance(running.app.screen, Confirm))
    await running.press("escape")
    await until(lambda: isinstance(running.app.screen, Dashboard))
    await running.press("K")
    await until(lambda: isinstance(running.app.screen, Confirm))
    await running.press("enter")  # Cancel has the focus: a key too many does no harm
    await until(lambda: isinstance(running.app.screen, Dashboard))
    assert running.control.calls == []
    await running.press("K")
    await until(lambda: isinstance(running.app.screen, Confirm))
    await running.press("left", "enter")
    await until(lambda: running.control.calls == [("kill", "orders", "W1")])


async def test_typed_name_must_be_typed_and_pasting_does_not_count(running: Stage) -> None:
    from textual.events import Paste

    running.control.asking = "typed:W1"
    await running.press("K")
    await until(lambda: isinstance(running.app.screen, Confirm))
    running.app.screen.query_one("#name").post_message(Paste("W1"))
    await running.press("enter")
    assert isinstance(running.app.screen, Confirm)
    await running.press("W", "1", "enter")
    await until(lambda: running.control.calls == [("kill", "orders", "W1")])


async def test_brackets_show_the_next_broker(running: Stage) -> None:
    await running.press("right_square_bracket")
    await running.shows("clicks · kafka")
    await running.press("left_square_bracket", "left_square_bracket")
    await running.shows("alerts · redis")


async def test_another_broker_takes_the_cursor_of_producers_along(running: Stage) -> None:
    await running.press("right_square_bracket", "b")
    await until(lambda: running.control.calls == [("burst", "clicks", "visitors")], what=str(running.control.calls))


async def test_story_stays_on_the_newest_until_one_moves_away(running: Stage) -> None:
    for n in range(30):
        running.bus.publish(UserActed(broker="orders", at_s=running.clock.now() + n, text=f"you did {n}"))
    await running.tick(times=3)
    await running.shows("you did 29")
    await running.press("5", "j", "j")
    for n in range(30, 60):
        running.bus.publish(UserActed(broker="orders", at_s=running.clock.now() + n, text=f"you did {n}"))
    await running.tick(times=3)
    await running.shows("you did 27", "newer · g")
    assert "you did 59" not in running.text()
    await running.tick(9.0)
    await running.shows("you did 27")
    await running.tick(2.0, times=3)
    await running.shows("you did 59", "newest first")


async def test_story_returns_to_the_newest_when_another_pane_is_focused(running: Stage) -> None:
    for n in range(30):
        running.bus.publish(UserActed(broker="orders", at_s=running.clock.now() + n, text=f"you did {n}"))
    await running.tick(times=3)
    await running.press("5", "G")
    await running.shows("newer · g")
    assert "you did 29" not in running.text()
    await running.press("4")
    await running.tick(times=3)
    await running.shows("you did 29", "newest first")


async def test_broker_that_is_down_is_a_state_on_screen(running: Stage) -> None:
    running.bus.publish(link("orders", running.clock.now(), LinkState.DOWN, cause="connection refused"))
    await running.tick(times=10)
    await running.shows("connection refused", "down")


async def test_filter_shows_only_what_contains_it(running: Stage) -> None:
    await running.press("3", "slash", "L", "1", "enter")
    await running.tick(times=3)
    assert "W2 busy" not in running.text()
    await running.shows("/L1", "L1 idle")
    await running.press("escape")
    await running.tick(times=3)
    await running.shows("W2 busy")


async def test_zoom_gives_the_pane_everything_and_takes_it_back(running: Stage) -> None:
    await running.press("5", "z")
    await running.shows("5 Story")
    assert "2 Flow" not in running.text()
    await running.press("escape")
    await running.shows("2 Flow")


async def test_command_line_completes_and_does(running: Stage) -> None:
    await running.press("colon", *"kill W", "tab", "enter")
    await until(lambda: running.control.calls == [("kill", "orders", "W1")], what=str(running.control.calls))
    await running.press("colon", *"scale W 5", "enter")
    await until(lambda: running.control.calls[-1] == ("scale", "orders", "W", 2))
    await running.press("colon", *"kill W9", "enter")
    await running.shows("there is no worker 'W9'")


async def test_slash_and_colon_are_characters_in_a_line(running: Stage) -> None:
    await running.press("3", "slash", *"a/:b")
    assert dashboard(running).prompt.value == "a/:b"


async def test_publish_form_sends_what_was_edited(running: Stage) -> None:
    await running.press("p")
    await until(lambda: isinstance(running.app.screen, PublishForm))
    await running.shows("orders.direct", '{"order": 1}', "tenant: eu")
    form = running.app.screen
    form.query_one("#body").text = '{"order": 2}'  # type: ignore[attr-defined]
    form.query_one("#ttl").value = "1.5 s"  # type: ignore[attr-defined]
    await running.press("ctrl+s")
    await until(lambda: len(running.control.calls) == 1)
    _, broker, route, draft, by = running.control.calls[0]
    assert (broker, route, by) == ("orders", Route("orders.direct", "order"), "shop")
    assert (draft.body, draft.ttl_s, draft.headers) == (b'{"order": 2}', 1.5, (("tenant", "eu"),))
    await until(lambda: isinstance(running.app.screen, Dashboard))


@pytest.mark.parametrize(
    ("family", "shown", "hidden"),
    [
        (Family.KAFKA, "topic key body headers", "priority TTL delay exchange"),
        (Family.REDIS_STREAMS, "stream key body fields", "priority TTL delay headers"),
        (Family.REDIS_PUBSUB, "channel body", "priority TTL delay headers fields key"),
    ],
)
async def test_publish_form_has_the_nouns_of_its_family_and_nothing_it_cannot_carry(
    running: Stage, family: Family, shown: str, hidden: str
) -> None:
    form = PublishForm("orders", "shop", Route("orders.direct"), Draft(body=b"{}"), (), family)
    running.app.push_screen(form)
    await running.shows("p Publish on orders as shop", *(f"  {word} " for word in shown.split()))
    labels = {str(label.visual) for label in form.query(Label) if label.region.area}
    assert labels.isdisjoint(hidden.split())


async def test_publish_form_says_what_is_wrong_and_sends_nothing(running: Stage) -> None:
    await running.press("p")
    await until(lambda: isinstance(running.app.screen, PublishForm))
    running.app.screen.query_one("#priority").value = "300"  # type: ignore[attr-defined]
    await running.press("ctrl+s")
    await running.shows("priority: a whole number from 0 to 255")
    assert running.control.calls == []


@pytest.mark.parametrize(("sent", "words"), [(Sent.RETURNED, "nobody is bound"), (Sent.UNKNOWN, "no proof either way")])
async def test_R7_publish_form_tells_how_it_ended(running: Stage, sent: Sent, words: str) -> None:
    running.control.sent = sent
    await running.press("p")
    await until(lambda: isinstance(running.app.screen, PublishForm))
    await running.press("ctrl+s")
    await running.shows(words)


async def test_R7_publish_form_stays_while_its_message_is_being_sent(
    running: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = asyncio.Event()
    publish = running.control.publish

    async def slow(broker: str, route: Route, draft: Draft, *, producer: str = "") -> Receipt:
        receipt = await publish(broker, route, draft, producer=producer)
        await answered.wait()
        return receipt

    monkeypatch.setattr(running.control, "publish", slow)
    await running.press("p")
    await until(lambda: isinstance(running.app.screen, PublishForm))
    await running.press("ctrl+s")
    await until(lambda: len(running.control.calls) == 1)
    await running.press("escape")
    await running.shows("p Publish on orders", "being sent…")
    answered.set()
    await until(lambda: isinstance(running.app.screen, Dashboard))


async def test_help_lists_every_key(running: Stage) -> None:
    await running.press("question_mark")
    await running.shows("Keys", "Everywhere", "Leave mqdash")
    await running.press("escape")
    await running.shows("2 Flow")


async def test_palette_runs_an_action(running: Stage) -> None:
    await running.press("ctrl+p")
    await until(lambda: len(running.app.screen_stack) == 2)
    await running.press(*"hang")
    await running.shows("hang  (H)")
    await running.press("enter")
    await until(lambda: running.control.calls == [("hang", "orders", "W1")])


async def test_pause_stops_the_picture_not_the_numbers(running: Stage) -> None:
    await running.press("2", "space")
    await running.shows("‖ paused")
    running.bus.publish(worker("W2", running.clock.now(), WorkerState.HUNG))
    await running.tick(times=3)
    await running.shows("W2 hung")
    await running.press("space")
    await running.shows("▶ live")


async def test_click_selects_and_wheel_scrolls(running: Stage) -> None:
    assert running.pilot is not None
    pane = dashboard(running).panes["workers"]
    hit = next(hit for hit in pane.drawn.hits if hit.subject.id == "m:W3")
    await running.pilot.click("#workers", offset=(hit.x0 + 2, hit.y))
    await running.press("K")
    await until(lambda: running.control.calls == [("kill", "orders", "W3")])


@pytest.fixture
def copying_stage(tmp_path: Path) -> Stage:
    return make_stage(Settings(state_dir=tmp_path))


async def test_copy_goes_to_the_clipboard_and_a_file(copying_stage: Stage, tmp_path: Path) -> None:
    stage = copying_stage
    async with stage.running():
        await stage.press("3", "y")
        await until((tmp_path / "copied.txt").exists)
        assert "W1 busy" in stage.app.clipboard
        assert (tmp_path / "copied.txt").stat().st_mode & 0o077 == 0


async def test_remote_text_is_harmless_in_panes_and_toasts(running: Stage) -> None:
    evil = "\x1b]0;owned\x07[@click=app.quit]x[/]\u202e\x9b2J"
    running.bus.publish(death(evil, running.clock.now(), evil, evil))
    running.control.refusing = evil
    await running.press("K")
    await running.tick(times=10)
    await running.shows("␛]0;owned", "[@click=app.quit]x[/]")
    assert not set(running.text()) & {"\x1b", "\x07", "\x9b", "\u202e"}


@pytest.fixture
def remapped_stage() -> Stage:
    return make_stage(Settings(keys={"worker.kill": "ctrl+k"}))


async def test_keys_can_be_remapped_by_id(remapped_stage: Stage) -> None:
    stage = remapped_stage
    async with stage.running():
        await stage.press("K", "ctrl+k")
        await until(lambda: stage.control.calls == [("kill", "orders", "W1")])


async def test_letters_of_a_broker_without_a_grave_are_not_another_brokers(running: Stage) -> None:
    await running.press("right_square_bracket", "right_square_bracket", "d")
    await running.shows("alerts · redis", "alerts has no dead-letter queue that mqdash knows of")
    assert isinstance(running.app.screen, Dashboard)


async def test_letters_follow_the_selected_cause_whatever_broker_is_shown(running: Stage) -> None:
    opened: list[tuple[str, str, str]] = []

    def note(broker: str, queue: QueueRef, cause: str = "") -> None:
        opened.append((broker, str(queue), cause))

    running.app.open_letters = note  # type: ignore[method-assign]
    await running.press("right_square_bracket", "4", "d", "enter")
    first = running.app.view.dead_letters.causes[0].cause
    assert opened == [("orders", "orders.failed", first)] * 2
    await running.press("5", "d")
    assert opened == [("orders", "orders.failed", first)] * 2


async def test_what_cannot_be_done_is_refused_before_it_is_asked(running: Stage) -> None:
    running.control.asking = "confirm"
    running.control.refusals = {"kill": "W1 belongs to somebody else's process"}
    await running.press("K")
    await running.shows("W1 belongs to somebody else's process")
    assert isinstance(running.app.screen, Dashboard)
    assert running.control.calls == []


async def test_opening_that_holds_messages_names_its_cost_and_asks(running: Stage) -> None:
    running.control.asking = "confirm"
    await running.press("d")
    await until(lambda: isinstance(running.app.screen, Confirm))
    await running.shows("Open orders.failed on orders?", "holds them: others", "marked redelivered", "esc cancels")
    await running.press("enter")
    await until(lambda: isinstance(running.app.screen, Dashboard))
    assert running.control.calls == []


async def test_keys_that_would_be_refused_are_not_offered(running: Stage) -> None:
    await running.press("3")
    await running.shows("K kill", "H hang", "+ - scale")
    running.bus.publish(worker("W1", running.clock.now(), WorkerState.KILLED, controls=frozenset(), foreign=True))
    await running.tick(times=6)
    assert "K kill" not in running.text()
    assert "H hang" not in running.text()
    assert "+ - scale" not in running.text()
    await running.press("j")
    await running.shows("K kill", "H hang", "+ - scale")


async def test_a_folded_pane_has_its_key_in_the_footer(stage: Stage) -> None:
    async with stage.running((80, 24)):
        await stage.shows("1 producers", "d dead", "q quit")
        await stage.press("1")
        await stage.shows("1 Producers")
        assert "1 producers" not in stage.text()


async def test_lab_on_a_real_broker_says_where(running: Stage) -> None:
    from mqdash.model.message import Family

    at_s = running.clock.now()
    url = "amqp://guest@127.0.0.1:25610/"
    running.bus.publish(
        LinkChanged(broker="orders", at_s=at_s, state=LinkState.UP, family=Family.RABBITMQ, url=url, lab=True)
    )
    await running.tick(times=3)
    await running.shows("LAB on 127.0.0.1:25610")
    assert "nothing here touches a real broker" not in running.text()


async def test_help_ends_with_what_the_signs_mean(running: Stage) -> None:
    await running.press("question_mark", "end")
    await running.shows("Signs", "this broker cannot tell", "the way of dead letters")


@pytest.mark.parametrize("model", ["rabbitmq", "kafka", "redis"])
async def test_E5_help_lists_what_an_embedded_broker_simplifies(running: Stage, model: str) -> None:
    url = f"embedded://{model}"
    observer = await connector(parse_url(url), clock=running.clock).observe()
    info = observer.info
    await observer.close()
    at_s = running.clock.now()
    running.bus.publish(
        LinkChanged(broker="simple", at_s=at_s, state=LinkState.UP, family=info.family, url=url, lab=True, info=info)
    )
    await running.tick()
    assert info.notes[0].startswith("embedded: single node, no disk")
    await running.press("question_mark", "end")
    await running.shows("Brokers", info.notes[-1][:40])  # the help scrolled to its end
    shown = " ".join(str(running.app.screen.query_one("#help-scroll Static", Static).content).split())
    assert [note for note in info.notes if note not in shown] == []
