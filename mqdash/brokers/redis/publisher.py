"""XADD and PUBLISH, pipelined, a receipt each; no reply is UNKNOWN and never sent again (F4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.life import Link
from mqdash.brokers.redis.entries import fields_of, packed
from mqdash.brokers.redis.errors import reason
from mqdash.brokers.redis.session import Lost
from mqdash.model.delivery import Receipt, Sent
from mqdash.model.message import Entry, Message, PubSub

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mqdash.brokers.life import Life
    from mqdash.brokers.redis.session import Session
    from mqdash.model.delivery import Outgoing
    from mqdash.model.topology import Destination

NO_SUBSCRIBER: Final = "no subscriber: gone"
REPLY_KEPT_S: Final = 60
"""A reply list nobody reads any more disappears after so long."""
_CHUNK: Final = 500


class RedisPublisher(Link):
    """See `mqdash.brokers.base.Publisher`. A position is the entry id, or how many subscribers a channel had (P2).

    `declared` tells channels and stream bounds; what it does not know goes where the message's own kind says.
    """

    blocked = ""

    def __init__(
        self, life: Life, name: str, session: Session, *, window: int, declared: Mapping[str, Destination]
    ) -> None:
        super().__init__(life, name)
        self._session = session
        self._chunk = max(min(window, _CHUNK), 1)
        self._declared = declared
        session.ended = self.end

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Publish in order, so many per round trip as the window allows."""
        receipts: list[Receipt] = []
        for at in range(0, len(batch), self._chunk):
            chunk = batch[at : at + self._chunk]
            results = await self._session.run([self._command(outgoing) for outgoing in chunk])
            receipts += [self._receipt(outgoing, result) for outgoing, result in zip(chunk, results, strict=True)]
        return receipts

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """Push to the asker's reply list; an asker who is gone loses the reply (C3)."""
        if request.reply_to is None:
            return Receipt(Sent.REFUSED, "the request names no reply list")
        answer = Message(content=_pairs(fields_of(reply)), native=Entry())
        if request.correlation_id is not None:
            answer = answer.with_headers((("correlation-id", request.correlation_id),))
        push = ("RPUSH", request.reply_to, packed(answer))
        results = await self._session.run([push, ("EXPIRE", request.reply_to, REPLY_KEPT_S)])
        if isinstance(results[0], Lost):
            return Receipt(Sent.UNKNOWN, str(results[0]))
        if isinstance(results[0], Exception):
            return Receipt(Sent.REFUSED, reason(results[0]))
        return Receipt(Sent.CONFIRMED)

    def is_channel(self, outgoing: Outgoing) -> bool:
        """Whether it is published rather than added."""
        known = self._declared.get(outgoing.route.destination)
        if known is not None:
            return known.kind == "channel"
        return isinstance(outgoing.message.native, PubSub)

    def dropped(self) -> None:
        """Drop the socket."""
        self._session.drop(self.cause or "closed")
        self.life.start(self._session.close(), name=f"close publisher {self.name}")

    def _command(self, outgoing: Outgoing) -> tuple[Any, ...]:
        name = outgoing.route.destination
        if self.is_channel(outgoing):
            return ("PUBLISH", name, outgoing.message.body)
        known = self._declared.get(name)
        bound = () if known is None or known.max_length is None else ("MAXLEN", "~", known.max_length)
        return ("XADD", name, *bound, "*", *fields_of(outgoing.message))

    def _receipt(self, outgoing: Outgoing, result: Any) -> Receipt:
        if isinstance(result, Lost):
            return Receipt(Sent.UNKNOWN, str(result))
        if isinstance(result, Exception):
            return Receipt(Sent.REFUSED, reason(result))
        if self.is_channel(outgoing):
            return Receipt(Sent.CONFIRMED, "" if result else NO_SUBSCRIBER, str(result))
        return Receipt(Sent.CONFIRMED, "", result.decode())


def _pairs(fields: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(zip(fields[::2], fields[1::2], strict=True))
