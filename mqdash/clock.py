"""Time comes from outside: `SystemClock` for real, `ManualClock` where a test or a simulation moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for durations, and a sleep that follows it."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps; only differences mean something."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return `delay_s` seconds of this clock later."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, delay_s: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(delay_s)


class ManualClock:
    """A clock that stands still until `advance` moves it; sleepers wake in order of their time."""

    def __init__(self, start_s: float = 1_700_000_000.0) -> None:
        self._start_s = start_s
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """The start time plus what was advanced."""
        return self._start_s + self._passed_s

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._passed_s

    async def sleep(self, delay_s: float) -> None:
        """Wait until the clock has been advanced by `delay_s`."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed_s + delay_s, next(self._order), woken))
        await woken

    async def advance(self, by_s: float) -> None:
        """Move time on, waking each sleeper at its time and letting the loop run after each."""
        end = self._passed_s + by_s
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self._passed_s = max(self._passed_s, at)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self._passed_s = end
        await self.settle()

    @staticmethod
    async def settle(turns: int = 20) -> None:
        """Let everything that is ready run."""
        for _ in range(turns):
            await asyncio.sleep(0)
