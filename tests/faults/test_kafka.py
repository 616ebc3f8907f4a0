"""Faults of Kafka, each with its number: told in words, survived, nothing lost."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, NewTopic, RecordsToDelete

from mqdash.brokers.base import Broker
from mqdash.errors import BrokerError, ConsumerCancelled
from mqdash.model.delivery import Ack, Delivery, Measurement, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Queue, QueueRef, Route
from tests.faults.kafka_places import SESSION_S, admin_of, leader_of, level, place, publish, topology_of
from tests.harness import Target, broker_targets
from tests.harness.kafka import run_tool
from tests.harness.kafka3 import Cluster, start3_or_skip
from tests.support import until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


@broker_targets("kafka")
async def test_24_a_storm_of_rebalances_loses_nothing_and_is_told(target: Target) -> None:
    async with place(target.url, partitions=3) as (life, ref):
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

        await publish(life, ref.name, range(300))
        await asyncio.gather(*(work(number) for number in range(6)))
        async with life.consume(ref, name="last", prefetch=50, session_timeout_s=2.0) as last:
            while (await level(life, ref)).waiting or len(seen) < 300:
                taken = await asyncio.wait_for(last.take(50), 20)
                seen.update(one.message.body for one in taken)
                await last.settle([(one, Ack()) for one in taken])
        assert seen == {b"%d" % n for n in range(300)}
        assert moves > 0


@broker_targets("kafka")
async def test_25_K17_new_partitions_appear(target: Target) -> None:
    async with place(target.url) as (life, ref), admin_of(target.url) as admin:
        assert len((await level(life, ref)).partitions) == 1
        await admin.create_partitions({ref.name: NewPartitions(3)})

        async def grown() -> bool:
            return len((await level(life, ref)).partitions) == 3

        await until(grown)
        async with life.consume(ref, name="w", prefetch=90, session_timeout_s=SESSION_S) as worker:
            await publish(life, ref.name, range(60))
            got: list[Delivery] = []
            while len(got) < 60:
                got += await asyncio.wait_for(worker.take(60), 10)
        assert {one.route.partition for one in got} == {0, 1, 2}


@broker_targets("kafka")
async def test_29_K24_records_that_are_gone_are_told_apart_from_lag(target: Target) -> None:
    async with place(target.url) as (life, ref), admin_of(target.url) as admin:
        await publish(life, ref.name, range(10))
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            taken = await worker.take(10)
            while len(taken) < 2:
                taken = [*taken, *await worker.take(10)]
            await worker.settle([(one, Ack()) for one in taken[:2]])
        await admin.delete_records({TopicPartition(ref.name, 0): RecordsToDelete(before_offset=7)})
        [partition] = (await level(life, ref)).partitions
        assert (partition.committed, partition.lost, partition.waiting) == (2, 5, 3)
        assert (await level(life, ref)).dropped_total == 5


@broker_targets("kafka")
async def test_31_K30_a_deleted_topic_ends_its_consumers_and_a_new_one_starts_from_nothing(target: Target) -> None:
    async with place(target.url) as (life, ref):
        await publish(life, ref.name, range(5))
        async with life.consume(ref, name="w", prefetch=5, session_timeout_s=SESSION_S) as worker:
            taken = list(await worker.take(5))
            await worker.settle([(one, Ack()) for one in taken])
            await life.remove(topology_of(ref.name))
            with pytest.raises(ConsumerCancelled, match=r"removed|deleted"):
                await asyncio.wait_for(worker.take(1), 10)
        await life.declare(topology_of(ref.name))
        measured = await level(life, ref)
        assert [(one.committed, one.end) for one in measured.partitions] == [(None, 0)]  # K30
        await publish(life, ref.name, range(2))
        async with life.consume(ref, name="w", prefetch=5, session_timeout_s=SESSION_S) as worker:
            assert (await asyncio.wait_for(worker.take(5), 10))[0].message.body == b"0"


@broker_targets("kafka")
async def test_28_a_group_nobody_has_coordinated_yet_is_measured(target: Target) -> None:
    async with place(target.url) as (life, ref):
        await publish(life, ref.name, range(3))
        measured = await level(life, ref)
        assert (measured.waiting, measured.consumers, measured.partitions[0].committed) == (3, 0, None)
        assert measured.oldest_age_s is not None
        assert 0 <= measured.oldest_age_s < 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with start3_or_skip() as found:
        yield found


@pytest.mark.slow
async def test_26_K29_when_the_leader_dies_producing_and_consuming_go_on(cluster: Cluster) -> None:
    async with place(cluster.url) as (life, ref):
        await publish(life, ref.name, range(50))
        leader = cluster.node_at(await leader_of(cluster.url, ref.name))
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
    async with place(cluster.url) as (life, ref), admin_of(cluster.url) as admin:
        strict = NewTopic(f"{ref.name}.strict", 1, 3, topic_configs={"min.insync.replicas": "3"})
        await admin.create_topics([strict])
        leader = await leader_of(cluster.url, strict.name)
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


async def _told(life: Broker, ref: QueueRef) -> Measurement | None:
    """None while a leader or the coordinator is being replaced; never that the cluster is gone."""
    try:
        return await level(life, ref)
    except BrokerError as error:
        text = error.text
    assert "no broker of the cluster" not in text
    return None


@pytest.mark.slow
async def test_28_a_dead_coordinator_is_said_asked_for_again_and_followed_by_another(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(cluster.url) as (life, ref), admin_of(cluster.url) as admin:
        await publish(life, ref.name, range(20))
        async with life.consume(ref, name="w", prefetch=100, session_timeout_s=6.0) as worker:
            taken = list(await asyncio.wait_for(worker.take(100), 20))
            while len(taken) < 20:
                taken += await asyncio.wait_for(worker.take(100), 20)
            outcomes = await worker.settle([(one, Ack()) for one in taken[:5]])
            assert {outcome.settled for outcome in outcomes} == {Settled.SETTLED}
            assert (await level(life, ref)).partitions[0].committed == 5
            number = await admin.find_coordinator(ref.group)
            port = int(admin._client.cluster.broker_metadata(number).port)
            node = cluster.node_at(port)
            await asyncio.to_thread(node.kill9)
            try:
                monkeypatch.setattr("mqdash.brokers.kafka.cluster.COORDINATOR_LIMIT_S", 0.3)
                with pytest.raises(BrokerError, match=r"coordinator unknown .*asked again by itself"):
                    await life._cluster.committed(ref.group)  # type: ignore[attr-defined]
                monkeypatch.undo()
                measured: Any = await until(partial(_told, life, ref), 40, every_s=0.2)
                assert [one.committed for one in measured.partitions] == [5]
                async with asyncio.timeout(40):  # the member finds the new coordinator, too
                    await publish(life, ref.name, range(20, 25))
                    bodies: set[bytes] = set()
                    while not {b"%d" % n for n in range(20, 25)} <= bodies:
                        got = await worker.take(100)
                        bodies |= {one.message.body for one in got}
                        await worker.settle([(one, Ack()) for one in got])
                assert (await life.catalog(prefix=ref.name)).entities
            finally:
                await asyncio.to_thread(node.restart)


@broker_targets("kafka")
async def test_32_F13_a_KIP_848_group_is_shown_with_its_protocol_never_dead(target: Target) -> None:
    """Its member is Kafka's own console consumer; aiokafka is told "Dead" of every such group."""
    async with place(target.url, partitions=2) as (life, ref):
        await publish(life, ref.name, range(5))
        server = target.url.removeprefix("kafka://")
        words = ["--bootstrap-server", server, "--topic", ref.name, "--group", ref.group, "--max-messages", "5"]
        words += ["--timeout-ms", "60000", "--command-property", "group.protocol=consumer"]
        words += ["--command-property", "auto.offset.reset=earliest"]
        tool = "org.apache.kafka.tools.consumer.ConsoleConsumer"
        reading = asyncio.create_task(asyncio.to_thread(run_tool, tool, *words))
        try:

            async def known() -> bool:
                return "KIP-848" in (await level(life, ref)).detail

            await until(known, 60)
            measured = await level(life, ref)
            assert measured.consumers is None  # not 0: it is not dead, its members are not told to us
        finally:
            assert len((await reading).split()) == 5
        measured = await level(life, ref)
        assert (measured.waiting, measured.consumers) == (0, None)
        assert sum(one.committed or 0 for one in measured.partitions) == 5
        assert ref in {one.ref for one in (await life.catalog(prefix=ref.name)).entities if isinstance(one, Queue)}
