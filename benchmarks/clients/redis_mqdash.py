"""mqdash's Redis adapter through its port: records in and out, receipts and outcomes checked."""

import asyncio
from collections.abc import Sequence

from benchmarks.clients.redis_native import BATCH, publisher
from benchmarks.clients.task import Stopwatch, Task, Timing, report, task
from mqdash.brokers.base import Broker, CanSubscribe, Consumer
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Ack, Delivery, Outgoing, Sent, Settled
from mqdash.model.message import Entry, Family, Message, PubSub
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology

DONE = Ack()
MOST_TAKEN = 1000


async def main(job: Task) -> dict[str, Timing]:
    connector = connector_for(parse_url(job.url), clock=SystemClock())
    broker = await connector.connect()
    ref, channel = QueueRef(job.queue, "bench"), f"{job.queue}.channel"
    topology = Topology(
        destinations=(
            Destination(name=job.queue, kind="stream", family=Family.REDIS_STREAMS),
            Destination(name=channel, kind="channel", family=Family.REDIS_PUBSUB),
        ),
        queues=(Queue(ref=ref, kind="group", family=Family.REDIS_STREAMS),),
    )
    await broker.declare(topology)
    try:
        entry = Message(content=((b"body", job.body),), native=Entry())
        timings = {"publish": await publish(broker, Route(job.queue), entry, job.n)}
        for prefetch in job.prefetches:
            timings[f"prefetch {prefetch}"] = await consume(broker, ref, prefetch, job.n)
        plain = Message(content=job.body, native=PubSub())
        timings["channel publish"] = await publish(broker, Route(channel), plain, job.n)
        timings["receive"] = await receive(broker, channel, job)
        return timings
    finally:
        await broker.remove(topology)
        await broker.close()


async def publish(broker: Broker, route: Route, like: Message, n: int) -> Timing:
    """Pipelines of `BATCH`, a record made for each message; ends at the last receipt."""
    content, native = like.content, like.native
    async with broker.publisher(name="bench") as publisher:
        await publisher.send([Outgoing(Route(f"{route.destination}.warm"), Message(content=b"", native=PubSub()))])
        watch = Stopwatch()
        for _ in range(n // BATCH):
            receipts = await publisher.send(
                [Outgoing(route, Message(content=content, native=native)) for _ in range(BATCH)]
            )
            assert all(receipt.sent is Sent.CONFIRMED for receipt in receipts)
        return watch.stop(n // BATCH * BATCH)


async def consume(broker: Broker, ref: QueueRef, prefetch: int, n: int) -> Timing:
    """From the first batch on; each delivery is settled."""
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


async def receive(broker: Broker, channel: str, job: Task) -> Timing:
    """From the first batch to the last message, while redis-benchmark publishes."""
    assert isinstance(broker, CanSubscribe)
    async with broker.subscribe([channel], name="bench") as subscription:
        source = await publisher(Task(url=job.url, queue=channel, n=job.n, body_bytes=job.body_bytes))
        first = taken = len(await subscription.take(MOST_TAKEN))
        watch = Stopwatch()
        while taken < job.n:
            taken += sum(len(one.message.body) > 0 for one in await subscription.take(MOST_TAKEN))
        timing = watch.stop(taken - first)
        await source.wait()
        return timing


if __name__ == "__main__":
    report(asyncio.run(main(task())))
