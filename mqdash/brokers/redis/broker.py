"""One life on a Redis node: a session that asks and is the probe; whoever blocks or publishes has sessions of its own."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from mqdash.brokers.life import Life
from mqdash.brokers.redis import declaring, measuring
from mqdash.brokers.redis.consumer import StreamConsumer
from mqdash.brokers.redis.entries import dlq_name, message_of
from mqdash.brokers.redis.known import Known
from mqdash.brokers.redis.lease import IN_ONE, RedisLease
from mqdash.brokers.redis.publisher import RedisPublisher
from mqdash.brokers.redis.requester import RedisRequester
from mqdash.brokers.redis.roster import RedisMembership
from mqdash.brokers.redis.settling import Settler
from mqdash.brokers.redis.subscription import RedisSubscription
from mqdash.brokers.redis.ways import way_to
from mqdash.errors import BrokerError, BrokerUnavailable, NotFound
from mqdash.model.broker import BrokerInfo, LeaseInfo
from mqdash.model.delivery import Delivery, EntryClaim
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.base import Broker, Observer
    from mqdash.brokers.redis.session import Session
    from mqdash.brokers.redis.ways import Way
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock
    from mqdash.model.delivery import Measurement
    from mqdash.model.topology import Page, Topology

NOTES = ("the number of waiting entries is Redis's lag: after deletes or trims an estimate (S17)",)


Opened = TypeVar("Opened", bound="RedisLife")


class RedisConnector:
    """Opens lives on one node."""

    def __init__(self, url: BrokerUrl, *, clock: Clock) -> None:
        self.url = url
        self._clock = clock
        self._known = Known()

    async def observe(self) -> Observer:
        """A read-only life: commands that look, nothing else."""
        return await self._open(RedisObserver)

    async def connect(self) -> Broker:
        """A writable life."""
        return await self._open(RedisBroker)

    async def _open(self, kind: type[Opened]) -> Opened:
        way = await way_to(self.url)
        session = await way.routed("mqdash")
        try:
            version = await _version(session)
        except BaseException:
            await session.close()
            raise
        return kind(self.url, way, session, version, clock=self._clock, known=self._known)


class RedisLife(Life):
    """What observers and brokers share."""

    writable = False

    def __init__(self, url: BrokerUrl, way: Way, session: Session, version: str, *, clock: Clock, known: Known) -> None:
        super().__init__(url.safe, clock)
        self.info = BrokerInfo(
            family=Family.REDIS_STREAMS,
            version=version,
            url=url.safe,
            writable=self.writable,
            abilities=frozenset(
                {"browse", "claim", "dead_letters", "request", "subscribe"} if self.writable else {"browse"}
            ),
            notes=NOTES,
        )
        self._way = way
        self._session = session
        self._known = known
        session.ended = self.end
        self.watch(lambda: way.probe(session))

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """Up to `limit` streams with their groups and consumers, and channels."""
        self.check()
        return await measuring.catalog(
            self._session,
            prefix=prefix,
            after=after,
            limit=limit,
            known=self._known,
        )

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """Groups by XINFO, streams without a group by their length, channels by their subscribers."""
        self.check()
        return await measuring.measure(self._session, queues, now_s=self.clock.now(), channels=self._known.channels)

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        """The newest entries of the stream, oldest first; no side effect (S18)."""
        return (await self._newest(queue, newest))[::-1]

    async def close(self) -> None:
        """End this life and everything opened from it."""
        await self.finish(self._session.close)

    async def _newest(self, queue: QueueRef, newest: int) -> list[Delivery]:
        self.check()
        if await self._session.call("TYPE", queue.name) != b"stream":
            raise NotFound(self.broker, f"there is no stream {queue.name!r}")
        if newest <= 0:
            return []
        found = await self._session.call("XREVRANGE", queue.name, "+", "-", "COUNT", newest)
        return [
            Delivery(
                message=message_of(entry_id.decode(), fields),
                queue=queue,
                route=Route(queue.name),
                claim=EntryClaim("", entry_id.decode()),
            )
            for entry_id, fields in found
        ]


class RedisObserver(RedisLife):
    """Looks and never writes."""


class RedisBroker(RedisLife):
    """A writable life."""

    writable = True

    def __init__(self, url: BrokerUrl, way: Way, session: Session, version: str, *, clock: Clock, known: Known) -> None:
        super().__init__(url, way, session, version, clock=clock, known=known)
        self._rng = random.Random()  # noqa: S311 - correlation ids, no secret

    async def declare(self, topology: Topology) -> None:
        """Create streams, groups (from the beginning) and their dead-letter streams; remember channels and bounds.

        Raises:
            Conflict: a name is something else, or was declared with another bound.
            Unsupported: Redis has no such thing.
            NotFound: a group on a stream that does not exist.
        """
        self.check()
        await declaring.check(self._session, topology, self._known.destinations)
        await declaring.create(self._session, topology)
        self._known.destinations |= {one.name: one for one in topology.destinations}
        self._known.graves |= {
            queue.ref: queue.dead_letter for queue in topology.queues if queue.dead_letter is not None
        }

    async def remove(self, topology: Topology) -> None:
        """Delete groups with their retries and dead-letter streams, then streams; forget channels."""
        self.check()
        await declaring.remove(self._session, topology)
        for destination in topology.destinations:
            self._known.destinations.pop(destination.name, None)
        for queue in topology.queues:
            self._known.graves.pop(queue.ref, None)

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[RedisPublisher]:
        """A publishing connection."""
        self.check()
        session = await self._way.routed(name)
        link = RedisPublisher(self, name, session, window=window, declared=self._known.destinations)
        try:
            yield link
        finally:
            link.end("closed")

    @asynccontextmanager
    async def consume(
        self,
        queue: QueueRef,
        *,
        name: str,
        prefetch: int,
        dead_letter: Route | None = None,
        session_timeout_s: float = 6.0,
    ) -> AsyncIterator[StreamConsumer]:
        """A consumer of the group under this name; what is still pending under the name comes first.

        Raises:
            NotFound: no such stream or group.
        """
        self.check()
        await self._check_group(queue)
        grave = dead_letter or self._known.graves.get(queue) or Route(dlq_name(queue.name))
        reader = await self._way.session(name, queue.name)
        try:
            writer = await self._way.session(f"{name}-settles", queue.name)
        except BaseException:
            await reader.close()
            raise
        consumer = StreamConsumer(
            self,
            name,
            queue,
            prefetch=prefetch,
            reader=reader,
            writer=writer,
            settler=Settler(writer, queue, name, dead_letter=grave),
            session_timeout_s=session_timeout_s,
        )
        self._known.consumers.add((queue, name))
        try:
            yield consumer
        finally:
            await consumer.leave()

    @asynccontextmanager
    async def subscribe(self, channels: Sequence[str], *, name: str) -> AsyncIterator[RedisSubscription]:
        """A subscriber of channels and patterns, subscribed when the context is entered."""
        self.check()
        link = RedisSubscription(self, name, await self._way.session(name), channels)
        try:
            await link.open()
            with self._known.listens(channels):
                yield link
        finally:
            link.end("closed")

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[RedisRequester]:
        """A request stream and a reply list: Redis has one way, whatever `direct` says."""
        del direct
        self.check()
        reply_list = f"mqdash:reply:{name}:{self._rng.getrandbits(64):016x}"
        asking = await self._way.routed(name)
        try:
            listening = await self._way.session(f"{name}-replies", reply_list)
        except BaseException:
            await asking.close()
            raise
        link = RedisRequester(self, name, reply_list, asking=asking, listening=listening, rng=self._rng)
        try:
            yield link
        finally:
            await link.leave()

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[RedisLease]:
        """The newest dead letters, newest first: reading is free, nothing is held; a replay is one script."""
        if limit < 1:
            raise BrokerError(self.broker, "a lease holds at least one message")
        letters = await self._newest(queue, limit)
        total = await self._session.call("XLEN", queue.name)
        info = LeaseInfo(total=total, order="newest", held=False, cost="reading is free", in_one=IN_ONE)
        yield RedisLease(info, letters, self._session, queue.name, slots=self._way.slots)

    async def enroll(self, roster: str, *, name: str) -> RedisMembership:
        """Register on a sorted set of that name."""
        self.check()
        membership = RedisMembership(self, self._session, roster, name)
        await membership.enroll()
        return membership

    async def _check_group(self, queue: QueueRef) -> None:
        groups = (await self._session.run([("XINFO", "GROUPS", queue.name)]))[0]
        names = [group[1].decode() for group in groups] if isinstance(groups, list) else []
        if queue.group not in names:
            self.check()
            raise NotFound(self.broker, f"NOGROUP: there is no group {queue.group!r} on a stream {queue.name!r}")


async def _version(session: Session) -> str:
    """From INFO, when we may ask; Valkey tells its own.

    Raises:
        BrokerUnavailable: it still reads its data: every other command would be refused (LOADING).
    """
    results = await session.run([("INFO", "server"), ("INFO", "persistence")])
    texts = [one.decode() for one in results if isinstance(one, bytes)]
    lines = dict(line.split(":", 1) for text in texts for line in text.splitlines() if ":" in line)
    if lines.get("loading") == "1":
        done = float(lines.get("loading_loaded_perc", "0"))
        raise BrokerUnavailable(session.broker, f"the broker is loading its dataset, {done:.0f} %")
    return lines.get("valkey_version") or lines.get("redis_version", "")
