"""TLS and logins against a real Kafka with such listeners, started by the test; and every compression it takes."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from mqdash.brokers.base import Broker
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import AccessRefused, BrokerError, LoginRefused, TlsFailed
from mqdash.model.delivery import Ack, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from tests.harness import RunningBroker, Target, broker_targets, start_or_skip
from tests.harness.kafka import PASSWORD, USER
from tests.support import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# Kafka's numbers in an ACL.
TOPIC, LITERAL, ALL, READ, WRITE, DENY, ALLOW = 2, 3, 2, 3, 4, 2, 3


async def _connect(url: str) -> Broker:
    return await connector_for(parse_url(url), clock=SystemClock()).connect()


async def _works(url: str) -> None:
    """Declare, publish, take and settle through this URL."""
    life = await _connect(url)
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    ref = QueueRef(name, f"{name}-group")
    topology = Topology(
        destinations=(Destination(name=name, kind="topic", family=Family.KAFKA),),
        queues=(Queue(ref=ref, kind="group", family=Family.KAFKA),),
    )
    try:
        await life.declare(topology)
        bodies = [b"%d" % n * 200 for n in range(50)]
        async with life.publisher(name="p") as publisher:
            sent = [Outgoing(Route(name), compose(Draft(body=body), Family.KAFKA)) for body in bodies]
            assert {receipt.sent for receipt in await publisher.send(sent)} == {Sent.CONFIRMED}
        async with life.consume(ref, name="w", prefetch=50, session_timeout_s=1.0) as worker:
            got: list[bytes] = []
            while len(got) < len(bodies):
                taken = await asyncio.wait_for(worker.take(50), 10)
                got += [one.message.body for one in taken]
                assert {one.settled for one in await worker.settle([(one, Ack()) for one in taken])} == {
                    Settled.SETTLED
                }
        assert got == bodies
        await life.remove(topology)
    finally:
        await life.close()


@pytest.fixture(scope="module")
def secure() -> Iterator[RunningBroker]:
    broker = start_or_skip("kafka-4", secure=True)
    yield broker
    broker.stop()


@pytest.fixture
def ca(secure: RunningBroker) -> str:
    return f"ca={secure.data_dir}/certificate.pem"


@pytest.mark.broker
@pytest.mark.slow
async def test_kafkas_is_tls_verified_against_the_given_ca(secure: RunningBroker, ca: str) -> None:
    await _works(f"kafkas://localhost:{secure.port + 2}?{ca}")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_sasl_by_tls(secure: RunningBroker, ca: str, mechanism: str) -> None:
    await _works(f"kafkas://{USER}:{PASSWORD}@localhost:{secure.port + 3}?sasl={mechanism}&{ca}")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_fault_13_a_wrong_password_is_a_refused_login(secure: RunningBroker, mechanism: str) -> None:
    with pytest.raises(LoginRefused) as refused:
        await _connect(f"kafka://{USER}:wrong-word@localhost:{secure.port + 6}?sasl={mechanism}")
    assert "wrong-word" not in str(refused.value)
    await _works(f"kafka://{USER}:{PASSWORD}@localhost:{secure.port + 6}?sasl={mechanism}")


@pytest.mark.broker
@pytest.mark.slow
async def test_fault_16_tls_that_cannot_be_verified_says_why(secure: RunningBroker, ca: str) -> None:
    with pytest.raises(TlsFailed, match=r"self.signed|unknown"):
        await _connect(f"kafkas://localhost:{secure.port + 2}")
    with pytest.raises(TlsFailed, match=r"127\.0\.0\.1"):
        await _connect(f"kafkas://127.0.0.1:{secure.port + 2}?{ca}")
    with pytest.raises(BrokerError, match="TLS"):
        await _connect(f"kafka://localhost:{secure.port + 2}")


async def _set_right(secure: RunningBroker, topic: str, operation: int, permission: int) -> None:
    """Give our user a right on a topic or take it away, as the cluster's owner does."""
    client = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{secure.port}")
    await client.start()
    try:
        acl = CreateAclsRequest(TOPIC, topic, LITERAL, f"User:{USER}", "*", operation, permission)
        answer: Any = await client._send_request(acl)
        assert [found[0] for found in answer.creation_responses] == [0]
    finally:
        await client.close()


@pytest.mark.broker
@pytest.mark.slow
async def test_14_rights_that_go_in_the_middle_are_refused_by_name_and_the_rest_goes_on(secure: RunningBroker) -> None:
    life = await _connect(f"kafka://{USER}:{PASSWORD}@localhost:{secure.port + 6}?sasl=plain")
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    ref = QueueRef(name, f"{name}-group")
    topology = Topology(
        destinations=(Destination(name=name, kind="topic", family=Family.KAFKA),),
        queues=(Queue(ref=ref, kind="group", family=Family.KAFKA),),
    )
    await life.declare(topology)
    await _set_right(secure, name, ALL, ALLOW)  # with an ACL on it, a topic is closed to whom none names
    outgoing = [Outgoing(Route(name), compose(Draft(body=b"x"), Family.KAFKA))]
    async with life.publisher(name="p") as publisher, life.consume(ref, name="w", prefetch=500) as worker:
        assert [receipt.sent for receipt in await publisher.send(outgoing)] == [Sent.CONFIRMED]
        assert len(await asyncio.wait_for(worker.take(1), 10)) == 1
        await _set_right(secure, name, WRITE, DENY)

        async def refused() -> bool:
            [receipt] = await publisher.send(outgoing)
            return receipt.sent is Sent.REFUSED and "TOPIC_AUTHORIZATION_FAILED" in receipt.detail

        await until(refused, every_s=0.1)
        assert await life.measure([ref])
        await _set_right(secure, name, READ, DENY)

        async def read() -> None:
            while True:  # what came before the right went is still read
                await worker.take(1)

        with pytest.raises(AccessRefused, match=f"TOPIC_AUTHORIZATION_FAILED.*{name}"):
            await asyncio.wait_for(read(), 10)
        assert (await life.catalog(limit=1)).source
    await life.remove(topology)
    await life.close()


@broker_targets("kafka")
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_written_and_read(target: Target, codec: str) -> None:
    await _works(f"{target.url}?compression={codec}")
