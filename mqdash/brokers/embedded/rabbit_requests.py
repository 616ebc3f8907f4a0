"""Request and reply on the embedded RabbitMQ (C1-C7)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mqdash.brokers.embedded.channel import DIRECT_REPLY_TO
from mqdash.brokers.embedded.kernel import Life, ended_within
from mqdash.brokers.embedded.rabbit_links import RabbitPublisher
from mqdash.model.delivery import Answer, Outgoing, Reply, Sent
from mqdash.model.message import Amqp, Message
from mqdash.model.topology import Queue, QueueRef, Route

if TYPE_CHECKING:
    from mqdash.brokers.embedded.channel import Channel
    from mqdash.brokers.embedded.rabbitmq import RabbitServer

LATE_KEPT: Final = 1000


class RabbitRequester(RabbitPublisher):
    """Direct reply-to (C2) or an exclusive reply queue (C7), both on the channel that asks."""

    def __init__(self, life: Life[RabbitServer], name: str, *, direct: bool) -> None:
        self.late = 0
        self.unmatched = 0
        self._direct = direct
        self._address = DIRECT_REPLY_TO
        self._open: dict[str, asyncio.Future[Message]] = {}
        self._timed_out: deque[str] = deque(maxlen=LATE_KEPT)
        super().__init__(life, name, window=1000)

    def _open_channel(self) -> Channel:
        channel = super()._open_channel()
        now_s = self._server.step()
        if self._direct:
            self._model.consume_replies(channel)
            channel.wake = lambda: self._arrived(channel.replies)
            return channel
        self._address = f"mqdash.reply.{self._server.rng.getrandbits(64):016x}"
        self._model.declare_queue(channel, Queue(ref=QueueRef(self._address), durable=False, exclusive=True), now_s)
        subscriber = self._model.consume(channel, self._address, self.name, now_s, no_ack=True)
        subscriber.wake = lambda: self._arrived(deque(entry.message for _, entry, _ in _drained(subscriber.outbox)))
        return channel

    def _arrived(self, replies: deque[Message]) -> None:
        while replies:
            message = replies.popleft()
            known = message.correlation_id or ""
            waiting = self._open.pop(known, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
            elif known in self._timed_out:
                self.late += 1
            else:
                self.unmatched += 1

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """As the port says."""
        clock = self._server.clock
        began_s = clock.monotonic()
        assert isinstance(message.native, Amqp)
        known = message.correlation_id or f"{self._server.rng.getrandbits(64):016x}"
        native = msgspec.structs.replace(message.native, correlation_id=known, reply_to=self._address)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._open[known] = answer
        asked = asyncio.ensure_future(self._ask(route, msgspec.structs.replace(message, native=native), answer))
        try:
            await ended_within(clock, asked, timeout_s)
        finally:
            self._open.pop(known, None)
            asked.cancel()
        elapsed_s = clock.monotonic() - began_s
        if asked.done() and not asked.cancelled():
            return msgspec.structs.replace(asked.result(), elapsed_s=elapsed_s)
        self._timed_out.append(known)
        return Reply(answer=Answer.TIMEOUT, elapsed_s=elapsed_s, detail="no reply in time; it may still have been done")

    async def _ask(self, route: Route, message: Message, answer: asyncio.Future[Message]) -> Reply:
        (receipt,) = await self.send([Outgoing(route, message)])
        if receipt.sent is Sent.UNKNOWN:
            return Reply(answer=Answer.UNKNOWN, detail=receipt.detail)
        if receipt.sent is not Sent.CONFIRMED:
            return Reply(answer=Answer.RETURNED, detail=receipt.detail)
        try:
            return Reply(answer=Answer.ANSWERED, message=await answer)
        except asyncio.CancelledError:
            if self.cause is None:
                raise
            return Reply(answer=Answer.UNKNOWN, detail=self.cause)

    def _dropped(self) -> None:
        super()._dropped()
        for waiting in self._open.values():
            waiting.cancel()


def _drained(outbox: deque[Any]) -> list[Any]:
    taken = list(outbox)
    outbox.clear()
    return taken
