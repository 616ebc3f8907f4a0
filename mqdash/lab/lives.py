"""The connection life that is open now, shared by all actors of a lab; each re-opens its own on the next one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from mqdash.errors import ConnectionLost, MqdashError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mqdash.brokers.base import Broker

log = logging.getLogger(__name__)


class Lives:
    """Follows an iterator of lives. `prepare` (declare what is missing) runs on each before any actor gets it."""

    def __init__(
        self,
        lives: Callable[[], AsyncIterator[Broker]],
        prepare: Callable[[Broker], Awaitable[None]],
        told: Callable[[MqdashError], None],
    ) -> None:
        self._lives = lives
        self._prepare = prepare
        self._told = told
        self._broker: Broker | None = None
        self._error: MqdashError | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow(), name="lab lives")

    async def stop(self) -> None:
        """Stop following; the life itself belongs to the link."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def broker(self) -> Broker | None:
        """The newest life, perhaps already over; None before the first."""
        return self._broker

    async def current(self) -> Broker:
        """The newest life, as soon as there is one."""
        while self._broker is None:
            await self._changed.wait()
        return self._broker

    async def changed(self) -> None:
        """Wait for the next life."""
        before = self._broker
        while self._broker is before:
            await self._changed.wait()

    async def ready(self) -> Broker:
        """The first life, prepared.

        Raises:
            MqdashError: what the lab needs could not be declared on it.
        """
        while self._broker is None:
            if self._error is not None:
                raise self._error
            await self._changed.wait()
        return self._broker

    async def _follow(self) -> None:
        async for broker in self._lives():
            try:
                await self._prepare(broker)
            except ConnectionLost:
                log.info("the connection went before the lab was declared")
                continue
            except MqdashError as error:
                self._error = error
                self._told(error)
            else:
                self._broker, self._error = broker, None
            self._changed.set()
            self._changed = asyncio.Event()
