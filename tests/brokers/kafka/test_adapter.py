"""The Kafka adapter where only a real cluster can tell: causes in words, a broker that dies, groups of others."""

import asyncio
import contextlib
import logging
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from mqdash.brokers.base import Broker
from mqdash.brokers.kafka.way import Way, stop
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import BrokerError, BrokerUnavailable, ConnectionLost, TlsFailed, WrongProtocol
from mqdash.model.delivery import Ack, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Attendant, Destination, Queue, QueueRef, Route, Topology
from tests.harness import Target, broker_targets, start_or_skip, target
from tests.support import until


def _topology(name: str) -> Topology:
    ref = QueueRef(name, f"{name}-group")
    return Topology(
        destinations=(Destination(name=name, kind="topic", family=Family.KAFKA),),
        queues=(Queue(ref=ref, kind="group", family=Family.KAFKA),),
    )


async def _connect(url: str) -> Broker:
    return await connector_for(parse_url(url), clock=SystemClock()).connect()


@pytest.fixture
async def broker(target: Target) -> AsyncIterator[Broker]:
    life = await _connect(target.url)
    yield life
    await life.close()


@broker_targets("kafka")
async def test_foreign_members_are_seen_as_attendants_of_the_topics_they_read(target: Target, broker: Broker) -> None:
    topology = _topology(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    name, ref = topology.destinations[0].name, topology.queues[0].ref
    await broker.declare(topology)
    host = target.url.removeprefix("kafka://")
    foreign = AIOKafkaConsumer(name, bootstrap_servers=host, group_id=ref.group, client_id="somebody-else")
    await foreign.start()
    try:

        async def seen() -> list[Attendant]:
            page = await broker.catalog(prefix=name)
            return [one for one in page.entities if isinstance(one, Attendant)]

        [attendant] = await until(seen)
        assert (attendant.queue, attendant.name, attendant.ours) == (ref, "somebody-else", False)
        [measured] = await broker.measure([ref])
        assert measured.consumers == 1
        assert measured.in_flight is None  # what others hold, the cluster does not tell
        assert measured.partitions[0].owner == "somebody-else"
    finally:
        await foreign.stop()
        await broker.remove(topology)


@broker_targets("kafka")
async def test_K28_a_record_beyond_the_limit_is_refused_and_the_producer_goes_on(
    target: Target, broker: Broker
) -> None:
    topology = _topology(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    route = Route(topology.destinations[0].name)
    await broker.declare(topology)
    bodies = [b"small", b"x" * 1_100_000, b"small again"]
    try:
        async with broker.publisher(name="p") as publisher:
            receipts = await publisher.send([Outgoing(route, compose(Draft(body=one), Family.KAFKA)) for one in bodies])
        assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED, Sent.REFUSED, Sent.CONFIRMED]
        assert "1000000 bytes" in receipts[1].detail
    finally:
        await broker.remove(topology)


@pytest.mark.broker
@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("kafka://127.0.0.1:1", BrokerUnavailable, "refused"),
        ("kafka://no-such-host.invalid", BrokerUnavailable, "does not resolve"),
        ("{rabbitmq-4}", WrongProtocol, "speaks AMQP, not Kafka"),
        ("{kafka-4}+tls", TlsFailed, "does not speak TLS"),
    ],
)
async def test_fault_17_a_failed_connect_says_why(url: str, kind: type[BrokerError], words: str) -> None:
    if url.startswith("{"):
        name, _, suffix = url[1:].partition("}")
        found = target(name)
        if not found.available:
            pytest.skip(f"{name}: {found.reason}")
        address = parse_url(found.url).hosts[0]
        url = f"kafka{'s' if suffix else ''}://user:geheim@{address[0]}:{address[1]}"
    with pytest.raises(kind) as failure:
        async with asyncio.timeout(8):
            await _connect(url)
    assert words in failure.value.text
    assert "geheim" not in str(failure.value)


@pytest.mark.broker
@pytest.mark.slow
async def test_fault_27_a_killed_broker_ends_the_life_and_after_its_restart_nothing_confirmed_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    server = await asyncio.to_thread(start_or_skip, "kafka-4")
    try:
        topology = _topology("mqdash-test-kill")
        route, ref = Route("mqdash-test-kill"), topology.queues[0].ref
        life = await _connect(server.url)
        await life.declare(topology)
        async with (
            life.publisher(name="p") as publisher,
            life.consume(ref, name="w", prefetch=5, session_timeout_s=1.0) as consumer,
        ):
            sent = [compose(Draft(body=b"%d" % number), Family.KAFKA) for number in range(20)]
            receipts = await publisher.send([Outgoing(route, message) for message in sent])
            assert {receipt.sent for receipt in receipts} == {Sent.CONFIRMED}
            held = await consumer.take(5)
            await asyncio.to_thread(server.kill9)
            cause = await asyncio.wait_for(life.lost(), 8)
            assert cause
            with pytest.raises(ConnectionLost):
                await consumer.take(1)
            assert {one.settled for one in await consumer.settle([(held[0], Ack())])} == {Settled.STALE}
            [receipt] = await publisher.send([Outgoing(route, sent[0])])
            assert receipt.sent is Sent.UNKNOWN
        await life.close()
        await asyncio.to_thread(server.restart)
        life = await _connect(server.url)
        got: list[bytes] = []
        async with life.consume(ref, name="w2", prefetch=50, session_timeout_s=1.0) as consumer:
            async with asyncio.timeout(30):
                while len(set(got)) < 20:
                    got += [delivery.message.body for delivery in await consumer.take(50)]
        await life.close()
        assert sorted(set(got), key=int) == [b"%d" % number for number in range(20)]
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.broker
@pytest.mark.slow
async def test_5_a_goodbye_that_a_frozen_cluster_never_answers_leaves_no_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    server = await asyncio.to_thread(start_or_skip, "kafka-4")
    try:
        topology = _topology("mqdash-test-frozen")
        before = _sockets()
        life = await _connect(server.url)
        await life.declare(topology)
        try:
            async with (
                life.publisher(name="p") as publisher,
                life.consume(topology.queues[0].ref, name="w", prefetch=5, session_timeout_s=6.0) as consumer,
            ):
                await publisher.send([Outgoing(Route("mqdash-test-frozen"), compose(Draft(body=b"x"), Family.KAFKA))])
                assert await consumer.take(1)
                os.kill(server.pid, signal.SIGSTOP)
            await life.close()
            assert _sockets() <= before
        finally:
            os.kill(server.pid, signal.SIGCONT)
    finally:
        await asyncio.to_thread(server.stop)


@broker_targets("kafka")
async def test_a_connection_that_was_being_made_when_its_client_stopped_is_closed(target: Target) -> None:
    before = _sockets()
    way = await Way.find(parse_url(target.url))
    reader = await way.reader()
    inner = reader._client
    [node] = [broker.nodeId for broker in inner.cluster.brokers()]
    late = asyncio.create_task(inner._get_conn(node, group=1))
    await asyncio.sleep(0)  # it is on its way
    await asyncio.gather(stop(reader), late)
    stopping = asyncio.create_task(stop(await way.reader()))
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait({stopping})
    await until(lambda: _sockets() <= before)


def _sockets() -> int:
    """Open sockets of this process."""
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            found += str(name.readlink()).startswith("socket:")
    return found
