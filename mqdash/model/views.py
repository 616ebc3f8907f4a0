"""What the screen draws: frozen pictures made by the store. None = this broker cannot tell (`·`), never a default 0.

All strings may hold remote data: presentation passes every one of them through `safe_text`. Times are Unix seconds,
`trend` and `spark` are series, oldest first.
"""

from __future__ import annotations

import msgspec

from mqdash.model.actors import ProducerRecord, WorkerRecord
from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.delivery import PartitionMeasure
from mqdash.model.events import Head
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """One attached broker in the header. `age_s`: how old its newest figures are."""

    name: str
    family: Family
    state: LinkState
    url: str = ""
    cause: str = ""
    since_s: float = 0.0
    retry_at_s: float | None = None
    blocked: str = ""
    age_s: float | None = None
    lab: bool = False
    info: BrokerInfo | None = None
    source: str = ""  # where its figures come from, in words


class TotalsView(msgspec.Struct, frozen=True, kw_only=True):
    """Over all brokers. `dead_new`: deaths of the last minute."""

    in_per_s: float = 0.0
    out_per_s: float = 0.0
    in_spark: tuple[float, ...] = ()
    out_spark: tuple[float, ...] = ()
    waiting: int | None = None
    waiting_trend_per_s: float | None = None
    in_flight: int | None = None
    dead: int | None = None
    dead_new: int = 0
    oldest_s: float | None = None
    lost: int = 0
    duplicates: int = 0


class HeaderView(msgspec.Struct, frozen=True, kw_only=True):
    """Two lines on top. `revision` grows when something in it changed."""

    brokers: tuple[BrokerView, ...] = ()
    totals: TotalsView = TotalsView()
    revision: int = 0


class ProducerView(msgspec.Struct, frozen=True, kw_only=True):
    """One producer with what it really does."""

    producer: ProducerRecord
    family: Family
    rate_per_s: float = 0.0
    total: int = 0
    unconfirmed: int = 0  # returned + refused + unknown
    spark: tuple[float, ...] = ()


class ProducersView(msgspec.Struct, frozen=True, kw_only=True):
    """All producers in the order they appeared."""

    rows: tuple[ProducerView, ...] = ()
    revision: int = 0


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as Flow draws it beside its queue."""

    name: str
    state: str  # a WorkerState value
    died_at_s: float | None = None
    foreign: bool = False


class NodeView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node of the flow. `kind`: producers, destination, queue, workers, request.

    `id` is stable: `p:NAME`, `p:pool/POOL` (workers that publish), `d:NAME`, `q:NAME|GROUP`, `w:NAME|GROUP` (all that take from a
    queue), `r:NAME`. `sub`: direct, fanout, topic, stream, channel, quorum, group …
    `depth` is what waits, `depth_max` its largest of the last five minutes, `limit` its bound when it has one.
    """

    id: str
    kind: str
    name: str
    sub: str = ""
    family: Family = Family.RABBITMQ
    rate_per_s: float | None = None
    depth: int | None = None
    depth_max: int = 0
    limit: int | None = None
    trend_per_s: float | None = None
    in_flight: int | None = None
    partitions: tuple[PartitionMeasure, ...] = ()
    dead: bool = False
    members: tuple[MemberView, ...] = ()
    p50_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""


class EdgeView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An edge of the flow. `kind`: publish, route, deliver, dead, request.

    `total` only grows: its growth since the last frame is the number of messages that passed. `heads` are the newest (all of
    them below 20/s), `head_totals` the total each of them arrived at, both oldest first.
    """

    id: str
    source: str
    target: str
    kind: str
    label: str = ""  # binding key, dead-letter reason
    rate_per_s: float | None = None
    total: int = 0
    redelivered_total: int = 0
    heads: tuple[Head, ...] = ()
    head_totals: tuple[int, ...] = ()


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """The picture of one broker. `shape` grows when nodes or edges came or went, `revision` when any number changed."""

    broker: str
    family: Family
    nodes: tuple[NodeView, ...] = ()
    edges: tuple[EdgeView, ...] = ()
    source: str = ""
    shape: int = 0
    revision: int = 0


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker with what it really does."""

    worker: WorkerRecord
    family: Family
    rate_per_s: float | None = None
    error_rate: float | None = None  # 0..1 of the last minute
    total: int = 0
    died_at_s: float | None = None
    spark: tuple[float, ...] = ()


class WorkersView(msgspec.Struct, frozen=True, kw_only=True):
    """All workers, by broker and queue, in the order they appeared."""

    rows: tuple[WorkerView, ...] = ()
    revision: int = 0


class CauseView(msgspec.Struct, frozen=True, kw_only=True):
    """Deaths of one normalised cause, seen by mqdash itself."""

    broker: str
    queue: QueueRef
    cause: str
    count: int
    workers: tuple[str, ...] = ()
    first_s: float = 0.0
    last_s: float = 0.0
    spark: tuple[float, ...] = ()


class DeathView(msgspec.Struct, frozen=True, kw_only=True):
    """One death seen by mqdash itself (the newest 1,000 are kept)."""

    broker: str
    queue: QueueRef
    id: str
    key: str
    by: str
    cause: str
    text: str
    attempt: int
    at_s: float
    to: str
    size_bytes: int = 0
    preview: bytes = b""


class GraveView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead-letter queue and the broker's count of it."""

    broker: str
    family: Family
    queue: QueueRef
    count: int | None
    new: int = 0


class DeadLettersView(msgspec.Struct, frozen=True, kw_only=True):
    """The dead-letter pane: causes by count, newest deaths first, the queues that hold them."""

    causes: tuple[CauseView, ...] = ()
    deaths: tuple[DeathView, ...] = ()
    graves: tuple[GraveView, ...] = ()
    seen: int = 0
    revision: int = 0


class StoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, as a sentence; `more` are its dimmer lines. `level`: info, look, broken, good, dead, you."""

    at_s: float
    broker: str
    level: str
    text: str
    more: tuple[str, ...] = ()
    subject: str = ""  # node or worker id it talks about
    n: int = 1


class StoryView(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first, bounded."""

    lines: tuple[StoryLine, ...] = ()
    revision: int = 0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the dashboard shows at one moment."""

    at_s: float = 0.0
    header: HeaderView = HeaderView()
    producers: ProducersView = ProducersView()
    flows: tuple[FlowView, ...] = ()
    workers: WorkersView = WorkersView()
    dead_letters: DeadLettersView = DeadLettersView()
    story: StoryView = StoryView()
