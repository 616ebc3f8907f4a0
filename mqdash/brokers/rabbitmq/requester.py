"""Request/reply: one channel that publishes requests and consumes their replies (C1-C5, C7)."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mqdash.brokers.rabbitmq.codec import decode_properties
from mqdash.brokers.rabbitmq.publisher import ConfirmingPublisher
from mqdash.errors import BrokerError
from mqdash.model.delivery import Answer, Outgoing, Reply, Sent
from mqdash.model.message import Amqp, Message

if TYPE_CHECKING:
    from mqdash.brokers.rabbitmq.link import Channel, Link
    from mqdash.clock import Clock
    from mqdash.model.topology import Route

DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"
TIMED_OUT_KEPT: Final = 10_000


class RabbitRequester(ConfirmingPublisher):
    """See `mqdash.brokers.base.Requester`.

    `direct`: RabbitMQ's pseudo queue (C2), else an exclusive queue of this connection (C7); both live on the channel
    that publishes, and replies are taken with auto-ack.
    """

    def __init__(self, link: Link, *, direct: bool, clock: Clock) -> None:
        super().__init__(link, window=1000)
        self.late = 0
        self.unmatched = 0
        self._direct = direct
        self._clock = clock
        self._address = DIRECT_REPLY_TO
        self._waiting: dict[str, asyncio.Future[Message | None]] = {}
        self._timed_out: OrderedDict[str, None] = OrderedDict()

    async def _set_up(self, channel: Channel) -> None:
        if not self._direct:
            answer = await channel.call("queue_declare", "", exclusive=True, auto_delete=True)
            self._address = answer.queue
        await channel.consume(self._address, tag=f"replies.{uuid.uuid4().hex[:8]}", auto_ack=True)

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """See `mqdash.brokers.base.Requester.request`. A timeout says nothing about whether the work was done (C4)."""
        begun_s = self._clock.monotonic()
        native = message.native if isinstance(message.native, Amqp) else Amqp()
        correlation_id = native.correlation_id or uuid.uuid4().hex
        answered: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answered
        sending: asyncio.Task[Reply | None] = asyncio.create_task(self._ask(route, message, native, correlation_id))
        either: set[asyncio.Future[Any]] = {sending, answered}
        try:
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not answered.done():
                failed = sending.result()
                if failed is not None:
                    return msgspec.structs.replace(failed, elapsed_s=self._clock.monotonic() - begun_s)
                left_s = timeout_s - (self._clock.monotonic() - begun_s)
                await asyncio.wait({answered}, timeout=max(left_s, 0.0))
            elapsed_s = self._clock.monotonic() - begun_s
            if answered.done():
                reply = answered.result()
                if reply is None:
                    return Reply(
                        answer=Answer.UNKNOWN, elapsed_s=elapsed_s, detail="the channel that waited for it has ended"
                    )
                return Reply(answer=Answer.ANSWERED, message=reply, elapsed_s=elapsed_s)
            self._remember_timeout(correlation_id)
            return Reply(
                answer=Answer.TIMEOUT,
                elapsed_s=elapsed_s,
                detail=f"no reply within {timeout_s:g} s; it may be done yet",
            )
        finally:
            self._waiting.pop(correlation_id, None)
            if not sending.done():
                sending.cancel()

    async def _ask(self, route: Route, message: Message, native: Amqp, correlation_id: str) -> Reply | None:
        """Publish the request; a Reply when it will never be answered."""
        if self.channel is None or not self.channel.is_open:
            try:
                await self.open()
            except BrokerError as error:
                return Reply(answer=Answer.UNKNOWN, detail=f"not sent: {error.text}")
        addressed = msgspec.structs.replace(native, correlation_id=correlation_id, reply_to=self._address)
        asked = msgspec.structs.replace(message, native=addressed)
        receipt = (await self.send([Outgoing(route, asked, mandatory=True)]))[0]
        match receipt.sent:
            case Sent.CONFIRMED:
                return None
            case Sent.RETURNED:
                return Reply(answer=Answer.RETURNED, detail=receipt.detail)
            case Sent.REFUSED:
                return Reply(answer=Answer.RETURNED, detail=f"refused: {receipt.detail}")
            case Sent.UNKNOWN:
                return Reply(answer=Answer.UNKNOWN, detail=receipt.detail)

    def on_deliver(  # the sink's signature
        self,
        tag: int,  # noqa: ARG002
        redelivered: bool,  # noqa: ARG002
        exchange: str,  # noqa: ARG002
        key: str,  # noqa: ARG002
        properties: bytes,
        body: bytes,
    ) -> None:
        """A reply: matched by correlation id (C1), counted when late (C5) or nobody's."""
        headers, native = decode_properties(properties)
        answered = self._waiting.get(native.correlation_id or "")
        if answered is not None:
            if not answered.done():
                answered.set_result(Message(content=body, headers=headers, native=native))
            else:
                self.unmatched += 1
        elif native.correlation_id in self._timed_out:
            self.late += 1
        else:
            self.unmatched += 1

    def _channel_ended(self, error: BrokerError) -> None:
        super()._channel_ended(error)
        for answered in self._waiting.values():  # the reply address died with the channel
            if not answered.done():
                answered.set_result(None)

    def _remember_timeout(self, correlation_id: str) -> None:
        self._timed_out[correlation_id] = None
        if len(self._timed_out) > TIMED_OUT_KEPT:
            self._timed_out.popitem(last=False)
