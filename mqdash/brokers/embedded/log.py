"""A Kafka topic: partitions of an append-only log (K1-K4, K21, K25). Pure: time comes in from outside."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from mqdash.model.message import HeaderValue, Message, Record, Wire

if TYPE_CHECKING:
    from random import Random

STICKY_BYTES = 16_384
"""Records without a key stay on one partition for about a producer batch (`batch.size`), then move to another."""
MAX_RECORD_BYTES = 1_048_588
"""`max.message.bytes` of a topic that was not told otherwise: it limits a batch, so also a record alone in one (K28)."""
BATCH_BYTES = 61
"""What a batch weighs before its first record."""
_TRIM_SLICE = 1024
_MASK = 0xFFFFFFFF


@lru_cache(maxsize=65_536)
def murmur2(key: bytes) -> int:
    """Kafka's 32-bit hash of a key, unsigned (K2). Pure Python, so the hashes of recent keys are kept."""
    length = len(key)
    value = 0x9747B28C ^ length
    for at in range(0, length - length % 4, 4):
        word = int.from_bytes(key[at : at + 4], "little") * 0x5BD1E995 & _MASK
        word = (word ^ (word >> 24)) * 0x5BD1E995 & _MASK
        value = (value * 0x5BD1E995 & _MASK) ^ word
    tail = key[length - length % 4 :]
    if tail:
        value = (value ^ int.from_bytes(tail, "little")) * 0x5BD1E995 & _MASK
    value = (value ^ (value >> 13)) * 0x5BD1E995 & _MASK
    return value ^ (value >> 15)


def partition_for(key: bytes, partitions: int) -> int:
    """The partition Kafka's default partitioner gives a non-null key (K2)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class Stored(msgspec.Struct, frozen=True):
    """A record in its log: the message with its timestamp, when it was appended (Unix seconds), its size."""

    message: Message
    at_s: float
    size_bytes: int


class Partition:
    """One totally ordered log: an offset never changes and is never reused (K1)."""

    def __init__(self, *, max_messages: int | None = None, max_bytes: int | None = None) -> None:
        self.start = 0
        self.size_bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._base = 0
        self._records: list[Stored] = []

    @property
    def end(self) -> int:
        """The offset the next record gets."""
        return self._base + len(self._records)

    def append(self, record: Stored) -> int:
        """Add a record and return its offset."""
        self._records.append(record)
        self.size_bytes += record.size_bytes
        return self._base + len(self._records) - 1

    def trim(self) -> int:
        """Forget the oldest records beyond the bound (K21) and return how many; the newest one always stays."""
        over = 0 if self._max_messages is None else self.end - self.start - self._max_messages
        most_bytes = self._max_bytes
        if over <= 0 and (most_bytes is None or self.size_bytes <= most_bytes):
            return 0
        before = self.start
        while self.end - self.start > 1 and (over > 0 or (most_bytes is not None and self.size_bytes > most_bytes)):
            self._forget_oldest()
            over -= 1
        self._free()
        return self.start - before

    def delete_before(self, offset: int) -> int:
        """Forget what lies before an offset: a prefix, never single records (K23). Returns how many went."""
        before = self.start
        while self.start < min(offset, self.end):
            self._forget_oldest()
        self._free()
        return self.start - before

    def read(self, offset: int, limit: int) -> list[Stored]:
        """Up to `limit` records from `offset` on, which is not before the log start. Reading deletes nothing (K4)."""
        at = offset - self._base
        return self._records[at : at + limit]

    def at(self, offset: int) -> Stored | None:
        """The record at that offset, or None when it is forgotten or not yet written."""
        return self._records[offset - self._base] if self.start <= offset < self.end else None

    def offset_for_time(self, timestamp_ms: int) -> int | None:
        """The earliest offset whose record is not older, None past the end (K25: producer time may go back)."""
        for at in range(self.start - self._base, len(self._records)):
            native = self._records[at].message.native
            if isinstance(native, Record) and (native.timestamp_ms or 0) >= timestamp_ms:
                return self._base + at
        return None

    def _forget_oldest(self) -> None:
        self.size_bytes -= self._records[self.start - self._base].size_bytes
        self.start += 1

    def _free(self) -> None:
        if self.start - self._base >= _TRIM_SLICE:
            del self._records[: self.start - self._base]
            self._base = self.start


class Topic:
    """Partitions under one name, and the choice between them (K2). `delay_s`: how long its records wait."""

    def __init__(
        self,
        name: str,
        partitions: int,
        rng: Random,
        *,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        delay_s: float | None = None,
    ) -> None:
        self.name = name
        self.delay_s = delay_s
        self.dropped = 0
        self._rng = rng
        self._bounds = (max_messages, max_bytes)
        self._sticky = 0
        self._sticky_left = 0
        self.partitions: list[Partition] = []
        self.grow(partitions)

    @property
    def appended(self) -> int:
        """Records ever written here."""
        return sum(partition.end for partition in self.partitions)

    @property
    def retained(self) -> int:
        """Records still here."""
        return sum(partition.end - partition.start for partition in self.partitions)

    def grow(self, partitions: int) -> None:
        """Add partitions up to that number; later records of a key may go elsewhere, earlier ones stay (K2)."""
        messages, size = self._bounds
        while len(self.partitions) < partitions:
            self.partitions.append(Partition(max_messages=messages, max_bytes=size))

    def choose(self, key: bytes | None, size_bytes: int) -> int:
        """The partition for a record: by its key, else the sticky one."""
        count = len(self.partitions)
        if count == 1:
            return 0
        if key is not None:
            return partition_for(key, count)
        if self._sticky_left <= 0:
            self._sticky = self._rng.randrange(count)
            self._sticky_left = STICKY_BYTES
        self._sticky_left -= size_bytes
        return self._sticky

    def end_batch(self) -> None:
        """A producer's batch is full or sent: the next record without a key picks its partition anew."""
        self._sticky_left = 0


def stamped(message: Message, now_s: float) -> Message:
    """The message as its log keeps it: header values as bytes or null (K27), with its producer's time or ours (K25)."""
    native = message.native
    key, timestamp_ms = (native.key, native.timestamp_ms) if isinstance(native, Record) else (None, None)
    if timestamp_ms is None:
        timestamp_ms = int(now_s * 1000)
    headers = message.headers
    for _, value in headers:
        if value is not None and type(value) is not bytes:
            headers = tuple((name, _header_bytes(value)) for name, value in headers)
            break
    kept = Record(key=key, timestamp_ms=timestamp_ms, timestamp_type=0)
    return Message(content=message.content, headers=headers, native=kept)


def _header_bytes(value: HeaderValue) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value.value if isinstance(value, Wire) else value).encode()


def record_bytes(message: Message) -> int:
    """What the record weighs in its log: key and value (headers are not counted)."""
    key = message.native.key if isinstance(message.native, Record) else None
    content = message.content
    size = len(content) if isinstance(content, bytes) else message.size_bytes
    return size + (len(key) if key is not None else 0)


def batch_bytes(message: Message) -> int:
    """What a batch of this record alone weighs, uncompressed: what a topic's limit is about (K28)."""
    headers = sum(_sized(name.encode()) + _sized(_header_bytes(value)) for name, value in message.headers)
    key = message.native.key if isinstance(message.native, Record) else None
    record = 3 + _sized(key) + _sized(message.body) + _varint_bytes(len(message.headers)) + headers
    return BATCH_BYTES + _varint_bytes(record) + record


def _sized(value: bytes | None) -> int:
    return 1 if value is None else _varint_bytes(len(value)) + len(value)


def _varint_bytes(number: int) -> int:
    return max(1, -(-(number << 1).bit_length() // 7))
