"""Scenario records: what a TOML scenario file says (design §4.4). `scenario_file.py` reads and checks it.

A topology stands under the family it runs on. Producers and workers name destinations and queues; in a run on a family
those whose names its topology does not have are left out. Redis carries streams and channels at once, so a Redis broker
runs both topologies of a file unless one of them is asked for.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import InputError
from mqdash.lab.template import FieldSpec
from mqdash.model.message import Family
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: unknown keys are refused."""


class RouteSpec(_Spec, frozen=True, kw_only=True):
    """Where dead letters go: `destination` and `key` ('' = the message's own)."""

    destination: str
    key: str = ""


class DestinationSpec(_Spec, frozen=True, kw_only=True):
    """An exchange, topic, stream or channel. `kind` is only needed on RabbitMQ: direct fanout topic headers."""

    name: str
    kind: str = ""
    durable: bool = True
    partitions: int = 1
    alternate: str | None = None
    max_length: int | None = None


class QueueSpec(_Spec, frozen=True, kw_only=True):
    """A queue, a topic or stream with its group, or a channel (pattern). `kind`: classic or quorum, RabbitMQ only."""

    name: str
    group: str = ""
    kind: str = ""
    durable: bool = True
    dead_letter: RouteSpec | None = None
    ttl_s: float | None = None
    max_length: int | None = None
    overflow: str | None = None
    max_priority: int | None = None
    delivery_limit: int | None = None
    single_active_consumer: bool = False
    holds_dead_letters: bool = False


class BindingSpec(_Spec, frozen=True, kw_only=True):
    """RabbitMQ: from an exchange to a queue, by `key` or `headers`."""

    source: str
    queue: str
    key: str = ""
    headers: dict[str, str] = {}


class TopologySpec(_Spec, frozen=True, kw_only=True):
    """What is declared on one family."""

    destinations: tuple[DestinationSpec, ...] = ()
    queues: tuple[QueueSpec, ...] = ()
    bindings: tuple[BindingSpec, ...] = ()


class ProducerSpec(_Spec, frozen=True, kw_only=True):
    """Publishes messages made from a template.

    `rate_per_s` swings by the share `sway` within `sway_period_s`, `flurry` more come at once every
    `flurry_every_s`. `spoil_rate` of the bodies are cut short (bad JSON).
    `body` is padded with spaces to `size_bytes`. Ids are `<id_prefix>-<n>` from `first` on, `<n>` where the prefix is ''.
    """

    name: str
    to: str
    key: str = ""
    on: bool = True
    rate_per_s: float = 1.0
    sway: float = 0.0
    sway_period_s: float = 30.0
    flurry: int = 0
    flurry_every_s: float = 10.0
    burst: int = 1000
    id_prefix: str | None = None
    first: int = 1
    body: str = '{"id": "${id}"}'
    headers: dict[str, str] = {}
    content_type: str | None = "application/json"
    size_bytes: int = 0
    spoil_rate: float = 0.0
    priority: int | None = None
    ttl_s: float | None = None
    persistent: bool = True
    fields: dict[str, FieldSpec] = {}

    @property
    def prefix(self) -> str:
        """What its message ids begin with."""
        return self.name if self.id_prefix is None else self.id_prefix


class ErrorSpec(_Spec, frozen=True, kw_only=True):
    """A cause a worker fails with; `retry`: it is tried again by the worker's `retry` before it dies."""

    name: str
    text: str = ""
    weight: float = 1.0
    retry: bool = False


class PoisonSpec(_Spec, frozen=True, kw_only=True):
    """A body that contains this text fails on every attempt."""

    contains: str
    error: str
    text: str = ""


class RetrySpec(_Spec, frozen=True, kw_only=True):
    """How often in all a message is tried, and how long it waits in between (the last wait serves all further ones)."""

    attempts: int = 3
    after_s: tuple[float, ...] = (1.0,)


class OnSuccessSpec(_Spec, frozen=True, kw_only=True):
    """Published (and confirmed) before the message is acknowledged. `name` makes its id: `<id>.<name>`."""

    name: str
    to: str
    key: str = ""
    body: str = '{"id": "${id}"}'
    headers: dict[str, str] = {}
    share: float = 1.0


class CallSpec(_Spec, frozen=True, kw_only=True):
    """A request made for each message; without an answer in time the message fails with `error`, to be retried."""

    to: str = ""
    key: str
    body: str = '{"id": "${id}"}'
    timeout_s: float = 2.0
    error: str = "NoAnswer"


UNSENT_RETRY_S: Final = 1.0
"""A message whose follow-up could not be published is tried again after this; it is never acknowledged without it."""
POOL_LIMIT: Final = 64
"""Living workers of one pool: each is a connection of its own."""


class PoolSpec(_Spec, frozen=True, kw_only=True):
    """Workers of one kind: `pool` + number (from `first` on) is a worker's name. `expects = "json"` parses every body.

    `time_ms`: shortest and longest work on one message. `reply`: they answer requests with this body.
    """

    pool: str
    queue: str
    group: str = ""
    count: int = 1
    first: int = 1
    prefetch: int = 1
    time_ms: tuple[float, float] = (0.0, 0.0)
    failure_rate: float = 0.0
    errors: tuple[ErrorSpec, ...] = ()
    poison: tuple[PoisonSpec, ...] = ()
    expects: str = ""
    retry: RetrySpec | None = None
    on_success: tuple[OnSuccessSpec, ...] = ()
    calls: tuple[CallSpec, ...] = ()
    reply: str | None = None
    fields: dict[str, FieldSpec] = {}

    @property
    def ref(self) -> QueueRef:
        """What they take from."""
        return QueueRef(self.queue, self.group)

    @property
    def retries_after_s(self) -> tuple[float, ...]:
        """How long their retries wait."""
        unsent = (UNSENT_RETRY_S,) if self.on_success else ()
        return unsent if self.retry is None else (*self.retry.after_s, *unsent)


class Do(enum.StrEnum):
    """What a step does; `restart` and `alarm` are done by the embedded broker, on a real one the user is asked to."""

    KILL = "kill"
    HANG = "hang"
    CRASH = "crash"
    FINISH = "finish"
    PAUSE = "pause"
    RESUME = "resume"
    SCALE = "scale"
    RATE = "rate"
    BURST = "burst"
    RESTART = "restart"
    ALARM = "alarm"
    TELL = "tell"


STEP_NEEDS = {
    **dict.fromkeys((Do.KILL, Do.HANG, Do.CRASH, Do.FINISH, Do.PAUSE, Do.RESUME), "worker"),
    Do.SCALE: "pool",
    Do.RATE: "producer",
    Do.BURST: "producer",
    Do.TELL: "text",
}


class StepSpec(_Spec, frozen=True, kw_only=True):
    """`at_s` seconds after the start do something; `for_s`: how long a restart or an alarm lasts.

    A kill comes up to 0.5 s later, as soon as the worker holds a message.
    """

    at_s: float
    do: Do
    worker: str = ""
    pool: str = ""
    producer: str = ""
    count: int | None = None
    rate_per_s: float | None = None
    for_s: float = 1.0
    text: str = ""


class ExpectSpec(_Spec, frozen=True, kw_only=True):
    """What a run must show at its end; None = not asked."""

    lost: int = 0
    not_kept: int | None = None
    duplicates: int | None = None
    delay_s: float | None = None


class Scenario(_Spec, frozen=True, kw_only=True):
    """A scenario. `name` and `path` come from the file's place, not from its text."""

    title: str
    text: str = ""
    session_timeout_s: float = 6.0
    topology: dict[str, TopologySpec]
    producers: tuple[ProducerSpec, ...] = ()
    workers: tuple[PoolSpec, ...] = ()
    at: tuple[StepSpec, ...] = ()
    expect: dict[str, ExpectSpec] = {}
    name: str = ""

    @property
    def families(self) -> tuple[Family, ...]:
        """The families it can run on, in the file's order."""
        return tuple(Family(name) for name in self.topology)

    def runs_on(self, broker: Family, *, only: Family | None = None) -> tuple[Family, ...]:
        """The families of the file that a broker of this family carries: streams and channels share one Redis."""
        carried = {broker}
        if broker in {Family.REDIS_STREAMS, Family.REDIS_PUBSUB}:
            carried = {Family.REDIS_STREAMS, Family.REDIS_PUBSUB}
        return tuple(family for family in self.families if family in carried and only in {None, family})

    def check_runs_on(self, broker: Family, *, only: Family | None = None) -> tuple[Family, ...]:
        """As `runs_on`, never empty.

        Raises:
            InputError: it has no topology for this family; the text names those it has.
        """
        families = self.runs_on(broker, only=only)
        if not families:
            known = ", ".join(self.families)
            raise InputError(f"scenario {self.name} does not run on {only or broker}; it runs on {known}")
        return families

    def topology_on(self, families: tuple[Family, ...]) -> Topology:
        """What is declared for these families."""
        retries = {spec.ref: spec.retries_after_s for spec in self.workers}
        parts = [_topology(family, self.topology[family], retries) for family in families]
        return Topology(
            destinations=tuple(found for part in parts for found in part.destinations),
            queues=tuple(queue for part in parts for queue in part.queues),
            bindings=tuple(binding for part in parts for binding in part.bindings),
        )


def _topology(family: Family, spec: TopologySpec, retries: Mapping[QueueRef, tuple[float, ...]]) -> Topology:
    kinds = {Family.RABBITMQ: ("direct", "classic"), Family.KAFKA: ("topic", "group")}
    kinds |= {Family.REDIS_STREAMS: ("stream", "group"), Family.REDIS_PUBSUB: ("channel", "channel")}
    destination_kind, queue_kind = kinds[family]
    destinations = tuple(
        Destination(
            name=found.name,
            kind=found.kind or destination_kind,
            family=family,
            durable=found.durable,
            partitions=found.partitions,
            alternate=found.alternate,
            max_length=found.max_length,
        )
        for found in spec.destinations
    )
    queues = tuple(_queue(family, queue, queue_kind, retries) for queue in spec.queues)
    bindings = tuple(
        Binding(
            source=binding.source,
            queue=QueueRef(binding.queue),
            key=binding.key,
            headers=tuple(binding.headers.items()),
        )
        for binding in spec.bindings
    )
    if family in {Family.KAFKA, Family.REDIS_STREAMS}:
        bindings += tuple(Binding(source=queue.ref.name, queue=queue.ref) for queue in queues)
    return Topology(destinations=destinations, queues=queues, bindings=bindings)


def _queue(family: Family, spec: QueueSpec, kind: str, retries: Mapping[QueueRef, tuple[float, ...]]) -> Queue:
    grave = spec.dead_letter
    return Queue(
        ref=QueueRef(spec.name, spec.group),
        kind=spec.kind or kind,
        family=family,
        durable=spec.durable,
        dead_letter=None if grave is None else Route(grave.destination, grave.key),
        ttl_s=spec.ttl_s,
        max_length=spec.max_length,
        overflow=spec.overflow,
        max_priority=spec.max_priority,
        delivery_limit=spec.delivery_limit,
        single_active_consumer=spec.single_active_consumer,
        holds_dead_letters=spec.holds_dead_letters,
        retry_after_s=retries.get(QueueRef(spec.name, spec.group), ()),
    )
