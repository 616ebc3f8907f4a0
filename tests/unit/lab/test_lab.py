"""The lab as a whole: no connection, several processes on one run, errors at the start, what it tells."""

from collections.abc import AsyncIterator

import pytest

from mqdash.brokers.base import Broker
from mqdash.clock import ManualClock
from mqdash.errors import Conflict, InputError
from mqdash.lab.lab import Lab
from mqdash.lab.members import MEMBERS
from mqdash.model.actors import WorkerState
from mqdash.model.events import LedgerCounted, Noted
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef, Topology
from tests.unit.lab.labs import CLICKS, Lives, Story, later, scenario, virtual, working

RABBIT = "embedded://rabbitmq"


async def never() -> AsyncIterator[Broker]:
    clock = ManualClock()
    await clock.sleep(1.0)
    yield await Lives(RABBIT, clock).connector.connect()


async def test_without_a_connection_it_waits_and_can_be_stopped() -> None:
    clock, story = ManualClock(), Story()
    lab = Lab(scenario(), never, broker="test", family=Family.RABBITMQ, clock=clock, emit=story)
    await lab.start()
    await later(clock, 0.5)
    assert {worker.state for worker in lab.workers.values()} == {WorkerState.STARTING}
    assert lab.producers["boss"].record.state == "blocked"
    await virtual(clock, lab.stop())
    await virtual(clock, lab.stop())


def test_a_scenario_that_does_not_run_here_is_refused() -> None:
    with pytest.raises(InputError, match="scenario clicks does not run on rabbitmq"):
        Lab(CLICKS, never, broker="test", family=Family.RABBITMQ, clock=ManualClock(), emit=Story())


async def test_R10_what_exists_otherwise_is_told_and_ends_ready() -> None:
    clock, story = ManualClock(), Story()
    lives = Lives(RABBIT, clock)
    broker = await lives.connector.connect()
    plan = scenario()
    other = [queue for queue in plan.topology_on(plan.families).queues if queue.ref.name == "failed"]
    await broker.declare(Topology(queues=tuple(type(queue)(ref=queue.ref, durable=False) for queue in other)))
    lab = Lab(plan, lives, broker="test", family=Family.RABBITMQ, clock=clock, emit=story)
    await lab.start()
    with pytest.raises(Conflict):
        await virtual(clock, lab.ready())
    assert [event.level for event in story.of(Noted)] == ["broken"]
    await virtual(clock, lab.stop())


async def test_whoever_leaves_last_removes_what_the_run_declared() -> None:
    clock = ManualClock()
    lives = Lives(RABBIT, clock)
    refs = [QueueRef("jobs"), QueueRef("failed"), MEMBERS]
    labs = [
        Lab(
            scenario(),
            lives,
            broker="test",
            family=Family.RABBITMQ,
            clock=clock,
            emit=Story(),
            shared=True,
            instance=name,
        )
        for name in ("a", "b")
    ]
    for lab in labs:
        await lab.start()
        await virtual(clock, lab.ready())
    watcher = await lives.connector.connect()
    await virtual(clock, labs[0].stop())
    assert [found.queue for found in await watcher.measure(refs)] == refs
    await virtual(clock, labs[1].stop())
    assert await watcher.measure(refs) == []


async def test_the_ledger_is_told_once_a_second() -> None:
    clock = ManualClock()
    async with working(scenario(), RABBIT, clock) as (_, story, _):
        await later(clock, 3.3)
        assert 3 <= len(story.of(LedgerCounted)) <= 4
        assert story.of(LedgerCounted)[-1].done > 100
