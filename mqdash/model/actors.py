"""Who publishes and who works: one record each, whatever they are (ours in the lab, a user's process, a foreign consumer)."""

from __future__ import annotations

import enum

import msgspec

from mqdash.model.topology import QueueRef, Route


class ProducerState(enum.StrEnum):
    """`burst`: sending a fixed number as fast as it can; `blocked`: the broker or the link holds it back."""

    ON = "on"
    OFF = "off"
    BURST = "burst"
    BLOCKED = "blocked"


class ProducerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A producer. `rate_per_s` is what it aims at; `open` publishes wait for their confirm. `controls`: action ids that work."""

    name: str
    broker: str
    route: Route
    state: ProducerState = ProducerState.OFF
    rate_per_s: float = 0.0
    burst_size: int = 1000
    burst_left: int = 0
    open: int = 0
    controls: frozenset[str] = frozenset({"publish", "toggle", "rate", "burst"})
    note: str = ""


class WorkerState(enum.StrEnum):
    """Design §4.4; `gone` workers are kept a while so that one can see what happened."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    PAUSED = "paused"
    HUNG = "hung"
    DRAINING = "draining"
    KILLED = "killed"
    CRASHED = "crashed"
    STUCK = "stuck"  # a settle FAILED or the link is down: it takes nothing and says why in `note`
    GONE = "gone"


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker.

    `in_flight` = messages it holds, `in_flight_ids` at most 16 of them. `busy_since_s` and `expected_s` give the
    progress of the message in hand (`busy_since_s` is Unix seconds). `controls`: action ids that work on it
    (kill hang crash finish pause prefetch).
    """

    name: str
    broker: str
    queue: QueueRef
    pool: str = ""
    state: WorkerState = WorkerState.STARTING
    prefetch: int | None = None
    in_flight: int | None = None
    in_flight_ids: tuple[str, ...] = ()
    current_id: str = ""
    current_attempt: int = 1
    busy_since_s: float | None = None
    expected_s: float | None = None
    came_back: int = 0  # of a dead worker: how many of its messages have come back so far
    subscriber: bool = False  # Pub/Sub: nothing to settle
    foreign: bool = False
    address: str = ""
    controls: frozenset[str] = frozenset()
    note: str = ""
