"""The proof: every message by its id, per queue it must reach, from its confirm to the end of its processing.

`done`: processed to the end and acknowledged (SETTLED, WRITTEN or, on Kafka, HELD). `dead`: moved to the dead letters
and not done later. `duplicates`: processed to the end more than once. `lost`: confirmed, neither done nor dead, and at
a count no longer on the broker, nor expired nor dropped there. `not_kept`: copies a channel did not keep for somebody.

Ids are `<prefix>-<n>[.<name>]`: one byte of flags per message and queue, in blocks; a block in which every message was
confirmed and done shares one constant, so a long run costs what is open. Other ids (typed by a person, foreign) are
kept one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.model.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.topology import QueueRef, Route, Topology

CONFIRMED: Final = 1
ARRIVED: Final = 2
DONE: Final = 4
DEAD: Final = 8
AGAIN: Final = 16

BLOCK: Final = 4096
OTHERS_LIMIT: Final = 50_000
ROUTES_LIMIT: Final = 10_000
_COMPLETE: Final = bytes([CONFIRMED | ARRIVED | DONE]) * BLOCK


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One queue, in messages told apart by id: `open` = published - done - dead, `open_confirmed` of them confirmed."""

    published: int = 0
    done: int = 0
    dead: int = 0
    open: int = 0
    open_confirmed: int = 0
    redelivered: int = 0
    duplicates: int = 0


class _Blocks:
    """Flags of the ids of one sequence."""

    __slots__ = ("_blocks", "_complete")

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray | bytes] = {}
        self._complete: dict[int, int] = {}

    def add(self, number: int, flags: int) -> tuple[int, int]:
        """Set flags; returns those before and after."""
        index, at = divmod(number, BLOCK)
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = bytearray(BLOCK)
        before = block[at]
        after = before | flags
        if after == before:
            return before, after
        if isinstance(block, bytes):  # complete: only a second processing can still happen to it
            block = self._blocks[index] = bytearray(block)
            self._complete[index] = BLOCK
        block[at] = after
        if after == _COMPLETE[0]:
            complete = self._complete[index] = self._complete.get(index, 0) + 1
            if complete == BLOCK:
                self._blocks[index] = _COMPLETE
                del self._complete[index]
        elif before == _COMPLETE[0]:
            self._complete[index] -= 1
        return before, after

    def open_numbers(self) -> Iterable[int]:
        """Numbers that are confirmed and neither done nor dead."""
        for index, block in self._blocks.items():
            if block is not _COMPLETE:
                yield from (
                    index * BLOCK + at for at, flags in enumerate(block) if flags & ~(ARRIVED | AGAIN) == CONFIRMED
                )


class QueueLedger:
    """One queue. Every call names ids; a call for an id twice changes nothing but what says so."""

    def __init__(self) -> None:
        self._sequences: dict[tuple[str, str], _Blocks] = {}
        self._others: dict[str, int] = {}
        self._published = 0
        self._done = 0
        self._dead = 0
        self._open_confirmed = 0
        self._duplicates = 0
        self.redelivered = 0

    def confirmed(self, message_id: str) -> None:
        """The broker promised to keep it for this queue."""
        before = self._add(message_id, CONFIRMED)
        if not before & (CONFIRMED | ARRIVED):
            self._published += 1
        if not before & CONFIRMED and not before & (DONE | DEAD):
            self._open_confirmed += 1

    def delivered(self, message_id: str, *, redelivered: bool | None) -> None:
        """It came to a worker; `redelivered` None = the broker cannot tell, so a second arrival counts."""
        before = self._add(message_id, ARRIVED)
        if not before & (CONFIRMED | ARRIVED):
            self._published += 1
        if redelivered or (redelivered is None and before & ARRIVED):
            self.redelivered += 1

    def processed(self, message_id: str) -> None:
        """A worker came to the end of it and acknowledged."""
        before = self._add(message_id, DONE)
        if before & DONE:
            self._duplicates += 1
            return
        self._done += 1
        if before & DEAD:
            self._dead -= 1
        elif before & CONFIRMED:
            self._open_confirmed -= 1

    def died(self, message_id: str) -> None:
        """It was moved to the dead letters, with proof."""
        before = self._add(message_id, DEAD)
        if before & (DEAD | DONE):
            return
        self._dead += 1
        if before & CONFIRMED:
            self._open_confirmed -= 1

    def counts(self) -> Counts:
        """What there is so far."""
        return Counts(
            published=self._published,
            done=self._done,
            dead=self._dead,
            open=self._published - self._done - self._dead,
            open_confirmed=self._open_confirmed,
            redelivered=self.redelivered,
            duplicates=self._duplicates,
        )

    def open_ids(self) -> list[str]:
        """The ids that are confirmed and neither done nor dead."""
        found = [message_id for message_id, flags in self._others.items() if flags & ~(ARRIVED | AGAIN) == CONFIRMED]
        for (prefix, name), blocks in self._sequences.items():
            found += [_spelled(prefix, number, name) for number in blocks.open_numbers()]
        return found

    def _add(self, message_id: str, flags: int) -> int:
        parsed = _parsed(message_id)
        if parsed is None:
            return self._add_other(message_id, flags)
        prefix, number, name = parsed
        blocks = self._sequences.get((prefix, name))
        if blocks is None:
            blocks = self._sequences[prefix, name] = _Blocks()
        return blocks.add(number, flags)[0]

    def _add_other(self, message_id: str, flags: int) -> int:
        before = self._others.get(message_id, 0)
        self._others[message_id] = before | flags
        if len(self._others) > OTHERS_LIMIT:
            oldest = next(iter(self._others))
            del self._others[oldest]
        return before


class Ledger:
    """All queues of a scenario."""

    def __init__(self, topology: Topology) -> None:
        self._routing = Routing(topology)
        self._reach: dict[Route, tuple[QueueRef, ...]] = {}
        self._queues: dict[QueueRef, QueueLedger] = {queue.ref: QueueLedger() for queue in topology.queues}
        self.returned = 0
        self.refused = 0
        self.unknown = 0
        self.lost = 0
        self.not_kept = 0

    def queue(self, ref: QueueRef) -> QueueLedger:
        """The part of one queue."""
        return self._queues.setdefault(ref, QueueLedger())

    def confirmed(self, route: Route, message_id: str | None) -> None:
        """A publish was confirmed: every queue of its route must give it out."""
        if message_id is not None:
            for ref in self.reach(route):
                self._queues[ref].confirmed(message_id)

    def reach(self, route: Route) -> tuple[QueueRef, ...]:
        """The queues a publish by this route must reach; none where headers decide (R3): those are not predicted."""
        found = self._reach.get(route)
        if found is None:
            if len(self._reach) >= ROUTES_LIMIT:
                self._reach.clear()
            routed = self._routing.route(route)
            found = self._reach[route] = routed.queues if routed.certain else ()
        return found

    def counts(self, ref: QueueRef) -> Counts:
        """The counts of one queue."""
        return self.queue(ref).counts()

    def total(self) -> Counts:
        """The sums over all queues."""
        every = [queue.counts() for queue in self._queues.values()]
        return Counts(**{name: sum(getattr(one, name) for one in every) for name in Counts.__struct_fields__})


def _parsed(message_id: str) -> tuple[str, int, str] | None:
    """Prefix, number and name of an id that this lab spells; None for any other. `_spelled` must give it back."""
    prefix, dash, rest = message_id.rpartition("-")
    number, dot, name = rest.partition(".")
    if not number.isdecimal() or not number.isascii() or len(number) > 12 or (number[0] == "0" and number != "0"):
        return None
    if (dash and not prefix) or (dot and not name):
        return None
    return prefix, int(number), name


def _spelled(prefix: str, number: int, name: str) -> str:
    return f"{prefix}{'-' if prefix else ''}{number}{'.' if name else ''}{name}"
