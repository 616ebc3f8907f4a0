from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mqdash.model.actors import WorkerState
from mqdash.model.broker import LinkState
from mqdash.model.events import (
    Failure,
    Gap,
    HandedOver,
    MovesEnded,
    Noted,
    Rebalanced,
    Retried,
    SettleFailed,
    Unroutable,
    UserActed,
    WorkerDied,
)
from mqdash.model.message import Family
from mqdash.model.names import tags
from mqdash.model.topology import QueueRef, Route
from mqdash.store.names import ranged
from tests.unit.store.scene import ORDERS, Scene

if TYPE_CHECKING:
    from collections.abc import Callable


def kill(scene: Scene, held: int = 2, queue: QueueRef = ORDERS) -> None:
    scene.apply(WorkerDied, worker="W3", queue=queue, how="killed", held=held, held_ids=("8119", "8120")[:held])


def hand_over(scene: Scene, *, after_s: float = 0.1) -> None:
    ids = ("8119", "8120")
    scene.apply(HandedOver, queue=ORDERS, ids=ids, n=2, from_worker="W3", to_worker="W1", after_s=after_s, count=2)


def test_R24_a_kill_says_what_was_held_and_who_got_it() -> None:
    scene = Scene()
    kill(scene)
    assert scene.texts() == ["W3 was killed holding 2 unacked messages"]
    hand_over(scene)
    (line,) = scene.story()
    assert line.more == ("broker gave #8119 #8120 to W1 after 100 ms, 2nd time",)
    assert (line.level, line.subject) == ("broken", "W3")


def test_messages_that_come_back_late_get_a_line_of_their_own() -> None:
    scene = Scene()
    kill(scene)
    scene.pass_s(6.2)
    hand_over(scene, after_s=6.2)
    assert scene.texts()[0] == "broker gave #8119 #8120 to W1 6.2 s after W3 went, 2nd time"


@pytest.mark.parametrize(
    ("family", "held", "outlook"),
    [
        (Family.KAFKA, "1 fetched record", "its partitions are read by nobody until its session times out"),
        (Family.REDIS_STREAMS, "1 pending entry", "what it held stays pending until another consumer claims it"),
        (Family.REDIS_PUBSUB, "1 message", "what it was working on is gone; nothing said from now on reaches it"),
    ],
)
def test_each_family_has_its_own_nouns_and_says_what_comes_of_a_kill(family: Family, held: str, outlook: str) -> None:
    scene = Scene(topology=None, family=family)
    kill(scene, held=1)
    assert scene.texts() == [f"W3 was killed holding {held}"]
    assert scene.story()[0].more == ("it held #8119", outlook)
    hand_over(scene, after_s=0.01)
    (given,) = scene.story()[0].more
    assert given.endswith("to W1 at once, 2nd time")


def test_a_rebalance_says_which_partitions_nobody_read() -> None:
    scene = Scene()
    moved, gaps_s = ((0, "C1", "C2"), (2, "C3", "C2")), ((0, 6.4), (2, 0.01))
    scene.apply(Rebalanced, queue=QueueRef("clicks", "clicks-app"), moved=moved, gap_s=6.4, gaps_s=gaps_s)
    scene.apply(Rebalanced, queue=QueueRef("clicks", "clicks-app"), moved=moved[1:], gap_s=0.01, gaps_s=gaps_s[1:])
    assert scene.texts() == [
        "clicks-app rebalanced: C2 took p2 from C3",
        "clicks-app rebalanced: C2 took p0 from C1 and p2 from C3; nobody read p0 for 6.4 s",
    ]


def test_a_kill_by_the_user_is_told_once_whichever_event_comes_first() -> None:
    for act_first in (True, False):
        scene = Scene()
        events: list[Callable[[Scene], None]] = [lambda s: s.apply(UserActed, text="you killed W3"), kill]
        for event in events if act_first else reversed(events):
            event(scene)
        assert scene.texts() == ["W3 was killed holding 2 unacked messages"], act_first


def test_a_hung_worker_stopped_answering_and_one_hears_by_whom() -> None:
    scene = Scene()
    scene.worker("A1")
    scene.apply(UserActed, text="you hung A1: it keeps what it holds")
    scene.worker("A1", state=WorkerState.HUNG)
    assert scene.texts() == ["A1 stopped answering (hung by you)"]
    scene.worker("A1", state=WorkerState.BUSY)
    assert scene.texts()[0] == "A1 answers again"


def test_one_death_is_told_in_full() -> None:
    scene = Scene()
    scene.die(error_text="card 4242 …", attempt=2)
    (line,) = scene.story()
    assert line.text == "#8102 dead-lettered by W1 → orders.failed"
    assert line.more == ("PaymentDeclined: card 4242 …, attempt 2",)
    assert line.level == "dead"


def test_ten_deaths_a_second_for_a_minute_stay_readable_and_exact() -> None:
    scene = Scene()
    for number in range(600):
        scene.die(str(number), error=("PaymentDeclined", f"bad JSON at byte {number}")[number % 2])
        scene.pass_s(0.1)
    lines = scene.story()
    assert len(lines) <= 4
    assert sum(line.n for line in lines) == 600
    assert any("orders dead-lettered: bad JSON at byte *" in line.text for line in lines)


def test_a_death_after_a_pause_is_news_again() -> None:
    scene = Scene()
    scene.die("1")
    scene.pass_s(6)
    scene.die("2")
    assert [line.n for line in scene.story()] == [1, 1]


def grow(scene: Scene, seconds: int, *, by: int, start: int = 100) -> int:
    waiting = start
    for _ in range(seconds):
        scene.measure(waiting=waiting, consumers=1)
        for _ in range(10):
            scene.publish(6)
            scene.deliver(6 - (by > 0))
            scene.pass_s(0.1)
            scene.view()
        waiting = max(waiting + by, 0)
    return waiting


def test_lasting_growth_is_told_once_with_what_helps_and_again_when_it_is_over() -> None:
    scene = Scene()
    scene.worker("W1")
    waiting = grow(scene, 20, by=2)
    (line,) = [line for line in scene.story() if "grows" in line.text]
    numbers = re.fullmatch(r"orders grows 2/s: (\d+)/s in, (\d+)/s out", line.text)
    assert numbers is not None
    assert 55 <= int(numbers[1]) <= 65
    assert 45 <= int(numbers[2]) <= 55
    assert line.more == ("+ adds a worker",)
    assert line.level == "look"
    grow(scene, 20, by=-3, start=waiting)
    assert scene.texts()[0] == "orders grows no more"
    assert len([text for text in scene.texts() if "grows" in text]) == 2


def test_a_short_wobble_is_no_growth() -> None:
    scene = Scene()
    scene.worker("W1")
    waiting = 100
    for _ in range(6):
        waiting = grow(scene, 3, by=3, start=waiting)
        waiting = grow(scene, 3, by=-3, start=waiting)
    assert not any("grows" in text for text in scene.texts())


def test_a_lost_link_says_where_and_why_and_for_how_long() -> None:
    scene = Scene(lab=False)
    scene.link(LinkState.DOWN, "connection refused")
    scene.link(LinkState.CONNECTING)
    scene.link(LinkState.DOWN, "connection refused")
    scene.pass_s(4.2)
    scene.link(LinkState.CONNECTING)
    scene.link(LinkState.UP)
    assert scene.texts() == [
        "rabbitmq at 127.0.0.1:5672 is back after 4.2 s",
        "rabbitmq at 127.0.0.1:5672 is gone: connection refused; trying again",
        "rabbitmq at 127.0.0.1:5672 is connected",
    ]


def test_a_refusal_is_final_and_a_block_is_told() -> None:
    scene = Scene(lab=False)
    scene.link(LinkState.UP, blocked="low on memory")
    assert scene.texts()[0] == "rabbitmq at 127.0.0.1:5672 blocks publishers: low on memory"
    scene.link(LinkState.UP)
    assert scene.texts()[0] == "rabbitmq at 127.0.0.1:5672 takes publishes again"
    scene.link(LinkState.REFUSED, "login refused")
    assert scene.story()[0].text == "rabbitmq at 127.0.0.1:5672 refuses us: login refused"
    assert scene.story()[0].more == ("not tried again until the login or the URL is changed",)


def test_R7_returns_of_one_publisher_count_on_one_line() -> None:
    scene = Scene()
    for number in range(3):
        scene.apply(Unroutable, by="shop", route=Route("orders.direct", "ordr"), id=str(number))
    (line,) = scene.story()
    assert line.text == "3 messages of shop came back: nobody is bound to orders.direct for ordr"


def test_other_moments_are_sentences() -> None:
    scene = Scene()
    group = QueueRef("clicks", "clicks-app")
    scene.apply(Rebalanced, queue=group, moved=((1, "C3", "C2"), (2, "C3", "")), gap_s=0.2)
    scene.apply(Gap, channels=("ops.*",), by="N1", duration_s=3.2)
    scene.apply(SettleFailed, queue=ORDERS, by="W2", id="12", detail="the copy was returned")
    scene.apply(Retried, queue=ORDERS, by="W2", id="13", error="Timeout", after_s=5.0, attempt=1)
    scene.apply(MovesEnded, op="1", kind="replay", queue=QueueRef("orders.failed"), to="orders", done=11, failed=1)
    scene.apply(UserActed, text="you raised shop from 60/s to 120/s")
    scene.apply(Noted, text="the alarm is over", level="good")
    scene.apply(Failure, where="tick", text="boom")
    assert scene.texts() == [
        "mqdash itself failed in tick: boom",
        "the alarm is over",
        "you raised shop from 60/s to 120/s",
        "11 of 12 replayed to orders",
        "W2 put #13 back: Timeout, again in 5.0 s",
        "W2 could not settle #12: the copy was returned",
        "N1 was away for 3.2 s: what ops.* said meanwhile is not kept",
        "clicks-app rebalanced: C2 took p1 from C3, nobody has p2; nobody read for 0.2 s",
    ]


def test_the_same_note_within_five_seconds_is_one_line() -> None:
    scene = Scene()
    for _ in range(3):
        scene.apply(Noted, text="cannot look")
    assert [line.n for line in scene.story()] == [3]
    scene.pass_s(6)
    scene.apply(Noted, text="cannot look")
    assert [line.n for line in scene.story()] == [1, 3]


def test_the_story_is_bounded() -> None:
    scene = Scene()
    for number in range(2000):
        scene.apply(Noted, text=f"note {number}")
    assert len(scene.story()) == 500
    assert scene.texts()[0] == "note 1999"


def test_names_of_groups_and_messages() -> None:
    assert ranged(["W2", "W1", "W3"]) == "W1–W3"
    assert ranged(["W1", "W4"]) == "W1 W4"
    assert ranged(["W10", "W9"]) == "W9–W10"
    assert ranged(["app", "web", "cron", "x"]) == "app web cron +1"
    assert ranged([]) == ""
    assert tags(("1", "2", "3", "4"), 9) == "#1 #2 #3 and 6 more"
    assert tags((), 1) == "1 message"
    assert tags(("visitors5aaa-4512", "visitors5aaa-4513"), 2) == "…sitors5aaa-4512 …sitors5aaa-4513"


def test_a_replay_names_its_messages_and_its_journal() -> None:
    scene = Scene()
    ids = tuple(str(n) for n in range(8004, 8010))
    kept = "/state/journal/01ABC.ndjson"
    scene.apply(
        MovesEnded, op="o", kind="replay", queue=QueueRef("orders.failed"), to="orders", done=6, ids=ids, kept_in=kept
    )
    (line,) = scene.story()
    assert line.text == "6 of 6 replayed to orders"
    assert line.more == ("#8004 #8005 #8006 and 3 more", "journal 01ABC.ndjson in /state/journal")


def working(scene: Scene, name: str, message_id: str, state: WorkerState = WorkerState.BUSY) -> None:
    held = (message_id,) if message_id else ()
    scene.worker(name, state=state, current_id=message_id, in_flight_ids=held, in_flight=len(held))


def test_a_replayed_message_is_told_when_it_is_done() -> None:
    scene = Scene()
    scene.apply(MovesEnded, op="o", kind="replay", queue=QueueRef("orders.failed"), to="orders", done=1, ids=("8004",))
    working(scene, "W1", "8004")
    working(scene, "W1", "9000")
    scene.pass_s(1.1)
    scene.view()
    assert scene.texts()[0] == "#8004 was processed by W1 after its replay"


def test_a_replayed_message_that_dies_again_or_is_put_back_is_not_called_done() -> None:
    scene = Scene()
    scene.apply(MovesEnded, op="o", kind="replay", queue=QueueRef("orders.failed"), to="orders", done=2, ids=("1", "2"))
    working(scene, "W1", "1")
    scene.die("1")
    working(scene, "W1", "2")
    scene.apply(Retried, queue=ORDERS, by="W1", id="2", error="Busy", after_s=0.0, attempt=1)
    working(scene, "W1", "")
    scene.pass_s(2.0)
    scene.view()
    assert "#1 was dead-lettered by W1 after its replay: PaymentDeclined" in scene.texts()
    assert not any("processed" in text for text in scene.texts())


def test_a_published_message_is_followed_and_a_killed_worker_has_not_done_it() -> None:
    scene = Scene()
    scene.apply(UserActed, text="you published #7 to orders.direct: confirmed", ids=("7",))
    working(scene, "W1", "7")
    working(scene, "W1", "", WorkerState.KILLED)
    scene.pass_s(2.0)
    scene.view()
    assert not any("processed" in text for text in scene.texts())
    working(scene, "W2", "7")
    working(scene, "W2", "", WorkerState.IDLE)
    scene.pass_s(2.0)
    scene.view()
    assert scene.texts()[0] == "#7 was processed by W2 after you published it"


@pytest.mark.parametrize("act_first", [True, False])
def test_a_hang_says_by_whom_what_is_kept_and_how_to_wake_it(act_first: bool) -> None:
    scene = Scene()
    working(scene, "W1", "8342")

    def hang() -> None:
        scene.worker(
            "W1",
            state=WorkerState.HUNG,
            current_id="8342",
            in_flight=1,
            in_flight_ids=("8342",),
            controls=frozenset({"hang"}),
        )

    for step in (lambda: scene.apply(UserActed, text="you hung W1: it keeps what it holds"), hang)[
        :: 1 if act_first else -1
    ]:
        step()
    (line,) = scene.story()
    assert line.text == "W1 stopped answering (hung by you; it keeps #8342)"
    assert line.more == ("H wakes it",)
