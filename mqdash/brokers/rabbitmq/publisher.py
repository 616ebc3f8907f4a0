"""Publishing with confirms: every message ends as exactly one receipt, and RETURNED beats the ack that follows it.

How a return finds its publish: the broker sends returns in publish order and each before the ack of its message (R7),
but without a tag. So it is matched, oldest first, against the mandatory publishes that are still unconfirmed and not
yet returned: same exchange, key, body and properties. Two that are equal in all of these are interchangeable: which of
them carries which receipt makes no difference to what is in the queues. No header is added to a message for this.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.brokers.rabbitmq.codec import Unsendable, decode_properties, encode_properties
from mqdash.errors import AccessRefused, BrokerError, ConnectionLost, NotFound
from mqdash.model.delivery import Outgoing, Receipt, Sent
from mqdash.model.message import Amqp
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.rabbitmq.link import Channel, Link
    from mqdash.model.message import Message

log = logging.getLogger(__name__)

CONFIRM_LIMIT_S: Final = 30.0
BLOCKED_LIMIT_S: Final = 5.0
MAX_UNWRITTEN_BYTES: Final = 4 * 2**20
MIB: Final = 2**20
_CONFIRMED = Receipt(Sent.CONFIRMED)


class _Batch:
    """The receipts of one `send`; `done` is set when the last one is there."""

    __slots__ = ("done", "missing", "receipts")

    def __init__(self, size: int) -> None:
        self.receipts: list[Receipt | None] = [None] * size
        self.missing = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, index: int, receipt: Receipt) -> None:
        if self.receipts[index] is not None:
            return
        self.receipts[index] = receipt
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def end_all(self, receipt: Receipt) -> None:
        for index in range(len(self.receipts)):
            self.end(index, receipt)


class _Slot:
    """One unconfirmed publish."""

    __slots__ = ("batch", "index", "outgoing", "properties", "returned")

    def __init__(self, batch: _Batch, index: int, outgoing: Outgoing, properties: bytes) -> None:
        self.batch = batch
        self.index = index
        self.outgoing = outgoing
        self.properties = properties
        self.returned: Receipt | None = None


class ConfirmingPublisher:
    """A publisher on one channel in confirm mode; at most `window` publishes are unconfirmed.

    `blocked`: why the broker takes no publishes now, "" when it does. Publishes that a block of more than 5 s, a
    confirm missing for 30 s or a lost connection leaves open are UNKNOWN: the broker may still have them (F7).
    """

    def __init__(self, link: Link, *, window: int) -> None:
        self.channel: Channel | None = None
        self._link = link
        self._window = max(window, 1)
        self._slots: dict[int, _Slot] = {}
        self._first = 1
        self._next = 1
        self._next_return = 1
        self._changed = asyncio.Event()
        self._exchanges = {""}
        self._give_up: asyncio.TimerHandle | None = None
        self._opening = asyncio.Lock()
        self.max_body_bytes = max_body_bytes(link.version)
        link.on_blocked = self._blocked_changed

    @property
    def blocked(self) -> str:
        """The broker's reason for taking no publishes ("low on memory"), or ""."""
        return self._link.blocked

    @property
    def unconfirmed(self) -> int:
        """Publishes whose end is open."""
        return len(self._slots)

    async def open(self) -> None:
        """Open the channel, again after the broker closed it."""
        async with self._opening:
            if self.channel is not None and self.channel.is_open:
                return
            self._slots.clear()
            self._first = self._next = self._next_return = 1
            channel = await self._link.channel(self)
            channel.on_end = self._channel_ended
            await channel.confirm_select()
            await self._set_up(channel)
            self.channel = channel

    async def _set_up(self, channel: Channel) -> None:
        """What else a fresh channel needs before the first publish."""

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Publish in order; see `mqdash.brokers.base.Publisher.send`."""
        if not batch:
            return ()
        open_batch = _Batch(len(batch))
        try:
            for index, outgoing in enumerate(batch):
                if not self._has_room or outgoing.route.destination not in self._exchanges:
                    refusal = await self._ready_for(outgoing.route.destination)
                    if refusal is not None:
                        open_batch.end(index, refusal)
                        continue
                self._publish(open_batch, index, outgoing)
            if open_batch.missing:
                await asyncio.wait({open_batch.done}, timeout=CONFIRM_LIMIT_S)
        finally:
            open_batch.end_all(Receipt(Sent.UNKNOWN, f"no confirm within {CONFIRM_LIMIT_S:g} s"))
        return [receipt for receipt in open_batch.receipts if receipt is not None]

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """Answer `request` (C1, C3)."""
        if not request.reply_to:
            return Receipt(Sent.REFUSED, "the request names no reply address")
        native = reply.native if isinstance(reply.native, Amqp) else Amqp()
        answer = msgspec.structs.replace(
            reply, native=msgspec.structs.replace(native, correlation_id=request.correlation_id)
        )
        return (await self.send([Outgoing(Route("", request.reply_to), answer, mandatory=False)]))[0]

    def _publish(self, batch: _Batch, index: int, outgoing: Outgoing) -> None:
        message, route = outgoing.message, outgoing.route
        try:
            if not isinstance(message.content, bytes) or not isinstance(message.native, Amqp):
                raise Unsendable(f"not an AMQP message but {type(message.native).__name__}")
            if len(message.content) > self.max_body_bytes:
                limit = f"{self.max_body_bytes // MIB} MiB (RabbitMQ {self._link.version})"
                raise Unsendable(f"the body is {len(message.content)} bytes; the broker takes {limit}")
            properties = encode_properties(message.headers, message.native)
            assert self.channel is not None
            wire, number = self._link.wire, self.channel.number
            wire.publish(number, route.destination, route.key, outgoing.mandatory, properties, message.content)
        except Unsendable as error:
            batch.end(index, Receipt(Sent.REFUSED, str(error)))
            return
        self._slots[self._next] = _Slot(batch, index, outgoing, properties)
        self._next += 1

    # --- waiting for room --------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        return (
            len(self._slots) < self._window
            and not self._link.blocked
            and self.channel is not None
            and self.channel.is_open
            and self._link.wire.unwritten_bytes < MAX_UNWRITTEN_BYTES
        )

    async def _ready_for(self, exchange: str) -> Receipt | None:
        """Wait until a publish may be written; a receipt when it may not."""
        try:
            async with asyncio.timeout(CONFIRM_LIMIT_S):
                while not self._has_room:
                    if self._link.error is not None:
                        return Receipt(Sent.UNKNOWN, f"not sent: {self._link.error.text}")
                    if self.channel is None or not self.channel.is_open:
                        await self.open()
                    elif self._link.blocked and self._give_up is None:
                        return Receipt(Sent.UNKNOWN, f"not sent: blocked by the broker ({self._link.blocked})")
                    elif self._link.wire.unwritten_bytes >= MAX_UNWRITTEN_BYTES:
                        await asyncio.sleep(0.005)  # pika tells nobody when its buffer drains
                    else:
                        self._changed.clear()
                        await self._changed.wait()
                return await self._missing(exchange)
        except TimeoutError:
            return Receipt(Sent.UNKNOWN, "not sent: no confirm came for earlier messages, the window is full")
        except BrokerError as error:
            return Receipt(Sent.UNKNOWN, f"not sent: {error.text}")

    async def _missing(self, exchange: str) -> Receipt | None:
        """Look once for an exchange before the first publish to it.

        A publish to a missing one ends the channel, and with it the proof of what became of its neighbours (R9).
        """
        if exchange in self._exchanges:
            return None
        scratch = await self._link.channel()
        try:
            await scratch.call("exchange_declare", exchange, passive=True)
        except NotFound as error:
            return Receipt(Sent.REFUSED, error.text)
        except ConnectionLost:
            raise
        except BrokerError as error:
            log.debug("cannot look for exchange %r: %s", exchange, error)
        finally:
            scratch.drop()
        self._exchanges.add(exchange)
        return None

    def _blocked_changed(self) -> None:
        if self._give_up is not None:
            self._give_up.cancel()
            self._give_up = None
        if self._link.blocked:
            self._give_up = asyncio.get_running_loop().call_later(BLOCKED_LIMIT_S, self._blocked_too_long)
        self._changed.set()

    def _blocked_too_long(self) -> None:
        self._give_up = None
        receipt = Receipt(Sent.UNKNOWN, f"blocked by the broker ({self._link.blocked}) for {BLOCKED_LIMIT_S:g} s")
        for slot in self._slots.values():
            slot.batch.end(slot.index, receipt)
        self._changed.set()

    # --- what the broker says ----------------------------------------------------------------------------------------

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """R11: `multiple` covers all lower tags, of acks and of nacks."""
        if multiple:
            for covered in range(self._first, tag + 1):
                self._end(covered, accepted)
        else:
            self._end(tag, accepted)
        while self._first < self._next and self._first not in self._slots:
            self._first += 1
        self._changed.set()

    def _end(self, tag: int, accepted: bool) -> None:
        slot = self._slots.pop(tag, None)
        if slot is None:
            return
        if slot.returned is not None:
            slot.batch.end(slot.index, slot.returned)
        elif accepted:
            slot.batch.end(slot.index, _CONFIRMED)
        else:
            slot.batch.end(
                slot.index, Receipt(Sent.REFUSED, "the broker refused it (basic.nack): a full queue, or a fault")
            )

    def on_return(self, code: int, text: str, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """R7: remembered until the ack that follows."""
        tag = self._returned_tag(Route(exchange, key), properties, body)
        if tag is None:
            log.warning("a returned message matches no open publish: exchange %r", exchange)
            return
        self._next_return = tag + 1
        self._slots[tag].returned = Receipt(Sent.RETURNED, f"no queue took it ({code} {text})")

    def _returned_tag(self, route: Route, properties: bytes, body: bytes) -> int | None:
        tags = itertools.chain(
            range(max(self._next_return, self._first), self._next), range(self._first, self._next_return)
        )
        likely: int | None = None
        wanted = None
        for tag in tags:
            slot = self._slots.get(tag)
            if slot is None or slot.returned is not None or not slot.outgoing.mandatory:
                continue
            if slot.outgoing.route.destination != route.destination or slot.outgoing.route.key != route.key:
                continue
            if slot.outgoing.message.content == body:
                if slot.properties == properties:
                    return tag
                wanted = wanted or _comparable(properties)  # RabbitMQ 4 sorts headers by name
                if _comparable(slot.properties) == wanted:
                    return tag
                likely = tag if likely is None else likely
        return likely

    def on_deliver(self, tag: int, redelivered: bool, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """Nothing is consumed here; a requester's channel overrides it."""

    def _channel_ended(self, error: BrokerError) -> None:
        slots, self._slots = self._slots, {}
        guilty = max(slots, default=0)
        if isinstance(error, NotFound | AccessRefused):
            # The broker names the exchange. The last publish to it was certainly not stored, nor was any after it;
            # an earlier one may have been, before the exchange or the right to it went.
            self._exchanges = {""}
            named = [tag for tag, slot in slots.items() if _named(slot.outgoing.route.destination) in error.text]
            guilty = max(named, default=guilty + 1)
        else:
            guilty += 1
        for tag, slot in slots.items():
            sent = Sent.REFUSED if tag >= guilty else Sent.UNKNOWN
            slot.batch.end(slot.index, slot.returned or Receipt(sent, error.text))
        self._changed.set()

    def close(self) -> None:
        """Forget timers; the connection is closed by its owner."""
        if self._give_up is not None:
            self._give_up.cancel()
            self._give_up = None


def _named(exchange: str) -> str:
    """As the broker's errors name it."""
    return f"'{exchange or 'amq.default'}'"


def _comparable(properties: bytes) -> object:
    with contextlib.suppress(LookupError, ValueError):
        headers, native = decode_properties(properties)
        return sorted((name, repr(value)) for name, value in headers), native
    return properties


def max_body_bytes(version: str) -> int:
    """The default limit of a body: 128 MiB up to 3.13, 16 MiB from 4.0 (R50)."""
    major = version.partition(".")[0]
    return 16 * MIB if major.isdecimal() and int(major) >= 4 else 128 * MIB
