"""The embedded Redis behind the port: streams and channels on one broker. Rules: `stream`, `due`, `pubsub`."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mqdash.brokers.embedded.kernel import Life, Server, bounds
from mqdash.brokers.embedded.keyspace import Keyspace
from mqdash.brokers.embedded.pubsub import is_pattern
from mqdash.brokers.embedded.redis_lease import IN_ONE, RedisLease
from mqdash.brokers.embedded.redis_links import RedisPublisher, StreamConsumer
from mqdash.brokers.embedded.redis_listening import RedisRequester, RedisSubscription
from mqdash.brokers.embedded.redis_view import channel_entities, grave, measured, stream_entities
from mqdash.brokers.embedded.stream import id_text
from mqdash.errors import BrokerError, Conflict, NotFound, Unsupported
from mqdash.model.broker import BrokerInfo, LeaseInfo
from mqdash.model.delivery import Delivery, EntryClaim, Measurement
from mqdash.model.message import Family
from mqdash.model.topology import Entity, Page, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.base import Broker, Connector, Observer
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock
    from mqdash.model.topology import Topology

VERSION = "7.0"
NOTES = (
    "embedded: single node, no disk; streams survive its restart as with appendfsync always",
    "streams, groups, reply lists and Pub/Sub only; none of the commands newer than Redis 7.0",
)


def connector(url: BrokerUrl, *, clock: Clock, seed: int = 0, bounded: bool = True) -> Connector:
    """A new embedded Redis. Unbounded streams are for conformance runs."""
    return RedisConnector(url, clock=clock, seed=seed, bounded=bounded)


class RedisConnector:
    """Holds the broker itself; `server` has the faults."""

    def __init__(self, url: BrokerUrl, *, clock: Clock, seed: int, bounded: bool) -> None:
        self.url = url
        rng = random.Random(seed)  # noqa: S311 - a reproducible model, no secret
        self.server = Server(url.safe, Keyspace(bounds(bounded=bounded)), clock=clock, rng=rng)

    async def observe(self) -> Observer:
        """A read-only life."""
        return RedisObserver(self.server, writable=False)

    async def connect(self) -> Broker:
        """A writable life."""
        return RedisBroker(self.server, writable=True)


class RedisObserver(Life[Keyspace]):
    """Looks without side effects (S18)."""

    def __init__(self, server: Server[Keyspace], *, writable: bool) -> None:
        super().__init__(server)
        self.keys = server.model
        self.info = BrokerInfo(
            family=Family.REDIS_STREAMS,
            version=VERSION,
            url=server.name,
            embedded=True,
            writable=writable,
            abilities=frozenset({"browse", "claim", "dead_letters", "request", "subscribe"}),
            notes=NOTES,
        )

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """Up to `limit` keys: streams with their groups and consumers, channels with their subscribers."""
        self.check()
        now_s = self.server.step()
        subscribed = {name for one in self.keys.channels.subscribers for name in (*one.channels, *one.patterns)}
        channels = self.keys.declared_channels | subscribed
        names = sorted(name for name in {*self.keys.streams, *channels} if name.startswith(prefix))
        rest = [name for name in names if after is None or name > after]
        entities: list[Entity] = []
        for name in rest[:limit]:
            if name in self.keys.streams:
                entities += stream_entities(self.keys, self.keys.streams[name], now_s)
            if name in channels:
                entities += channel_entities(self.keys.channels, name)
        return Page(entities=tuple(entities), after=rest[limit - 1] if len(rest) > limit else None, source="embedded")

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """Groups by their pending lists, streams without a group by their length, channels by their subscribers."""
        self.check()
        now_s = self.server.step()
        found = [measured(self.keys, ref, now_s) for ref in queues]
        return [one for one in found if one is not None]

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        """The newest entries of the stream, oldest first; no side effects (S18)."""
        self.check()
        return self._letters(queue, newest)[::-1]

    def _letters(self, queue: QueueRef, newest: int) -> list[Delivery]:
        stream = self.keys.streams.get(queue.name)
        if stream is None:
            raise NotFound(self.server.name, f"there is no stream {queue.name!r}")
        return [
            Delivery(
                message=kept.message, queue=queue, route=Route(stream.name), claim=EntryClaim("", id_text(entry_id))
            )
            for entry_id, kept in (stream.newest(newest) if newest > 0 else ())
        ]


class RedisBroker(RedisObserver):
    """A writable life."""

    async def declare(self, topology: Topology) -> None:
        """Create streams, groups (from the beginning), their dead-letter streams; remember channels.

        Raises:
            Conflict: a name is a stream and declared as a channel, or the other way round, or has another length.
            Unsupported: Redis has no such thing, or it is not modelled.
        """
        self.check()
        self._refuse(topology)
        for destination in topology.destinations:
            if destination.kind == "channel":
                self.keys.declared_channels.add(destination.name)
            else:
                self.keys.stream(destination.name, max_length=destination.max_length)
        for queue in topology.queues:
            if queue.kind == "channel" or queue.ref.name in self.keys.declared_channels or is_pattern(queue.ref.name):
                continue
            if not queue.ref.group:
                self.keys.stream(queue.ref.name)
                continue
            group = self.keys.streams[queue.ref.name].group(queue.ref.group)
            if queue.dead_letter is not None:
                group.dead_letter = queue.dead_letter
            if not queue.holds_dead_letters and grave(group) not in self.keys.streams:
                self.keys.stream(grave(group))
                self.keys.side_streams.add(grave(group))

    async def remove(self, topology: Topology) -> None:
        """Delete groups with their retries and the dead-letter streams made for them, then streams and channels."""
        self.check()
        for queue in topology.queues:
            group = self.keys.group(queue.ref.name, queue.ref.group)
            if group is not None:
                if grave(group) in self.keys.side_streams:
                    self.keys.delete(grave(group))
                self.keys.destroy_group(queue.ref.name, queue.ref.group)
            elif not queue.ref.group:
                self.keys.delete(queue.ref.name)
        for destination in topology.destinations:
            self.keys.delete(destination.name)
            self.keys.declared_channels.discard(destination.name)

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[RedisPublisher]:
        """A publishing connection; every command ends at once, so `window` never fills."""
        del window
        link = RedisPublisher(self, name)
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
        """A consumer of the group under this name; what is still pending under the name comes first."""
        link = StreamConsumer(
            self, name, queue, prefetch=prefetch, dead_letter=dead_letter, session_timeout_s=session_timeout_s
        )
        try:
            yield link
        finally:
            if link.cause is None:
                link.leave()

    @asynccontextmanager
    async def subscribe(self, channels: Sequence[str], *, name: str) -> AsyncIterator[RedisSubscription]:
        """A subscriber of channels and patterns."""
        link = RedisSubscription(self, name, channels)
        try:
            yield link
        finally:
            link.end("closed")

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[RedisRequester]:
        """A request stream and a reply list: Redis has one way, whatever `direct` says."""
        del direct
        link = RedisRequester(self, name)
        try:
            yield link
        finally:
            link.end("closed")

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[RedisLease]:
        """The newest dead letters, newest first: free reading, nothing is held; removing is XDEL, a replay one script."""
        self.check()
        if limit < 1:
            raise BrokerError(self.server.name, "a lease holds at least one message")
        letters = self._letters(queue, limit)
        total = len(self.keys.streams[queue.name].ids)
        info = LeaseInfo(total=total, order="newest", held=False, cost="reading is free", in_one=IN_ONE)
        yield RedisLease(info, letters, self)

    def _refuse(self, topology: Topology) -> None:
        where, keys = self.server.name, self.keys
        kinds = dict.fromkeys(keys.streams, "stream") | dict.fromkeys(keys.declared_channels, "channel")
        for destination in topology.destinations:
            if destination.kind not in {"stream", "channel"}:
                raise Unsupported(where, f"Redis has streams and channels, {destination.name!r} is {destination.kind}")
            if kinds.setdefault(destination.name, destination.kind) != destination.kind:
                raise Conflict(where, f"{destination.name!r} is a {kinds[destination.name]}, not a {destination.kind}")
            stream = keys.streams.get(destination.name)
            if stream is not None and stream.max_length != destination.max_length:
                raise Conflict(where, f"stream {destination.name!r} is trimmed to {stream.max_length}")
        for queue in topology.queues:
            limits = (queue.ttl_s, queue.expires_s, queue.max_length, queue.max_length_bytes, queue.max_priority)
            if any(limit is not None for limit in (*limits, queue.delivery_limit)) or queue.single_active_consumer:
                raise Unsupported(where, f"Redis has no limits, priorities or expiry per group ({queue.ref})")
            if queue.ref.group and kinds.get(queue.ref.name) != "stream":
                raise NotFound(
                    where, f"group {queue.ref.group!r} reads stream {queue.ref.name!r}, which does not exist"
                )
        for binding in topology.bindings:
            if binding.queue is None:
                raise Unsupported(where, f"Redis routes nothing from {binding.source!r} to another destination")
