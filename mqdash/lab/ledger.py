"""The proof: every message by its id, per queue it must reach, from its confirm to the end of its processing.

`done`: processed to the end and acknowledged (SETTLED, WRITTEN or, on Kafka, HELD). `dead`: moved to the dead letters
and not done later. `duplicates`: processed to the end more than once. `lost`: confirmed, neither done nor dead, and at
a count no longer on the broker, nor expired nor dropped there. `not_kept`: copies a channel did not keep for somebody.

Our own ids are `<prefix>-<n>[.<name>]`, with a number that one of our producers has given out: one byte of flags per
message and queue, in blocks; a block in which every message was confirmed and done shares one constant, so a long run
costs what is open. Other ids (typed by a person, of another process or an earlier run) are kept one by one, the newest of
them, and counted apart: they prove nothing about this run. Such an id may be used twice on purpose, so that it counts as a
duplicate only when the broker said that it gave the message out again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.model.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


Issued = Callable[[int], bool]
"""Whether a producer of ours has given out this number."""


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

    def flags(self, number: int) -> int:
        """What is known of this number."""
        block = self._blocks.get(number // BLOCK)
        return 0 if block is None else block[number % BLOCK]

    def open_numbers(self) -> Iterable[tuple[int, bool]]:
        """Numbers that are neither done nor dead, in their order, and whether each is confirmed."""
        for index in sorted(self._blocks):
            block = self._blocks[index]
            if block is not _COMPLETE:
                yield from (
                    (index * BLOCK + at, bool(flags & CONFIRMED))
                    for at, flags in enumerate(block)
                    if flags & (CONFIRMED | ARRIVED) and not flags & (DONE | DEAD)
                )


class _Tally(msgspec.Struct):
    published: int = 0
    done: int = 0
    dead: int = 0
    open_confirmed: int = 0
    redelivered: int = 0
    duplicates: int = 0

    def counts(self) -> Counts:
        return Counts(open=self.published - self.done - self.dead, **msgspec.structs.asdict(self))


class QueueLedger:
    """One queue. Every call names ids; a call for an id twice changes nothing but what says so.

    `issuers`: the producers of this run by the prefix of their ids. `names`: what follow-ups add to an id.
    """

    def __init__(self, issuers: Mapping[str, Issued] | None = None, names: Collection[str] = ()) -> None:
        self._issuers = {} if issuers is None else issuers
        self._names = names
        self._sequences: dict[tuple[str, str], _Blocks] = {}
        self._others: dict[str, int] = {}
        self._own = _Tally()
        self._foreign = _Tally()
        self._unproven: dict[str, bool] = {}

    def confirmed(self, message_id: str) -> None:
        """The broker promised to keep it for this queue."""
        before, tally = self._add(message_id, CONFIRMED)
        if not before & (CONFIRMED | ARRIVED):
            tally.published += 1
        if not before & CONFIRMED and not before & (DONE | DEAD):
            tally.open_confirmed += 1

    def delivered(self, message_id: str, *, redelivered: bool | None) -> None:
        """It came to a worker; `redelivered` None = the broker cannot tell, so a second arrival counts."""
        before, tally = self._add(message_id, ARRIVED, if_foreign=AGAIN if redelivered else 0)
        if not before & (CONFIRMED | ARRIVED):
            tally.published += 1
        if redelivered or (redelivered is None and before & ARRIVED):
            tally.redelivered += 1
        self._unproven.pop(message_id, None)

    def processed(self, message_id: str) -> None:
        """A worker came to the end of it and acknowledged."""
        before, tally = self._add(message_id, DONE)
        if before & DONE:
            tally.duplicates += tally is self._own or bool(before & AGAIN)
            return
        tally.done += 1
        if before & DEAD:
            tally.dead -= 1
        elif before & CONFIRMED:
            tally.open_confirmed -= 1

    def died(self, message_id: str) -> None:
        """It was moved to the dead letters, with proof."""
        before, tally = self._add(message_id, DEAD)
        if before & (DEAD | DONE):
            return
        tally.dead += 1
        if before & CONFIRMED:
            tally.open_confirmed -= 1

    def unproven(self, message_id: str, *, dead: bool) -> None:
        """There is no proof that it was settled: when it never comes again, it was moved (`dead`) or acknowledged."""
        self._unproven[message_id] = dead

    @property
    def unproven_ids(self) -> Mapping[str, bool]:
        """Those that have not come again; True: on their way to the dead letters."""
        return self._unproven

    def counts(self) -> Counts:
        """What there is so far, foreign ids included."""
        own, foreign = self._own.counts(), self._foreign.counts()
        return Counts(**{name: getattr(own, name) + getattr(foreign, name) for name in Counts.__struct_fields__})

    @property
    def own(self) -> Counts:
        """What there is so far of this run's own ids."""
        return self._own.counts()

    @property
    def foreign(self) -> Counts:
        """What there is so far of other ids."""
        return self._foreign.counts()

    def open_ids(self) -> dict[str, bool]:
        """This run's ids that came to the queue and are neither done nor dead; True: the broker had confirmed it."""
        return {
            _spelled(prefix, number, name): confirmed
            for (prefix, name), blocks in self._sequences.items()
            for number, confirmed in blocks.open_numbers()
        }

    def is_own(self, message_id: str) -> bool:
        """Whether a producer of this run gave this id out, or a follow-up was named after such a one."""
        return self._issued(message_id) is not None

    def knows(self, message_id: str) -> bool:
        """Whether it is one of this run's that was confirmed for this queue or came from it."""
        parsed = self._issued(message_id)
        blocks = None if parsed is None else self._sequences.get((parsed[0], parsed[2]))
        return parsed is not None and blocks is not None and blocks.flags(parsed[1]) != 0

    def place(self, message_id: str) -> tuple[tuple[str, str], int] | None:
        """The sequence of an own id and its number in it; None for a foreign one."""
        parsed = self._issued(message_id)
        return None if parsed is None else ((parsed[0], parsed[2]), parsed[1])

    def _issued(self, message_id: str) -> tuple[str, int, str] | None:
        parsed = _parsed(message_id)
        if parsed is None:
            return None
        issued = self._issuers.get(parsed[0])
        known = issued is not None and issued(parsed[1])
        named = not parsed[2] or all(part in self._names for part in parsed[2].split("."))
        return parsed if known and named else None

    def _add(self, message_id: str, flags: int, *, if_foreign: int = 0) -> tuple[int, _Tally]:
        parsed = self._issued(message_id)
        if parsed is None:
            return self._add_other(message_id, flags | if_foreign), self._foreign
        prefix, number, name = parsed
        blocks = self._sequences.get((prefix, name))
        if blocks is None:
            blocks = self._sequences[prefix, name] = _Blocks()
        return blocks.add(number, flags)[0], self._own

    def _add_other(self, message_id: str, flags: int) -> int:
        before = self._others.get(message_id, 0)
        self._others[message_id] = before | flags
        if len(self._others) > OTHERS_LIMIT:
            oldest = next(iter(self._others))
            del self._others[oldest]
        return before


class Ledger:
    """All queues of a scenario."""

    def __init__(self, topology: Topology, names: Collection[str] = ()) -> None:
        """`names`: what follow-ups add to an id."""
        self._routing = Routing(topology)
        self._reach: dict[Route, tuple[QueueRef, ...]] = {}
        self._issuers: dict[str, Issued] = {}
        self._names = frozenset(names)
        self._queues: dict[QueueRef, QueueLedger] = {}
        for queue in topology.queues:
            self.queue(queue.ref)
        self.returned = 0
        self.refused = 0
        self.unknown = 0
        self.lost = 0
        self.not_kept = 0

    def queue(self, ref: QueueRef) -> QueueLedger:
        """The part of one queue."""
        found = self._queues.get(ref)
        if found is None:
            found = self._queues[ref] = QueueLedger(self._issuers, self._names)
        return found

    def issued_by(self, prefix: str, issued: Issued) -> None:
        """Ids that begin with `prefix` are this run's when `issued` knows their number."""
        self._issuers[prefix] = issued

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
