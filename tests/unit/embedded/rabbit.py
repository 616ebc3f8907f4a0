"""The RabbitMQ model driven by hand: one channel, a clock that is a number, and the conservation check (E2)."""

import random
from typing import Any

from mqdash.brokers.embedded.channel import Channel, Confirm, Subscriber
from mqdash.brokers.embedded.kernel import UNBOUNDED, Bounds
from mqdash.brokers.embedded.rabbitmq import RabbitServer
from mqdash.model.message import Amqp, Headers, Message
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route


def message(body: str = "m", headers: Headers = (), **properties: Any) -> Message:
    return Message(content=body.encode(), headers=headers, native=Amqp(**properties))


class Rabbit:
    """A server with one connection and channel; `now` is its time."""

    def __init__(self, version: tuple[int, int] = (4, 0), bounds: Bounds = UNBOUNDED) -> None:
        self.now = 1000.0
        self.log: list[str] = []
        self.server = RabbitServer(version=version, bounds=bounds, rng=random.Random(7), log=self.log)
        self.channel = self.new_channel()
        self.tags = 0

    def new_channel(self, name: str = "client") -> Channel:
        return self.server.open_channel(self.server.open_connection(name))

    def queue(self, name: str = "q", *, dlx: str | None = None, dlx_key: str = "", **options: Any) -> None:
        dead_letter = None if dlx is None else Route(dlx, dlx_key)
        spec = Queue(ref=QueueRef(name), dead_letter=dead_letter, **options)
        self.server.declare_queue(self.channel, spec, self.now)

    def exchange(self, name: str, kind: str = "direct", **options: Any) -> None:
        self.server.declare_exchange(self.channel, Destination(name=name, kind=kind, **options), self.now)

    def bind(self, source: str, queue: str, key: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        binding = Binding(source=source, queue=QueueRef(queue), key=key, headers=headers)
        self.server.bind(self.channel, binding, self.now)

    def publish(self, body: str = "m", *, to: str = "q", exchange: str = "", **options: Any) -> Confirm:
        mandatory = options.pop("mandatory", False)
        sent = message(body, **options)
        return self.server.publish(self.channel, exchange, to, sent, self.now, mandatory=mandatory)

    def consume(
        self, queue: str = "q", *, prefetch: int = 0, channel: Channel | None = None, **more: Any
    ) -> Subscriber:
        self.tags += 1
        return self.server.consume(
            channel or self.new_channel(), queue, f"c{self.tags}", self.now, prefetch=prefetch, **more
        )

    def get(self, queue: str = "q") -> Message | None:
        """Take one for good."""
        got = self.server.get(self.channel, queue, self.now, no_ack=True)
        return None if got is None else got[1].message

    def bodies(self, queue: str = "q") -> list[str]:
        """Take everything ready out of a queue."""
        bodies = []
        while (got := self.get(queue)) is not None:
            bodies.append(got.body.decode())
        return bodies

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.server.advance(self.now)

    def counts(self, queue: str = "q") -> Any:
        return self.server.queues[queue].counts

    def check(self) -> None:
        """E2 and E3 for every queue and channel there is."""
        out: dict[tuple[str, int], int] = {}
        for connection in self.server.connections.values():
            for channel in connection.channels.values():
                for tag, (entry, queue, _) in channel.unacked.items():
                    assert (queue.name, entry.position) not in out, "in two unacked sets"
                    out[queue.name, entry.position] = tag
        for name, queue in self.server.queues.items():
            counts = queue.counts
            ready = [entry.position for entry in queue.entries()]
            assert len(ready) == queue.ready
            assert queue.unacked == sum(1 for found, _ in out if found == name)
            assert not {(name, position) for position in ready} & set(out), "ready and unacked"
            gone = counts.acked + counts.dead.total() + counts.dropped.total() + counts.expired
            assert counts.published == queue.ready + queue.unacked + gone


def texts(subscriber: Subscriber) -> list[str]:
    """Bodies handed to a consumer so far, still in its buffer."""
    return [entry.message.body.decode() for _, entry, _ in subscriber.outbox]


def tags(subscriber: Subscriber) -> list[int]:
    return [tag for tag, _, _ in subscriber.outbox]
