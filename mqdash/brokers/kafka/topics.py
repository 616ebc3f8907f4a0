"""Declaring: topics, and for every group its dead-letter and retry topics, so that no member has to rebalance for them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiokafka.admin import NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from mqdash.brokers.kafka.errors import translated
from mqdash.brokers.kafka.records import DLQ_SUFFIX, retry_topics
from mqdash.errors import BrokerUnavailable, Conflict, NotFound, Unsupported

if TYPE_CHECKING:
    from mqdash.brokers.kafka.cluster import Cluster
    from mqdash.model.topology import Queue, Topology

SEEN_LIMIT_S: Final = 5.0


def check(broker: str, topology: Topology, existing: dict[str, int]) -> None:
    """Refuse what Kafka has not, or what exists differently; nothing is changed.

    Raises:
        Unsupported, Conflict, NotFound: with the name of the thing.
    """
    for destination in topology.destinations:
        if destination.kind != "topic":
            raise Unsupported(broker, f"Kafka has topics only, {destination.name!r} is declared as {destination.kind}")
        known = existing.get(destination.name, destination.partitions)
        if known != destination.partitions:
            raise Conflict(broker, f"topic {destination.name!r} has {known} partitions, not {destination.partitions}")
    names = {destination.name for destination in topology.destinations} | existing.keys()
    for queue in topology.queues:
        limits = (queue.ttl_s, queue.expires_s, queue.max_length, queue.max_length_bytes, queue.max_priority)
        if any(limit is not None for limit in (*limits, queue.delivery_limit)) or queue.single_active_consumer:
            raise Unsupported(broker, f"Kafka has no limits, priorities or expiry per group ({queue.ref})")
        if queue.ref.group and queue.ref.name not in names:
            raise NotFound(broker, f"group {queue.ref.group!r} reads topic {queue.ref.name!r}, which does not exist")
    for binding in topology.bindings:
        if binding.queue is None or binding.queue.name != binding.source:
            raise Unsupported(broker, f"a Kafka group reads a topic, nothing is routed: {binding.source!r}")


def wanted(topology: Topology, existing: dict[str, int]) -> dict[str, int]:
    """Every topic the topology needs, with its partitions; side topics have as many as the topic they serve."""
    found = {destination.name: destination.partitions for destination in topology.destinations}
    for queue in topology.queues:
        if queue.ref.group:
            partitions = found.get(queue.ref.name) or existing[queue.ref.name]
            for name in side_topics(queue):
                found.setdefault(name, partitions)
        else:
            found.setdefault(queue.ref.name, 1)
    return found


def side_topics(queue: Queue) -> tuple[str, ...]:
    """The topics made for a group: where its dead letters go, and its retries."""
    grave = queue.dead_letter.destination if queue.dead_letter is not None else queue.ref.name + DLQ_SUFFIX
    graves = () if queue.holds_dead_letters else (grave,)
    return (*graves, *retry_topics(queue.ref.name, queue.ref.group))


async def create(cluster: Cluster, topics: dict[str, int]) -> None:
    """Create those that are missing (the cluster's default replication) and wait until they are seen.

    Raises:
        BrokerError: the cluster refused one; the text names it.
    """
    existing = await cluster.topics()
    missing = {name: partitions for name, partitions in topics.items() if name not in existing}
    if not missing:
        return
    async with cluster.translated():
        answer = await cluster.admin.create_topics([_new(name, count) for name, count in missing.items()])
    _raise_for(cluster.broker, answer, ignore=TopicAlreadyExistsError)
    await _until(cluster, missing, there=True)


async def delete(cluster: Cluster, names: set[str]) -> None:
    """Delete those that exist and wait until they are gone; their groups' offsets go with them (K30)."""
    doomed = names & (await cluster.topics()).keys()
    if not doomed:
        return
    async with cluster.translated():
        answer = await cluster.admin.delete_topics(sorted(doomed))
    _raise_for(cluster.broker, answer, ignore=UnknownTopicOrPartitionError)
    await _until(cluster, dict.fromkeys(doomed, 0), there=False)


def _new(name: str, partitions: int) -> NewTopic:
    topic = NewTopic(name, partitions, 1)
    topic.replication_factor = -1  # the cluster's default; the constructor does not let it through
    return topic


def _raise_for(broker: str, answer: Any, *, ignore: type[Exception]) -> None:
    errors = answer.topic_errors if hasattr(answer, "topic_errors") else answer.topic_error_codes
    for entry in errors:
        kind = for_code(entry[1])
        if kind is not NoError and not issubclass(kind, ignore):
            raise translated(broker, kind(), what=entry[0])


async def _until(cluster: Cluster, topics: dict[str, int], *, there: bool) -> None:
    """A change of the controller reaches the brokers a few ms later."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SEEN_LIMIT_S):
            while True:
                seen = (await cluster.topics()).keys()
                if all((name in seen) is there for name in topics):
                    return
                await asyncio.sleep(0.01)
    raise BrokerUnavailable(cluster.broker, f"the cluster did not apply the change of {len(topics)} topics in time")
