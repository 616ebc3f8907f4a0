"""Request/reply: a request stream, a reply list of the asker's own, a correlation id (C1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mqdash.brokers.life import Link
from mqdash.brokers.redis.entries import fields_of, unpacked
from mqdash.brokers.redis.errors import reason
from mqdash.brokers.redis.session import Lost
from mqdash.brokers.waiting import Waiting
from mqdash.model.delivery import Answer, Reply
from mqdash.model.message import Entry, Message

if TYPE_CHECKING:
    from random import Random

    from mqdash.brokers.life import Life
    from mqdash.brokers.redis.session import Session
    from mqdash.model.topology import Route

BLOCK_S: Final = 1
SILENCE_LIMIT_S: Final = 5.0
_BATCH: Final = 100


class RedisRequester(Link):
    """See `mqdash.brokers.base.Requester`: one connection asks, one waits at the list."""

    def __init__(
        self, life: Life, name: str, reply_list: str, *, asking: Session, listening: Session, rng: Random
    ) -> None:
        super().__init__(life, name)
        self._waiting = Waiting(life.clock, rng)
        self._list = reply_list
        self._asking = asking
        self._listening = listening
        asking.ended = listening.ended = self.end
        self._task = asyncio.create_task(self._listen(), name=f"replies {name}")

    @property
    def late(self) -> int:
        """Replies after their time-out (C5)."""
        return self._waiting.late

    @property
    def unmatched(self) -> int:
        """Replies to nothing we know (C1)."""
        return self._waiting.unmatched

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """Add to the request stream, which must exist, with our reply list; wait for the same correlation id."""
        if self.cause is not None:
            return Reply(answer=Answer.UNKNOWN, detail=self.cause)
        correlation_id = message.correlation_id or self._waiting.new_id()
        fields = fields_of(message)
        plain = Message(content=tuple(zip(fields[::2], fields[1::2], strict=True)), native=Entry())
        asked = plain.with_headers((("correlation-id", correlation_id), ("reply-to", self._list)))
        self._waiting.begin(correlation_id)
        waiting = asyncio.ensure_future(self._waiting.wait(correlation_id, timeout_s))
        result = (await self._asking.run([("XADD", route.destination, "NOMKSTREAM", "*", *fields_of(asked))]))[0]
        if isinstance(result, bytes):
            return await waiting
        waiting.cancel()
        await asyncio.wait({waiting})
        if isinstance(result, Lost):
            return Reply(answer=Answer.UNKNOWN, detail=str(result))
        missing = f"there is no request stream {route.destination!r}"
        return Reply(answer=Answer.RETURNED, detail=missing if result is None else reason(result))

    async def _listen(self) -> None:
        while self.cause is None:
            wait = ("BLPOP", self._list, BLOCK_S)
            first = (await self._listening.run([wait], limit_s=BLOCK_S + SILENCE_LIMIT_S))[0]
            if not isinstance(first, list):
                if isinstance(first, Exception) and not isinstance(first, Lost):
                    self.end(reason(first))
                continue
            more = (await self._listening.run([("LPOP", self._list, _BATCH)]))[0]
            for data in (first[1], *(more if isinstance(more, list) else ())):
                self._waiting.arrived(unpacked(data))

    async def leave(self) -> None:
        """Delete the list and go."""
        if self.cause is None:
            await self._asking.run([("DEL", self._list)])
        self.end("closed")

    def dropped(self) -> None:
        """Stop listening; open requests are UNKNOWN (C4)."""
        self._waiting.ended()
        self._task.cancel()
        for session in (self._asking, self._listening):
            session.drop(self.cause or "closed")
            self.life.start(session.close(), name=f"close requester {self.name}")
