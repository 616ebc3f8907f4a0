"""A Redis stream with its groups and pending lists (S1-S18). Pure: time comes in from outside."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Protocol

import msgspec

from mqdash.brokers.embedded.due import DueSet
from mqdash.model.message import Entry, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.brokers.embedded.kernel import Bounds
    from mqdash.model.topology import Route

Id = tuple[int, int]
"""Milliseconds and sequence of an entry id."""
START: Id = (0, 0)
NODE_ENTRIES = 100
"""Approximate trimming removes whole nodes of this many entries (`stream-node-max-entries`, S16)."""


def id_text(entry_id: Id) -> str:
    """As Redis writes it: `ms-seq`."""
    return f"{entry_id[0]}-{entry_id[1]}"


def parse_id(text: str) -> Id:
    """The other way round.

    Raises:
        ValueError: not an entry id.
    """
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)


class Kept(msgspec.Struct, frozen=True):
    """An entry in its stream: immutable, with the Unix seconds it was added at."""

    message: Message
    at_s: float
    size_bytes: int


class Pending:
    """An entry given to a consumer and not acknowledged."""

    __slots__ = ("count", "given_s", "owner")

    def __init__(self, owner: str, given_s: float) -> None:
        self.owner = owner
        self.given_s = given_s
        self.count = 1


class Given(msgspec.Struct, frozen=True):
    """An entry as a consumer reads it; `kept` None = deleted or trimmed while pending (S11). `idle_s`: of a claimed one."""

    entry_id: Id
    kept: Kept | None
    count: int
    idle_s: float | None = None


class Reader(Protocol):
    """A connected consumer as its group knows it."""

    name: str
    prefetch: int

    @property
    def in_flight(self) -> int:
        """How many entries it holds."""
        ...


class StreamGroup:
    """One group: how far it has read, who holds what, its due retries.

    Totals: `out` acknowledged, `dropped` gone before the group had them (trimmed, deleted, S12), `again` given again.
    `readers` are the connected consumers, `blocked` those waiting for entries, longest first.
    """

    def __init__(self, stream: Stream, name: str) -> None:
        self.stream = stream
        self.name = name
        self.last: Id = START
        self.pending: dict[Id, Pending] = {}
        self.holding: dict[str, int] = {}
        self.retries = DueSet()
        self.dead_letter: Route | None = None
        self.readers: list[Reader] = []
        self.blocked: dict[object, Callable[[], None]] = {}
        self.out = self.dropped = self.again = 0
        self._read_total: int | None = stream.added - len(stream.ids) if not stream.had_deletes else None
        self._before = stream.added - len(stream.ids)

    @property
    def waiting(self) -> int:
        """Entries not yet given to anybody: exact, Redis's own `lag` may not be."""
        ids = self.stream.ids
        return len(ids) - bisect_right(ids, self.last)

    @property
    def lag(self) -> int | None:
        """What XINFO GROUPS says: wrong after a trim, None after a delete ahead of the group (S17)."""
        if self._read_total is None or self.stream.max_deleted > self.last:
            return None
        return self.stream.added - self._read_total

    @property
    def received(self) -> int:
        """Entries this group was ever to get: `out + waiting + pending + dropped` at every step (E2)."""
        return self.stream.added - self._before

    def read(self, consumer: str, limit: int, now_s: float, *, noack: bool = False) -> list[Given]:
        """XREADGROUP `>`: the next entries, now pending with this consumer, count 1 (S3); `noack` skips that (S5)."""
        ids, entries = self.stream.ids, self.stream.entries
        at = bisect_right(ids, self.last)
        found = ids[at : at + limit]
        self.holding.setdefault(consumer, 0)
        if not found:
            return []
        self.last = found[-1]
        if self._read_total is not None:
            self._read_total += len(found)
        if noack:
            self.out += len(found)
        else:
            if self.pending:
                self._take_over(found)
            self.pending.update((entry_id, Pending(consumer, now_s)) for entry_id in found)
            self.holding[consumer] += len(found)
        return [Given(entry_id, entries[entry_id], 1) for entry_id in found]

    def reread(self, consumer: str, limit: int, now_s: float, *, after: Id = START) -> list[Given]:
        """XREADGROUP with an id: the caller's own pending entries after it; counts up and resets idle (S4)."""
        mine = sorted(key for key, pending in self.pending.items() if pending.owner == consumer and key > after)[:limit]
        return [self._give_again(entry_id, consumer, now_s) for entry_id in mine]

    def ack(self, entry_id: Id, owner: str | None = None) -> bool:
        """XACK: off the pending list, the entry stays (S7). With an owner only if that one still holds it."""
        pending = self.pending.get(entry_id)
        if pending is None or (owner is not None and pending.owner != owner):
            return False
        del self.pending[entry_id]
        self.holding[pending.owner] -= 1
        self.out += 1
        return True

    def claim(self, entry_ids: Sequence[Id], consumer: str, *, min_idle_s: float, now_s: float) -> list[Given]:
        """XCLAIM: pending entries idle for long enough change hands, count + 1 (S8); of two claimants one wins (S9)."""
        claimed = []
        for entry_id in entry_ids:
            pending = self.pending.get(entry_id)
            if pending is None or now_s - pending.given_s < min_idle_s:
                continue
            if entry_id not in self.stream.entries:
                self._drop_pending(entry_id)
                continue
            claimed.append(self._give_again(entry_id, consumer, now_s))
        return claimed

    def autoclaim(
        self,
        consumer: str,
        *,
        min_idle_s: float,
        limit: int,
        now_s: float,
        start: Id = START,
        others_only: bool = False,
    ) -> tuple[list[Given], Id, list[Id]]:
        """XAUTOCLAIM: looks at most at 10 x limit pending entries from `start` on (S10).

        Returns what was claimed, where to go on ((0, 0) = all seen), and ids dropped because their entry is gone.
        """
        claimed: list[Given] = []
        gone: list[Id] = []
        order = sorted(key for key in self.pending if key >= start)
        for looked, entry_id in enumerate(order):
            if looked >= limit * 10 or len(claimed) >= limit:
                return claimed, entry_id, gone
            pending = self.pending[entry_id]
            if now_s - pending.given_s < min_idle_s or (others_only and pending.owner == consumer):
                continue
            if entry_id in self.stream.entries:
                claimed.append(self._give_again(entry_id, consumer, now_s))
            else:
                self._drop_pending(entry_id)
                gone.append(entry_id)
        return claimed, START, gone

    def set_id(self, last: Id) -> None:
        """XGROUP SETID: everything after `last` is given again, also what is still pending (S13)."""
        before = self.waiting
        self.last = last
        self._before -= self.waiting - before
        self._read_total = None

    def delete_consumer(self, consumer: str) -> int:
        """XGROUP DELCONSUMER: its pending entries are lost to the group (S12); returns how many."""
        mine = [entry_id for entry_id, pending in self.pending.items() if pending.owner == consumer]
        for entry_id in mine:
            self._drop_pending(entry_id)
        self.holding.pop(consumer, None)
        return len(mine)

    def wake(self) -> None:
        """Wake all blocked consumers in the order they have waited; who finds nothing blocks again."""
        blocked, self.blocked = self.blocked, {}
        for call in blocked.values():
            call()

    def _take_over(self, found: Sequence[Id]) -> None:
        for entry_id in found:
            pending = self.pending.get(entry_id)
            if pending is not None:
                self.holding[pending.owner] -= 1
                self.again += 1
                self._before += 1

    def _give_again(self, entry_id: Id, consumer: str, now_s: float) -> Given:
        pending = self.pending[entry_id]
        self.holding[pending.owner] -= 1
        self.holding[consumer] = self.holding.get(consumer, 0) + 1
        idle_s = None if pending.owner == consumer else now_s - pending.given_s
        pending.owner, pending.given_s = consumer, now_s
        pending.count += 1
        self.again += 1
        return Given(entry_id, self.stream.entries.get(entry_id), pending.count, idle_s)

    def _drop_pending(self, entry_id: Id) -> None:
        pending = self.pending.pop(entry_id)
        self.holding[pending.owner] -= 1
        self.dropped += 1


class Stream:
    """Entries in id order. `max_length` is approximate (`MAXLEN ~`), the bound of the embedded broker exact (S16)."""

    def __init__(self, name: str, bounds: Bounds, *, max_length: int | None = None) -> None:
        self.name = name
        self.max_length = max_length
        self.ids: list[Id] = []
        self.entries: dict[Id, Kept] = {}
        self.groups: dict[str, StreamGroup] = {}
        self.added = self.dropped = self.size_bytes = 0
        self.last_id: Id = START
        self.max_deleted: Id = START
        self._bounds = bounds

    @property
    def had_deletes(self) -> bool:
        """Whether an entry was ever deleted one by one."""
        return self.max_deleted > START

    def group(self, name: str) -> StreamGroup:
        """XGROUP CREATE from the beginning, when it is missing."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = StreamGroup(self, name)
        return group

    def add(self, message: Message, now_s: float, *, entry_id: Id | None = None) -> Id:
        """XADD: ids only grow, also when the clock steps back (S1). `trim` and `wake` when the batch is complete.

        Raises:
            ValueError: the explicit id is not above the top item.
        """
        milliseconds = int(now_s * 1000)
        if entry_id is None:
            last = self.last_id
            entry_id = (milliseconds, 0) if milliseconds > last[0] else (last[0], last[1] + 1)
        elif entry_id <= self.last_id:
            raise ValueError(f"the id {id_text(entry_id)} is equal or smaller than the top item of {self.name}")
        size = message.size_bytes
        kept = Message(content=message.content, native=Entry(entry_id=id_text(entry_id)))
        self.ids.append(entry_id)
        self.entries[entry_id] = Kept(kept, now_s, size)
        self.last_id = entry_id
        self.added += 1
        self.size_bytes += size
        return entry_id

    def trim(self) -> int:
        """Forget the oldest entries beyond `max_length` and the bound, pending or not (S16); returns how many."""
        over = 0
        if self.max_length is not None and len(self.ids) > self.max_length:
            over = (len(self.ids) - self.max_length) // NODE_ENTRIES * NODE_ENTRIES
        size = self.size_bytes - sum(self.entries[entry_id].size_bytes for entry_id in self.ids[:over])
        while over < len(self.ids) - 1 and self._bounds.exceeded(len(self.ids) - over, size):
            size -= self.entries[self.ids[over]].size_bytes
            over += 1
        return self._cut(over)

    def trim_to(self, length: int) -> int:
        """XTRIM MAXLEN = length; returns how many went."""
        return self._cut(max(len(self.ids) - length, 0))

    def delete(self, entry_id: Id) -> bool:
        """XDEL: the entry is gone, pending lists keep its id (S11)."""
        kept = self.entries.pop(entry_id, None)
        if kept is None:
            return False
        del self.ids[bisect_left(self.ids, entry_id)]
        self.size_bytes -= kept.size_bytes
        self.max_deleted = max(self.max_deleted, entry_id)
        for group in self.groups.values():
            if entry_id > group.last:
                group.dropped += 1
        return True

    def newest(self, count: int) -> list[tuple[Id, Kept]]:
        """XREVRANGE + - COUNT: newest first, no side effects (S18)."""
        return [(entry_id, self.entries[entry_id]) for entry_id in reversed(self.ids[-count:])]

    def wake(self) -> None:
        """Something was added: wake who waits."""
        for group in self.groups.values():
            if group.blocked:
                group.wake()

    def _cut(self, count: int) -> int:
        if count <= 0:
            return 0
        gone = self.ids[:count]
        for group in self.groups.values():
            group.dropped += count - bisect_right(gone, group.last)
        for entry_id in gone:
            self.size_bytes -= self.entries.pop(entry_id).size_bytes
        del self.ids[:count]
        self.dropped += count
        return count
