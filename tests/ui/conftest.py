"""The app on a store fed by hand, with a clock that stands still: tests call `tick()` and wait for what a user would see."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from mqdash.bus import EventBus
from mqdash.clock import ManualClock
from mqdash.errors import MqdashError
from mqdash.model.delivery import Receipt, Sent
from mqdash.model.message import Draft
from mqdash.model.topology import Route
from mqdash.store import Store
from mqdash.ui.app import MqdashApp
from tests.support import until
from tests.ui.feed import lab_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

    from mqdash.ui.settings import Settings


@dataclass
class Recorder:
    """Stands where control stands and writes down what was asked of it. `asking` answers `asks`, `refusals` and `refusing` refuse."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    asking: str = ""
    refusing: str = ""
    refusals: dict[str, str] = field(default_factory=dict)
    sent: Sent = Sent.CONFIRMED

    def asks(self, action: str, broker: str, subject: str = "", n: int = 1) -> str:
        return self.asking

    def refusal(self, action: str, broker: str, subject: str = "") -> str:
        return self.refusals.get(action, "")

    def destinations(self, broker: str) -> list[Route]:
        return [Route("orders.direct", "order"), Route("logs.topic", "order.new")]

    def draft_for(self, broker: str, producer: str = "") -> tuple[Route, Draft]:
        return Route("orders.direct", "order"), Draft(body=b'{"order": 1}', id="m-1", headers=(("tenant", "eu"),))

    async def publish(self, broker: str, route: Route, draft: Draft, *, producer: str = "") -> Receipt:
        self.calls.append(("publish", broker, route, draft, producer))
        return Receipt(self.sent, "because")

    def __getattr__(self, action: str) -> Any:
        if action.startswith("_"):
            raise AttributeError(action)

        def call(*args: Any) -> None:
            if self.refusing:
                raise MqdashError(self.refusing)
            self.calls.append((action, *args))

        return call


@dataclass
class Stage:
    """An app with everything around it."""

    app: MqdashApp
    bus: EventBus
    clock: ManualClock
    control: Recorder
    pilot: Pilot[int] | None = None

    @asynccontextmanager
    async def running(self, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Stage]:
        """Run the app on a terminal of that size, with a first picture drawn."""
        async with self.app.run_test(size=size, notifications=True) as pilot:
            self.pilot = pilot
            await self.tick(times=30)
            yield self

    def text(self) -> str:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in strips)

    async def tick(self, seconds: float = 0.0, times: int = 1) -> None:
        """Move the clock, tick, and let the screen be painted."""
        assert self.pilot is not None
        for _ in range(times):
            await self.clock.advance(seconds)
            self.app.tick()
        await self.pilot.pause()

    async def shows(self, *words: str) -> None:
        """Wait until all these stand on the screen."""
        await until(lambda: all(word in self.text() for word in words), what=f"{words} on\n{self.text()}")

    async def press(self, *keys: str) -> None:
        """Press keys, then tick once."""
        assert self.pilot is not None
        await self.pilot.press(*keys)
        await self.tick()


def make_stage(settings: Settings | None = None) -> Stage:
    """A stage that is not running yet."""
    clock = ManualClock()
    store = Store(clock)
    bus = EventBus(store.apply)  # type: ignore[arg-type]
    control = Recorder()
    app = MqdashApp(store, bus, control, settings, clock, fps=0)  # type: ignore[arg-type]
    for event in lab_events(clock.now()):
        bus.publish(event)
    return Stage(app, bus, clock, control)


@pytest.fixture
def stage() -> Stage:
    """The lab with three brokers, five producers and six workers, nothing moving."""
    return make_stage()
