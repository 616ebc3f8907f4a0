"""Messages on the move: which dots are on which edge, and how far. Pure: time comes in, dots come out.

Below `EACH_PER_S` every dot is one message with its id; above, dots are a sample whose density follows the logarithm of
the rate. Numbers never come from here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from mqdash.ui.presentation.flow.places import back_id, is_dead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mqdash.model.views import EdgeView, FlowView, WorkerView

EACH_PER_S: Final = 20.0
CROSSING_S: Final = 0.75
SHORT_CROSSING_S: Final = 0.6
FLASH_S: Final = 0.6
_GAP_S: Final = 0.045
"""Least time between two dots of one edge: a batch that came at once is drawn as a row."""
_WAITING: Final = 40
_STILL_S: Final = 0.3
_MAX_BACK: Final = 16

Kind = Literal["message", "again", "reply", "back"]


class Dot(NamedTuple):
    """A dot on an edge: `progress` 0..1 from source to target (a reply goes from 1 to 0), `way`: which branch.

    `message_id` is set while every dot is one message. `attempt` is the digit of a redelivered one.
    """

    edge_id: str
    progress: float
    kind: Kind = "message"
    way: int = 0
    message_id: str = ""
    attempt: int = 1


@dataclass(slots=True)
class _Moving:
    edge: EdgeView | None
    edge_id: str
    kind: Kind
    crossing_s: float
    way: int = 0
    message_id: str = ""
    attempt: int = 1
    done: float = 0.0

    def dot(self) -> Dot:
        progress = 1.0 - self.done if self.kind == "reply" else self.done
        return Dot(self.edge_id, progress, self.kind, self.way, self.message_id, self.attempt)


@dataclass(slots=True)
class _EdgeState:
    view: EdgeView
    total: int
    redelivered: int
    waiting: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=_WAITING))
    since_dot_s: float = 1.0
    since_growth_s: float = 1.0
    again: int = 0
    ways: int = 0


class Animation:
    """The dots of one broker's flow."""

    def __init__(self) -> None:
        self._edges: dict[str, _EdgeState] = {}
        self._moving: list[_Moving] = []
        self._dead: dict[str, float] = {}
        self._flown: dict[str, int] = {}
        self._primed = False

    @property
    def flashing(self) -> frozenset[str]:
        """Workers that were killed a moment ago."""
        return frozenset(name for name, left_s in self._dead.items() if left_s > 0)

    @property
    def still(self) -> bool:
        """Nothing moves and nothing waits to move."""
        return not self._moving and not self.flashing and not any(state.waiting for state in self._edges.values())

    def step(self, dt_s: float, flow: FlowView, workers: Iterable[WorkerView] = ()) -> tuple[Dot, ...]:
        """Move all dots by `dt_s` seconds and start those of the messages that passed since the last step.

        The first step only takes note of the totals: what passed before anybody looked is not drawn.
        """
        self._advance(dt_s)
        seen = {edge.id for edge in flow.edges}
        for edge in flow.edges:
            self._feed(edge, dt_s)
        if len(seen) != len(self._edges):
            self._edges = {name: state for name, state in self._edges.items() if name in seen}
            self._moving = [dot for dot in self._moving if dot.edge is None or dot.edge_id in seen]
        self._deaths(flow, workers, dt_s)
        self._primed = True
        return tuple([moving.dot() for moving in self._moving])

    def _advance(self, dt_s: float) -> None:
        replies: list[_Moving] = []
        for moving in self._moving:
            moving.done += dt_s / moving.crossing_s
            if (
                moving.done >= 1.0
                and moving.edge is not None
                and moving.edge.kind == "request"
                and moving.kind != "reply"
            ):
                replies.append(
                    _Moving(moving.edge, moving.edge_id, "reply", moving.crossing_s, moving.way, moving.message_id)
                )
        self._moving = [moving for moving in self._moving if moving.done < 1.0] + replies

    def _feed(self, edge: EdgeView, dt_s: float) -> None:
        state = self._edges.get(edge.id)
        if state is None:
            first = edge.total if not self._primed else 0
            redelivered = edge.redelivered_total if not self._primed else 0
            state = self._edges[edge.id] = _EdgeState(edge, first, redelivered)
        state.since_dot_s += dt_s
        state.since_growth_s += dt_s
        grown = edge.total - state.total
        if edge is not state.view or grown:
            state.view = edge
            if grown > 0:
                state.since_growth_s = 0.0
            state.again = min(state.again + max(edge.redelivered_total - state.redelivered, 0), _WAITING)
            if grown > 0 and (edge.rate_per_s or 0.0) < EACH_PER_S:
                self._enqueue(state, edge, grown)
            state.total, state.redelivered = edge.total, edge.redelivered_total
        if state.waiting:
            if state.since_dot_s >= _GAP_S:
                message_id, attempt = state.waiting.popleft()
                self._start(state, edge, message_id, attempt)
        elif (edge.rate_per_s or 0.0) >= EACH_PER_S and state.since_growth_s < _STILL_S:
            crossing_s = _crossing_s(edge)
            if state.since_dot_s >= crossing_s / dots_at_once(edge.rate_per_s or 0.0):
                attempt = 2 if state.again else 1
                state.again = max(0, state.again - max(1, grown // 4)) if state.again else 0
                self._start(state, edge, "", attempt)

    @staticmethod
    def _enqueue(state: _EdgeState, edge: EdgeView, grown: int) -> None:
        """One dot per message: those with heads by name, the rest without."""
        heads = [
            (head.id, max(head.attempt, 2) if head.redelivered else head.attempt)
            for head, at in zip(edge.heads, edge.head_totals, strict=False)
            if at > state.total
        ][-grown:]
        told = sum(attempt > 1 for _, attempt in heads)
        rest = min(grown - len(heads), _WAITING)
        unnamed = max(0, min(rest, state.again - told))
        state.waiting.extend([("", 2)] * unnamed + [("", 1)] * (rest - unnamed) + heads)
        state.again = 0

    def _start(self, state: _EdgeState, edge: EdgeView, message_id: str, attempt: int) -> None:
        state.since_dot_s = 0.0
        state.ways += 1
        kind: Kind = "again" if attempt > 1 else "message"
        self._moving.append(_Moving(edge, edge.id, kind, _crossing_s(edge), state.ways, message_id, attempt))

    def _deaths(self, flow: FlowView, workers: Iterable[WorkerView], dt_s: float) -> None:
        """A worker that just died flashes; what it held runs back as soon as it is known how much that was."""
        self._dead = {name: left_s - dt_s for name, left_s in self._dead.items()}
        dead = {member.name for node in flow.nodes for member in node.members if is_dead(member)}
        for name in dead - self._dead.keys():
            self._dead[name] = FLASH_S if self._primed else 0.0
            self._flown[name] = 0
        for name in self._dead.keys() - dead:
            del self._dead[name]
        for row in workers:
            name = row.worker.name
            if row.worker.broker != flow.broker or name not in self._dead or not self._primed:
                continue
            held = max(row.worker.in_flight or 0, row.worker.came_back)
            fresh = min(held, _MAX_BACK) - self._flown.get(name, 0)
            if fresh > 0:
                self._flown[name] = self._flown.get(name, 0) + fresh
                ids = row.worker.in_flight_ids
                self._run_back(name, fresh, ids)

    def _run_back(self, worker: str, count: int, ids: Sequence[str]) -> None:
        for at in range(count):
            message_id = ids[at] if at < len(ids) else ""
            late = -0.15 * at  # one behind the other
            self._moving.append(_Moving(None, back_id(worker), "back", SHORT_CROSSING_S, 0, message_id, 2, late))


def _crossing_s(edge: EdgeView) -> float:
    return SHORT_CROSSING_S if edge.kind == "deliver" else CROSSING_S


def dots_at_once(rate_per_s: float) -> float:
    """How many dots are on an edge at a rate: 1.6 at 20/s, 0.9 more with each tenfold, at most 5."""
    return min(5.0, 1.6 + 0.9 * math.log10(max(rate_per_s, EACH_PER_S) / EACH_PER_S))
