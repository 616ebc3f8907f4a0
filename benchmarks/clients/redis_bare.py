"""redis-py as it comes (asyncio, hiredis): pipelines without a transaction, XREADGROUP and XACK in batches, `listen()`."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from benchmarks.clients.redis_native import BATCH, publisher
from benchmarks.clients.task import Stopwatch, Task, Timing, report, task


async def main(job: Task) -> dict[str, Timing]:
    async with Redis.from_url(job.url) as client:
        await client.xgroup_create(job.queue, "bench", id="0", mkstream=True)
        try:
            timings = {"publish": await publish(client, job, stream=True)}
            for prefetch in job.prefetches:
                timings[f"prefetch {prefetch}"] = await consume(client, job.queue, prefetch, job.n)
            timings["channel publish"] = await publish(client, job, stream=False)
            timings["receive"] = await receive(client, job)
            return timings
        finally:
            await client.delete(job.queue)


async def publish(client: Redis, job: Task, *, stream: bool) -> Timing:
    """Pipelines of `BATCH`; ends at the last reply."""
    body, queue, channel = job.body, job.queue, f"{job.queue}.channel"
    watch = Stopwatch()
    for _ in range(job.n // BATCH):
        pipeline = client.pipeline(transaction=False)
        for _ in range(BATCH):
            if stream:
                pipeline.xadd(queue, {b"body": body})
            else:
                pipeline.publish(channel, body)
        replies = await pipeline.execute()
        assert len(replies) == BATCH
    return watch.stop(job.n // BATCH * BATCH)


async def consume(client: Redis, stream: str, prefetch: int, n: int) -> Timing:
    """From the first batch on."""
    first = taken = await _batch(client, stream, prefetch)
    watch = Stopwatch()
    while taken < n:
        taken += await _batch(client, stream, prefetch)
    return watch.stop(taken - first)


async def _batch(client: Redis, stream: str, prefetch: int) -> int:
    reply: Any = await client.xreadgroup("bench", "bench", {stream: ">"}, count=prefetch, block=1000)
    found = reply[stream.encode()][0] if isinstance(reply, dict) else reply[0][1]
    ids = [entry_id for entry_id, fields in found if fields[b"body"]]
    assert await client.xack(stream, "bench", *ids) == len(found)
    return len(found)


async def receive(client: Redis, job: Task) -> Timing:
    """From the first message to the last, while redis-benchmark publishes."""
    channel = f"{job.queue}.channel"
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        await pubsub.get_message(timeout=5)
        source = await publisher(Task(url=job.url, queue=channel, n=job.n, body_bytes=job.body_bytes))
        taken, watch = 0, None
        async for message in pubsub.listen():
            watch = watch or Stopwatch()
            taken += len(message["data"]) > 0
            if taken == job.n:
                break
        assert watch is not None
        timing = watch.stop(taken - 1)
        await source.wait()
        return timing


if __name__ == "__main__":
    report(asyncio.run(main(task())))
