"""What exists on a broker: destinations, queues, bindings, and who attends them. One neutral word each (design §3)."""

from __future__ import annotations

import msgspec

from mqdash.model.message import Family


class QueueRef(msgspec.Struct, frozen=True, gc=False, order=True):
    """What waits for one set of workers: a RabbitMQ queue, a Kafka topic + group, a stream + group, a channel or pattern.

    `group` is empty on RabbitMQ and Pub/Sub.
    """

    name: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.name} › {self.group}" if self.group else self.name


class Route(msgspec.Struct, frozen=True, gc=False, order=True):
    """Where to publish to: exchange + routing key, topic (+ partition; the key is the record's), stream, or channel."""

    destination: str
    key: str = ""
    partition: int | None = None

    def __str__(self) -> str:
        return f"{self.destination or '(default)'} {self.key}".strip()


class Destination(msgspec.Struct, frozen=True, kw_only=True, tag="destination"):
    """Something one publishes to. `kind`: direct fanout topic headers (exchanges), or topic, stream, channel."""

    name: str
    kind: str
    family: Family = Family.RABBITMQ
    durable: bool = True
    partitions: int = 1
    alternate: str | None = None
    internal: bool = False
    max_length: int | None = None  # streams: trimmed to about this; topics: not used


class Queue(msgspec.Struct, frozen=True, kw_only=True, tag="queue"):
    """Something that waits for workers. `kind`: classic, quorum, stream, or group; limits None = not set or not known."""

    ref: QueueRef
    kind: str = "classic"
    family: Family = Family.RABBITMQ
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    dead_letter: Route | None = None  # where its dead letters go; key "" = the message's own key
    ttl_s: float | None = None
    expires_s: float | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str | None = None
    dead_letter_strategy: str | None = None  # "at-least-once": kept until the target has confirmed (R43, quorum only)
    max_priority: int | None = None
    delivery_limit: int | None = None
    single_active_consumer: bool = False
    retry_after_s: tuple[
        float, ...
    ] = ()  # how long its workers make retries wait: what holds them is made with the queue
    holds_dead_letters: bool = False  # it is a dead-letter queue (behind a DLX, `.dlq`, `{s}:dlq`)
    known: bool = True  # False: only its name and counts could be read, its limits are unknown


class Binding(msgspec.Struct, frozen=True, kw_only=True, tag="binding"):
    """From a destination to a queue, or to another destination (RabbitMQ only); `headers` for headers exchanges."""

    source: str
    queue: QueueRef | None = None
    destination: str | None = None
    key: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Attendant(msgspec.Struct, frozen=True, kw_only=True, tag="attendant"):
    """A consumer the broker told of: ours or somebody else's.

    `idle_s`: how long it has not come for more, None where the broker does not tell; what it holds is pending that long at least.
    """

    queue: QueueRef
    name: str
    address: str = ""
    prefetch: int | None = None
    in_flight: int | None = None
    ours: bool = False
    idle_s: float | None = None


Entity = Destination | Queue | Binding | Attendant


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a catalogue; `after` is what to ask the next one with, None at the end. `source` says who told it."""

    entities: tuple[Entity, ...]
    after: str | None = None
    source: str = ""


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """A whole picture: what a scenario declares, or what a monitor found."""

    destinations: tuple[Destination, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def queue(self, ref: QueueRef) -> Queue | None:
        """The queue of that reference, or None."""
        return next((queue for queue in self.queues if queue.ref == ref), None)

    def destination(self, name: str) -> Destination | None:
        """The destination of that name, or None."""
        return next((found for found in self.destinations if found.name == name), None)
