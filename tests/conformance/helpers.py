"""What bodies do again and again."""

import asyncio
from collections.abc import Iterable, Sequence

from mqdash.brokers.base import Broker, Consumer
from mqdash.model.delivery import Ack, Delivery, Measurement, Outgoing, Receipt, Sent, Settled, Verdict
from mqdash.model.message import Message
from mqdash.model.topology import QueueRef
from tests.conformance.subjects import Work
from tests.support import until

DONE = frozenset({Settled.SETTLED, Settled.WRITTEN})


async def publish(broker: Broker, work: Work, messages: Iterable[Message]) -> Sequence[Receipt]:
    """Publish to the place of work; every message must be confirmed."""
    async with broker.publisher(name="test publisher") as publisher:
        receipts = await publisher.send([Outgoing(work.route, message) for message in messages])
    assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED] * len(receipts), receipts
    return receipts


async def take(consumer: Consumer, count: int, timeout_s: float = 10.0) -> list[Delivery]:
    """Exactly `count` deliveries."""
    taken: list[Delivery] = []
    async with asyncio.timeout(timeout_s):
        while len(taken) < count:
            taken += await consumer.take(count - len(taken))
    return taken


async def settle(consumer: Consumer, verdicts: Sequence[tuple[Delivery, Verdict]]) -> None:
    """Settle; every outcome must be SETTLED or WRITTEN."""
    outcomes = await consumer.settle(verdicts)
    assert all(outcome.settled in DONE for outcome in outcomes), outcomes


async def ack(consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
    await settle(consumer, [(delivery, Ack()) for delivery in deliveries])


def bodies(deliveries: Iterable[Delivery]) -> list[bytes]:
    return [delivery.message.body for delivery in deliveries]


async def level(broker: Broker, queue: QueueRef) -> Measurement:
    [measured] = await broker.measure([queue])
    return measured


async def waiting(broker: Broker, queue: QueueRef, count: int, timeout_s: float = 10.0) -> None:
    """Wait until exactly `count` messages wait in the queue."""

    async def reached() -> bool:
        return (await level(broker, queue)).waiting == count

    await until(reached, timeout_s, what=f"{count} messages wait in {queue}")
