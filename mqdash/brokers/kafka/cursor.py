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
    """`offset`: all before it are removed; `removed`: offsets behind it that are, too; `by`: the transaction that said so."""

    def __init__(self, offset: int, removed: Iterable[int] = (), by: str = "") -> None:
        self.offset = offset
        self.by = by
        self.removed = {one for one in removed if one >= offset}
        self._advance()

    @classmethod
    def read(cls, offset: int, metadata: str, *, start: int, end: int) -> Cursor:
        """From what was committed; without a sensible commit nothing is removed. [start, end) is what the log holds."""
        runs, _, by = metadata.removeprefix(_MARK).partition(":") if metadata.startswith(_MARK) else ("", "", "")
        if not start <= offset <= end:  # retention overtook it, or the topic was made anew
            offset, kept = (start, _marks(offset, runs)) if offset < start else (start, iter(()))
        else:
            kept = _marks(offset, runs)
        return cls(offset, (one for one in kept if one < end), by)

    def holds(self, offset: int) -> bool:
        """Whether the record at this offset is not removed."""
        return offset >= self.offset and offset not in self.removed

    def with_removed(self, offsets: Iterable[int], by: str = "") -> Cursor:
        """A cursor that has these removed as well, by that transaction."""
        return Cursor(self.offset, self.removed | set(offsets), by)

    def metadata(self) -> str | None:
        """The marks as text for the commit; None when they do not fit beside an offset."""
        runs = base64.urlsafe_b64encode(b"".join(map(_varint, self._runs()))).decode() if self.removed else ""
        text = _MARK + runs + (f":{self.by}" if self.by else "")
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


def _marks(offset: int, runs: str) -> Iterator[int]:
    """The marked offsets; text that is not ours marks none."""
    try:
        numbers = list(_numbers(base64.urlsafe_b64decode(runs.encode("ascii"))))
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
