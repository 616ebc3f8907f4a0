"""Building blocks for tests of the embedded Redis: a stream by hand, and a broker behind the port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from mqdash.brokers.embedded import connector
from mqdash.brokers.embedded.kernel import UNBOUNDED, Bounds
from mqdash.brokers.embedded.redis import RedisBroker, RedisConnector
from mqdash.brokers.embedded.stream import Id, Stream, StreamGroup
from mqdash.brokers.url import parse_url
from mqdash.clock import ManualClock
from mqdash.model.delivery import Delivery, Outgoing, Receipt, Verdict
from mqdash.model.message import Draft, Entry, Family, Message, compose
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology

ALERTS = QueueRef("alerts", "pager")
DLQ = QueueRef("{alerts}:dlq")


def entry(body: str = "m") -> Message:
    return Message(content=((b"body", body.encode()),), native=Entry())


class Redis:
    """One stream `s`; `now` is the time."""

    def __init__(self, bounds: Bounds = UNBOUNDED, max_length: int | None = None) -> None:
        self.now = 1000.0
        self.stream = Stream("s", bounds, max_length=max_length)

    def group(self, name: str = "g") -> StreamGroup:
        return self.stream.group(name)

    def add(self, *bodies: str) -> list[Id]:
        ids = [self.stream.add(entry(body), self.now) for body in bodies]
        self.stream.trim()
        return ids

    def read(self, consumer: str, limit: int = 100, **options: Any) -> list[str]:
        return [self.body(given.kept) for given in self.group().read(consumer, limit, self.now, **options)]

    def claim(self, consumer: str, *ids: Id, min_idle_s: float = 0.0) -> list[Id]:
        given = self.group().claim(ids, consumer, min_idle_s=min_idle_s, now_s=self.now)
        return [one.entry_id for one in given]

    @staticmethod
    def body(kept: Any) -> str:
        return "" if kept is None else str(kept.message.body.decode())

    def check_conserved(self, group: str = "g") -> None:
        """E2: what the group was ever to get = acknowledged + waiting + pending + gone before it had them."""
        found = self.group(group)
        assert found.received == found.out + found.waiting + len(found.pending) + found.dropped
        assert sum(found.holding.values()) == len(found.pending)


def topology(**options: Any) -> Topology:
    return Topology(
        destinations=(
            Destination(name="alerts", kind="stream", family=Family.REDIS_STREAMS, **options),
            Destination(name="ops.eu", kind="channel", family=Family.REDIS_PUBSUB),
        ),
        queues=(Queue(ref=ALERTS, kind="group", family=Family.REDIS_STREAMS),),
        bindings=(Binding(source="alerts", queue=ALERTS),),
    )


def new(clock: ManualClock, *, seed: int = 0, bounded: bool = True) -> RedisConnector:
    return cast("RedisConnector", connector(parse_url("embedded://redis"), clock=clock, seed=seed, bounded=bounded))


@asynccontextmanager
async def opened(clock: ManualClock, **options: Any) -> AsyncIterator[RedisBroker]:
    broker = cast("RedisBroker", await new(clock).connect())
    async with broker:
        await broker.declare(topology(**options))
        yield broker


async def add(broker: RedisBroker, *bodies: str, to: str = "alerts") -> list[Receipt]:
    async with broker.publisher(name="sensors") as publisher:
        drafts = [compose(Draft(body=body.encode(), id=body, key="k"), Family.REDIS_STREAMS) for body in bodies]
        return list(await publisher.send([Outgoing(Route(to), draft) for draft in drafts]))


async def shout(broker: RedisBroker, channel: str, *bodies: str) -> list[Receipt]:
    async with broker.publisher(name="ops") as publisher:
        drafts = [compose(Draft(body=body.encode()), Family.REDIS_PUBSUB) for body in bodies]
        return list(await publisher.send([Outgoing(Route(channel), draft) for draft in drafts]))


def bodies(deliveries: Any) -> list[str]:
    return [delivery.message.body.decode() for delivery in deliveries]


def each(deliveries: Any, verdict: Verdict) -> list[tuple[Delivery, Verdict]]:
    return [(delivery, verdict) for delivery in deliveries]
