"""RabbitMQ through the port: one object per connection life."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from mqdash.brokers import moves
from mqdash.brokers.rabbitmq import declare
from mqdash.brokers.rabbitmq.catalog import Catalog
from mqdash.brokers.rabbitmq.consumer import RabbitConsumer
from mqdash.brokers.rabbitmq.definition import defined
from mqdash.brokers.rabbitmq.lease import hold
from mqdash.brokers.rabbitmq.levels import Levels
from mqdash.brokers.rabbitmq.mover import Mover
from mqdash.brokers.rabbitmq.publisher import ConfirmingPublisher
from mqdash.brokers.rabbitmq.requester import RabbitRequester
from mqdash.brokers.rabbitmq.rows import queue_of
from mqdash.brokers.rabbitmq.scratch import Scratch
from mqdash.errors import BrokerUnavailable, ConnectionLost
from mqdash.model.broker import BrokerInfo
from mqdash.model.message import Family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.base import Consumer, Lease, Publisher, Requester
    from mqdash.brokers.rabbitmq.life import Life
    from mqdash.brokers.rabbitmq.management import Management
    from mqdash.clock import Clock
    from mqdash.model.delivery import Measurement
    from mqdash.model.topology import Page, Queue, QueueRef, Route, Topology

ABILITIES: Final = frozenset({"dead_letters", "request", "returns", "priority", "ttl"})


class RabbitObserver:
    """A read-only life: passive declares and HTTP GETs, nothing that changes anything."""

    def __init__(self, life: Life, management: Management, *, clock: Clock, writable: bool = False) -> None:
        self._life = life
        self._management = management
        self._clock = clock
        self._scratch = Scratch(life.control)
        self._levels = Levels(self._scratch, management, life.known, clock=clock)
        self._catalog = Catalog(self._levels, management, life.known)
        self._writable = writable

    @property
    def info(self) -> BrokerInfo:
        """See `mqdash.brokers.base.Observer.info`."""
        return BrokerInfo(
            family=Family.RABBITMQ,
            version=self._life.control.version,
            url=self._life.url.safe,
            writable=self._writable,
            abilities=ABILITIES,
            notes=(self._management.told,),
        )

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """See `mqdash.brokers.base.Observer.catalog`."""
        return await self._catalog.page(prefix=prefix, after=after, limit=limit)

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """See `mqdash.brokers.base.Observer.measure`."""
        return await self._levels.measure(queues)

    @property
    def silent_s(self) -> float:
        """See `mqdash.brokers.base.TellsSilence.silent_s`."""
        return self._life.silent_s

    async def lost(self) -> str:
        """See `mqdash.brokers.base.Observer.lost`."""
        return await self._life.lost()

    async def close(self) -> None:
        """See `mqdash.brokers.base.Observer.close`."""
        # Both at once: a broker that stands still takes the whole time its caller allows.
        await asyncio.gather(self._life.close(), self._management.close())


class RabbitBroker(RabbitObserver):
    """A writable life."""

    async def declare(self, topology: Topology) -> None:
        """See `mqdash.brokers.base.Broker.declare`."""
        await declare.declare(self._life.control, topology)
        self._life.known.declared(topology)
        for rung in {rung.ref: rung for queue in topology.queues for rung in moves.rungs_of(queue)}.values():
            await declare.declare_wait_queue(self._life.control, rung)
            self._life.known.rung_seen(rung.ref.name, self._clock.monotonic())

    async def remove(self, topology: Topology) -> None:
        """See `mqdash.brokers.base.Broker.remove`."""
        await declare.remove(self._life.control, topology)
        self._life.known.removed(topology)

    @contextlib.asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[Publisher]:
        """See `mqdash.brokers.base.Broker.publisher`."""
        link = await self._life.open(name)
        publisher = ConfirmingPublisher(link, window=window)
        try:
            await publisher.open()
            yield publisher
        finally:
            publisher.close()
            await link.close()

    @contextlib.asynccontextmanager
    async def consume(
        self,
        queue: QueueRef,
        *,
        name: str,
        prefetch: int,
        dead_letter: Route | None = None,
        session_timeout_s: float = 6.0,  # noqa: ARG002 - RabbitMQ notices a dropped socket at once
    ) -> AsyncIterator[Consumer]:
        """See `mqdash.brokers.base.Broker.consume`."""
        self._life.known.asked.add(queue.name)

        async def target() -> Route | None:
            return dead_letter or await self._dead_letter_route(queue)

        mover = Mover(
            worker=name,
            open_link=self._life.open,
            dead_letter=target,
            known=self._life.known,
            clock=self._clock,
        )
        link = await self._life.open(name)
        consumer = RabbitConsumer(link, queue, name=name, prefetch=prefetch, mover=mover, tags=self._life.known.tags)
        try:
            await consumer.open()
            yield consumer
        finally:
            await consumer.close()

    @contextlib.asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[Requester]:
        """See `mqdash.brokers.base.CanRequest.requester`."""
        link = await self._life.open(name)
        requester = RabbitRequester(link, direct=direct, clock=self._clock)
        try:
            await requester.open()
            yield requester
        finally:
            requester.close()
            await link.close()

    @contextlib.asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[Lease]:
        """See `mqdash.brokers.base.HoldsDeadLetters.lease`."""
        kept, policies_seen = await self._limits(queue)
        async with hold(self._life, queue, limit=limit, kept=kept, policies_seen=policies_seen) as lease:
            yield lease

    async def _dead_letter_route(self, queue: QueueRef) -> Route | None:
        kept = self._life.known.queues.get(queue.name) or await self._told(queue)
        return None if kept is None else kept.dead_letter

    async def _limits(self, queue: QueueRef) -> tuple[Queue | None, bool]:
        """The queue's type and limits, None when nobody tells, and whether those that a policy sets are among them.

        As the API tells, else as it was declared here or told before, else as the broker says when asked.
        """
        told = await self._told(queue)
        if told is not None:
            return told, True
        known = self._life.known
        kept = known.queues.get(queue.name)
        if kept is None or queue.name in known.asked_about:
            kept = await defined(self._scratch, queue.name)
            if kept is not None:
                known.answered(kept)
        return kept, False

    async def _told(self, queue: QueueRef) -> Queue | None:
        """The queue as the API tells; None without it."""
        if not await self._management.reachable():
            return None
        try:
            row = await self._management.get(f"/queues/{self._management.vhost}/{declare.quoted(queue.name)}")
        except ConnectionLost:
            raise
        except BrokerUnavailable:
            return None
        found = queue_of(row)
        self._life.known.seen(found)
        return found
