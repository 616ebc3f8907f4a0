"""Pub/Sub on a connection of its own that never resubscribes by itself: a hidden reconnect would hide the gap (P6)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from mqdash.brokers.life import Link
from mqdash.brokers.redis.entries import is_pattern
from mqdash.brokers.redis.errors import cause_of, translated
from mqdash.errors import BrokerUnavailable
from mqdash.model.delivery import Delivery
from mqdash.model.message import Message, PubSub
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.life import Life
    from mqdash.brokers.redis.session import Session

SUBSCRIBE_LIMIT_S: Final = 5.0
PING_EVERY_S: Final = 2.0
SILENCE_LIMIT_S: Final = 6.0
BUFFERED: Final = 10_000
"""Taken off the socket and not taken by our owner; beyond it we stop reading, and the broker will drop us (P5)."""


class RedisSubscription(Link):
    """See `mqdash.brokers.base.Subscription`. `queue` is the channel or pattern asked for, `route` the channel it came by."""

    def __init__(self, life: Life, name: str, session: Session, channels: Sequence[str]) -> None:
        super().__init__(life, name)
        self._session = session
        self._channels = tuple(channels)
        self._arrived: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._heard_s = life.clock.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._behind = False

    async def open(self) -> None:
        """Subscribe and wait until the broker has confirmed every channel and pattern.

        Raises:
            BrokerError: refused, or no answer.
        """
        plain = [channel for channel in self._channels if not is_pattern(channel)]
        patterns = [channel for channel in self._channels if is_pattern(channel)]
        connection = self._session.connection
        try:
            async with asyncio.timeout(SUBSCRIBE_LIMIT_S):
                for verb, names in (("SUBSCRIBE", plain), ("PSUBSCRIBE", patterns)):
                    if names:
                        await connection.send_packed_command(connection.pack_command(verb, *names))
                confirmed = 0
                while confirmed < len(self._channels):
                    confirmed += self._hear(await connection.read_response(disconnect_on_error=False))
        except TimeoutError:
            raise BrokerUnavailable(self.life.broker, "the subscription was not confirmed in time") from None
        except (RedisError, OSError) as error:
            raise translated(self.life.broker, error, what=", ".join(self._channels)) from None
        self._tasks = [
            asyncio.create_task(self._read(), name=f"subscription {self.name}"),
            asyncio.create_task(self._ping(), name=f"ping subscription {self.name}"),
        ]

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one message."""
        while True:
            self.check()
            if self._arrived:
                taken = [self._arrived.popleft() for _ in range(min(max(limit, 1), len(self._arrived)))]
                self._changed.set()
                return taken
            self._changed.clear()
            waiting = asyncio.ensure_future(self._changed.wait())
            try:
                await self.unless_ended(waiting)
            finally:
                waiting.cancel()

    def crash(self) -> None:
        """Drop the socket."""
        self.end("crashed")

    def dropped(self) -> None:
        """Drop the socket; what was buffered is gone, too."""
        self._session.drop(self.cause or "closed")
        for task in self._tasks:
            task.cancel()
        self.life.start(self._session.close(), name=f"close subscription {self.name}")

    async def _read(self) -> None:
        while self.cause is None:
            while len(self._arrived) >= BUFFERED:
                self._behind = True
                self._changed.clear()
                await self._changed.wait()
            try:
                self._hear(await self._session.connection.read_response(disconnect_on_error=False))
            except (RedisError, OSError) as error:
                hint = "; it was read too slowly for client-output-buffer-limit pubsub (P5)" if self._behind else ""
                self.end(cause_of(error) + hint)

    def _hear(self, reply: Any) -> int:
        """Keep a message; 1 when it was the confirmation of a subscription."""
        self._heard_s = self.life.clock.monotonic()
        kind = reply[0]
        if kind == b"message":
            self._keep(reply[1].decode(), reply[1].decode(), reply[2], pattern=None)
        elif kind == b"pmessage":
            self._keep(reply[1].decode(), reply[2].decode(), reply[3], pattern=reply[1].decode())
        return int(kind in {b"subscribe", b"psubscribe"})

    def _keep(self, asked: str, channel: str, body: bytes, *, pattern: str | None) -> None:
        message = Message(content=body, native=PubSub(pattern=pattern))
        self._arrived.append(Delivery(message=message, queue=QueueRef(asked), route=Route(channel)))
        self._changed.set()

    async def _ping(self) -> None:
        """Silence of a channel says nothing; silence after a PING does (F8)."""
        connection = self._session.connection
        while self.cause is None:
            await self.life.clock.sleep(PING_EVERY_S)
            if len(self._arrived) >= BUFFERED:
                self._heard_s = self.life.clock.monotonic()
                continue
            if self.life.clock.monotonic() - self._heard_s > SILENCE_LIMIT_S:
                self.end(f"no answer for {SILENCE_LIMIT_S:g} s")
                return
            try:
                await connection.send_packed_command(connection.pack_command("PING"))
            except (RedisError, OSError) as error:
                self.end(cause_of(error))
