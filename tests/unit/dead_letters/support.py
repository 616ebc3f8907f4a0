"""A grave with dead letters in it, on the embedded RabbitMQ, and a control over it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mqdash.brokers.metered import metered
from mqdash.brokers.registry import connector_for
from mqdash.brokers.supervise import Link
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.control.actions import Control
from mqdash.control.attachment import Attachment
from mqdash.control.audit import Audit
from mqdash.model.delivery import DeadLetter, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mqdash.brokers.base import Broker
    from mqdash.control.letters import LetterBox
    from mqdash.model.events import Event

ORDERS, FAILED = QueueRef("orders"), QueueRef("orders.failed")
TOPOLOGY = Topology(
    destinations=(Destination(name="orders.dlx", kind="fanout"),),
    queues=(
        Queue(ref=ORDERS, dead_letter=Route("orders.dlx")),
        Queue(ref=FAILED, holds_dead_letters=True),
    ),
    bindings=(Binding(source="orders.dlx", queue=FAILED),),
)


class Bench:
    """One attachment to a fresh embedded RabbitMQ."""

    def __init__(self, broker: Broker, control: Control, server: Any, events: list[Event]) -> None:
        self.broker = broker
        self.control = control
        self.server = server
        self.events = events

    async def bury(self, n: int, *, error: str = "PaymentDeclined", text: str = "card 4242") -> None:
        """Publish `n` orders and let W1 dead-letter them."""
        async with self.broker.publisher(name="shop") as publisher:
            batch = [
                Outgoing(Route("", "orders"), compose(Draft(body=b'{"n": %d}' % i, id=f"m-{i}"), Family.RABBITMQ))
                for i in range(n)
            ]
            assert all(receipt.sent is Sent.CONFIRMED for receipt in await publisher.send(batch))
        async with self.broker.consume(ORDERS, name="W1", prefetch=n) as worker:
            taken: list[Any] = []
            while len(taken) < n:
                taken += await worker.take(n)
            outcomes = await worker.settle([(delivery, DeadLetter(error, text)) for delivery in taken])
            assert {outcome.settled for outcome in outcomes} <= {Settled.SETTLED, Settled.WRITTEN}

    async def waiting(self, queue: QueueRef) -> int:
        """What waits in a queue now."""
        return (await self.broker.measure([queue]))[0].waiting or 0

    async def bodies(self, queue: QueueRef) -> list[bytes]:
        """Look at everything in a queue and give it back."""
        async with self.broker.lease(queue, limit=1000) as lease:  # type: ignore[attr-defined]
            return [letter.message.body for letter in lease.letters]

    async def open(self) -> LetterBox:
        """The dead letters of `orders.failed`."""
        return await self.control.open_letters("lab", FAILED)


@asynccontextmanager
async def bench(state_dir: Path, *, writable: bool = True) -> AsyncIterator[Bench]:
    """A broker with `orders` and `orders.failed`, attached as `lab`."""
    clock, events = SystemClock(), list[Any]()
    url = parse_url("embedded://rabbitmq")
    connector = connector_for(url, clock=clock, bounded=False)

    async def connect() -> Broker:
        return metered(await connector.connect(), "lab", clock=clock, emit=events.append)

    link = Link("lab", url, connect, clock=clock, emit=events.append)
    attachment = Attachment(name="lab", url=url, link=link, writable=writable, topology=TOPOLOGY)
    audit = Audit(clock=clock, emit=events.append)
    control = Control([attachment], clock=clock, emit=events.append, audit=audit, state_dir=state_dir)
    link.start()
    try:
        broker = await link.opened()
        await broker.declare(TOPOLOGY)
        yield Bench(broker, control, connector.server, events)  # type: ignore[attr-defined]
    finally:
        await link.close()
