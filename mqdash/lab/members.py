"""Who else works on the same run of a real RabbitMQ: every process consumes from the queue `members`.

No message ever goes there. The broker counts its consumers and notices those that died, so whoever leaves last can remove
what the run declared.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from mqdash.errors import MqdashError
from mqdash.model.topology import Queue, QueueRef, Topology

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker

log = logging.getLogger(__name__)

MEMBERS: Final = QueueRef("members")


class Members:
    """The membership of this process."""

    topology: Final = Topology(queues=(Queue(ref=MEMBERS),))

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: AsyncExitStack | None = None

    async def join(self, broker: Broker) -> None:
        """Register on this connection life; the registration of an earlier one ended with it."""
        await self._end()
        await broker.declare(self.topology)
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(broker.consume(MEMBERS, name=f"member {self._name}", prefetch=1))

    async def leave(self, broker: Broker) -> bool:
        """Leave; whether nobody else is there. Not knowing counts as somebody: nothing is removed on a guess."""
        await self._end()
        try:
            measured = await broker.measure([MEMBERS])
        except MqdashError as error:
            log.info("who else is there is not known: %s", error)
            return False
        return bool(measured) and measured[0].consumers == 0

    async def _end(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            try:
                await stack.aclose()
            except MqdashError as error:
                log.info("the old membership ended with its connection: %s", error)
