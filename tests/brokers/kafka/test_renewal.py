"""A publisher that goes on in a new session, disturbed while it waits for what is on its way: no producer is left behind."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mqdash.brokers.kafka.broker import KafkaConnector
from mqdash.brokers.kafka.lanes import Batch
from mqdash.brokers.kafka.publisher import KafkaPublisher
from mqdash.brokers.kafka.way import Way
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Route, Topology
from tests.harness import Target, broker_targets
from tests.support import until


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every producer that was opened."""
    opened: list[Any] = []
    producer = Way.producer

    async def noted(way: Way, name: str) -> Any:
        opened.append(await producer(way, name))
        return opened[-1]

    monkeypatch.setattr(Way, "producer", noted)
    return opened


@asynccontextmanager
async def _landing(target: Target) -> AsyncIterator[tuple[KafkaPublisher, list[Outgoing], Batch, asyncio.Task[bool]]]:
    """A publisher, what it has sent, and its renewal, which waits for the answer to that batch."""
    broker = await KafkaConnector(parse_url(target.url), clock=SystemClock()).connect()
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    topology = Topology(destinations=(Destination(name=name, kind="topic", family=Family.KAFKA, partitions=1),))
    await broker.declare(topology)
    try:
        async with broker.publisher(name="p") as publisher:
            assert isinstance(publisher, KafkaPublisher)
            batch = [Outgoing(Route(name), compose(Draft(body=b"x"), Family.KAFKA))]
            assert [receipt.sent for receipt in await publisher.send(batch)] == [Sent.CONFIRMED]
            lane = publisher._lanes._lane(name, 0)
            slow = Batch(publisher._producer.create_batch())
            lane.leaving.add(slow)
            renewal = asyncio.create_task(publisher._renew(publisher._producer))
            await until(lambda: lane._closed, what="the old lanes to close")
            yield publisher, batch, slow, renewal
    finally:
        await broker.remove(topology)
        await broker.close()


def _all_stopped(producers: list[Any]) -> bool:
    return all(producer._closed and producer._sender._sender_task.done() for producer in producers)


@broker_targets("kafka")
async def test_K6_a_cancelled_send_does_not_stop_the_renewal_it_began(target: Target, producers: list[Any]) -> None:
    async with _landing(target) as (publisher, batch, slow, renewal):
        renewal.cancel()
        await asyncio.wait({renewal})
        assert renewal.cancelled()
        slow.ended(TimeoutError())
        await until(lambda: publisher._producer is producers[-1], what="the new session")
        assert [receipt.sent for receipt in await publisher.send(batch)] == [Sent.CONFIRMED]
        await until(lambda: _all_stopped(producers[:1]), what="the old producer to stop")
    assert len(producers) == 2
    await until(lambda: _all_stopped(producers), what="both producers to stop")


@broker_targets("kafka")
async def test_K6_a_link_that_ends_during_the_renewal_leaves_no_producer(target: Target, producers: list[Any]) -> None:
    async with _landing(target) as (publisher, _, slow, renewal):
        publisher.end("the broker went away")
        slow.ended(TimeoutError())
        assert not await renewal
    assert len(producers) == 2
    await until(lambda: _all_stopped(producers), what="both producers to stop")
