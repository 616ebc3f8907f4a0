"""What a replay says before it happens, on families where a log or stream is read by more than one group."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.control.attachment import Attachment
from mqdash.control.audit import Audit
from mqdash.control.letters import LetterBox
from mqdash.model.delivery import DeadLetter, Outgoing
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mqdash.brokers.base import Broker

STREAMS = Family.REDIS_STREAMS


class LinkTo:
    """The way to a broker that is connected."""

    def __init__(self, life: Broker) -> None:
        self.life = life
        self.cause = ""
        self.state = "up"


def _group(name: str) -> Queue:
    return Queue(ref=QueueRef("alerts", name), kind="group", family=STREAMS)


STREAM = Destination(name="alerts", kind="stream", family=STREAMS)
PAGER, AUDIT = _group("pager"), _group("audit")
ALONE = "read by pager, where it failed, and by no other group"
EVERY = "adding to the stream reaches every group on it, also those that succeeded"


@asynccontextmanager
async def _connected() -> AsyncIterator[tuple[Broker, Attachment]]:
    url = parse_url("embedded://redis")
    broker: Broker = await connector_for(url, clock=SystemClock(), bounded=False).connect()
    try:
        yield broker, Attachment(name="lab", url=url, link=LinkTo(broker), writable=True)  # type: ignore[arg-type]
    finally:
        await broker.close()


async def _bury_one(broker: Broker, *failing: Queue) -> None:
    """One alert, dead-lettered by each of these groups."""
    async with broker.publisher(name="sensors") as publisher:
        await publisher.send([Outgoing(Route("alerts"), compose(Draft(body=b"{}"), STREAMS))])
    for queue in failing:
        async with broker.consume(queue.ref, name="P1", prefetch=10) as worker:
            taken = await worker.take(10)
            await worker.settle([(delivery, DeadLetter("PagerDown", "")) for delivery in taken])


async def _told(attachment: Attachment, state_dir: Path, *numbers: int, target: Route | None = None) -> str:
    """What the plan says of where these letters go."""
    clock = SystemClock()
    found = LetterBox(
        attachment, QueueRef("{alerts}:dlq"), clock=clock, emit=lambda _: None,
        audit=Audit(clock=clock, emit=lambda _: None), state_dir=state_dir,
    )  # fmt: skip
    await found.open()
    try:
        plan = await found.plan(numbers, target=target)
        assert len(plan.letters) == len(numbers)
        return plan.to_note
    finally:
        await found.close()


async def test_plan_names_the_groups_a_replay_reaches_beside_the_one_it_failed_in(tmp_path: Path) -> None:
    async with _connected() as (broker, attachment):
        await broker.declare(Topology(destinations=(STREAM,), queues=(PAGER,)))
        await _bury_one(broker, PAGER)
        assert await _told(attachment, tmp_path, 0) == ALONE
        await broker.declare(Topology(destinations=(STREAM,), queues=(PAGER, AUDIT)))
        assert await _told(attachment, tmp_path, 0) == f"{EVERY}: audit"


async def test_plan_of_letters_that_failed_in_two_groups_names_both_as_each_reads_the_others(tmp_path: Path) -> None:
    async with _connected() as (broker, attachment):
        await broker.declare(Topology(destinations=(STREAM,), queues=(PAGER, AUDIT)))
        await _bury_one(broker, PAGER, AUDIT)
        assert await _told(attachment, tmp_path, 0, 1) == f"{EVERY}: audit, pager"
        assert {await _told(attachment, tmp_path, n) for n in (0, 1)} == {f"{EVERY}: audit", f"{EVERY}: pager"}


async def test_plan_says_no_other_group_of_the_stream_it_failed_in_only(tmp_path: Path) -> None:
    other = Destination(name="calls", kind="stream", family=STREAMS)
    calls = Queue(ref=QueueRef("calls", "pager"), kind="group", family=STREAMS)
    async with _connected() as (broker, attachment):
        await broker.declare(Topology(destinations=(STREAM, other), queues=(PAGER, calls)))
        await _bury_one(broker, PAGER)
        assert await _told(attachment, tmp_path, 0, target=Route("calls")) == f"{EVERY}: pager"


async def test_plan_says_no_other_group_only_when_the_catalogue_told_all(tmp_path: Path) -> None:
    more = tuple(Destination(name=f"alerts-{n}", kind="stream", family=STREAMS) for n in range(60))
    async with _connected() as (broker, attachment):
        await broker.declare(Topology(destinations=(STREAM, *more), queues=(PAGER,)))
        await _bury_one(broker, PAGER)
        assert await _told(attachment, tmp_path, 0) == EVERY
