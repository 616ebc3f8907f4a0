"""A lab on an embedded broker, on the real clock or in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mqdash.brokers.base import Broker
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import Clock, ManualClock
from mqdash.lab.headless import Report, run_headless
from mqdash.lab.lab import Lab
from mqdash.lab.scenario import Scenario
from mqdash.lab.scenario_file import load_scenario, parse_scenario
from mqdash.model.events import Event

T = TypeVar("T")
E = TypeVar("E", bound=Event)

# Read once, outside any event loop: reading a file blocks.
ORDERS, CLICKS, ALERTS = (load_scenario(name) for name in ("orders", "clicks", "alerts"))

SMALL = """
title = "small"
[topology.rabbitmq]
destinations = [{ name = "work", kind = "direct" }, { name = "grave", kind = "fanout" }]
bindings = [
  { source = "work", queue = "jobs", key = "job" },
  { source = "grave", queue = "failed" },
]
[[topology.rabbitmq.queues]]
name = "jobs"
dead_letter = { destination = "grave" }
[[topology.rabbitmq.queues]]
name = "failed"
holds_dead_letters = true

[[producers]]
name = "boss"
to = "work"
key = "job"
rate_per_s = 50
[[workers]]
pool = "W"
queue = "jobs"
count = 2
"""


def scenario(text: str = "", **changes: str) -> Scenario:
    """The small scenario, with lines replaced (`rate_per_s="200"`) or text added at the end."""
    lines = SMALL.splitlines()
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} = ") else line for line in lines]
    return parse_scenario("\n".join(lines) + "\n" + text, name="small", file="small.toml")


class Story:
    """Collects what a lab tells."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


class Lives:
    """A plain link: opens a new life whenever the last one was lost."""

    def __init__(self, url: str, clock: Clock) -> None:
        connector: Any = connector_for(parse_url(url), clock=clock, seed=1)
        self.connector = connector
        self.server = connector.server

    async def __call__(self) -> AsyncIterator[Broker]:
        while True:
            while not self.server.running:
                await asyncio.sleep(0)
            broker: Broker = await self.connector.connect()
            yield broker
            await broker.lost()


@asynccontextmanager
async def working(plan: Scenario, url: str, clock: Clock, **options: Any) -> AsyncIterator[tuple[Lab, Story, Lives]]:
    """A started lab whose actors have all begun."""
    story, lives = Story(), Lives(url, clock)
    family = parse_url(url).family
    lab = Lab(plan, lives, broker="test", family=family, clock=clock, emit=story, faults=lives.server, **options)
    await lab.start()
    await virtual(clock, lab.ready())
    try:
        yield lab, story, lives
    finally:
        await virtual(clock, lab.stop())


async def virtual(clock: Clock, job: Awaitable[T], step_s: float = 0.01) -> T:
    """Wait for the job while a ManualClock is moved on; on the real clock just wait."""
    task = asyncio.ensure_future(job)
    while isinstance(clock, ManualClock) and not task.done():
        await clock.advance(step_s)
    return await task


async def later(clock: ManualClock, seconds: float) -> None:
    """Let time pass in steps small enough for every actor to act at its own time."""
    for _ in range(round(seconds / 0.01)):
        await clock.advance(0.01)


async def headless(plan: Scenario, url: str, *, length_s: float, seed: int = 7) -> tuple[Report, Story, Lab]:
    """A whole headless run in virtual time."""
    clock = ManualClock()
    story, lives = Story(), Lives(url, clock)
    lab = Lab(plan, lives, broker="test", family=parse_url(url).family, clock=clock, emit=story, seed=seed)
    report = await virtual(clock, run_headless(lab, length_s=length_s))
    return report, story, lab
