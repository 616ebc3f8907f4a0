"""Connections of the embedded Redis that listen: subscriptions of channels, askers at their reply list."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mqdash.brokers.embedded.keyspace import as_fields
from mqdash.brokers.embedded.pubsub import Subscriber
from mqdash.brokers.embedded.redis_links import Connection
from mqdash.brokers.waiting import Waiting
from mqdash.model.delivery import Answer, Delivery, Reply
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.embedded.kernel import Life
    from mqdash.brokers.embedded.keyspace import Keyspace
    from mqdash.model.message import Message


class RedisSubscription(Connection):
    """A subscriber: whatever is published while it is away is gone (P6)."""

    def __init__(self, life: Life[Keyspace], name: str, channels: Sequence[str]) -> None:
        super().__init__(life, name)
        self._subscriber = Subscriber(name, channels, wake=self.wake, kill=self.end)
        self.keys.channels.subscribe(self._subscriber)

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one message; `queue` is the channel or pattern it was asked for by, `route` its channel."""
        await asyncio.sleep(0)
        while True:
            self.check()
            arrived = self._subscriber.taken(limit)
            if arrived:
                return [
                    Delivery(message=one.message, queue=QueueRef(one.asked), route=Route(one.channel))
                    for one in arrived
                ]
            await self.changed()

    def crash(self) -> None:
        """Drop the socket."""
        self.end("crashed")

    def _dropped(self) -> None:
        self._forget(lambda: self.keys.channels.unsubscribe(self._subscriber))


class RedisRequester(Connection):
    """Asks through a stream and waits at a reply list of its own."""

    def __init__(self, life: Life[Keyspace], name: str) -> None:
        super().__init__(life, name)
        self._waiting = Waiting(self.server.clock, self.server.rng)
        self._list = f"mqdash:reply:{name}:{self._waiting.new_id()}"
        self.keys.ask(self._list, self._waiting.arrived)

    @property
    def late(self) -> int:
        """Replies after their time-out (C5)."""
        return self._waiting.late

    @property
    def unmatched(self) -> int:
        """Replies to nothing we know (C1)."""
        return self._waiting.unmatched

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """Add to the request stream with our reply list and wait for the same correlation id."""
        await asyncio.sleep(0)
        if self.cause is not None:
            return Reply(answer=Answer.UNKNOWN, detail=self.cause)
        if route.destination not in self.keys.streams:
            return Reply(answer=Answer.RETURNED, detail=f"there is no request stream {route.destination!r}")
        correlation_id = message.correlation_id or self._waiting.new_id()
        self._waiting.begin(correlation_id)
        asked = as_fields(message).with_headers((("correlation-id", correlation_id), ("reply-to", self._list)))
        self.keys.add(route.destination, [asked], self.server.step())
        return await self._waiting.wait(correlation_id, timeout_s)

    def _dropped(self) -> None:
        self._waiting.ended()
        self.keys.ask(self._list, None)
