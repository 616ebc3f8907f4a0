"""pika as it comes: AsyncioConnection, callbacks, each message acknowledged by itself; at prefetch 500 also one ack per 50."""

import asyncio
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from benchmarks.clients.task import WINDOW, Stopwatch, Task, Timing, report, task

ACK_EVERY = 50


async def main(job: Task) -> dict[str, Timing]:
    connection = await _connected(job.url)
    channel = await _done(lambda done: connection.channel(on_open_callback=done))
    await _done(lambda done: channel.queue_declare(job.queue, durable=False, callback=done))
    timings: dict[str, Timing] = {}
    for prefetch in job.prefetches:
        published = await publish(connection, job.queue, job.body, job.count(prefetch))
        timings.setdefault("publish", published)
        timings[f"prefetch {prefetch}"] = await consume(connection, job.queue, prefetch, job.count(prefetch), 1)
    if 500 in job.prefetches:
        await publish(connection, job.queue, job.body, job.n)
        timings["prefetch 500, ack per 50"] = await consume(connection, job.queue, 500, job.n, ACK_EVERY)
    await _done(lambda done: channel.queue_delete(job.queue, callback=done))
    return timings


async def publish(connection: AsyncioConnection, queue: str, body: bytes, n: int) -> Timing:
    """At most `WINDOW` unconfirmed; ends at the last confirm."""
    channel = await _done(lambda done: connection.channel(on_open_callback=done))
    properties = pika.BasicProperties(delivery_mode=1)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sent = confirmed = 0

    def more() -> None:
        nonlocal sent
        while sent < n and sent - confirmed < WINDOW:
            channel.basic_publish("", queue, body, properties)
            sent += 1

    def on_confirm(frame: Any) -> None:
        nonlocal confirmed
        method = frame.method
        assert isinstance(method, pika.spec.Basic.Ack)
        confirmed = max(confirmed, method.delivery_tag) if method.multiple else confirmed + 1
        if confirmed == n:
            ended.set_result(None)
        else:
            more()

    await _done(lambda done: channel.confirm_delivery(on_confirm, callback=done))
    watch = Stopwatch()
    more()
    await ended
    timing = watch.stop(n)
    channel.close()
    return timing


async def consume(connection: AsyncioConnection, queue: str, prefetch: int, n: int, ack_every: int) -> Timing:
    """From the first delivery on."""
    channel = await _done(lambda done: connection.channel(on_open_callback=done))
    await _done(lambda done: channel.basic_qos(prefetch_count=prefetch, callback=done))
    ended: asyncio.Future[Timing] = asyncio.get_running_loop().create_future()
    watch: Stopwatch | None = None
    taken = 0

    def on_message(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        nonlocal watch, taken
        watch = watch or Stopwatch()
        taken += 1
        if ack_every == 1:
            channel.basic_ack(method.delivery_tag)
        elif taken % ack_every == 0 or taken == n:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if taken == n:
            ended.set_result(watch.stop(n - 1))

    channel.basic_consume(queue, on_message)
    timing = await ended
    channel.close()
    return timing


async def _connected(url: str) -> AsyncioConnection:
    opened: asyncio.Future[AsyncioConnection] = asyncio.get_running_loop().create_future()
    AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda _, error: opened.set_exception(error),
    )
    return await opened


async def _done(start: Callable[[Callable[[Any], None]], object]) -> Any:
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    start(done.set_result)
    return await done


if __name__ == "__main__":
    report(asyncio.run(main(task())))
