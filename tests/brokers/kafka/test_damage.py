"""Damaged records, as the library reads them from fetched bytes: which ones are named, and from where on nothing was read."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from mqdash.brokers.kafka import undecoded
from mqdash.brokers.kafka.errors import Damage, damage_of, stopped_at, translated
from mqdash.brokers.kafka.owners import Owners
from mqdash.model.topology import QueueRef

PLACE = TopicPartition("t", 0)
LENGTH_AT, BODY_AT = 8, -3
GZIP = 1


def _batches(compression: int) -> list[bytearray]:
    """Three batches of two records each: offsets 0 to 5."""
    made = []
    for base in (0, 2, 4):
        builder = DefaultRecordBatchBuilder(
            2, compression, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=9999
        )
        for offset in range(2):
            builder.append(offset, 1000, b"k", b"v" * 30, [])
        batch = bytearray(builder.build())
        struct.pack_into(">q", batch, 0, base)
        made.append(batch)
    return made


def _read(batches: list[bytearray]) -> tuple[list[int], CorruptRecordException]:
    """The offsets the library reads, and the error it ends with."""
    undecoded.install()
    records = fetcher.PartitionRecords(
        PLACE,
        fetcher.MemoryRecords(bytes(b"".join(batches))),  # type: ignore[attr-defined]
        [],
        0,
        None,
        None,
        True,
        fetcher.READ_COMMITTED,
    )
    read: list[int] = []
    with pytest.raises(CorruptRecordException) as told:
        read.extend(record.offset for record in records)
    return read, told.value


@pytest.mark.parametrize("compression", [0, GZIP])
@pytest.mark.parametrize("which", [1, 2])
def test_23_a_damaged_length_blames_no_healthy_batch(which: int, compression: int) -> None:
    batches = _batches(compression)
    struct.pack_into(">i", batches[which], LENGTH_AT, 3)
    _, error = _read(batches)
    assert damage_of(error) is None
    assert stopped_at(error) is not None
    text = translated("kafka", error, what="t / g").text
    assert "protocol error" in text
    assert "t / g" in text
    assert "CRC" not in text


@pytest.mark.parametrize("compression", [0, GZIP])
def test_23_a_batch_with_a_wrong_checksum_is_named(compression: int) -> None:
    batches = _batches(compression)
    batches[1][BODY_AT] ^= 0x55
    _, error = _read(batches)
    assert damage_of(error) == Damage("t", 0, 2, 4)
    assert stopped_at(error) == (PLACE, 2)


def test_23_one_by_one_only_until_the_damage_is_behind() -> None:
    owners, ref, other = Owners(), QueueRef("t", "g"), QueueRef("t", "h")
    owners.met_damage(ref, PLACE, 7)
    owners.met_damage(ref, ("t", 1), 3)
    assert owners.is_damaged(ref)
    assert not owners.is_damaged(other)
    owners.received(ref, PLACE, 6)
    owners.received(ref, ("t", 1), 3)
    owners.received(ref, ("t", 2), 100)
    owners.received(other, PLACE, 100)
    assert owners.is_damaged(ref)  # partition 0 still is
    owners.received(ref, PLACE, 8)
    assert not owners.is_damaged(ref)
