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
    from aiokafka import TopicPartition

    from mqdash.brokers.kafka.cluster import Cluster
    from mqdash.brokers.kafka.way import Way

QUIET_S: Final = 2.0
"""A partition whose last offsets are transaction markers never delivers them: after so long without a record it is read."""


async def newest_records(way: Way, cluster: Cluster, queue: QueueRef, newest: int) -> list[Delivery]:
    """Up to `newest` records over all partitions, by timestamp, oldest first."""
    ends = await cluster.ends(places_of(await cluster.topics(), queue.name))
    starts = {place: max(found.start, found.end - newest) for place, found in ends.items() if found.end > found.start}
    if not starts or newest <= 0:
        return []
    reader: Any = await way.reader()
    try:
        reader.assign(list(starts))
        for place, start in starts.items():
            reader.seek(place, start)
        found = await _read(reader, {place: ends[place].end for place in starts})
    except KafkaError as error:
        raise translated(way.url.safe, error, what=queue.name) from None
    finally:
        await stop(reader)
    found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return [_seen(queue, record) for record in found[-newest:]]


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


def _seen(queue: QueueRef, record: Any) -> Delivery:
    return Delivery(
        message=message_of(record),
        queue=queue,
        route=Route(record.topic, "", record.partition),
        claim=RecordClaim(0, record.partition, record.offset),
    )
