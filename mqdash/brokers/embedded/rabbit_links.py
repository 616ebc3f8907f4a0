"""Connections to the embedded RabbitMQ as the port sees them: publisher and consumer."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.brokers import moves
from mqdash.brokers.embedded.channel import (
    ACCESS_REFUSED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    ChannelClosed,
    Confirm,
)
from mqdash.brokers.embedded.kernel import Life, Link, ended_within
from mqdash.errors import AccessRefused, BrokerError, Conflict, ConsumerCancelled, NotFound, Unsupported
from mqdash.model.delivery import (
    Ack,
    AmqpClaim,
    DeadLetter,
    Delivery,
    Outcome,
    Outgoing,
    Receipt,
    Retry,
    Sent,
    Settled,
    Verdict,
)
from mqdash.model.message import Amqp, Message, Wire
from mqdash.model.topology import Queue, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.embedded.channel import Channel
    from mqdash.brokers.embedded.queue import Entry, ReadyQueue
    from mqdash.brokers.embedded.rabbitmq import RabbitServer

POLITE: Final = "closed"
BLOCK_LIMIT_S: Final = 30.0

RECEIPTS: Final = {
    Confirm.ACK: Receipt(Sent.CONFIRMED),
    Confirm.NACK: Receipt(Sent.REFUSED, "nack: a queue refused it (full, or at its maximum length)"),
    Confirm.RETURNED: Receipt(Sent.RETURNED, "312 NO_ROUTE: no queue is bound for it"),
}
SETTLED: Final = Outcome(Settled.SETTLED)
STALE: Final = Outcome(Settled.STALE, "its channel is gone or it was settled before")


def translated(broker: str, error: ChannelClosed) -> BrokerError:
    """A channel error as the port's error."""
    kinds = {NOT_FOUND: NotFound, ACCESS_REFUSED: AccessRefused, NOT_IMPLEMENTED: Unsupported}
    return kinds.get(error.code, Conflict)(broker, str(error))


class RabbitLink(Link):
    """A connection with one channel."""

    def __init__(self, life: Life[RabbitServer], name: str) -> None:
        super().__init__(life, name)
        self._server = life.server
        self._model = life.server.model
        self._life_number = life.number
        self._connection = self._model.open_connection(name)
        self._channel = self._open_channel()

    def _open_channel(self) -> Channel:
        return self._model.open_channel(self._connection)

    def _dropped(self) -> None:
        now_s = self._server.step()
        if self.cause == POLITE:
            self._model.close_connection(self._connection, now_s)
        else:
            self._model.drop_connection(self._connection, now_s)
        self._server.rearm()


class RabbitPublisher(RabbitLink):
    """Confirms come at once, but under an alarm: then batches wait as if in the socket's buffers (R15).

    A batch given up as UNKNOWN is still there and is published when the alarm ends (F7). `blocked`: the reason, or "".
    """

    def __init__(self, life: Life[RabbitServer], name: str, *, window: int) -> None:
        self.blocked = ""
        self._backlog: deque[tuple[Sequence[Outgoing], asyncio.Future[list[Receipt]]]] = deque()
        self._window = window
        super().__init__(life, name)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """As the port says."""
        await asyncio.sleep(0)  # others get their turn: nothing here would ever wait
        if self.cause is not None:
            return [Receipt(Sent.UNKNOWN, self.cause)] * len(batch)
        if self._server.alarm_reason or self._backlog:
            return await self._send_blocked(batch)
        return self._apply(batch)

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """As the port says (C1, C3)."""
        if request.reply_to is None:
            return Receipt(Sent.REFUSED, "the request has no reply address")
        assert isinstance(reply.native, Amqp)
        native = msgspec.structs.replace(reply.native, correlation_id=request.correlation_id)
        outgoing = Outgoing(Route("", request.reply_to), msgspec.structs.replace(reply, native=native), mandatory=False)
        (receipt,) = await self.send([outgoing])
        return receipt

    def _apply(self, batch: Sequence[Outgoing]) -> list[Receipt]:
        now_s = self._server.step()
        publish = self._model.publish
        receipts = []
        for outgoing in batch:
            route = outgoing.route
            try:
                confirm = publish(
                    self._channel, route.destination, route.key, outgoing.message, now_s, mandatory=outgoing.mandatory
                )
            except ChannelClosed as error:
                receipts.append(Receipt(Sent.REFUSED, str(error)))
                self._channel = self._open_channel()
            else:
                receipts.append(RECEIPTS[confirm])
        self._server.rearm()
        return receipts

    async def _send_blocked(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        done: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        waiting = (batch, done)
        kept = sum(len(earlier) for earlier, _ in self._backlog)
        written = kept == 0 or kept + len(batch) <= self._window
        self._backlog.append(waiting)
        self.blocked = self._server.alarm_reason
        self._server.when_calm(self._unblocked)
        if await ended_within(self._server.clock, done, BLOCK_LIMIT_S):
            return done.result()
        detail = f"blocked by the broker: {self.blocked}"
        if not written:  # it waited for the window and can be taken back
            self._backlog.remove(waiting)
            return [Receipt(Sent.REFUSED, f"not sent, {detail}")] * len(batch)
        return [Receipt(Sent.UNKNOWN, detail)] * len(batch)

    def _unblocked(self) -> None:
        self.blocked = ""
        while self._backlog:
            batch, done = self._backlog.popleft()
            receipts = self._apply(batch)
            if not done.done():
                done.set_result(receipts)

    def _dropped(self) -> None:
        self._server.forget_calm(self._unblocked)
        while self._backlog:
            batch, done = self._backlog.popleft()
            if not done.done():
                done.set_result([Receipt(Sent.UNKNOWN, self.cause or "")] * len(batch))
        super()._dropped()


class RabbitConsumer(RabbitLink):
    """One consumer on its own connection, and a second connection for its moves, as the real adapter has."""

    def __init__(
        self, life: Life[RabbitServer], queue: QueueRef, name: str, *, prefetch: int, dead_letter: Route | None
    ) -> None:
        super().__init__(life, name)
        self._queue = QueueRef(queue.name)
        self._mover = RabbitPublisher(life, f"{name} moves", window=1000)
        try:
            self._subscriber = self._model.consume(
                self._channel, queue.name, name, self._server.step(), prefetch=prefetch
            )
        except ChannelClosed as error:
            self.end(POLITE)
            raise translated(self._server.name, error) from None
        self._dead_letter = dead_letter or self._subscriber.queue.spec.dead_letter
        self._subscriber.wake = self.wake
        self._server.rearm()

    async def take(self, limit: int) -> Sequence[Delivery]:
        """As the port says."""
        await asyncio.sleep(0)  # others get their turn even if there is always something to take
        outbox = self._subscriber.outbox
        while True:
            self.check()
            if outbox:
                break
            if self._subscriber.cancelled:
                raise ConsumerCancelled(self._server.name, self._subscriber.cancelled)
            await self.changed()
        return [self._delivery(*outbox.popleft()) for _ in range(min(limit, len(outbox)))]

    def _delivery(self, tag: int, entry: Entry, redelivered: bool) -> Delivery:
        claim = AmqpClaim(self._life_number, self._channel.number, tag)
        return delivery_of(entry, self._subscriber.queue, self._queue, claim, redelivered=redelivered)

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """As the port says. What can be done at once is done first, then the moves of this batch together."""
        if self.cause is not None:
            return [STALE] * len(verdicts)
        outcomes: list[Outcome] = []
        moving: list[tuple[int, Delivery, Retry | DeadLetter]] = []
        now_s = self._server.step()
        model, channel = self._model, self._channel
        for delivery, verdict in verdicts:
            if not self._is_ours(delivery):
                outcomes.append(STALE)
                continue
            assert isinstance(delivery.claim, AmqpClaim)
            outcomes.append(SETTLED)
            if isinstance(verdict, Ack):
                model.ack(channel, delivery.claim.tag, now_s)
            elif isinstance(verdict, Retry) and verdict.after_s <= 0:
                model.nack(channel, delivery.claim.tag, now_s, requeue=True)
            else:
                moving.append((len(outcomes) - 1, delivery, verdict))
        if moving:
            await self._move(moving, outcomes)
        self._server.rearm()
        return outcomes

    def _is_ours(self, delivery: Delivery) -> bool:
        claim = delivery.claim
        return (
            isinstance(claim, AmqpClaim)
            and claim.channel == self._channel.number
            and claim.tag in self._channel.unacked
        )

    async def _move(self, moving: Sequence[tuple[int, Delivery, Retry | DeadLetter]], outcomes: list[Outcome]) -> None:
        """Copies first; each original is acked only when its copy is confirmed."""
        copies: list[tuple[int, Delivery, Outgoing]] = []
        for at, delivery, verdict in moving:
            try:
                copies.append((at, delivery, self._copy(delivery, verdict)))
            except BrokerError as error:
                outcomes[at] = Outcome(Settled.FAILED, error.text)
        receipts = await self._mover.send([copy for _, _, copy in copies])
        now_s = self._server.step()
        for (at, delivery, _), receipt in zip(copies, receipts, strict=True):
            if receipt.sent is Sent.UNKNOWN:
                outcomes[at] = Outcome(Settled.UNKNOWN, receipt.detail)
            elif receipt.sent is not Sent.CONFIRMED:
                outcomes[at] = Outcome(Settled.FAILED, f"the copy was {receipt.sent}: {receipt.detail}")
            elif self.cause is not None or not self._is_ours(delivery):
                outcomes[at] = Outcome(Settled.STALE, "its copy is made, but it is no longer ours: it will come again")
            else:
                assert isinstance(delivery.claim, AmqpClaim)
                self._model.ack(self._channel, delivery.claim.tag, now_s)

    def _copy(self, delivery: Delivery, verdict: Retry | DeadLetter) -> Outgoing:
        if isinstance(verdict, Retry):
            self._declare(moves.wait_queue(self._queue.name, moves.rung_for(verdict.after_s)))
            return moves.retry_copy(delivery, verdict, worker=self.name)
        if self._dead_letter is None:
            raise NotFound(self._server.name, f"no dead-letter route is known for queue '{self._queue.name}'")
        return moves.dead_letter_copy(
            delivery, verdict, worker=self.name, to=self._dead_letter, at_s=self._server.clock.now()
        )

    def _declare(self, rung: Queue) -> None:
        """On a channel of its own: a conflict would close it."""
        if rung.ref.name in self._model.queues:
            return
        now_s = self._server.step()
        channel = self._model.open_channel(self._connection)
        try:
            self._model.declare_queue(channel, rung, now_s)
        except ChannelClosed as error:
            raise translated(self._server.name, error) from None
        self._model.close_channel(channel, now_s)

    def crash(self) -> None:
        """As the port says: the broker notices after its detection delay (E4)."""
        self.end("crashed")

    def pause(self) -> None:
        """As the port says."""
        self._model.pause(self._subscriber)

    def resume(self) -> None:
        """As the port says."""
        if self.cause is None:
            self._model.resume(self._subscriber, self._server.step())
            self._server.rearm()

    def _dropped(self) -> None:
        super()._dropped()
        self._mover.end(self.cause or POLITE)


def delivery_of(
    entry: Entry, queue: ReadyQueue, ref: QueueRef, claim: AmqpClaim, *, redelivered: bool, pulled: bool = False
) -> Delivery:
    """What a client is given (`pulled`: by basic.get); a quorum queue says how often it was returned, in a header (R49)."""
    message = entry.message
    counted = (pulled and queue.counts_first) or (queue.quorum and entry.returns > 0)
    if counted:
        count = Wire(entry.returns, "l", b"l" + struct.pack(">q", entry.returns))
        message = message.with_headers((("x-delivery-count", count),))
    return Delivery(
        message=message,
        queue=ref,
        route=Route(entry.exchange, entry.keys[0]),
        claim=claim,
        redelivered=redelivered,
        delivery_count=entry.returns + 1 if counted else None,
    )
