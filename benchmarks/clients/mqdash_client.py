"""mqdash's RabbitMQ adapter through its port: records in and out, receipts and outcomes checked."""

import asyncio
from collections.abc import Iterator, Sequence

from benchmarks.clients.task import WINDOW, Stopwatch, Task, Timing, report, task
from mqdash.brokers.base import Broker, Consumer, Publisher
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Ack, Delivery, Outgoing, Sent, Settled
from mqdash.model.message import Amqp, Message
from mqdash.model.topology import Queue, QueueRef, Route, Topology

BATCH, SENDERS = 250, 5
DONE = Ack()


async def main(job: Task) -> dict[str, Timing]:
    connector = connector_for(parse_url(job.url), clock=SystemClock())
    broker = await connector.connect()
    queue = QueueRef(job.queue)
    topology = Topology(queues=(Queue(ref=queue, durable=False),))
    await broker.declare(topology)
    try:
        timings: dict[str, Timing] = {}
        for prefetch in job.prefetches:
            published = await publish(broker, queue, job.body, job.count(prefetch))
            timings.setdefault("publish", published)
            timings[f"prefetch {prefetch}"] = await consume(broker, queue, prefetch, job.count(prefetch))
        return timings
    finally:
        await broker.remove(topology)
        await broker.close()


async def publish(broker: Broker, queue: QueueRef, body: bytes, n: int) -> Timing:
    """Several senders of batches keep the window full; ends at the last confirm."""
    sizes = iter([BATCH] * (n // BATCH) + ([n % BATCH] if n % BATCH else []))
    async with broker.publisher(name="bench", window=WINDOW) as publisher:
        watch = Stopwatch()
        await asyncio.gather(*(_send(publisher, queue, body, sizes) for _ in range(SENDERS)))
        return watch.stop(n)


async def _send(publisher: Publisher, queue: QueueRef, body: bytes, sizes: Iterator[int]) -> None:
    route = Route("", queue.name)
    for size in sizes:
        batch = [
            Outgoing(route, Message(content=body, native=Amqp(delivery_mode=1)), mandatory=False) for _ in range(size)
        ]
        receipts = await publisher.send(batch)
        assert all(receipt.sent is Sent.CONFIRMED for receipt in receipts)


async def consume(broker: Broker, queue: QueueRef, prefetch: int, n: int) -> Timing:
    """From the first batch on; each delivery is settled."""
    async with broker.consume(queue, name="bench", prefetch=prefetch) as consumer:
        first = await consumer.take(prefetch)
        watch, left = Stopwatch(), n - len(first)
        await _settle(consumer, first)
        while left:
            left -= await _settle(consumer, await consumer.take(prefetch))
        return watch.stop(n - len(first))


async def _settle(consumer: Consumer, deliveries: Sequence[Delivery]) -> int:
    verdicts = [(delivery, DONE) for delivery in deliveries]
    outcomes = await consumer.settle(verdicts)
    assert all(outcome.settled in {Settled.WRITTEN, Settled.SETTLED} for outcome in outcomes)
    return len(verdicts)


if __name__ == "__main__":
    report(asyncio.run(main(task())))
