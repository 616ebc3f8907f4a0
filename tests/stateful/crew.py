"""Workers of a world: each takes whatever its broker gives it, at once."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

from mqdash.errors import ConnectionLost, ConsumerCancelled
from mqdash.model.delivery import Delivery


class Takes(Protocol):
    """A consumer or a subscription."""

    async def take(self, limit: int) -> Sequence[Delivery]: ...

    def crash(self) -> None: ...


class Worker:
    """Takes in the background and tells `arrived` of each delivery."""

    def __init__(
        self, name: str, source: Takes, context: AsyncExitStack, arrived: Callable[[str, Delivery], None]
    ) -> None:
        self.name = name
        self.source = source
        self._context = context
        self._arrived = arrived
        self._taking = asyncio.create_task(self._take(), name=f"take {name}")

    async def _take(self) -> None:
        try:
            while True:
                for delivery in await self.source.take(100):
                    self._arrived(self.name, delivery)
        except (ConnectionLost, ConsumerCancelled):
            return

    def check(self) -> None:
        """Raise what went wrong while taking."""
        if self._taking.done() and not self._taking.cancelled():
            self._taking.result()

    async def crash(self) -> None:
        """Gone without a goodbye."""
        self.source.crash()
        await asyncio.wait({self._taking})
        self.check()
        await self._context.aclose()

    async def leave(self) -> None:
        """Go politely."""
        self._taking.cancel()
        await asyncio.wait({self._taking})
        self.check()
        await self._context.aclose()
