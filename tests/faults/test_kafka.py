"""Faults of Kafka, each with its number: told in words, survived, nothing lost."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from mqdash.brokers.base import Broker
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import ConsumerCancelled
from mqdash.model.delivery import Ack, Delivery, Measurement, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from tests.harness import Target, broker_targets
from tests.harness.kafka3 import Cluster, start3_or_skip
from tests.support import until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
SESSION_S = 0.5


def _topology(name: str, partitions: int = 1) -> Topology:
    return Topology(
        destinations=(Destination(name=name, kind="topic", family=Family.KAFKA, partitions=partitions),),
        queues=(Queue(ref=QueueRef(name, f"{name}-group"), kind="group", family=Family.KAFKA),),
    )


async def _connect(url: str) -> Broker:
    return await connector_for(parse_url(url), clock=SystemClock()).connect()


@asynccontextmanager
async def _place(url: str, partitions: int = 1) -> AsyncIterator[tuple[Broker, QueueRef]]:
    """A life on the cluster and a group on a topic of its own."""
    life = await _connect(url)
    topology = _topology(f"mqdash-test-{uuid.uuid4().hex[:12]}", partitions)
    await life.declare(topology)
    try:
        yield life, topology.queues[0].ref
    finally:
        await life.remove(topology)
        await life.close()


@asynccontextmanager
async def _admin(url: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def _publish(life: Broker, topic: str, bodies: range) -> None:
    async with life.publisher(name="p") as publisher:
        batch = [Outgoing(Route(topic), compose(Draft(body=b"%d" % n, key=f"k{n}"), Family.KAFKA)) for n in bodies]
        assert {receipt.sent for receipt in await publisher.send(batch)} == {Sent.CONFIRMED}


async def _level(life: Broker, ref: QueueRef) -> Measurement:
    [measured] = await life.measure([ref])
    return measured


@broker_targets("kafka")
async def test_24_a_storm_of_rebalances_loses_nothing_and_is_told(target: Target) -> None:
    async with _place(target.url, partitions=3) as (life, ref):
        seen: set[bytes] = set()
        moves = 0

        async def work(number: int) -> None:
            """Join, work for a moment, leave, again and again."""
            nonlocal moves
            for turn in range(4):
                async with life.consume(ref, name=f"w{number}-{turn}", prefetch=20, session_timeout_s=2.0) as worker:
                    ends_s = asyncio.get_running_loop().time() + 0.2 + number / 20
                    while (left_s := ends_s - asyncio.get_running_loop().time()) > 0:
                        try:
                            taken = await asyncio.wait_for(worker.take(20), left_s)
                        except TimeoutError:
                            break
                        outcomes = await worker.settle([(one, Ack()) for one in taken])
                        seen.update(
                            one.message.body
                            for one, outcome in zip(taken, outcomes, strict=True)
                            if outcome.settled is Settled.SETTLED
                        )
                    moves += len(worker.moved())  # type: ignore[attr-defined]

        await _publish(life, ref.name, range(300))
        await asyncio.gather(*(work(number) for number in range(6)))
        async with life.consume(ref, name="last", prefetch=50, session_timeout_s=2.0) as last:
            while (await _level(life, ref)).waiting or len(seen) < 300:
                taken = await asyncio.wait_for(last.take(50), 20)
                seen.update(one.message.body for one in taken)
                await last.settle([(one, Ack()) for one in taken])
        assert seen == {b"%d" % n for n in range(300)}
        assert moves > 0


@broker_targets("kafka")
async def test_25_new_partitions_appear(target: Target) -> None:
    async with _place(target.url) as (life, ref), _admin(target.url) as admin:
        assert len((await _level(life, ref)).partitions) == 1
        await admin.create_partitions({ref.name: NewPartitions(3)})

        async def grown() -> bool:
            return len((await _level(life, ref)).partitions) == 3

        await until(grown)
        async with life.consume(ref, name="w", prefetch=90, session_timeout_s=SESSION_S) as worker:
            await _publish(life, ref.name, range(60))
            got: list[Delivery] = []
            while len(got) < 60:
                got += await asyncio.wait_for(worker.take(60), 10)
        assert {one.route.partition for one in got} == {0, 1, 2}


@broker_targets("kafka")
async def test_29_K24_records_that_are_gone_are_told_apart_from_lag(target: Target) -> None:
    async with _place(target.url) as (life, ref), _admin(target.url) as admin:
        await _publish(life, ref.name, range(10))
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            taken = await worker.take(10)
            while len(taken) < 2:
                taken = [*taken, *await worker.take(10)]
            await worker.settle([(one, Ack()) for one in taken[:2]])
        await admin.delete_records({TopicPartition(ref.name, 0): RecordsToDelete(before_offset=7)})
        [partition] = (await _level(life, ref)).partitions
        assert (partition.committed, partition.lost, partition.waiting) == (2, 5, 3)
        assert (await _level(life, ref)).dropped_total == 5


@broker_targets("kafka")
async def test_31_a_deleted_topic_ends_its_consumers_and_a_new_one_starts_from_nothing(target: Target) -> None:
    async with _place(target.url) as (life, ref):
        await _publish(life, ref.name, range(5))
        async with life.consume(ref, name="w", prefetch=5, session_timeout_s=SESSION_S) as worker:
            taken = list(await worker.take(5))
            await worker.settle([(one, Ack()) for one in taken])
            await life.remove(_topology(ref.name))
            with pytest.raises(ConsumerCancelled, match=r"removed|deleted"):
                await asyncio.wait_for(worker.take(1), 10)
        await life.declare(_topology(ref.name))
        measured = await _level(life, ref)
        assert [(one.committed, one.end) for one in measured.partitions] == [(None, 0)]  # K30
        await _publish(life, ref.name, range(2))
        async with life.consume(ref, name="w", prefetch=5, session_timeout_s=SESSION_S) as worker:
            assert (await asyncio.wait_for(worker.take(5), 10))[0].message.body == b"0"


@broker_targets("kafka")
async def test_28_a_group_nobody_has_coordinated_yet_is_measured(target: Target) -> None:
    async with _place(target.url) as (life, ref):
        await _publish(life, ref.name, range(3))
        measured = await _level(life, ref)
        assert (measured.waiting, measured.consumers, measured.partitions[0].committed) == (3, 0, None)
        assert measured.oldest_age_s is not None
        assert 0 <= measured.oldest_age_s < 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with start3_or_skip() as found:
        yield found


async def _leader(url: str, topic: str) -> int:
    """Port of the node that leads partition 0."""
    reader = AIOKafkaConsumer(bootstrap_servers=url.removeprefix("kafka://"))
    await reader.start()
    try:
        client = reader._client
        client.add_topic(topic)

        async def led() -> int:
            await client.force_metadata_update()
            leader = client.cluster.leader_for_partition(TopicPartition(topic, 0))
            node = None if leader is None else client.cluster.broker_metadata(leader)
            return 0 if node is None else int(node.port)

        return await until(led, 20, what=f"{topic} has a leader that lives", every_s=0.2)
    finally:
        await reader.stop()


@pytest.mark.slow
async def test_26_K29_when_the_leader_dies_producing_and_consuming_go_on(cluster: Cluster) -> None:
    async with _place(cluster.url) as (life, ref):
        await _publish(life, ref.name, range(50))
        leader = cluster.node_at(await _leader(cluster.url, ref.name))
        async with (
            life.publisher(name="p") as publisher,
            life.consume(ref, name="w", prefetch=200, session_timeout_s=6.0) as worker,
        ):
            got = [one.message.body for one in await worker.take(200)]
            await asyncio.to_thread(leader.kill9)
            try:
                sent = [compose(Draft(body=b"%d" % n), Family.KAFKA) for n in range(50, 100)]
                receipts = await publisher.send([Outgoing(Route(ref.name), message) for message in sent])
                confirmed = {
                    m.body for m, receipt in zip(sent, receipts, strict=True) if receipt.sent is Sent.CONFIRMED
                }
                assert confirmed, receipts[0]
                wanted = {b"%d" % n for n in range(50)} | confirmed
                async with asyncio.timeout(30):
                    while not wanted <= set(got):
                        got += [one.message.body for one in await worker.take(200)]
            finally:
                await asyncio.to_thread(leader.restart)


@pytest.mark.slow
async def test_33_K5_without_enough_replicas_a_publish_is_not_confirmed(cluster: Cluster) -> None:
    async with _place(cluster.url) as (life, ref), _admin(cluster.url) as admin:
        strict = NewTopic(f"{ref.name}.strict", 1, 3, topic_configs={"min.insync.replicas": "3"})
        await admin.create_topics([strict])
        leader = await _leader(cluster.url, strict.name)
        other = next(node for node in cluster.nodes if node.port != leader)
        async with life.publisher(name="p") as publisher:
            outgoing = [Outgoing(Route(strict.name), compose(Draft(body=b"x"), Family.KAFKA))]
            assert (await publisher.send(outgoing))[0].sent is Sent.CONFIRMED
            await asyncio.to_thread(other.kill9)
            try:
                [receipt] = await asyncio.wait_for(publisher.send(outgoing), 40)
                assert receipt.sent is Sent.UNKNOWN
                assert "no proof" in receipt.detail
            finally:
                await asyncio.to_thread(other.restart)
        await admin.delete_topics([strict.name])
