"""aiokafka as it comes, with the settings of our adapter: `send()` and gather, `send_batch()`, `getmany()` and a commit per batch."""

import asyncio
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.clients.task import WINDOW, Stopwatch, Task, Timing, report, task

BATCH, BURST, BURSTS = 20, 1000, 5


async def main(job: Task) -> dict[str, Timing]:
    server = job.url.partition("//")[2]
    admin = AIOKafkaAdminClient(bootstrap_servers=server)
    await admin.start()
    await admin.create_topics([NewTopic(job.queue, num_partitions=1, replication_factor=1)])
    try:
        async with _producer(server) as producer:
            await producer.send_and_wait(job.queue, b"first")
            timings = {"publish": await publish(producer, job, batch=BATCH, senders=WINDOW // BATCH)}
            if job.bursts:
                timings["bare burst"] = await publish(producer, job, batch=BURST, senders=BURSTS)
                timings["batches"] = await batches(producer, job)
        for prefetch in job.prefetches:
            timings[f"prefetch {prefetch}"] = await consume(server, job.queue, prefetch, job.n)
        return timings
    finally:
        await admin.delete_topics([job.queue])
        await admin.close()


def _producer(server: str) -> Any:
    return AIOKafkaProducer(
        bootstrap_servers=server,
        acks="all",
        enable_idempotence=True,
        max_batch_size=262_144,
        linger_ms=5,
    )


async def publish(producer: Any, job: Task, *, batch: int, senders: int) -> Timing:
    """As many senders as fill the window of `batch * senders`, each waiting for its batch; ends at the last result."""
    n = job.n // batch * batch
    sizes = iter([batch] * (n // batch))
    watch = Stopwatch()
    await asyncio.gather(*(_send(producer, job, sizes) for _ in range(senders)))
    return watch.stop(n)


async def _send(producer: Any, job: Task, sizes: Iterator[int]) -> None:
    body = job.body
    for size in sizes:
        await asyncio.gather(*[await producer.send(job.queue, body) for _ in range(size)])


async def batches(producer: Any, job: Task) -> Timing:
    """`create_batch` and `send_batch` by hand: no key, no partitioner, no receipt per message."""
    sizes = iter([BURST] * (job.n // BURST))
    watch = Stopwatch()
    await asyncio.gather(*(_send_batches(producer, job, sizes) for _ in range(BURSTS)))
    return watch.stop(job.n // BURST * BURST)


async def _send_batches(producer: Any, job: Task, sizes: Iterator[int]) -> None:
    body = job.body
    for size in sizes:
        left, ends = size, []
        while left:
            builder = producer.create_batch()
            while left and builder.append(key=None, value=body, timestamp=None) is not None:
                left -= 1
            ends.append(await producer.send_batch(builder, job.queue, partition=0))
        await asyncio.gather(*ends)


async def consume(server: str, topic: str, prefetch: int, n: int) -> Timing:
    """From the first batch on."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=server, group_id="bench", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with consumer:
        first = taken = await _batch(consumer, prefetch)
        watch = Stopwatch()
        await consumer.commit()
        while taken < n:
            taken += await _batch(consumer, prefetch)
            await consumer.commit()
        return watch.stop(taken - first)


async def _batch(consumer: Any, prefetch: int) -> int:
    found = await consumer.getmany(timeout_ms=1000, max_records=prefetch)
    return sum(len(record.value) > 0 for records in found.values() for record in records)


if __name__ == "__main__":
    report(asyncio.run(main(task())))
