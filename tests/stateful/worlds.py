"""A world: one broker the steps are done on, with its own time and the account of every message."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import ManualClock, SystemClock
from mqdash.model.delivery import Measurement
from mqdash.model.message import Draft, Family, Message, compose
from mqdash.model.topology import QueueRef
from tests.stateful.ledger import Ledger

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker

Seen = dict[str, Any]
"""What a world shows, by what it is called; two worlds that did the same steps show the same."""


class World(ABC):
    """A broker, entered once; subclasses know the steps of their model. `prefix` begins every name made in it."""

    family: Family

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.embedded = parsed.embedded
        self.name = parsed.safe
        self.clock: ManualClock | SystemClock = ManualClock() if self.embedded else SystemClock()
        self.connector = connector_for(parsed, clock=self.clock, bounded=False)
        self.prefix = f"mqdash-test-{uuid.uuid4().hex[:12]}"
        self.ledger = Ledger()
        self.stack = AsyncExitStack()
        self.broker: Broker

    async def enter(self) -> None:
        self.broker = await self.connector.connect()
        self.stack.push_async_callback(self.broker.close)

    async def leave(self) -> None:
        """Remove what was made and close; also after a failed step."""
        try:
            await self.remove()
        finally:
            await self.stack.aclose()

    async def pass_time(self, seconds: float) -> None:
        if isinstance(self.clock, ManualClock):
            await self.clock.advance(seconds)
        else:
            await asyncio.sleep(seconds)

    async def settle(self) -> None:
        """Let what is under way arrive; a real broker needs however long it needs, so its world is asked again."""
        if isinstance(self.clock, ManualClock):
            await self.clock.settle()
        else:
            await asyncio.sleep(0.002)

    def message(self, name: str, **draft: Any) -> Message:
        """A message that is known by its id."""
        return compose(Draft(body=name.encode(), id=name, **draft), self.family)

    async def measure(self, queue: QueueRef) -> Measurement:
        [measured] = await self.broker.measure([queue])
        return measured

    def plain(self, text: str) -> str:
        """A name without this world's prefix."""
        return text.replace(self.prefix, "")

    @abstractmethod
    async def seen(self) -> Seen:
        """What shows now."""

    @abstractmethod
    async def check(self) -> None:
        """Invariants E2 and E3 of this world by itself, when nothing is under way."""

    @abstractmethod
    async def remove(self) -> None:
        """Close what is open and delete what was declared."""
