from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from mqdash.model.actors import WorkerRecord, WorkerState
from mqdash.model.events import Head
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef
from mqdash.model.views import FlowView, NodeView, WorkerView
from mqdash.ui.presentation.flow.dots import CROSSING_S, FLASH_S, Animation, Dot, dots_at_once
from tests.unit.presentation.sample import edge, members

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME_S = 1 / 30


def flow(
    total: int = 0,
    *,
    rate: float = 5.0,
    kind: str = "publish",
    heads: Sequence[Head] = (),
    redelivered: int = 0,
    w1: str = "busy",
) -> FlowView:
    nodes = (
        NodeView(id="p:a", kind="producers", name="a"),
        NodeView(id="d:b", kind="destination", name="b"),
        NodeView(id="w:b|", kind="workers", name="W", members=members("W1", "W2", W1=w1)),
    )
    first = total - len(heads)
    one = edge(
        "p:a", "d:b", kind, rate_per_s=rate, total=total, redelivered_total=redelivered, heads=tuple(heads),
        head_totals=tuple(range(first + 1, total + 1)),
    )  # fmt: skip
    return FlowView(broker="b", family=Family.RABBITMQ, nodes=nodes, edges=(one,))


def started(animation: Animation, view: FlowView, seconds: float, **more: Any) -> list[Dot]:
    """Ids of all dots that started within `seconds`, in order, by looking at every frame."""
    seen = [dot for dot in animation.step(0, view, **more) if dot.progress == 0.0]
    for _ in range(round(seconds / FRAME_S)):
        seen += [dot for dot in animation.step(FRAME_S, view, **more) if dot.progress == 0.0]
    return seen


def test_what_passed_before_anybody_looked_is_not_drawn() -> None:
    assert Animation().step(0, flow(1_000_000)) == ()


def test_every_message_of_a_slow_edge_is_one_dot_with_its_id() -> None:
    animation = Animation()
    animation.step(0, flow(10))
    heads = [Head(id=f"#{at}") for at in range(6, 14)]
    dots = started(animation, flow(13, heads=heads), 1.0)
    assert [dot.message_id for dot in dots] == ["#11", "#12", "#13"]


def test_messages_without_heads_are_dots_without_ids() -> None:
    animation = Animation()
    animation.step(0, flow(0))
    assert [dot.message_id for dot in started(animation, flow(4), 1.0)] == ["", "", "", ""]


def test_a_batch_that_came_at_once_is_drawn_one_behind_the_other() -> None:
    animation = Animation()
    animation.step(0, flow(0))
    places = set()
    for _ in range(15):
        places = {dot.progress for dot in animation.step(FRAME_S, flow(5))}
    assert len(places) == 5


def test_a_crossing_takes_between_0_6_and_0_9_seconds() -> None:
    assert 0.6 <= CROSSING_S <= 0.9
    animation = Animation()
    animation.step(0, flow(0))
    animation.step(0.001, flow(1))
    assert animation.step(CROSSING_S * 0.99, flow(1))[0].progress == pytest.approx(0.99)
    assert animation.step(CROSSING_S * 0.02, flow(1)) == ()
    assert animation.still


def test_a_redelivered_message_is_another_kind_with_its_attempt() -> None:
    animation = Animation()
    animation.step(0, flow(0))
    heads = [Head(id="#1"), Head(id="#2", redelivered=True), Head(id="#3", redelivered=True, attempt=4)]
    dots = started(animation, flow(3, heads=heads, redelivered=2), 1.0)
    assert [(dot.message_id, dot.kind, dot.attempt) for dot in dots] == [
        ("#1", "message", 1), ("#2", "again", 2), ("#3", "again", 4),
    ]  # fmt: skip


def test_redelivered_ones_are_shown_without_heads_too() -> None:
    animation = Animation()
    animation.step(0, flow(0))
    assert sorted(dot.kind for dot in started(animation, flow(3, redelivered=1), 1.0)) == [
        "again",
        "message",
        "message",
    ]


def test_density_follows_the_logarithm_of_the_rate() -> None:
    counts = [dots_at_once(rate) for rate in (20, 200, 2_000, 20_000, 10**9)]
    assert [b - a for a, b in pairwise(counts[:4])] == pytest.approx([0.9, 0.9, 0.9])
    assert counts[-1] == 5.0


@pytest.mark.parametrize("rate", [100.0, 10_000.0])
def test_a_fast_edge_shows_a_sample_of_that_density(rate: float) -> None:
    animation = Animation()
    total, most = 0, []
    animation.step(0, flow(total, rate=rate))
    for _ in range(120):
        total += int(rate * FRAME_S)
        most.append(len(animation.step(FRAME_S, flow(total, rate=rate))))
    assert sum(most[60:]) / 60 == pytest.approx(dots_at_once(rate), abs=1.0)


def test_a_fast_edge_that_stops_gets_no_more_dots() -> None:
    animation = Animation()
    animation.step(0, flow(0, rate=500))
    for total in range(100, 3000, 100):
        animation.step(FRAME_S, flow(total, rate=500))
    for _ in range(60):
        last = animation.step(FRAME_S, flow(2900, rate=500))
    assert last == ()


def test_a_reply_runs_back_when_the_request_arrived() -> None:
    animation = Animation()
    view = flow(1, kind="request")
    animation.step(0, flow(0, kind="request"))
    animation.step(FRAME_S, view)
    kinds = []
    for _ in range(60):
        kinds += [(dot.kind, dot.progress) for dot in animation.step(FRAME_S, view)]
    there = [progress for kind, progress in kinds if kind == "message"]
    back = [progress for kind, progress in kinds if kind == "reply"]
    assert there == sorted(there)
    assert back == sorted(back, reverse=True)
    assert back[0] == pytest.approx(1.0)


def test_edges_that_went_take_their_dots_along() -> None:
    animation = Animation()
    animation.step(0, flow(0))
    assert animation.step(FRAME_S, flow(2))
    assert animation.step(FRAME_S, msgspec.structs.replace(flow(2), edges=())) == ()


def worker(**record: Any) -> tuple[WorkerView, ...]:
    made = WorkerRecord(name="W1", broker="b", queue=QueueRef(name="b"), **record)
    return (WorkerView(worker=made, family=Family.RABBITMQ),)


def test_a_killed_worker_flashes_once_and_what_it_held_runs_back() -> None:
    animation = Animation()
    animation.step(0, flow(), worker(in_flight=2))
    killed = flow(w1="killed")
    rows = worker(state=WorkerState.KILLED, in_flight=2, in_flight_ids=("#8119", "#8120"))
    dots = animation.step(FRAME_S, killed, rows)
    assert animation.flashing == {"W1"}
    assert [(dot.kind, dot.message_id, dot.edge_id) for dot in dots] == [
        ("back", "#8119", "back:W1"), ("back", "#8120", "back:W1"),
    ]  # fmt: skip
    for _ in range(round(FLASH_S / FRAME_S) + 1):
        dots = animation.step(FRAME_S, killed, rows)
    assert animation.flashing == frozenset()
    assert len(dots) <= 1
    for _ in range(30):
        dots = animation.step(FRAME_S, killed, rows)
    assert dots == ()


def test_messages_that_come_back_later_run_back_when_they_do() -> None:
    animation = Animation()
    animation.step(0, flow(), worker())
    animation.step(FRAME_S, flow(w1="killed"), worker(state=WorkerState.KILLED, in_flight=0))
    dots = animation.step(FRAME_S, flow(w1="killed"), worker(state=WorkerState.KILLED, in_flight=0, came_back=3))
    assert [dot.kind for dot in dots] == ["back"] * 3


def test_a_worker_that_was_dead_before_anybody_looked_does_not_flash() -> None:
    animation = Animation()
    assert animation.step(0, flow(w1="killed"), worker(state=WorkerState.KILLED, in_flight=2)) == ()
    animation.step(FRAME_S, flow(w1="killed"), ())
    assert animation.flashing == frozenset()
