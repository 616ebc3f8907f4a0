"""What a replay says before it happens, on families where a log or stream is read by more than one group."""

from __future__ import annotations

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
    from pathlib import Path

    from mqdash.brokers.base import Broker

STREAMS = Family.REDIS_STREAMS


class LinkTo:
    """The way to a broker that is connected."""

    def __init__(self, life: Broker) -> None:
        self.life = life
        self.cause = ""
        self.state = "up"


async def test_plan_names_the_groups_a_replay_reaches_beside_the_one_it_failed_in(tmp_path: Path) -> None:
    url, clock = parse_url("embedded://redis"), SystemClock()
    stream, pager, other = (
        Destination(name="alerts", kind="stream", family=STREAMS),
        *(Queue(ref=QueueRef("alerts", name), kind="group", family=STREAMS) for name in ("pager", "audit")),
    )
    broker: Broker = await connector_for(url, clock=clock, bounded=False).connect()
    attachment = Attachment(name="lab", url=url, link=LinkTo(broker), writable=True)  # type: ignore[arg-type]
    told: list[str] = []
    for queues in ((pager,), (pager, other)):
        await broker.declare(Topology(destinations=(stream,), queues=queues))
        async with broker.publisher(name="sensors") as publisher:
            await publisher.send([Outgoing(Route("alerts"), compose(Draft(body=b"{}"), STREAMS))])
        async with broker.consume(pager.ref, name="P1", prefetch=10) as worker:
            taken = await worker.take(10)
            await worker.settle([(delivery, DeadLetter("PagerDown", "")) for delivery in taken])
        found = LetterBox(
            attachment, QueueRef("{alerts}:dlq"), clock=clock, emit=lambda _: None,
            audit=Audit(clock=clock, emit=lambda _: None), state_dir=tmp_path,
        )  # fmt: skip
        await found.open()
        told.append((await found.plan([0])).to_note)
        await found.close()
    await broker.close()
    assert told == [
        "read by pager, where it failed, and by no other group",
        "adding to the stream reaches every group on it, also those that succeeded: audit",
    ]
