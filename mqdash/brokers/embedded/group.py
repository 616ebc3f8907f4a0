"""A Kafka consumer group on one topic: members, assignment, committed offsets, retry topics (K7-K9, K12-K15, K18, K24).

Pure: time comes in from outside. The rebalance is eager (K14): every assignment ends, everybody starts again at the
committed offset. A member that crashed keeps its partitions until its session times out (E4).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from mqdash.brokers.embedded.log import Stored, Topic
from mqdash.model.delivery import PartitionMove
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.brokers.embedded.log import Partition


DLQ_SUFFIX = ".dlq"


class Cursor:
    """Where a group stands on one partition.

    `position`: what the owner reads next. `window`: offsets given out and not committed, in order; `done` are those of
    them that are settled behind an open one (HELD). Totals: `out` committed past, `lost` forgotten by the log before
    the group had them (K21), `again` given out more than once.
    """

    __slots__ = ("again", "committed", "done", "lost", "origin", "out", "position", "seen", "window")

    def __init__(self, start: int) -> None:
        self.origin = start
        self.position = start
        self.committed: int | None = None
        self.window: deque[int] = deque()
        self.done: set[int] = set()
        self.seen = start
        self.out = self.lost = self.again = 0

    def give(self, count: int) -> int:
        """Give out the next `count` records; returns the first offset."""
        first = self.position
        self.position = end = first + count
        self.window.extend(range(first, end))
        if first < self.seen:
            self.again += min(end, self.seen) - first
        self.seen = max(self.seen, end)
        return first

    def settle(self, offset: int) -> bool:
        """Mark as done and commit the contiguous done prefix, forward only (K8). False: not open here."""
        window, done = self.window, self.done
        if window and window[0] == offset:
            window.popleft()
            self.out += 1
            while window and window[0] in done:
                done.discard(window.popleft())
                self.out += 1
            self.committed = window[0] if window else self.position
            return True
        if not self.open(offset):
            return False
        done.add(offset)
        return True

    def open(self, offset: int) -> bool:
        """Whether that record is given out and not settled."""
        window = self.window
        return bool(window) and window[0] <= offset < self.position and offset not in self.done

    def rewind(self, start: int) -> None:
        """The assignment ended: go back to the committed offset, or to the log start when that is later (K9, K11)."""
        self.position = position = max(self.committed or self.origin, start)
        for offset in self.window:
            if offset >= position:
                break
            if offset in self.done:
                self.out += 1
            else:
                self.lost += 1
        self.window.clear()
        self.done.clear()

    def forget(self, start: int) -> None:
        """The log start moved to `start`: what was not yet given out before it is lost to this group (K21)."""
        if self.position < start:
            self.lost += start - self.position
            self.position = start


class Member:
    """A consumer in the group. `wake` is called when it may have something to read."""

    def __init__(self, name: str, *, prefetch: int, session_timeout_s: float, wake: Callable[[], None]) -> None:
        self.name = name
        self.prefetch = prefetch
        self.session_timeout_s = session_timeout_s
        self.wake = wake
        self.number = 0
        self.unsettled = 0
        self.silent_since_s: float | None = None
        self.partitions: tuple[int, ...] = ()
        self.moves: list[PartitionMove] = []
        self.turn = 0


class Run(msgspec.Struct, frozen=True):
    """Consecutive records given to a member."""

    topic: Topic
    partition: int
    first: int
    records: list[Stored]


class Group:
    """The members and offsets of one group on one topic and its retry topics, which are partitioned alike."""

    def __init__(self, topic: Topic, name: str) -> None:
        self.topic = topic
        self.name = name
        self.dead_letter = Route(f"{topic.name}{DLQ_SUFFIX}")
        self.assignment = 0
        self.members: list[Member] = []
        self.owners: list[Member | None] = []
        self.retries: list[Topic] = []
        self.cursors: dict[tuple[str, int], Cursor] = {}
        self._unread_since_s: list[float | None] = []
        self._announced: dict[tuple[str, int], int] = {}
        self._numbers = 0
        self._extend()

    def join(self, member: Member, now_s: float) -> None:
        """A member comes: rebalance (K17)."""
        self._numbers += 1
        member.number = self._numbers
        self.members.append(member)
        self._rebalance(now_s)

    def leave(self, member: Member, now_s: float) -> None:
        """A member goes politely: rebalance at once."""
        if member in self.members:
            self.members.remove(member)
            self._orphan(member, now_s)
            self._rebalance(now_s)
            member.partitions = ()

    def crash(self, member: Member, now_s: float) -> None:
        """A member falls silent: nothing happens until its session times out (K12, E4)."""
        if member in self.members and member.silent_since_s is None:
            member.silent_since_s = now_s

    def grown(self, now_s: float) -> None:
        """The topic got more partitions: rebalance (K17)."""
        for topic in self.retries:
            topic.grow(len(self.topic.partitions))
        self._extend()
        self._rebalance(now_s)

    def add_retry(self, topic: Topic) -> None:
        """Serve this retry topic too; whoever owns a partition of the topic owns that of its retry topics."""
        self.retries.append(topic)
        self._extend()

    def next_due_s(self) -> float | None:
        """When a silent member's session or the wait of the next retry ends."""
        due = [
            member.silent_since_s + member.session_timeout_s
            for member in self.members
            if member.silent_since_s is not None
        ]
        for topic in self.retries:
            for number, partition in enumerate(topic.partitions):
                record = partition.at(max(self._announced[topic.name, number], partition.start))
                if record is not None:
                    due.append(record.at_s + (topic.delay_s or 0.0))
        return min(due, default=None)

    def advance(self, now_s: float) -> None:
        """Remove members whose session timed out, tell owners of retries that are due."""
        gone = [
            member
            for member in self.members
            if member.silent_since_s is not None and member.silent_since_s + member.session_timeout_s <= now_s
        ]
        for member in gone:
            self.members.remove(member)
            self._orphan(member, member.silent_since_s or now_s)
            member.partitions = ()
        if gone:
            self._rebalance(now_s)
        for topic in self.retries:
            for number, partition in enumerate(topic.partitions):
                at = max(self._announced[topic.name, number], partition.start)
                while (record := partition.at(at)) is not None and record.at_s + (topic.delay_s or 0.0) <= now_s:
                    at += 1
                self._announced[topic.name, number] = at
                owner = self.owners[number]
                if owner is not None:
                    owner.wake()

    def fetch(self, member: Member, limit: int, now_s: float) -> list[Run]:
        """Up to `limit` records for a member, no more unsettled than its prefetch (0 = no bound); due retries first."""
        room = limit if member.prefetch <= 0 else min(limit, member.prefetch - member.unsettled)
        runs: list[Run] = []
        partitions = member.partitions
        if room <= 0 or not partitions:
            return runs
        member.turn = turn = (member.turn + 1) % len(partitions)
        for topic in (*self.retries, self.topic):
            for number in partitions[turn:] + partitions[:turn]:
                found = self._read(topic, number, room, now_s)
                if found:
                    first = self.cursors[topic.name, number].give(len(found))
                    runs.append(Run(topic, number, first, found))
                    member.unsettled += len(found)
                    room -= len(found)
                    if room <= 0:
                        return runs
        return runs

    def held(self, member: Member, assignment: int, topic: str, partition: int) -> Cursor | None:
        """The cursor of a partition this member owns in that assignment; None when it is not its own any more (K13)."""
        if assignment != self.assignment or member.silent_since_s is not None or partition not in member.partitions:
            return None
        return self.cursors.get((topic, partition))

    def reset(self, partition: int, offset: int) -> int:
        """Commit from outside, clamped to [log start, log end] (K18, K19); returns the offset that was set.

        Raises:
            ValueError: the group has members.
        """
        if self.members:
            raise ValueError(f"group {self.name} has members: offsets can be set only while it is empty (K18)")
        log = self.topic.partitions[partition]
        cursor = self.cursors[self.topic.name, partition]
        set_to = min(max(offset, log.start), log.end)
        if set_to > cursor.position:
            cursor.out += set_to - cursor.position
        else:
            cursor.out -= min(cursor.out, cursor.position - set_to)
        cursor.committed = cursor.position = set_to
        return set_to

    def _read(self, topic: Topic, number: int, limit: int, now_s: float) -> list[Stored]:
        log: Partition = topic.partitions[number]
        found = log.read(self.cursors[topic.name, number].position, limit)
        if topic.delay_s is None:
            return found
        due = 0
        while due < len(found) and found[due].at_s + topic.delay_s <= now_s:
            due += 1
        return found[:due]

    def _extend(self) -> None:
        for topic in (self.topic, *self.retries):
            for number, log in enumerate(topic.partitions):
                self.cursors.setdefault((topic.name, number), Cursor(log.start))
                if topic is not self.topic:
                    self._announced.setdefault((topic.name, number), log.start)
        while len(self.owners) < len(self.topic.partitions):
            self.owners.append(None)
            self._unread_since_s.append(None)

    def _orphan(self, member: Member, since_s: float) -> None:
        for partition in member.partitions:
            self._unread_since_s[partition] = since_s

    def _rebalance(self, now_s: float) -> None:
        self.assignment += 1
        for topic in (self.topic, *self.retries):
            for number, log in enumerate(topic.partitions):
                self.cursors[topic.name, number].rewind(log.start)
        before = [owner.name if owner is not None else "" for owner in self.owners]
        members = sorted(self.members, key=lambda member: (member.name, member.number))
        given: dict[int, list[int]] = {member.number: [] for member in members}
        for partition, name in enumerate(before):
            owner = members[partition % len(members)] if members else None
            kept = owner is not None and owner is self.owners[partition]
            self.owners[partition] = owner
            if owner is None:
                continue
            given[owner.number].append(partition)
            if not kept:
                gap_s = self._gap_s(partition, name, now_s)
                owner.moves.append(
                    PartitionMove(partition=partition, from_member=name, to_member=owner.name, gap_s=gap_s)
                )
            self._unread_since_s[partition] = None
        for member in members:
            member.partitions = tuple(given[member.number])
            member.unsettled = 0
            member.wake()

    def _gap_s(self, partition: int, from_name: str, now_s: float) -> float | None:
        since_s = self._unread_since_s[partition]
        if since_s is None:
            return 0.0 if from_name else None
        return now_s - since_s
