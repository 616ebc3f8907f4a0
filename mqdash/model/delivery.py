"""What passes through the port: outgoing messages and their receipts, deliveries, verdicts and outcomes."""

from __future__ import annotations

import enum

import msgspec

from mqdash.model.message import Message
from mqdash.model.topology import QueueRef, Route


class Sent(enum.StrEnum):
    """How a publish ended. UNKNOWN: no proof either way (F4, F7), never 'not sent'."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message and where it goes."""

    route: Route
    message: Message
    mandatory: bool = True


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What became of one publish; `detail` is the broker's reason in words, `position` its offset or entry id."""

    sent: Sent
    detail: str = ""
    position: str = ""


class AmqpClaim(msgspec.Struct, frozen=True, gc=False, tag="amqp"):
    """A delivery tag of one channel of one connection life (R20)."""

    life: int
    channel: int
    tag: int


class RecordClaim(msgspec.Struct, frozen=True, gc=False, tag="record"):
    """A record of one assignment of ours: our own assignment count, partition and offset.

    `topic` is where the record lies when that is not the queue's own topic: one of its retry topics.
    """

    assignment: int
    partition: int
    offset: int
    topic: str = ""


class EntryClaim(msgspec.Struct, frozen=True, gc=False, tag="entry"):
    """A pending stream entry and the consumer that owned it when it was given to us."""

    owner: str
    entry_id: str


Claim = AmqpClaim | RecordClaim | EntryClaim


class Delivery(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A message handed out to a consumer; a claim with an epoch, None where nothing is settled (Pub/Sub, browsing).

    `redelivered` and `delivery_count` (times delivered, this one included) are None where the broker cannot tell.
    `idle_s`: of a claimed entry, how long nobody had worked on it.
    """

    message: Message
    queue: QueueRef
    route: Route
    claim: Claim | None = None
    redelivered: bool | None = None
    delivery_count: int | None = None
    idle_s: float | None = None

    @property
    def key(self) -> str:
        """The routing key or record key, as text."""
        return self.message.key or self.route.key


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Done: the broker may forget it."""


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """Again later: `after_s` 0 = give it back at once, else through the broker's wait ladder (semantics §2.1)."""

    after_s: float = 0.0
    error: str = ""
    error_text: str = ""


class DeadLetter(msgspec.Struct, frozen=True, tag="dead_letter"):
    """A move with a reason to the queue's dead letters: copy, proof of the copy, then settle. `error` is the cause's name."""

    error: str
    error_text: str = ""


Verdict = Ack | Retry | DeadLetter


class Settled(enum.StrEnum):
    """How settling one delivery ended.

    SETTLED: there is proof. WRITTEN: an AMQP ack was written, no answer exists. HELD: Kafka, done behind an open offset.
    STALE: no longer ours, it will come to somebody again. FAILED: the copy of a retry or dead letter was returned or refused;
    nothing removed, the delivery is still ours. UNKNOWN: no proof either way.
    """

    SETTLED = "settled"
    WRITTEN = "written"
    HELD = "held"
    STALE = "stale"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one verdict; `detail` in words when it is not plain success."""

    settled: Settled
    detail: str = ""


class Answer(enum.StrEnum):
    """How a request ended. A timeout is not 'not executed' (C4)."""

    ANSWERED = "answered"
    TIMEOUT = "timeout"
    RETURNED = "returned"
    UNKNOWN = "unknown"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a request: the reply when there is one, and how long it took."""

    answer: Answer
    message: Message | None = None
    elapsed_s: float = 0.0
    detail: str = ""


class Source(enum.StrEnum):
    """Where a number comes from."""

    COUNTED = "counted"  # by us
    TOLD = "told"  # by the broker
    ESTIMATED = "estimated"


class PartitionMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of a topic + group: offsets, waiting (lag) and the member that owns it ('' = nobody)."""

    partition: int
    end: int
    committed: int | None = None
    waiting: int | None = None
    lost: int = 0  # log start - committed when retention overtook the group (K24)
    owner: str = ""


class PartitionMove(msgspec.Struct, frozen=True, kw_only=True):
    """A partition that changed its member ('' = nobody). `gap_s`: how long nobody had it, when it can be told."""

    partition: int
    from_member: str = ""
    to_member: str = ""
    gap_s: float | None = None


class RecordsGone(msgspec.Struct, frozen=True, kw_only=True):
    """Records [first, end) of a partition that a group should have read next and that are no more (K11, K21).

    `reads_from`: where reading goes on. Before `first` when the log now ends there: it was cut, and is read once more.
    """

    topic: str
    partition: int
    first: int
    end: int
    reads_from: int


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """Levels and totals of one queue at one moment. None = this broker cannot tell: never 0 by default.

    `at_s`: Unix seconds when the broker said so. Totals count since `since` (any), rates are made of their differences.
    `delayed`: copies in the wait ladder that come back to this queue. `oldest_age_s`: of the first waiting message.
    """

    queue: QueueRef
    at_s: float
    source: Source
    waiting: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    consumers: int | None = None
    in_total: int | None = None
    out_total: int | None = None
    redelivered_total: int | None = None
    expired_total: int | None = None
    dropped_total: int | None = None
    dead_total: int | None = None  # dead-lettered by the broker itself; a worker's move is not one
    oldest_age_s: float | None = None
    partitions: tuple[PartitionMeasure, ...] = ()
    detail: str = ""  # who told it: "management API", "passive declare", …
