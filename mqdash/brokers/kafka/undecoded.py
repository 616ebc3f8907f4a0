"""Batches whose compression this machine cannot undo (fault 30): given out whole, instead of an error that stops a partition.

aiokafka raises in the middle of a fetch: what it had read of other batches is dropped, and the same fetch fails again for
ever. So its reader of fetched bytes is replaced by one that hands such a batch out as one record: its value is the batch as
the broker keeps it, its offset the last one of the batch. Once that is settled, reading goes on behind the batch.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka import codec
from aiokafka.consumer import fetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Library: Any = fetcher.MemoryRecords  # type: ignore[attr-defined]
_SIZE: Final = struct.Struct(">i")
_SIZE_AT: Final = 8
_HEAD_BYTES: Final = 12
_MAGIC_AT: Final = 16
_CODECS: Final[dict[int, tuple[str, Callable[[], bool]]]] = {
    1: ("gzip", codec.has_gzip),
    2: ("snappy", codec.has_snappy),
    3: ("lz4", codec.has_lz4),
    4: ("zstd", codec.has_zstd),
}
LIBRARY: Final = "cramjam"
"""What aiokafka undoes snappy, lz4 and zstd with."""


class Undecoded(msgspec.Struct, frozen=True):
    """Why a batch cannot be read, in words, and its offsets: from `first` on, `n` of them."""

    why: str
    first: int
    n: int


class _Record(msgspec.Struct, frozen=True):
    """Looks like a record of the library; `checksum`, of which nothing else is made, says what it is."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes
    checksum: Undecoded
    key: None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class _Batch:
    """A compressed batch of the library that becomes one record when it cannot be undone."""

    def __init__(self, batch: Any, octets: bytes) -> None:
        self._batch = batch
        self._octets = octets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(self._batch)
        except Exception:  # noqa: BLE001 - the decompressors raise what they like, and none of it may stop a partition
            return iter((self._whole(),))

    def _whole(self) -> _Record:
        batch, first = self._batch, self._batch.base_offset
        last = batch.next_offset - 1
        return _Record(
            offset=last,
            timestamp=batch.max_timestamp,
            timestamp_type=batch.timestamp_type,
            value=self._octets,
            checksum=Undecoded(_why(batch.compression_type), first, last - first + 1),
        )


class _Records:
    """Fetched bytes as batches, in the library's own class but for those that are compressed."""

    def __init__(self, octets: bytes) -> None:
        self._inner = _Library(octets)
        self._octets = octets
        self._at = 0

    def size_in_bytes(self) -> int:
        size: int = self._inner.size_in_bytes()
        return size

    def has_next(self) -> bool:
        more: bool = self._inner.has_next()
        return more

    def next_batch(self) -> Any:
        batch, at = self._inner.next_batch(), self._at
        self._at = at + _HEAD_BYTES + _SIZE.unpack_from(self._octets, at + _SIZE_AT)[0]
        # Batches of before Kafka 0.11 tell nothing of themselves; brokers since 4.0 have none.
        tells = batch is not None and self._octets[at + _MAGIC_AT] >= 2
        return _Batch(batch, bytes(self._octets[at : self._at])) if tells and batch.compression_type else batch


def _why(compression: int) -> str:
    name, known = _CODECS.get(compression, (f"compression {compression}", None))
    if known is None:
        return f"{name}, cannot decode (unknown to this version)"
    return f"{name}, cannot decode ({'the data is damaged' if known() else f'install {LIBRARY}'})"


def install() -> None:
    """Have every consumer of this process read that way; twice does no harm."""
    fetcher.MemoryRecords = _Records  # type: ignore[attr-defined]
