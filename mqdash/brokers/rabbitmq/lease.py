"""Dead letters in hand: taken with basic.get, kept unacked on their own connection, given back in place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.brokers.rabbitmq.consumer import delivery_of
from mqdash.brokers.rabbitmq.publisher import ConfirmingPublisher
from mqdash.errors import BrokerError, BrokerUnavailable, Unsupported
from mqdash.model.broker import LeaseInfo
from mqdash.model.delivery import AmqpClaim, Outcome, Outgoing, Sent, Settled
from mqdash.model.topology import Queue, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.rabbitmq.known import Known
    from mqdash.brokers.rabbitmq.life import Life
    from mqdash.brokers.rabbitmq.link import Channel, Link
    from mqdash.model.delivery import Delivery

log = logging.getLogger(__name__)

GETS_AT_ONCE: Final = 100
MAX_LETTERS: Final = 10_000
MAX_BYTES: Final = 64 * 2**20
MIN_RETURNS_LEFT: Final = 2
DEFAULT_LIMIT_FROM_4: Final = 20
GET_TIMEOUT_S: Final = 10.0
CONSUMER_TIMEOUT_S: Final = 30 * 60.0
"""The broker's default: it takes back what is unacked for so long, and closes the channel over it (fault 12)."""
LEASE_LIMIT_S: Final = CONSUMER_TIMEOUT_S / 2


class RabbitLease:
    """See `mqdash.brokers.base.Lease`."""

    def __init__(self, link: Link, queue: QueueRef, kept: Queue, *, policies_seen: bool) -> None:
        self._link = link
        self._queue = queue
        self._kept = kept
        self._policies_seen = policies_seen
        self._letters: dict[int, Delivery] = {}
        self._answers: asyncio.Queue[bool] = asyncio.Queue()
        self._channel: Channel
        self._info = LeaseInfo(total=None, order="oldest", held=True)

    @property
    def info(self) -> LeaseInfo:
        """What holding these costs."""
        return self._info

    @property
    def letters(self) -> Sequence[Delivery]:
        """The held messages, oldest first."""
        return tuple(self._letters.values())

    # --- the sink of the lease's channel -----------------------------------------------------------------------------

    def on_deliver(self, tag: int, redelivered: bool, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """The answer to a get."""
        claim = AmqpClaim(self._link.number, self._channel.number, tag)
        route = Route(exchange, key)
        self._letters[tag] = delivery_of(
            claim, self._queue, route, redelivered=redelivered, properties=properties, body=body
        )
        self._answers.put_nowait(True)

    def on_return(self, code: int, text: str, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """Nothing is published here."""

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """Nothing is published here."""

    # --- taking and giving back --------------------------------------------------------------------------------------

    async def take(self, limit: int, known: Known) -> None:
        """Get up to `limit` letters, 64 MiB of bodies at most."""
        self._channel = await self._link.channel(self)
        self._channel.on_end = self._ended
        self._channel.when_get_is_empty(lambda: self._answers.put_nowait(False))
        declared = await self._channel.call("queue_declare", self._queue.name, passive=True)
        if not declared.message_count:
            known.returns_left.pop(self._queue.name, None)
        left = known.returns_left.get(self._queue.name)
        if left is not None and left <= MIN_RETURNS_LEFT:
            raise BrokerError(self._link.url.safe, _too_often(self._queue, left))
        limit = min(limit, MAX_LETTERS, declared.message_count)
        more = True
        while more and len(self._letters) < limit and self._held_bytes < MAX_BYTES:
            wanted = min(GETS_AT_ONCE, limit - len(self._letters))
            for _ in range(wanted):
                self._link.wire.get(self._channel.number, self._queue.name)
            more = await self._answered(wanted)
        self._info = self._describe(declared.message_count, declared.consumer_count)

    def _ended(self, error: BrokerError) -> None:
        """The channel is gone: what it still held is back in its queue."""
        self._answers.put_nowait(False)
        if self._letters:
            self._returned(error.text)

    def _returned(self, why: str) -> None:
        self._info = msgspec.structs.replace(self._info, returned=why)

    async def expire(self, after_s: float) -> None:
        """Give everything back in place after so long, rather than have the broker end the channel over it (fault 12)."""
        await asyncio.sleep(after_s)
        if self._letters and self._channel.is_open:
            self._returned(f"held for {after_s / 60:g} minutes, given back before the broker's ack timeout")
            try:
                await self.give_back()
            except BrokerError as error:  # nobody awaits this task; the end of the connection gives all back
                log.warning("dead letters of %s were not given back in time: %s", self._queue, error)

    async def _answered(self, wanted: int) -> bool:
        """Read that many answers; False when the queue ran empty."""
        more = True
        try:
            async with asyncio.timeout(GET_TIMEOUT_S):
                for _ in range(wanted):
                    more = await self._answers.get() and more
                    if self._channel.error is not None:
                        raise self._channel.error
        except TimeoutError:
            raise BrokerUnavailable(self._link.url.safe, f"no answer to basic.get on {self._queue}") from None
        return more

    @property
    def _held_bytes(self) -> int:
        return sum(letter.message.size_bytes for letter in self._letters.values())

    def _describe(self, total: int, consumers: int) -> LeaseInfo:
        left = self.returns_left
        cost = "given back in place, marked as redelivered"
        if not self._policies_seen:
            cost += "; limits set by a policy cannot be seen without the management API"
        if left is not None:
            cost += "; each look uses up one of a message's returns"
        if consumers:
            cost += f"; {consumers} consumers also take from it"
        return LeaseInfo(total=total, order="oldest", held=True, cost=cost, returns_left=left)

    @property
    def returns_left(self) -> int | None:
        """How often the worst letter can still be given back before the broker drops it; None = no limit known."""
        counts = [letter.delivery_count or 1 for letter in self._letters.values()]
        limit = delivery_limit(self._kept, self._link.version)
        if limit is None or not counts or version_of(self._link.version) >= (4, 3):
            return None
        return limit - max(counts) + 1

    async def give_back(self) -> None:
        """Return what is held, each queue type in its right way, in front and in order."""
        if not self._letters or not self._channel.is_open:
            return
        if self._by_nack:
            self._link.wire.give_back(self._channel.number, max(self._letters), multiple=True)
            with contextlib.suppress(BrokerError):
                await self._channel.call("basic_qos", prefetch_count=0)  # its answer follows the nack's effect
        self._letters.clear()
        await self._channel.close()

    @property
    def _by_nack(self) -> bool:
        """Which way leaves the order (F2), and from 4.3 on the delivery count, as it was.

        A quorum queue without a limit puts nacked messages last, so it gets them back by the channel's close; from 4.3
        on a close counts as a return and a nack does not.
        """
        if self._kept.kind != "quorum":
            return True
        return delivery_limit(self._kept, self._link.version) is not None

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """See `mqdash.brokers.base.Lease.remove`: acks, then a synchronous call on the same channel as the proof."""
        outcomes = [Outcome(Settled.STALE, "not held by this lease any more")] * len(letters)
        acked: dict[int, int] = {}
        if self._info.returned:
            return outcomes
        for index, letter in enumerate(letters):
            claim = letter.claim
            if not isinstance(claim, AmqpClaim) or claim.life != self._link.number or not self._channel.is_open:
                continue
            if claim.tag in self._letters and claim.tag not in acked:
                self._link.wire.ack(self._channel.number, claim.tag)
                acked[claim.tag] = index
        if not acked:
            return outcomes
        try:
            await self._channel.call("basic_qos", prefetch_count=0)
            result = Outcome(Settled.SETTLED)
        except BrokerError as error:
            result = Outcome(Settled.UNKNOWN, f"the removal was written, its proof did not come: {error.text}")
        for tag, index in acked.items():
            outcomes[index] = result
            self._letters.pop(tag, None)
        return outcomes

    async def rescue(self, publisher: ConfirmingPublisher) -> None:
        """Letters that one more return would cost (F1) go back as fresh copies, confirmed before the original goes."""
        limit = delivery_limit(self._kept, self._link.version)
        if limit is None or self.returns_left is None:
            return
        spent = [letter for letter in self._letters.values() if (letter.delivery_count or 1) > limit]
        route = Route("", self._queue.name)
        fresh = [
            Outgoing(route, letter.message.with_headers((), without=frozenset({"x-delivery-count"})))
            for letter in spent
        ]
        receipts = await publisher.send(fresh)
        copied = [letter for letter, receipt in zip(spent, receipts, strict=True) if receipt.sent is Sent.CONFIRMED]
        await self.remove(copied)


@contextlib.asynccontextmanager
async def hold(
    life: Life, queue: QueueRef, *, limit: int, kept: Queue | None, policies_seen: bool
) -> AsyncIterator[RabbitLease]:
    """Hold up to `limit` letters for as long as the context lasts. `kept` None: nobody knows its type and limits.

    Raises:
        BrokerError: it would cost messages, or might (F1, F3).
        Unsupported: a stream is read, not leased.
    """
    broker = life.url.safe
    if kept is None:
        raise BrokerError(broker, _unknown(queue))
    _refuse(broker, queue, kept)
    link = await life.open(f"dead letters of {queue}")
    try:
        lease = RabbitLease(link, queue, kept, policies_seen=policies_seen)
        try:
            await lease.take(limit, life.known)
            left = lease.returns_left
            if left is not None and left <= MIN_RETURNS_LEFT:
                life.known.returns_left[queue.name] = left - 1
                if left <= 0:
                    await _rescue(life, lease)
                raise BrokerError(broker, _too_often(queue, left))
            expiring = asyncio.create_task(lease.expire(LEASE_LIMIT_S), name=f"lease of {queue}")
            try:
                yield lease
            finally:
                expiring.cancel()
            left = left if lease.info.returned else lease.returns_left
            if left is not None:
                life.known.returns_left[queue.name] = left - 1
        finally:
            await lease.give_back()
    finally:
        await link.close()


async def _rescue(life: Life, lease: RabbitLease) -> None:
    link = await life.open("dead letters, last returns")
    try:
        publisher = ConfirmingPublisher(link, window=GETS_AT_ONCE)
        await publisher.open()
        await lease.rescue(publisher)
        publisher.close()
    finally:
        await link.close()


def _refuse(broker: str, queue: QueueRef, kept: Queue) -> None:
    if kept.kind == "stream":
        raise Unsupported(broker, f"{queue} is a stream: it is read, not taken from")
    bounded = kept.max_length is not None or kept.max_length_bytes is not None
    if bounded and (kept.overflow or "drop-head") == "drop-head":
        raise BrokerError(
            broker, f"{queue} drops its oldest messages when full: those given back would be the first to go (F3)"
        )
    if kept.ttl_s is not None:
        raise BrokerError(
            broker, f"{queue} lets messages expire after {kept.ttl_s:g} s: they would vanish when given back (F3)"
        )


def _unknown(queue: QueueRef) -> str:
    return (
        f"{queue} is not opened: nobody tells its type and limits, so looking might cost its messages (F1, F3); give "
        "the address of the management API (?management=http://host:15672), or a user who may configure the queue"
    )


def _too_often(queue: QueueRef, left: int) -> str:
    return (
        f"{queue} would drop a message after {max(left, 0)} more returns (quorum delivery limit, F1); "
        "move its messages with a worker instead of looking at them"
    )


def delivery_limit(kept: Queue, version: str) -> int | None:
    """The delivery limit in force: None = none, or not a quorum queue (R49)."""
    if kept.kind != "quorum":
        return None
    if kept.delivery_limit is None:
        return DEFAULT_LIMIT_FROM_4 if version_of(version) >= (4, 0) else None
    return kept.delivery_limit if kept.delivery_limit >= 0 else None


def version_of(version: str) -> tuple[int, int]:
    """(major, minor); (0, 0) when it cannot be read."""
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdecimal() for part in parts[:2]):
        return 0, 0
    return int(parts[0]), int(parts[1])
