"""One life on a Kafka cluster: a probe, a reader and an admin client; publishers and members have connections of their own."""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mqdash.brokers.kafka import measuring, stalls, topics, undecoded
from mqdash.brokers.kafka.ages import Ages
from mqdash.brokers.kafka.browsing import newest_records
from mqdash.brokers.kafka.cluster import Cluster
from mqdash.brokers.kafka.consumer import KafkaConsumer
from mqdash.brokers.kafka.letters import Graves, KafkaLease
from mqdash.brokers.kafka.moving import Mover
from mqdash.brokers.kafka.owners import Owners
from mqdash.brokers.kafka.publisher import KafkaPublisher
from mqdash.brokers.kafka.records import DLQ_SUFFIX, REPLY_PREFIX, retry_topics
from mqdash.brokers.kafka.requester import KafkaRequester
from mqdash.brokers.kafka.roster import SESSION_S, KafkaMembership
from mqdash.brokers.kafka.transaction import Transactions
from mqdash.brokers.kafka.way import Way, stop
from mqdash.brokers.life import CONNECT_LIMIT_S, Life
from mqdash.errors import BrokerError, BrokerUnavailable, NotFound
from mqdash.model.broker import BrokerInfo
from mqdash.model.message import Family
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.base import Broker, Observer
    from mqdash.brokers.kafka.cluster import GroupMember
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock
    from mqdash.model.delivery import Delivery, Measurement
    from mqdash.model.topology import Page, QueueRef, Topology

NOTES = (
    "a group's records held by members that are not ours are counted as waiting",
    "groups use the classic eager protocol; where a partition comes from is known of our own members only",
)


Opened = TypeVar("Opened", bound="KafkaLife")


class KafkaConnector:
    """Opens lives. Knows across them which dead-letter topic a group was declared with, and what our members had."""

    def __init__(self, url: BrokerUrl, *, clock: Clock) -> None:
        undecoded.install()
        self.url = url
        self._clock = clock
        self._graves: dict[QueueRef, Route] = {}
        self._owners = Owners()

    async def observe(self) -> Observer:
        """A read-only life: joins no group, creates no topic."""
        return await self._open(KafkaObserver)

    async def connect(self) -> Broker:
        """A writable life."""
        return await self._open(KafkaBroker)

    async def _open(self, kind: type[Opened]) -> Opened:
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                way = await Way.find(self.url)
                admin = await way.admin()
                try:
                    reader = await way.reader()
                except BaseException:
                    await stop(admin)
                    raise
        except TimeoutError:
            raise BrokerUnavailable(
                self.url.safe, f"{self.url.address} did not let us in within {CONNECT_LIMIT_S:g} s"
            ) from None
        return kind(
            way,
            Cluster(self.url.safe, admin, reader),
            reader,
            clock=self._clock,
            graves=self._graves,
            owners=self._owners,
        )


class KafkaLife(Life):
    """What observers and brokers share."""

    writable = False

    def __init__(
        self,
        way: Way,
        cluster: Cluster,
        reader: object,
        *,
        clock: Clock,
        graves: dict[QueueRef, Route],
        owners: Owners,
    ) -> None:
        super().__init__(way.url.safe, clock)
        self.info = BrokerInfo(
            family=Family.KAFKA,
            version=way.version,
            url=way.url.safe,
            writable=self.writable,
            abilities=frozenset({"browse", "dead_letters", "request", "moves"} if self.writable else {"browse"}),
            notes=NOTES,
        )
        self._way = way
        self._cluster = cluster
        self._reader = reader
        self._graves = graves
        self._owners = owners
        self._ages = Ages(way)
        self._members: set[KafkaConsumer] = set()
        self.watch(cluster.alive)

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """Up to `limit` topics with their groups and members; side topics of ours are not shown."""
        self.check()
        return await measuring.catalog(self._cluster, prefix=prefix, after=after, limit=limit, ours=self._is_ours)

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """Groups by committed and end offsets; a topic without a group as the dead letters it still holds."""
        self.check()
        return await measuring.measure(self._cluster, queues, now_s=self.clock.now(), held=self._held, ages=self._ages)

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        """The newest records of the topic, oldest first; joins nothing, changes nothing (K4)."""
        self.check()
        if queue.name not in await self._cluster.topics():
            raise NotFound(self.broker, f"there is no topic {queue.name!r}")
        return await newest_records(self._way, self._cluster, queue, newest)

    async def close(self) -> None:
        """End this life and everything opened from it."""
        await self.finish(lambda: stop(self._cluster.admin), lambda: stop(self._reader), self._ages.close)

    def _is_ours(self, member: GroupMember) -> bool:
        joining = {mine.name for mine in self._members if mine.member_id not in self._owners.ours}
        return member.id in self._owners.ours or member.client_id in joining

    def _held(self, ref: QueueRef) -> int | None:
        counts = [member.in_flight for member in self._members if member.ref == ref]
        return sum(counts) if counts else None


class KafkaObserver(KafkaLife):
    """Looks and never joins a group."""


class KafkaBroker(KafkaLife):
    """A writable life."""

    writable = True
    stall_limit_s = stalls.LIMIT_S

    async def declare(self, topology: Topology) -> None:
        """Create topics, and each group's dead-letter and retry topics.

        Raises:
            Conflict: a topic exists with another number of partitions.
            Unsupported: Kafka has no such thing.
        """
        self.check()
        existing = await self._cluster.topics()
        topics.check(self.broker, topology, existing)
        await topics.create(self._cluster, topics.wanted(topology, existing))
        self._graves |= {queue.ref: queue.dead_letter for queue in topology.queues if queue.dead_letter is not None}

    async def remove(self, topology: Topology) -> None:
        """Delete the topics and the side topics of the groups; a group without offsets is forgotten by the cluster.

        Our own members of a removed group are told; members elsewhere notice when their topic is gone.
        """
        self.check()
        gone = {queue.ref for queue in topology.queues}
        for member in self._members:
            if member.ref in gone:
                member.cancel(f"the queue {member.ref} was removed")
        names = {destination.name for destination in topology.destinations}
        for queue in topology.queues:
            names |= set(topics.side_topics(queue)) if queue.ref.group else {queue.ref.name}
        await topics.delete(self._cluster, names)

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[KafkaPublisher]:
        """A producer of its own."""
        link = await self._publisher(name, window)
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
    ) -> AsyncIterator[KafkaConsumer]:
        """A member of the group; it starts at the earliest record when the group has no committed offset.

        Raises:
            NotFound: no such topic.
        """
        self.check()
        if queue.name not in await self._cluster.topics():
            raise NotFound(self.broker, f"there is no topic {queue.name!r} to consume from")
        if not queue.group:
            raise BrokerError(self.broker, f"consuming {queue.name!r} needs a consumer group")
        mover = Mover(
            queue,
            worker=name,
            dead_letter=dead_letter or self._graves.get(queue) or Route(queue.name + DLQ_SUFFIX),
            open_publisher=lambda: self._publisher(f"{name}-moves", 1000),
            make_retry_topics=lambda: self._make_retry_topics(queue),
        )
        client = await self._way.member(name, queue.group, session_timeout_s=session_timeout_s)
        member = KafkaConsumer(
            self,
            name,
            queue,
            client,
            prefetch=prefetch,
            mover=mover,
            owners=self._owners,
            find_topics=lambda: self._topics_of(queue),
            find_committed=partial(self._cluster.committed, queue.group),
            find_unread=partial(stalls.unread, self._cluster, queue.group),
            stall_limit_s=self.stall_limit_s,
        )
        self._members.add(member)
        try:
            await member.join()
            yield member
        finally:
            self._members.discard(member)
            await member.leave()

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[KafkaRequester]:
        """Request and reply topics: Kafka has one way, whatever `direct` says."""
        del direct
        self.check()
        topic = f"{REPLY_PREFIX}{name}.{uuid.uuid4().hex[:8]}"
        await topics.create(self._cluster, {topic: 1})
        try:
            link = KafkaRequester(
                self,
                name,
                topic=topic,
                reader=await self._way.reader(name),
                publisher=await self._publisher(f"{name}-requests", 1000),
                rng=random.Random(),  # noqa: S311 - correlation ids, no secret
            )
            try:
                yield link
            finally:
                link.end("closed")
        finally:
            if self.cause is None:
                await topics.delete(self._cluster, {topic})

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[KafkaLease]:
        """The newest letters that were not removed, newest first: free reading, nothing is held."""
        self.check()
        if limit < 1:
            raise BrokerError(self.broker, "a lease holds at least one message")
        graves = Graves(self._way, self._cluster, queue.name)
        transactions = Transactions(self._way, graves) if self._way.version == "4" else None
        letters, total = await graves.newest(queue, limit)
        try:
            yield KafkaLease(graves, letters, total, transactions)
        finally:
            await graves.close()
            if transactions is not None:
                await transactions.close()

    async def enroll(self, roster: str, *, name: str) -> KafkaMembership:
        """A member of the group `roster`; see `mqdash.brokers.base.KeepsMembers`."""
        self.check()
        client = await self._way.member(name, roster, session_timeout_s=SESSION_S)
        membership = KafkaMembership(self, self._cluster, client, roster, name)
        try:
            await membership.enroll()
        except BaseException:
            membership.end("could not join")
            raise
        return membership

    async def _publisher(self, name: str, window: int) -> KafkaPublisher:
        self.check()
        return KafkaPublisher(self, name, await self._way.producer(name), self._way, window=window)

    async def _topics_of(self, ref: QueueRef) -> frozenset[str]:
        existing = await self._cluster.topics()
        return frozenset(name for name in (ref.name, *retry_topics(ref.name, ref.group)) if name in existing)

    async def _make_retry_topics(self, ref: QueueRef) -> None:
        partitions = (await self._cluster.topics()).get(ref.name, 1)
        await topics.create(self._cluster, dict.fromkeys(retry_topics(ref.name, ref.group), partitions))
