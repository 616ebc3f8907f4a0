"""The embedded Kafka behind the port: lives, topology, numbers. The rules are in `log`, `group` and `cluster`."""

from __future__ import annotations

import heapq
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mqdash.brokers.embedded.cluster import Cluster
from mqdash.brokers.embedded.group import DLQ_SUFFIX
from mqdash.brokers.embedded.kafka_links import KafkaConsumer, KafkaPublisher, KafkaRequester, letter
from mqdash.brokers.embedded.kafka_view import entities_of, measured
from mqdash.brokers.embedded.kernel import Life, Server, bounds
from mqdash.brokers.embedded.reading import FreeLease
from mqdash.errors import BrokerError, Conflict, NotFound, Unsupported
from mqdash.model.broker import BrokerInfo, LeaseInfo
from mqdash.model.delivery import Delivery, Measurement, RecordClaim
from mqdash.model.message import Family
from mqdash.model.topology import Page, QueueRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.base import Broker, Connector, Observer
    from mqdash.brokers.embedded.log import Topic
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock
    from mqdash.model.topology import Route, Topology

VERSION = "4.0"
NOTES = (
    "embedded: single node, no disk; what was confirmed survives its restart",
    "groups use the classic eager rebalance, which takes no time here; a member of a group reads one topic",
    "no transactions, compaction, retention by time, static members or share groups",
)
_HIDDEN = ("mqdash.reply.",)


def connector(url: BrokerUrl, *, clock: Clock, seed: int = 0, bounded: bool = True) -> Connector:
    """A new embedded Kafka; `seed` decides where records without a key go. Unbounded logs are for conformance runs."""
    return KafkaConnector(url, clock=clock, seed=seed, bounded=bounded)


class KafkaConnector:
    """Holds the broker itself; `server` has the faults."""

    def __init__(self, url: BrokerUrl, *, clock: Clock, seed: int, bounded: bool) -> None:
        self.url = url
        rng = random.Random(seed)  # noqa: S311 - a reproducible model, no secret
        self.server = Server(url.safe, Cluster(rng, bounds(bounded=bounded)), clock=clock, rng=rng)

    async def observe(self) -> Observer:
        """A read-only life."""
        return KafkaObserver(self.server, writable=False)

    async def connect(self) -> Broker:
        """A writable life."""
        return KafkaBroker(self.server, writable=True)


class KafkaObserver(Life[Cluster]):
    """Looks and never joins a group."""

    def __init__(self, server: Server[Cluster], *, writable: bool) -> None:
        super().__init__(server)
        self.cluster = server.model
        self.info = BrokerInfo(
            family=Family.KAFKA,
            version=VERSION,
            url=server.name,
            embedded=True,
            writable=writable,
            abilities=frozenset({"browse", "dead_letters", "request", "moves"}),
            notes=NOTES,
        )

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """Up to `limit` topics with their groups and members; reply and retry topics are not shown."""
        self.check()
        self.server.step()
        names = sorted(
            name
            for name, topic in self.cluster.topics.items()
            if topic.delay_s is None and name.startswith(prefix) and not name.startswith(_HIDDEN)
        )
        rest = [name for name in names if after is None or name > after]
        entities = [entity for name in rest[:limit] for entity in entities_of(self.cluster, name)]
        return Page(entities=tuple(entities), after=rest[limit - 1] if len(rest) > limit else None, source="embedded")

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """Groups by their cursors; a topic asked without a group as the dead letters it still holds."""
        self.check()
        now_s = self.server.step()
        found = [measured(self.cluster, ref, now_s) for ref in queues]
        return [one for one in found if one is not None]

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        """The newest records of the topic by time of append, oldest first; nobody's offsets change (K4)."""
        self.check()
        topic = self._topic(queue.name)
        tails = [
            (record.at_s, offset, number, record.message)
            for number, log in enumerate(topic.partitions)
            for first in (max(log.start, log.end - newest),)
            for offset, record in enumerate(log.read(first, newest), first)
        ]
        chosen = heapq.nlargest(newest, tails, key=lambda tail: tail[:3])[::-1]
        return [letter(queue, topic.name, number, offset, message) for _, offset, number, message in chosen]

    def _topic(self, name: str) -> Topic:
        topic = self.cluster.topics.get(name)
        if topic is None:
            raise NotFound(self.server.name, f"there is no topic {name!r}")
        return topic


class KafkaBroker(KafkaObserver):
    """A writable life."""

    async def declare(self, topology: Topology) -> None:
        """Create topics, groups and their dead-letter topics.

        Raises:
            Conflict: a topic exists with another number of partitions.
            Unsupported: Kafka has no such thing, or it is not modelled.
        """
        self.check()
        self._refuse(topology)
        for destination in topology.destinations:
            self.cluster.create(destination.name, destination.partitions)
        for queue in topology.queues:
            if not queue.ref.group:
                self.cluster.create(queue.ref.name)
                continue
            group = self.cluster.group(queue.ref.name, queue.ref.group)
            if queue.dead_letter is not None:
                group.dead_letter = queue.dead_letter
            if not queue.holds_dead_letters:
                self.cluster.create(group.dead_letter.destination, len(group.topic.partitions))

    async def remove(self, topology: Topology) -> None:
        """Delete groups with their retry and dead-letter topics, then the topics."""
        self.check()
        for queue in topology.queues:
            self.cluster.forget_group(queue.ref.name, queue.ref.group)
            if not queue.holds_dead_letters:
                self.cluster.delete(f"{queue.ref.name}{DLQ_SUFFIX}")
            if not queue.ref.group:
                self.cluster.delete(queue.ref.name)
        for destination in topology.destinations:
            self.cluster.delete(destination.name)

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[KafkaPublisher]:
        """A publishing connection; appends end at once, so `window` never fills."""
        del window
        link = KafkaPublisher(self, name)
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
        """A member of the group; it starts at the earliest record when the group has no committed offset."""
        link = KafkaConsumer(
            self, name, queue, prefetch=prefetch, dead_letter=dead_letter, session_timeout_s=session_timeout_s
        )
        try:
            yield link
        finally:
            if link.cause is None:
                link.leave()

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[KafkaRequester]:
        """Request and reply topics: Kafka has one way, whatever `direct` says."""
        del direct
        link = KafkaRequester(self, name)
        try:
            yield link
        finally:
            link.end("closed")

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[FreeLease]:
        """The newest dead letters that were not removed, newest first: free reading, nothing is held."""
        self.check()
        topic = self._topic(queue.name)
        if limit < 1:
            raise BrokerError(self.server.name, "a lease holds at least one message")
        letters = [
            letter(queue, topic.name, number, offset, record.message)
            for (number, offset, record), _ in zip(self.cluster.letters(topic), range(limit), strict=False)
        ]
        info = LeaseInfo(
            total=self.cluster.letters_count(topic),
            order="newest",
            held=False,
            cost="reading is free; what is removed is unlisted, and kept until retention",
        )
        yield FreeLease(info, letters, self._remove_letter)

    def _remove_letter(self, taken: Delivery) -> bool:
        self.check()
        claim = taken.claim
        return isinstance(claim, RecordClaim) and self.cluster.remove_letter(
            taken.route.destination, claim.partition, claim.offset
        )

    def _refuse(self, topology: Topology) -> None:
        where = self.server.name
        names = {destination.name for destination in topology.destinations} | self.cluster.topics.keys()
        for destination in topology.destinations:
            if destination.kind != "topic":
                raise Unsupported(
                    where, f"Kafka has topics only, {destination.name!r} is declared as {destination.kind}"
                )
            known = self.cluster.topics.get(destination.name)
            if known is not None and len(known.partitions) != destination.partitions:
                raise Conflict(
                    where,
                    f"topic {destination.name!r} has {len(known.partitions)} partitions, not {destination.partitions}",
                )
        for queue in topology.queues:
            limits = (queue.ttl_s, queue.expires_s, queue.max_length, queue.max_length_bytes, queue.max_priority)
            if any(limit is not None for limit in (*limits, queue.delivery_limit)) or queue.single_active_consumer:
                raise Unsupported(where, f"Kafka has no limits, priorities or expiry per group ({queue.ref})")
            if queue.ref.group and queue.ref.name not in names:
                raise NotFound(where, f"group {queue.ref.group!r} reads topic {queue.ref.name!r}, which does not exist")
        for binding in topology.bindings:
            if binding.queue is None or binding.queue.name != binding.source:
                raise Unsupported(where, f"a Kafka group reads a topic, nothing is routed: {binding.source!r}")
