"""mqdash's Kafka adapter through its port: records in and out, receipts and outcomes checked."""

import asyncio
from collections.abc import Iterator, Sequence

from benchmarks.clients.task import WINDOW, Stopwatch, Task, Timing, report, task
from mqdash.brokers.base import Broker, Consumer, Publisher
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Ack, Delivery, Outgoing, Sent, Settled
from mqdash.model.message import Family, Message, Record
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology

BATCH, BURST, BURSTS = 20, 1000, 5
DONE = Ack()


async def main(job: Task) -> dict[str, Timing]:
    connector = connector_for(parse_url(job.url), clock=SystemClock())
    broker = await connector.connect()
    ref = QueueRef(job.queue, "bench")
    topology = Topology(
        destinations=(Destination(name=job.queue, kind="topic", family=Family.KAFKA),),
        queues=(Queue(ref=ref, kind="group", family=Family.KAFKA),),
    )
    await broker.declare(topology)
    try:
        timings = {"publish": await publish(broker, job, batch=BATCH, senders=WINDOW // BATCH)}
        if job.bursts:
            timings["burst"] = await publish(broker, job, batch=BURST, senders=BURSTS)
        for prefetch in job.prefetches:
            timings[f"prefetch {prefetch}"] = await consume(broker, ref, prefetch, job.n)
        return timings
    finally:
        await broker.remove(topology)
        await broker.close()


async def publish(broker: Broker, job: Task, *, batch: int, senders: int) -> Timing:
    """As many senders as fill the window of `batch * senders`; from the first receipt to the last."""
    n = job.n // batch * batch
    sizes = iter([batch] * (n // batch))
    async with broker.publisher(name="bench", window=batch * senders) as publisher:
        await _send(publisher, job, iter([1]))
        watch = Stopwatch()
        await asyncio.gather(*(_send(publisher, job, sizes) for _ in range(senders)))
        return watch.stop(n)


async def _send(publisher: Publisher, job: Task, sizes: Iterator[int]) -> None:
    route, native, body = Route(job.queue), Record(), job.body
    for size in sizes:
        receipts = await publisher.send([Outgoing(route, Message(content=body, native=native)) for _ in range(size)])
        assert all(receipt.sent is Sent.CONFIRMED for receipt in receipts), receipts[0]


async def consume(broker: Broker, ref: QueueRef, prefetch: int, n: int) -> Timing:
    """From the first batch on; each delivery is settled: a commit per batch."""
    async with broker.consume(ref, name="bench", prefetch=prefetch) as consumer:
        first = await consumer.take(prefetch)
        watch, taken = Stopwatch(), len(first)
        await _settle(consumer, first)
        while taken < n:
            deliveries = await consumer.take(prefetch)
            await _settle(consumer, deliveries)
            taken += len(deliveries)
        return watch.stop(taken - len(first))


async def _settle(consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
    outcomes = await consumer.settle([(delivery, DONE) for delivery in deliveries])
    assert all(outcome.settled is Settled.SETTLED for outcome in outcomes)


if __name__ == "__main__":
    report(asyncio.run(main(task())))
