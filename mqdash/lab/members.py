"""Who else works on the same run of a real broker: every process registers on the roster `members`.

Families with a roster of their own keep it (`KeepsMembers`). Elsewhere, on RabbitMQ, every process consumes from a queue of
that name, to which no message ever goes: the broker counts its consumers and notices those that died. So whoever leaves last
can remove what the run declared.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from mqdash.brokers.base import KeepsMembers
from mqdash.errors import MqdashError
from mqdash.model.topology import Queue, QueueRef, Topology

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker, Membership

log = logging.getLogger(__name__)

MEMBERS: Final = QueueRef("members")
_QUEUE: Final = Topology(queues=(Queue(ref=MEMBERS),))


class Members:
    """The membership of this process, over the connection lives of its broker."""

    def __init__(self, name: str) -> None:
        self._name = f"{name}-{secrets.token_hex(4)}"  # process ids repeat on other machines
        self._membership: Membership | None = None

    async def join(self, broker: Broker) -> None:
        """Register on this connection life; the registration of an earlier one ended with it."""
        await self._end()
        if isinstance(broker, KeepsMembers):
            self._membership = await broker.enroll(MEMBERS.name, name=self._name)
        else:
            self._membership = await _QueueMembership.join(broker, self._name)

    async def leave(self) -> bool:
        """Leave; whether nobody else is there. Not knowing counts as somebody: nothing is removed on a guess."""
        return await self._end()

    async def _end(self) -> bool:
        membership, self._membership = self._membership, None
        try:
            return membership is not None and await membership.leave()
        except MqdashError as error:
            log.info("who else is there is not known: %s", error)
            return False


class _QueueMembership:
    """A consumer of the roster's queue."""

    def __init__(self, broker: Broker, stack: AsyncExitStack) -> None:
        self._broker = broker
        self._stack = stack

    @classmethod
    async def join(cls, broker: Broker, name: str) -> Membership:
        await broker.declare(_QUEUE)
        stack = AsyncExitStack()
        await stack.enter_async_context(broker.consume(MEMBERS, name=f"member {name}", prefetch=1))
        return cls(broker, stack)

    async def leave(self) -> bool:
        try:
            await self._stack.aclose()
        except MqdashError as error:
            log.info("the old membership ended with its connection: %s", error)
        measured = await self._broker.measure([MEMBERS])
        alone = bool(measured) and measured[0].consumers == 0
        if alone:
            await self._broker.remove(_QUEUE)
        return alone
