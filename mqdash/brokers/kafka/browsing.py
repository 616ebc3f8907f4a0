"""Reading the newest records without a group: up to the end offsets of the start, no side effect at all (semantics §2.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from mqdash.brokers.kafka.cluster import places_of
from mqdash.brokers.kafka.errors import translated
from mqdash.brokers.kafka.records import message_of
from mqdash.brokers.kafka.way import stop
from mqdash.model.delivery import Delivery, RecordClaim
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

    from mqdash.brokers.kafka.cluster import Cluster
    from mqdash.brokers.kafka.way import Way

QUIET_S: Final = 2.0
"""A partition whose last offsets are transaction markers never delivers them: after so long without a record it is read."""


async def newest_records(way: Way, cluster: Cluster, queue: QueueRef, newest: int) -> list[Delivery]:
    """Up to `newest` records over all partitions, by timestamp, oldest first."""
    ends = await cluster.ends(places_of(await cluster.topics(), queue.name))
    spans = {
        place: (max(found.start, found.end - newest), found.end)
        for place, found in ends.items()
        if found.end > found.start
    }
    if not spans or newest <= 0:
        return []
    found = await read_between(way, spans)
    found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return [seen(queue, record) for record in found[-newest:]]


async def read_between(way: Way, spans: Mapping[TopicPartition, tuple[int, int]]) -> list[Any]:
    """The library's records of [start, end) of each of these partitions, read by a client of its own.

    Raises:
        BrokerError: they could not be read; the text names the topic.
    """
    reader: Any = await way.reader()
    try:
        reader.assign(list(spans))
        for place, (start, _) in spans.items():
            reader.seek(place, start)
        return await _read(reader, {place: end for place, (_, end) in spans.items()})
    except KafkaError as error:
        raise translated(way.url.safe, error, what=", ".join(sorted({place.topic for place in spans}))) from None
    finally:
        await stop(reader)


async def _read(reader: Any, ends: dict[TopicPartition, int]) -> list[Any]:
    records: list[Any] = []
    unread = set(ends)
    while unread:
        try:
            async with asyncio.timeout(QUIET_S):
                got = await reader.getmany(*unread, timeout_ms=int(QUIET_S * 1000))
        except TimeoutError:
            break
        if not got:
            break
        for place, batch in got.items():
            records += [record for record in batch if record.offset < ends[place]]
        for place in list(unread):
            if await reader.position(place) >= ends[place]:
                unread.discard(place)
    return records


def seen(queue: QueueRef, record: Any) -> Delivery:
    """A record that was only looked at: its claim says where it is."""
    return Delivery(
        message=message_of(record),
        queue=queue,
        route=Route(record.topic, "", record.partition),
        claim=RecordClaim(0, record.partition, record.offset),
    )
