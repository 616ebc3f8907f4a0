"""aio-pika as its documentation shows it: publisher confirms, a callback per message, each acknowledged by itself."""

import asyncio
from collections.abc import Iterator

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from benchmarks.clients.task import WINDOW, Stopwatch, Task, Timing, report, task


async def main(job: Task) -> dict[str, Timing]:
    async with await aio_pika.connect(job.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(job.queue, durable=False)
        timings: dict[str, Timing] = {}
        for prefetch in job.prefetches:
            count = job.count(prefetch)
            published = await publish(channel.default_exchange, job.queue, job.body, count)
            timings.setdefault("publish", published)
            async with connection.channel() as consuming:
                await consuming.set_qos(prefetch_count=prefetch)
                timings[f"prefetch {prefetch}"] = await consume(await consuming.get_queue(job.queue), count)
        await queue.delete(if_unused=False, if_empty=False)
        return timings


async def publish(exchange: AbstractExchange, queue: str, body: bytes, n: int) -> Timing:
    """`WINDOW` tasks, each waiting for its confirm; ends at the last one."""
    numbers = iter(range(n))
    watch = Stopwatch()
    await asyncio.gather(*(_send(exchange, queue, body, numbers) for _ in range(WINDOW)))
    return watch.stop(n)


async def _send(exchange: AbstractExchange, queue: str, body: bytes, numbers: Iterator[int]) -> None:
    for _ in numbers:
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT)
        await exchange.publish(message, routing_key=queue, mandatory=False)


async def consume(queue: aio_pika.abc.AbstractQueue, n: int) -> Timing:
    """From the first delivery on."""
    ended: asyncio.Future[Timing] = asyncio.get_running_loop().create_future()
    watch: Stopwatch | None = None
    taken = 0

    async def on_message(message: AbstractIncomingMessage) -> None:
        nonlocal watch, taken
        watch = watch or Stopwatch()
        await message.ack()
        taken += 1
        if taken == n:
            ended.set_result(watch.stop(n - 1))

    tag = await queue.consume(on_message)
    timing = await ended
    await queue.cancel(tag)
    return timing


if __name__ == "__main__":
    report(asyncio.run(main(task())))
