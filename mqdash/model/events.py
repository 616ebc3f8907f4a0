"""The events on the bus: one closed union.

Traffic carries counts per edge and loop slice, levels carry whole records, moments are single events with all detail.

`broker` is the display name of the attachment ("orders", "localhost"); `at_s` is Unix seconds for display. Durations are
measured on the monotonic clock.
"""

from __future__ import annotations

import msgspec

from mqdash.model.actors import ProducerRecord, WorkerRecord
from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.delivery import Measurement
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, QueueRef, Route, Topology

DURATION_BUCKETS_MS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Upper bounds of a duration histogram; one more bucket holds what is longer. A histogram is 16 counts."""
Histogram = tuple[int, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What all events have."""

    broker: str
    at_s: float


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The little that is kept of a message that passed: enough to draw it, name it and find it again."""

    id: str
    key: str = ""
    size_bytes: int = 0
    redelivered: bool = False
    attempt: int = 1


# --- traffic: exact counts per edge and slice -------------------------------------------------------------------------


class Published(Event, frozen=True, kw_only=True):
    """Publishes whose end is known, per publisher and route. `durations`: from send to receipt, one per publish."""

    by: str
    route: Route
    confirmed: int = 0
    returned: int = 0
    refused: int = 0
    unknown: int = 0
    size_bytes: int = 0
    durations: Histogram = ()
    heads: tuple[Head, ...] = ()


class Delivered(Event, frozen=True, kw_only=True):
    """Messages a consumer of ours was given. `n` includes the `redelivered` ones."""

    by: str
    queue: QueueRef
    n: int
    redelivered: int = 0
    size_bytes: int = 0
    heads: tuple[Head, ...] = ()


class Finished(Event, frozen=True, kw_only=True):
    """Deliveries settled by a consumer of ours, by verdict; those not settled are in `stale`, `failed`, `unknown`.

    `durations`: from delivery to settle. `acked + retried + dead + stale + failed + unknown` = all.
    """

    by: str
    queue: QueueRef
    acked: int = 0
    retried: int = 0
    dead: int = 0
    stale: int = 0
    failed: int = 0
    unknown: int = 0
    durations: Histogram = ()
    heads: tuple[Head, ...] = ()


class Requested(Event, frozen=True, kw_only=True):
    """Requests that ended, per asker and destination. `late`: replies that came after their time-out."""

    by: str
    route: Route
    answered: int = 0
    timed_out: int = 0
    returned: int = 0
    unknown: int = 0
    late: int = 0
    durations: Histogram = ()


# --- levels: whole records, the newest counts -------------------------------------------------------------------------


class LinkChanged(Event, frozen=True, kw_only=True):
    """The way to a broker changed. `url` has no secret. `retry_at_s`: Unix time of the next try, None = no retry."""

    state: LinkState
    family: Family
    url: str
    cause: str = ""
    retry_at_s: float | None = None
    info: BrokerInfo | None = None
    lab: bool = False
    blocked: str = ""  # "" or why the broker blocks publishers ("low on memory")


class Measured(Event, frozen=True, kw_only=True):
    """Levels and totals of queues, told by a monitor."""

    measurements: tuple[Measurement, ...]


class TopologySeen(Event, frozen=True, kw_only=True):
    """The whole topology of a broker as declared or found; replaces the one before. `source` in words."""

    topology: Topology
    attendants: tuple[Attendant, ...] = ()
    source: str = ""


class ProducerChanged(Event, frozen=True, kw_only=True):
    """A producer's record; the newest counts."""

    producer: ProducerRecord


class ProducerGone(Event, frozen=True, kw_only=True):
    """A producer is no more."""

    name: str


class WorkerChanged(Event, frozen=True, kw_only=True):
    """A worker's record; the newest counts."""

    worker: WorkerRecord


class WorkerGone(Event, frozen=True, kw_only=True):
    """A worker is no more (scaled down, finished, replaced)."""

    name: str


class LedgerCounted(Event, frozen=True, kw_only=True):
    """The lab's count by id so far (a level): see `mqdash.lab.ledger`."""

    published: int
    done: int
    lost: int
    not_kept: int
    duplicates: int


# --- moments: single events with all detail ---------------------------------------------------------------------------


class WorkerDied(Event, frozen=True, kw_only=True):
    """A worker went without a goodbye (`how`: killed, crashed, lost). `held_ids`: at most 16 of the `held` messages."""

    worker: str
    queue: QueueRef
    how: str
    held: int = 0
    held_ids: tuple[str, ...] = ()


class HandedOver(Event, frozen=True, kw_only=True):
    """Messages one worker held came to another one. `after_s`: since the first one went. `count`: times delivered, if told."""

    queue: QueueRef
    ids: tuple[str, ...]
    n: int
    from_worker: str
    to_worker: str
    after_s: float
    count: int | None = None


class Died(Event, frozen=True, kw_only=True):
    """A message was dead-lettered by a consumer of ours: where it went and why. `n` > 1 when many of a cause are told as one.

    `preview`: at most the first 2 KiB of the body. `attempt` counts from 1.
    """

    queue: QueueRef
    by: str
    error: str
    error_text: str = ""
    to: Route
    id: str = ""
    key: str = ""
    attempt: int = 1
    n: int = 1
    size_bytes: int = 0
    preview: bytes = b""
    native: bool = False  # the broker's own way (reject), at most once


class Retried(Event, frozen=True, kw_only=True):
    """A worker put a message back to try again later."""

    queue: QueueRef
    by: str
    id: str
    error: str
    after_s: float
    attempt: int


class Unroutable(Event, frozen=True, kw_only=True):
    """A publish was returned: nobody is bound for its key (R7)."""

    by: str
    route: Route
    id: str
    detail: str = ""
    n: int = 1


class SettleFailed(Event, frozen=True, kw_only=True):
    """A worker could not settle (FAILED): it stops taking; nothing was removed."""

    queue: QueueRef
    by: str
    id: str
    detail: str


class Cancelled(Event, frozen=True, kw_only=True):
    """The broker ended a subscription (queue deleted, R27)."""

    queue: QueueRef
    by: str
    detail: str = ""


class Rebalanced(Event, frozen=True, kw_only=True):
    """A group's partitions moved: for each moved partition who had it and who has it ('' = nobody).

    `gap_s`: the longest time one of them was without owner, `gaps_s` that of each where it can be told.
    """

    queue: QueueRef
    moved: tuple[tuple[int, str, str], ...]
    gap_s: float | None = None
    gaps_s: tuple[tuple[int, float], ...] = ()


class Claimed(Event, frozen=True, kw_only=True):
    """Pending stream entries were taken over by another consumer."""

    queue: QueueRef
    ids: tuple[str, ...]
    from_worker: str
    to_worker: str
    idle_s: float


class Gap(Event, frozen=True, kw_only=True):
    """A Pub/Sub subscriber was away: what was published meanwhile is not kept (P6)."""

    channels: tuple[str, ...]
    by: str
    duration_s: float


class UserActed(Event, frozen=True, kw_only=True):
    """A person did something: `text` is the sentence ("you raised shop from 60/s to 120/s"), `command` the native equivalent."""

    text: str
    command: str = ""
    ids: tuple[str, ...] = ()  # of messages the person sent and will want to hear of


class MovesEnded(Event, frozen=True, kw_only=True):
    """A replay or discard of dead letters ended; taken = done + failed + unknown + skipped. `kind`: replay, discard."""

    op: str
    kind: str
    queue: QueueRef
    to: str
    done: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    detail: str = ""
    ids: tuple[str, ...] = ()  # of those done, at most 16
    kept_in: str = ""  # the file on this machine that tells of it: the journal of a replay, the archive of a discard


class Noted(Event, frozen=True, kw_only=True):
    """Anything else worth a line in the Story. `level`: info, look, broken, good."""

    text: str
    level: str = "info"


class Failure(Event, frozen=True, kw_only=True):
    """An error of mqdash itself that was caught (task, thread, handler): told on screen, details in the log."""

    where: str
    text: str


AnyEvent = (
    Published
    | Delivered
    | Finished
    | Requested
    | LinkChanged
    | Measured
    | TopologySeen
    | ProducerChanged
    | ProducerGone
    | WorkerChanged
    | WorkerGone
    | LedgerCounted
    | WorkerDied
    | HandedOver
    | Died
    | Retried
    | Unroutable
    | SettleFailed
    | Cancelled
    | Rebalanced
    | Claimed
    | Gap
    | UserActed
    | MovesEnded
    | Noted
    | Failure
)
