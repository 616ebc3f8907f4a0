"""A consumer on its own connection: prefetch, batched acks, moves for retries and dead letters, and a real crash."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from typing import TYPE_CHECKING, Final

from mqdash.brokers.rabbitmq.acks import BATCH_DELAY_S, AckBook
from mqdash.brokers.rabbitmq.codec import decode_properties
from mqdash.errors import BrokerError, ConnectionLost, ConsumerCancelled
from mqdash.model.delivery import Ack, AmqpClaim, DeadLetter, Delivery, Outcome, Retry, Sent, Settled
from mqdash.model.message import Message, Wire
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.rabbitmq.link import Channel, Link
    from mqdash.brokers.rabbitmq.mover import Mover
    from mqdash.model.delivery import Outgoing, Receipt, Verdict
    from mqdash.model.topology import QueueRef

WRITTEN: Final = Outcome(Settled.WRITTEN)
STALE: Final = Outcome(Settled.STALE, "its connection or channel is gone: the broker gives it out again")
_Raw = tuple[int, bool, str, str, bytes, bytes]


def consumer_tag(name: str) -> str:
    """A tag that people recognise in the broker's own tools, unique on its queue."""
    return f"{name[:200]}.{uuid.uuid4().hex[:8]}"


class RabbitConsumer:
    """See `mqdash.brokers.base.Consumer`. `prefetch` 0 = unlimited (quorum queues cap it, R17).

    A verdict whose copy ended UNKNOWN leaves its delivery held and open: the caller may settle it again, or drop the
    connection; both are safe, either may leave one duplicate.
    """

    def __init__(
        self,
        link: Link,
        queue: QueueRef,
        *,
        name: str,
        prefetch: int,
        mover: Mover,
        tags: set[str],
    ) -> None:
        self.queue = queue
        self.name = name
        self._link = link
        self._prefetch = prefetch
        self._mover = mover
        self._tags = tags
        self._tag = ""
        self._book = AckBook(prefetch)
        self._inbox: deque[_Raw] = deque()
        self._moving: set[int] = set()
        self._arrived = asyncio.Event()
        self._ended: BrokerError | None = None
        self._paused = False
        self._ack_timer: asyncio.TimerHandle | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._channel: Channel

    async def open(self) -> None:
        """Subscribe.

        Raises:
            NotFound, Conflict, AccessRefused: no such queue, or it is somebody's own.
        """
        self._channel = await self._link.channel(self)
        self._channel.on_end = self._end
        self._channel.when_cancelled(self._cancelled)
        await self._channel.call("basic_qos", prefetch_count=self._prefetch)
        await self._subscribe()

    async def _subscribe(self) -> None:
        self._tags.discard(self._tag)
        self._tag = consumer_tag(self.name)
        self._tags.add(self._tag)
        await self._channel.consume(self.queue.name, tag=self._tag)

    # --- taking ------------------------------------------------------------------------------------------------------

    def on_deliver(self, tag: int, redelivered: bool, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """A delivery waits here until it is taken; it counts as held by us."""
        self._book.delivered(tag)
        self._inbox.append((tag, redelivered, exchange, key, properties, body))
        if not self._paused:
            self._arrived.set()

    def on_return(self, code: int, text: str, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """Nothing is published here."""

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """Nothing is published here."""

    async def take(self, limit: int) -> Sequence[Delivery]:
        """See `mqdash.brokers.base.Consumer.take`."""
        while not self._inbox or self._paused:
            if self._ended is not None:
                raise self._ended
            self._arrived.clear()
            await self._arrived.wait()
        if self._ended is not None:
            raise self._ended
        return [self._delivery(self._inbox.popleft()) for _ in range(min(max(limit, 1), len(self._inbox)))]

    def _delivery(self, raw: _Raw) -> Delivery:
        tag, redelivered, exchange, key, properties, body = raw
        return delivery_of(
            AmqpClaim(self._link.number, self._channel.number, tag),
            self.queue,
            Route(exchange, key),
            redelivered=redelivered,
            properties=properties,
            body=body,
        )

    def pause(self) -> None:
        """Unsubscribe; what is held stays held (R26)."""
        if self._paused:
            return
        self._paused = True
        self._arrived.clear()
        if self._resuming is None and self._ended is None:
            self._channel.cancel(self._tag)

    def resume(self) -> None:
        """Subscribe again."""
        if not self._paused:
            return
        self._paused = False
        if self._inbox:
            self._arrived.set()
        if self._ended is None and self._resuming is None:
            self._resuming = asyncio.get_running_loop().create_task(self._resume(), name=f"resume {self.name}")

    async def _resume(self) -> None:
        """Subscribe; a pause that came meanwhile is served here, for only now the broker knows the subscription."""
        try:
            await self._subscribe()
            if self._paused:
                self._channel.cancel(self._tag)
        except BrokerError as error:
            self._end(error)
        finally:
            if self._resuming is asyncio.current_task():
                self._resuming = None

    # --- settling ----------------------------------------------------------------------------------------------------

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """See `mqdash.brokers.base.Consumer.settle`. An ack has no answer: its outcome is WRITTEN."""
        outcomes: list[Outcome] = [STALE] * len(verdicts)
        copies: list[tuple[int, Delivery, Retry | DeadLetter]] = []
        for index, (delivery, verdict) in enumerate(verdicts):
            tag = self._held(delivery)
            if tag is None:
                continue
            if isinstance(verdict, Ack):
                self._ack(tag)
                outcomes[index] = WRITTEN
            elif isinstance(verdict, Retry) and verdict.after_s <= 0:
                self._write_acks()
                self._book.forget(tag)
                self._link.wire.give_back(self._channel.number, tag)
                outcomes[index] = WRITTEN
            else:
                self._moving.add(tag)
                copies.append((index, delivery, verdict))
        if copies:
            await self._move(copies, outcomes)
        return outcomes

    def _held(self, delivery: Delivery) -> int | None:
        """The delivery's tag when it is still ours, on this very channel, and not settled yet."""
        claim = delivery.claim
        if not isinstance(claim, AmqpClaim) or claim.life != self._link.number or not self._alive:
            return None
        return claim.tag if claim.tag in self._book and claim.tag not in self._moving else None

    @property
    def _alive(self) -> bool:
        """Whether what we write still reaches the broker: not after a crash, a close or a loss."""
        return self._channel.is_open and not self._link.wanted

    def _ack(self, tag: int) -> None:
        if self._book.acked(tag):
            self._write_acks()
        elif self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(BATCH_DELAY_S, self._write_acks)

    def _write_acks(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._book.unwritten and self._channel.is_open:
            for tag, multiple in self._book.take():
                self._link.wire.ack(self._channel.number, tag, multiple=multiple)

    async def _move(self, copies: list[tuple[int, Delivery, Retry | DeadLetter]], outcomes: list[Outcome]) -> None:
        """Copy with proof, then ack the originals (semantics §2.1)."""
        outgoing: list[Outgoing] = []
        sent: list[tuple[int, Delivery]] = []
        try:
            for index, delivery, verdict in copies:
                copy = await self._mover.copy(delivery, verdict)
                if isinstance(copy, Outcome):
                    outcomes[index] = copy
                else:
                    outgoing.append(copy)
                    sent.append((index, delivery))
            receipts = await self._mover.send(outgoing) if outgoing else ()
            for (index, delivery), receipt in zip(sent, receipts, strict=True):
                outcomes[index] = self._settle_copied(delivery, receipt)
        except BrokerError as error:
            for index, delivery in sent:
                held = _tag(delivery) in self._book and self._alive
                outcomes[index] = Outcome(Settled.FAILED, f"not copied: {error.text}") if held else STALE
        finally:
            self._moving.difference_update(_tag(delivery) for _, delivery, _ in copies)

    def _settle_copied(self, delivery: Delivery, receipt: Receipt) -> Outcome:
        if receipt.sent is Sent.UNKNOWN:
            return Outcome(Settled.UNKNOWN, receipt.detail)
        if receipt.sent is not Sent.CONFIRMED:
            return Outcome(Settled.FAILED, receipt.detail)
        tag = _tag(delivery)
        if tag not in self._book or not self._alive:
            return Outcome(
                Settled.STALE, "copied, but the original is no longer ours and will come again: one duplicate"
            )
        self._ack(tag)
        return WRITTEN

    # --- ending ------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """See `mqdash.brokers.base.Consumer.crash`."""
        self._end(ConnectionLost(self._link.url.safe, f"{self.name} crashed"))
        self._link.kill()
        self._mover.kill()

    async def close(self) -> None:
        """Write the acks that wait, give back the rest, and leave."""
        if self._ended is None:
            self._write_acks()
        self._end(ConnectionLost(self._link.url.safe, f"{self.name} was closed"))
        await self._link.close()
        await self._mover.close()

    def _cancelled(self) -> None:
        self._end(
            ConsumerCancelled(
                self._link.url.safe, f"queue {self.queue} was deleted or lost: the broker ended the subscription"
            )
        )

    def _end(self, error: BrokerError) -> None:
        if self._ended is None:
            # A channel closed under us (ack timeout, deleted queue) is not the end of the life.
            known = isinstance(error, ConnectionLost | ConsumerCancelled)
            self._ended = error if known else ConsumerCancelled(error.broker, error.text)
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._resuming is not None and self._resuming is not asyncio.current_task():
            self._resuming.cancel()
        self._tags.discard(self._tag)
        self._arrived.set()


def delivery_of(
    claim: AmqpClaim, queue: QueueRef, route: Route, *, redelivered: bool, properties: bytes, body: bytes
) -> Delivery:
    """A delivery from what the sink was given. How often it was delivered is known on quorum queues only (R49)."""
    headers, native = decode_properties(properties)
    returned = next((value for name, value in headers if name == "x-delivery-count"), None)
    returned = returned.value if isinstance(returned, Wire) else returned
    return Delivery(
        message=Message(content=body, headers=headers, native=native),
        queue=queue,
        route=route,
        claim=claim,
        redelivered=redelivered,
        delivery_count=returned + 1 if isinstance(returned, int) else None,
    )


def _tag(delivery: Delivery) -> int:
    assert isinstance(delivery.claim, AmqpClaim)
    return delivery.claim.tag
