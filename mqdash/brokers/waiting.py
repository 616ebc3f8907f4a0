"""Requests that wait for their replies, matched by correlation id (C1, C4, C5), where the family has no native way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mqdash.model.delivery import Answer, Reply

if TYPE_CHECKING:
    from random import Random

    from mqdash.clock import Clock
    from mqdash.model.message import Message

REMEMBERED = 1000
"""How many timed-out requests are remembered, to tell a late reply (C5) from an unknown one (C1)."""


class Waiting:
    """Requests of one requester that wait for the reply with their correlation id."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self.late = 0
        self.unmatched = 0
        self._clock = clock
        self._rng = rng
        self._open: dict[str, asyncio.Future[Message]] = {}
        self._timed_out: dict[str, None] = {}

    def new_id(self) -> str:
        """A correlation id for a request that has none."""
        return f"{self._rng.getrandbits(64):016x}"

    def begin(self, correlation_id: str) -> None:
        """Expect a reply with that id."""
        self._open[correlation_id] = asyncio.get_running_loop().create_future()

    def arrived(self, reply: Message) -> None:
        """Match a reply; a late one is never given to a newer request (C5)."""
        waiting = self._open.get(reply.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
        elif reply.correlation_id in self._timed_out:
            self.late += 1
        else:
            self.unmatched += 1

    def ended(self) -> None:
        """The connection is gone: whether the open requests were executed is not known (C4)."""
        for waiting in self._open.values():
            waiting.cancel()

    async def wait(self, correlation_id: str, timeout_s: float) -> Reply:
        """The reply, or what became of the wait."""
        waiting = self._open[correlation_id]
        begun_s = self._clock.monotonic()
        timer = asyncio.ensure_future(self._clock.sleep(timeout_s))
        first: tuple[asyncio.Future[Any], ...] = (waiting, timer)
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            self._open.pop(correlation_id, None)
        elapsed_s = self._clock.monotonic() - begun_s
        if waiting.cancelled():
            return Reply(answer=Answer.UNKNOWN, elapsed_s=elapsed_s, detail="the connection was lost while waiting")
        if waiting.done():
            return Reply(answer=Answer.ANSWERED, message=waiting.result(), elapsed_s=elapsed_s)
        self._timed_out[correlation_id] = None
        while len(self._timed_out) > REMEMBERED:
            del self._timed_out[next(iter(self._timed_out))]
        return Reply(answer=Answer.TIMEOUT, elapsed_s=elapsed_s, detail=f"no reply within {timeout_s:g} s")
