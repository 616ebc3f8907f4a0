"""The port to the embedded RabbitMQ: connector, observer and broker. The rules are in `rabbitmq.py`."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from mqdash.brokers import moves
from mqdash.brokers.embedded import rabbit_view
from mqdash.brokers.embedded.channel import ChannelClosed
from mqdash.brokers.embedded.kernel import Life, Server, bounds
from mqdash.brokers.embedded.rabbit_lease import RabbitLease
from mqdash.brokers.embedded.rabbit_links import POLITE, RabbitConsumer, RabbitPublisher, translated
from mqdash.brokers.embedded.rabbit_requests import RabbitRequester
from mqdash.brokers.embedded.rabbitmq import RabbitServer
from mqdash.errors import Unsupported
from mqdash.model.broker import BrokerInfo
from mqdash.model.message import Family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.embedded.channel import Channel
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock
    from mqdash.model.delivery import Measurement
    from mqdash.model.topology import Page, QueueRef, Route, Topology

VERSIONS: Final = {"3.10": (3, 10), "4.0": (4, 0)}
NOTES: Final = (
    "embedded: single node, no disk",
    "one channel per connection; publishes are confirmed at once",
    "not modelled: streams, channel-wide prefetch, consumer timeout, delayed exchange, at-least-once dead-lettering",
)


class RabbitObserver(Life[RabbitServer]):
    """A read-only life."""

    def __init__(self, server: Server[RabbitServer], url: BrokerUrl, *, writable: bool = False) -> None:
        super().__init__(server)
        version = server.model.version
        self.info = BrokerInfo(
            family=Family.RABBITMQ,
            version=f"{version[0]}.{version[1]}",
            url=url.safe,
            embedded=True,
            writable=writable,
            abilities=frozenset({"request", "dead_letters"}),
            notes=NOTES,
        )

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """As the port says."""
        self.check()
        self.server.step()
        return rabbit_view.catalog(self.server.model, prefix=prefix, after=after, limit=limit)

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """As the port says; the embedded broker knows all of it."""
        self.check()
        now_s = self.server.step()
        at_s = self.server.clock.now()
        found = (rabbit_view.measure(self.server.model, ref, now_s, at_s=at_s) for ref in queues)
        return [measurement for measurement in found if measurement is not None]


class RabbitBroker(RabbitObserver):
    """A writable life."""

    def __init__(self, server: Server[RabbitServer], url: BrokerUrl) -> None:
        super().__init__(server, url, writable=True)
        self._control = server.model.open_connection("control")

    def end(self, cause: str) -> None:
        """Lost, with everything opened from it."""
        if self.cause is None:
            self.server.model.drop_connection(self._control, self.server.step())
        super().end(cause)

    async def close(self) -> None:
        """Politely: what this life owned goes at once."""
        if self.cause is None:
            await super().close()
            self.server.model.close_connection(self._control, self.server.step())

    def _scratch(self) -> Channel:
        self.check()
        return self.server.model.open_channel(self._control)

    async def declare(self, topology: Topology) -> None:
        """As the port says: exchanges, then queues, then bindings; what exists is compared (R10)."""
        channel, model, now_s = self._scratch(), self.server.model, self.server.step()
        try:
            for destination in topology.destinations:
                if destination.name:
                    model.declare_exchange(channel, destination, now_s)
            for queue in topology.queues:
                model.declare_queue(channel, queue, now_s)
            for binding in topology.bindings:
                model.bind(channel, binding, now_s)
        except ChannelClosed as error:
            raise translated(self.server.name, error) from None
        model.close_channel(channel, now_s)
        self.server.rearm()

    async def remove(self, topology: Topology) -> None:
        """As the port says; with a queue its wait ladder goes too."""
        self.check()
        model, now_s = self.server.model, self.server.step()
        for queue in topology.queues:
            for rung in moves.wait_queues(queue.ref.name):
                model.delete_queue(rung.ref.name, now_s)
            model.delete_queue(queue.ref.name, now_s)
        for destination in topology.destinations:
            model.delete_exchange(destination.name, now_s)

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[RabbitPublisher]:
        """As the port says."""
        publisher = RabbitPublisher(self, name, window=window)
        try:
            yield publisher
        finally:
            publisher.end(POLITE)

    @asynccontextmanager
    async def consume(
        self,
        queue: QueueRef,
        *,
        name: str,
        prefetch: int,
        dead_letter: Route | None = None,
        session_timeout_s: float = 6.0,  # noqa: ARG002 - RabbitMQ notices a dropped socket by itself
    ) -> AsyncIterator[RabbitConsumer]:
        """As the port says."""
        consumer = RabbitConsumer(self, queue, name, prefetch=prefetch, dead_letter=dead_letter)
        try:
            yield consumer
        finally:
            consumer.end(POLITE)

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[RabbitRequester]:
        """As the port says."""
        requester = RabbitRequester(self, name, direct=direct)
        try:
            yield requester
        finally:
            requester.end(POLITE)

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[RabbitLease]:
        """As the port says; refused where looking would cost messages (F1, F3)."""
        self.check()
        lease = RabbitLease(self, queue, limit=limit)
        try:
            yield lease
        finally:
            lease.release()


class RabbitConnector:
    """Holds the embedded server; `server` takes the faults of a lab (`stop`, `start`, `alarm`, `cut`)."""

    def __init__(self, url: BrokerUrl, server: Server[RabbitServer]) -> None:
        self.url = url
        self.server = server

    async def observe(self) -> RabbitObserver:
        """One read-only life."""
        return RabbitObserver(self.server, self.url)

    async def connect(self) -> RabbitBroker:
        """One writable life."""
        return RabbitBroker(self.server, self.url)


def connector(
    url: BrokerUrl, *, clock: Clock, seed: int = 0, bounded: bool = True, log: list[str] | None = None
) -> RabbitConnector:
    """A new embedded RabbitMQ (`?version=3.10` or 4.0, the default) and the way to it; `log` gets its event log.

    Raises:
        Unsupported: another version was asked for.
    """
    version = VERSIONS.get(url.option("version", "4.0"))
    if version is None:
        raise Unsupported(url.safe, f"no embedded RabbitMQ {url.option('version')}; known are {', '.join(VERSIONS)}")
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    model = RabbitServer(version=version, bounds=bounds(bounded=bounded), rng=rng, log=log)
    return RabbitConnector(url, Server(url.safe, model, clock=clock, rng=rng))
