"""Looking at dead letters costs nothing, or is refused with the reason (F1-F3)."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.rabbitmq.broker import RabbitBroker
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import BrokerError
from mqdash.model.delivery import Outgoing
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Queue, QueueRef, Route, Topology
from tests.conformance.helpers import bodies, waiting
from tests.harness import Target, broker_targets


@contextlib.asynccontextmanager
async def _filled(target: Target, count: int, **limits: Any) -> AsyncIterator[tuple[RabbitBroker, QueueRef]]:
    """A queue of `count` messages, on a broker whose management API is not asked (the queue is known as declared)."""
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    topology = Topology(queues=(Queue(ref=ref, **limits),))
    broker = await connector(parse_url(target.url), clock=SystemClock()).connect()
    assert isinstance(broker, RabbitBroker)
    await broker.declare(topology)
    try:
        async with broker.publisher(name="p") as publisher:
            drafts = [Draft(body=b"%d" % number) for number in range(count)]
            await publisher.send([Outgoing(Route("", ref.name), compose(one, Family.RABBITMQ)) for one in drafts])
        yield broker, ref
    finally:
        await broker.remove(topology)
        await broker.close()


@broker_targets("rabbitmq")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_F2_three_looks_leave_the_order_as_it_was(target: Target, kind: str) -> None:
    async with _filled(target, 6, kind=kind) as (broker, ref):
        for _ in range(3):
            async with broker.lease(ref, limit=3) as lease:
                assert bodies(lease.letters) == [b"0", b"1", b"2"]
            await waiting(broker, ref, 6)


@broker_targets("rabbitmq")
async def test_F1_a_look_that_would_cost_a_message_is_refused_in_time(target: Target) -> None:
    async with _filled(target, 3, kind="quorum", delivery_limit=4) as (broker, ref):
        left: list[int | str | None] = []
        for _ in range(7):
            try:
                async with broker.lease(ref, limit=3) as lease:
                    left.append(lease.info.returns_left)
            except BrokerError as error:
                left.append("refused" if "more returns" in error.text else error.text)
        assert left == [4, 3, *["refused"] * 5]
        await waiting(broker, ref, 3)


@broker_targets("rabbitmq")
@pytest.mark.parametrize(("limits", "why"), [({"max_length": 10}, "oldest"), ({"ttl_s": 60.0}, "expire")])
async def test_F3_a_queue_that_would_lose_what_is_given_back_is_not_opened(
    target: Target, limits: dict[str, Any], why: str
) -> None:
    async with _filled(target, 2, **limits) as (broker, ref):
        with pytest.raises(BrokerError, match=why):
            async with broker.lease(ref):
                pass
        await waiting(broker, ref, 2)


@broker_targets("rabbitmq")
async def test_more_than_one_batch_of_gets(target: Target) -> None:
    async with _filled(target, 250) as (broker, ref):
        async with broker.lease(ref, limit=230) as lease:
            assert bodies(lease.letters) == [b"%d" % number for number in range(230)]
            await lease.remove(lease.letters[:200])
        await waiting(broker, ref, 50)
