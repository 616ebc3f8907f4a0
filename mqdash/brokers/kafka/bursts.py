"""Many records at once: built into batches here, which costs a third of sending them one by one (K1: order stays)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.partitioner import DefaultPartitioner

from mqdash.brokers.kafka.records import wire_headers
from mqdash.brokers.kafka.way import BATCH_BYTES
from mqdash.model.message import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.model.delivery import Outgoing

FEWEST: Final = 50
"""Below this many the library's own batching is as good."""
_LARGEST_BYTES: Final = BATCH_BYTES // 4
_partition_of = DefaultPartitioner()


class Placed(msgspec.Struct, frozen=True):
    """A record in a batch: the batch's end, and which of its records it is."""

    batch: asyncio.Future[Any]
    index: int


def fits(batch: Sequence[Outgoing]) -> bool:
    """Whether these are worth batches of our own: enough of them, to one topic, none of them large."""
    topic = batch[0].route.destination
    return len(batch) >= FEWEST and all(
        one.route.destination == topic
        and isinstance(one.message.content, bytes)
        and len(one.message.content) <= _LARGEST_BYTES
        for one in batch
    )


async def start(producer: Any, batch: Sequence[Outgoing], partitions: Sequence[int]) -> list[Placed]:
    """Hand all records to the producer, in order within each partition.

    Raises:
        KafkaError, ValueError: nothing more was handed over.
    """
    topic = batch[0].route.destination
    loose = _partition_of(None, list(partitions), list(partitions))  # records without a key stay together
    rows: dict[int, list[int]] = {}
    known: dict[bytes | None, int] = {None: loose}
    for index, one in enumerate(batch):
        rows.setdefault(_place(one, list(partitions), known), []).append(index)
    placed: dict[int, Placed] = {}
    for partition, indexes in rows.items():
        waiting = list(reversed(indexes))
        while waiting:
            builder, taken = producer.create_batch(), []
            while waiting and _append(builder, batch[waiting[-1]]):
                taken.append(waiting.pop())
            builder.close()
            future = await producer.send_batch(builder, topic, partition=partition)
            placed |= {index: Placed(future, number) for number, index in enumerate(taken)}
    return [placed[index] for index in range(len(batch))]


def _place(one: Outgoing, partitions: list[int], known: dict[bytes | None, int]) -> int:
    """Its partition; `known` remembers those of keys, whose hash is made by Python."""
    if one.route.partition is not None:
        return one.route.partition
    key = one.message.native.key if isinstance(one.message.native, Record) else None
    if key not in known:
        known[key] = int(_partition_of(key, partitions, partitions))
    return known[key]


def _append(builder: Any, one: Outgoing) -> bool:
    native = one.message.native if isinstance(one.message.native, Record) else Record()
    added = builder.append(
        timestamp=native.timestamp_ms, key=native.key, value=one.message.content, headers=wire_headers(one.message)
    )
    return added is not None
