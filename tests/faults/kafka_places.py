"""Places on a Kafka cluster for the tests of its faults."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from mqdash.brokers.base import Broker
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Measurement, Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from tests.support import until

SESSION_S = 0.5


def topology_of(name: str, partitions: int = 1) -> Topology:
    return Topology(
        destinations=(Destination(name=name, kind="topic", family=Family.KAFKA, partitions=partitions),),
        queues=(Queue(ref=QueueRef(name, f"{name}-group"), kind="group", family=Family.KAFKA),),
    )


async def connect(url: str) -> Broker:
    return await connector_for(parse_url(url), clock=SystemClock()).connect()


@asynccontextmanager
async def place(url: str, partitions: int = 1) -> AsyncIterator[tuple[Broker, QueueRef]]:
    """A life on the cluster and a group on a topic of its own."""
    life = await connect(url)
    topology = topology_of(f"mqdash-test-{uuid.uuid4().hex[:12]}", partitions)
    await life.declare(topology)
    try:
        yield life, topology.queues[0].ref
    finally:
        await life.remove(topology)
        await life.close()


@asynccontextmanager
async def admin_of(url: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def publish(life: Broker, topic: str, bodies: range) -> None:
    async with life.publisher(name="p") as publisher:
        batch = [Outgoing(Route(topic), compose(Draft(body=b"%d" % n, key=f"k{n}"), Family.KAFKA)) for n in bodies]
        assert {receipt.sent for receipt in await publisher.send(batch)} == {Sent.CONFIRMED}


async def level(life: Broker, ref: QueueRef) -> Measurement:
    [measured] = await life.measure([ref])
    return measured


async def leader_of(url: str, topic: str) -> int:
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
