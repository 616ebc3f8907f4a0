"""Looking at dead letters costs nothing, or is refused with the reason (F1-F3)."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.rabbitmq.broker import RabbitBroker
from mqdash.brokers.rabbitmq.definition import TRAPS, defined
from mqdash.brokers.rabbitmq.scratch import Scratch
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import BrokerError, Conflict, NotFound, Unsupported
from mqdash.model.delivery import Outgoing
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Queue, QueueRef, Route, Topology
from tests.brokers.rabbitmq import admin
from tests.conformance.helpers import bodies, waiting
from tests.harness import Target, broker_targets


async def _connect(target: Target) -> RabbitBroker:
    """A connection that knows only what it declares itself, for there is no management API to ask."""
    url = parse_url(f"{target.url}?management=http://127.0.0.1:1")
    broker = await connector(url, clock=SystemClock()).connect()
    assert isinstance(broker, RabbitBroker)
    return broker


@contextlib.asynccontextmanager
async def _filled(target: Target, count: int, **limits: Any) -> AsyncIterator[tuple[RabbitBroker, QueueRef]]:
    """A queue of `count` messages, on a broker whose management API is not asked (the queue is known as declared)."""
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    topology = Topology(queues=(Queue(ref=ref, **limits),))
    broker = await _connect(target)
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


@broker_targets("rabbitmq")
async def test_F1_without_the_api_a_strangers_quorum_queue_is_asked_for_its_limit(target: Target) -> None:
    async with _filled(target, 3, kind="quorum", delivery_limit=4) as (broker, ref):
        left: list[int | str | None] = []
        for _ in range(6):
            stranger = await _connect(target)  # nothing is remembered from one look to the next
            try:
                async with stranger.lease(ref, limit=3) as lease:
                    assert "policy" in lease.info.cost
                    left.append(lease.info.returns_left)
            except BrokerError as error:
                left.append("refused" if "more returns" in error.text else error.text)
            finally:
                await stranger.close()
        assert left[:5] == [4, 3, *["refused"] * 3]
        await waiting(broker, ref, 3)


@broker_targets("rabbitmq")
async def test_F1_a_queue_nobody_tells_the_limits_of_is_not_opened(target: Target) -> None:
    async with _filled(target, 3, kind="quorum", delivery_limit=4) as (broker, ref):
        with admin.user(target, configure="^$") as (_, url):
            stranger = await connector(parse_url(url), clock=SystemClock()).connect()
            assert isinstance(stranger, RabbitBroker)
            try:
                with pytest.raises(BrokerError, match=r"\?management="):
                    async with stranger.lease(ref):
                        pass
            finally:
                await stranger.close()
        async with broker.lease(ref) as lease:  # declared by it, so its limit is known
            assert lease.info.returns_left == 4
        await waiting(broker, ref, 3)


@broker_targets("rabbitmq")
@pytest.mark.parametrize(("limits", "why"), [({"max_length": 3}, "oldest"), ({"ttl_s": 60.0}, "expire")])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_F3_without_the_api_a_strangers_queue_is_asked_for_its_limits(
    target: Target, kind: str, limits: dict[str, Any], why: str
) -> None:
    async with _filled(target, 2, kind=kind, **limits) as (broker, ref):
        stranger = await _connect(target)
        try:
            with pytest.raises(BrokerError, match=why):
                async with stranger.lease(ref):
                    pass
        finally:
            await stranger.close()
        await waiting(broker, ref, 2)


@broker_targets("rabbitmq")
async def test_F1_without_the_api_a_strangers_stream_is_not_leased(target: Target) -> None:
    async with _filled(target, 2, kind="stream") as (_, ref):
        stranger = await _connect(target)
        try:
            with pytest.raises(Unsupported, match="stream"):
                async with stranger.lease(ref):
                    pass
        finally:
            await stranger.close()


@broker_targets("rabbitmq")
async def test_what_the_broker_says_when_asked_is_what_was_declared(target: Target) -> None:
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    queues = [
        Queue(ref=ref),
        Queue(ref=ref, durable=False, auto_delete=True, max_priority=7),
        Queue(
            ref=ref,
            dead_letter=Route("", "it's 'there' but current is none \u00e4"),
            ttl_s=60.0,
            expires_s=600.0,
            max_length=50_000,
            max_length_bytes=10**12,
            overflow="reject-publish",
            max_priority=5,
            single_active_consumer=True,
        ),
        Queue(ref=ref, kind="quorum"),
        Queue(ref=ref, kind="quorum", delivery_limit=3, max_length=9, dead_letter=Route("dlx", "k"), ttl_s=5.0),
        Queue(ref=ref, kind="stream"),
    ]
    declaring, asking = await _connect(target), await _connect(target)
    scratch = Scratch(await asking._life.open("questions"))
    try:
        for queue in queues:
            await declaring.declare(Topology(queues=(queue,)))
            try:
                assert await defined(scratch, ref.name) == queue
            finally:
                await declaring.remove(Topology(queues=(queue,)))
    finally:
        await asking.close()
        await declaring.close()


@broker_targets("rabbitmq")
@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
async def test_the_questions_never_create_a_queue_that_vanished_meanwhile(target: Target, kind: str) -> None:
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    broker = await _connect(target)
    link = await broker._life.open("questions")
    try:
        for spent in (None, *TRAPS):
            # Whichever of them a queue made us take out of the question: what is left must not pass.
            arguments = {key: value for key, value in TRAPS.items() if key != spent} | {"x-queue-type": kind}
            with pytest.raises(Conflict, match="invalid arg"):
                await (await link.channel()).call("queue_declare", name, durable=True, arguments=arguments)
        with pytest.raises(NotFound):
            async with broker.lease(QueueRef(name)):
                pass
        with pytest.raises(NotFound):
            await (await link.channel()).call("queue_declare", name, passive=True)
    finally:
        await broker.close()
