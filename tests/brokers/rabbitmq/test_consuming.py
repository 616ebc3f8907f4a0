"""Pausing and resuming a subscription, however fast."""

import asyncio
import uuid

import pytest

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.rabbitmq.consumer import RabbitConsumer
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.topology import Queue, QueueRef, Topology
from tests.conformance.helpers import level
from tests.harness import Target, broker_targets
from tests.support import until


@broker_targets("rabbitmq")
@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_R26_a_pause_during_a_resume_leaves_no_subscription(target: Target, turns: int) -> None:
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    broker = await connector(parse_url(f"{target.url}?management=http://127.0.0.1:1"), clock=SystemClock()).connect()
    await broker.declare(Topology(queues=(Queue(ref=ref),)))
    try:
        async with broker.consume(ref, name="worker", prefetch=2) as consumer:
            assert isinstance(consumer, RabbitConsumer)

            async def consumers(count: int) -> None:
                async def there() -> bool:
                    return (await level(broker, ref)).consumers == count

                await until(there)

            consumer.pause()
            await consumers(0)
            consumer.resume()
            for _ in range(turns):
                await asyncio.sleep(0)
            consumer.pause()
            await until(lambda: consumer._resuming is None)
            await consumers(0)
            consumer.resume()
            consumer.pause()
            consumer.resume()
            await until(lambda: consumer._resuming is None)
            await consumers(1)
    finally:
        await broker.remove(Topology(queues=(Queue(ref=ref),)))
        await broker.close()
