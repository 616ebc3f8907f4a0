"""Waiting before something is opened again: soon at first, seldom when it keeps failing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mqdash.clock import Clock
    from mqdash.lab.lives import Lives

BACKOFF_S: Final = 0.2
BACKOFF_LIMIT_S: Final = 5.0


class Backoff:
    """Waits of one actor before it opens again: 0.2 s, doubled up to 5 s, from the start again after it lasted longer."""

    def __init__(self, clock: Clock, lives: Lives) -> None:
        self._clock = clock
        self._lives = lives
        self._next_s = BACKOFF_S

    async def wait(self, *, lasted_s: float = 0.0, wake: asyncio.Event | None = None) -> None:
        """Wait after what was open for `lasted_s`; a new connection life or `wake` ends the wait at once."""
        wait_s = self._next_s = BACKOFF_S if lasted_s > self._next_s else self._next_s
        self._next_s = min(BACKOFF_LIMIT_S, wait_s * 2)
        waits = [asyncio.create_task(self._clock.sleep(wait_s))]
        renewed = asyncio.create_task(self._lives.changed())
        waits.append(renewed)
        if wake is not None:
            wake.clear()
            waits.append(asyncio.create_task(_set(wake)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if renewed.done():
                self._next_s = BACKOFF_S
        finally:
            for task in waits:
                task.cancel()


async def _set(event: asyncio.Event) -> None:
    await event.wait()
