"""Which records of a dead-letter partition are removed: single records cannot be (K23), so it is a cursor and a few marks.

Everything before the cursor is removed, and so are the marked offsets behind it. Both live in one committed offset of the
group `mqdash.dlq.<topic>`: the cursor as the offset, the marks in its metadata. So every machine that may read the group
sees the same, and a transaction moves both together. Pure.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

METADATA_LIMIT: Final = 4096
"""Characters a broker keeps beside an offset by default (`offset.metadata.max.bytes`)."""
_MARK: Final = "mqdash1:"


class Cursor:
    """`offset`: all before it are removed; `removed`: offsets behind it that are, too."""

    def __init__(self, offset: int, removed: Iterable[int] = ()) -> None:
        self.offset = offset
        self.removed = {one for one in removed if one >= offset}
        self._advance()

    @classmethod
    def read(cls, offset: int, metadata: str, *, start: int, end: int) -> Cursor:
        """From what was committed; without a sensible commit nothing is removed. [start, end) is what the log holds."""
        if not start <= offset <= end:  # retention overtook it, or the topic was made anew
            offset, kept = (start, _marks(offset, metadata)) if offset < start else (start, iter(()))
        else:
            kept = _marks(offset, metadata)
        return cls(offset, (one for one in kept if one < end))

    def holds(self, offset: int) -> bool:
        """Whether the record at this offset is not removed."""
        return offset >= self.offset and offset not in self.removed

    def with_removed(self, offsets: Iterable[int]) -> Cursor:
        """A cursor that has these removed as well."""
        return Cursor(self.offset, self.removed | set(offsets))

    def metadata(self) -> str | None:
        """The marks as text for the commit; None when they do not fit beside an offset."""
        text = _MARK + base64.urlsafe_b64encode(b"".join(map(_varint, self._runs()))).decode() if self.removed else ""
        return text if len(text) <= METADATA_LIMIT else None

    def _advance(self) -> None:
        while self.offset in self.removed:
            self.removed.discard(self.offset)
            self.offset += 1

    def _runs(self) -> Iterator[int]:
        """Alternately how many are kept and how many are removed, from the cursor on."""
        at, run = self.offset, 0
        for offset in sorted(self.removed):
            if offset == at + run and run:
                run += 1
                continue
            if run:
                yield run
            yield offset - (at + run)
            at, run = offset, 1
        yield run


def _marks(offset: int, metadata: str) -> Iterator[int]:
    """The marked offsets; text that is not ours marks none."""
    if not metadata.startswith(_MARK):
        return
    try:
        numbers = list(_numbers(base64.urlsafe_b64decode(metadata[len(_MARK) :].encode("ascii"))))
    except (binascii.Error, ValueError):
        return
    for kept, removed in zip(numbers[::2], numbers[1::2], strict=False):
        offset += kept
        yield from range(offset, offset + min(removed, _RUN_LIMIT))
        offset += removed


_RUN_LIMIT: Final = 1_000_000
"""Metadata is data from outside: a run longer than this is not unfolded."""


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _numbers(octets: bytes) -> Iterator[int]:
    number = shift = 0
    for octet in octets:
        number |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            yield number
            number = shift = 0
        elif shift > 63:
            raise ValueError("a number without an end")
