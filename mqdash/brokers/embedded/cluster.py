"""The embedded Kafka as a whole: topics and groups under their names, appends, dead-letter cursors. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.embedded.group import Group
from mqdash.brokers.embedded.log import MAX_RECORD_BYTES, Partition, Stored, Topic, batch_bytes, record_bytes, stamped
from mqdash.brokers.moves import RUNGS, rung_for
from mqdash.model.message import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from mqdash.brokers.embedded.kernel import Bounds
    from mqdash.model.message import Message

_ROOM_BYTES = 65_536
"""A record so far below the limit is not weighed with its headers."""


class Removed:
    """Which records of a dead-letter partition are removed: a contiguous prefix by a cursor, more by a sparse set.

    Records of a log cannot be deleted one by one (K23), so "removed" is what the group `mqdash.dlq.<topic>` remembers.
    """

    def __init__(self) -> None:
        self.cursor = 0
        self.sparse: set[int] = set()

    def add(self, offset: int) -> bool:
        """Remove; False when it was removed before."""
        if offset in self:
            return False
        self.sparse.add(offset)
        self._slide()
        return True

    def move_to(self, start: int) -> None:
        """Nothing before `start` is there any more."""
        if start > self.cursor:
            self.cursor = start
            self.sparse = {offset for offset in self.sparse if offset >= start}
            self._slide()

    def _slide(self) -> None:
        while self.cursor in self.sparse:
            self.sparse.discard(self.cursor)
            self.cursor += 1

    def __contains__(self, offset: int) -> bool:
        return offset < self.cursor or offset in self.sparse


class Cluster:
    """One node with all topics and groups. Everything survives its restart; only connections are lost."""

    def __init__(self, rng: Random, bounds: Bounds, *, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self.topics: dict[str, Topic] = {}
        self.groups: dict[tuple[str, str], Group] = {}
        self.max_record_bytes = max_record_bytes
        self._rng = rng
        self._bounds = bounds
        self._readers: dict[str, list[Group]] = {}
        self._watchers: dict[str, Callable[[Message], None]] = {}
        self._removed: dict[tuple[str, int], Removed] = {}

    # --- topics and groups ---

    def create(self, name: str, partitions: int = 1, *, delay_s: float | None = None) -> Topic:
        """The topic of that name, made when it is missing (then with so many partitions)."""
        topic = self.topics.get(name)
        if topic is None:
            messages, size_bytes = self._bounds.messages, self._bounds.size_bytes
            topic = Topic(name, partitions, self._rng, max_messages=messages, max_bytes=size_bytes, delay_s=delay_s)
            self.topics[name] = topic
            self._readers[name] = []
        return topic

    def grow(self, name: str, partitions: int, now_s: float) -> None:
        """Add partitions to a topic; its groups rebalance (K17)."""
        self.topics[name].grow(partitions)
        for group in self._readers[name]:
            group.grown(now_s)

    def group(self, topic: str, name: str) -> Group:
        """The group on that topic, made when it is missing. KeyError when the topic is."""
        group = self.groups.get((topic, name))
        if group is None:
            group = self.groups[topic, name] = Group(self.topics[topic], name)
            self._readers[topic].append(group)
        return group

    def delete(self, name: str) -> bool:
        """Delete a topic with the offsets of its groups (K30) and their retry topics; its members are left without."""
        if self.topics.pop(name, None) is None:
            return False
        self._readers.pop(name, None)
        for key in [key for key in self._removed if key[0] == name]:
            del self._removed[key]
        for topic, group in [key for key in self.groups if key[0] == name]:
            self.forget_group(topic, group)
        return True

    def forget_group(self, topic: str, name: str) -> None:
        """Delete a group with its offsets and retry topics."""
        group = self.groups.pop((topic, name), None)
        if group is None:
            return
        for retry in group.retries:
            self.delete(retry.name)
        readers = self._readers.get(topic)
        if readers is not None and group in readers:
            readers.remove(group)
        for member in group.members:
            member.partitions = ()
            member.wake()
        group.members.clear()

    # --- records ---

    def refusal(self, topic: str, message: Message, partition: int | None) -> str:
        """Why a record would be refused, or an empty string."""
        found = self.topics.get(topic)
        if found is None:
            return f"there is no topic {topic!r}"
        if not isinstance(message.content, bytes):
            return "a Kafka record holds bytes, not field pairs"
        if partition is not None and not 0 <= partition < len(found.partitions):
            return f"topic {topic!r} has no partition {partition}"
        if record_bytes(message) <= self.max_record_bytes - _ROOM_BYTES:
            return ""
        size = batch_bytes(message)
        if size > self.max_record_bytes:
            return f"record of {size} bytes is larger than the topic takes ({self.max_record_bytes} bytes)"
        return ""

    def append(self, name: str, records: Iterable[tuple[Message, int | None]], now_s: float) -> list[tuple[int, int]]:
        """Write records none of which is refused, each to its partition or by its key; (partition, offset) of each."""
        topic = self.topics[name]
        watcher = self._watchers.get(name)
        logs = topic.partitions
        places: list[tuple[int, int]] = []
        touched: set[int] = set()
        for message, wanted in records:
            kept = stamped(message, now_s)
            size = record_bytes(kept)
            native = kept.native
            number = wanted
            if number is None:
                number = topic.choose(native.key if isinstance(native, Record) else None, size)
            places.append((number, logs[number].append(Stored(kept, now_s, size))))
            touched.add(number)
            if watcher is not None:
                watcher(kept)
        topic.end_batch()
        readers = self._readers[name]
        for number in sorted(touched):
            self._trim(topic, number)
            if not topic.delay_s:
                for group in readers:
                    owner = group.owners[number]
                    if owner is not None:
                        owner.wake()
        return places

    def retry_topic(self, group: Group, after_s: float) -> Topic:
        """The retry topic of the group for a wait of at least `after_s`, made when it is missing.

        A log cannot give a record back at once behind later ones, so an immediate retry is a retry topic without delay:
        the copy is made first, like every move.
        """
        label, delay_s = RUNGS[rung_for(after_s)] if after_s > 0 else ("0s", 0.0)
        name = f"{group.topic.name}.{group.name}.retry.{label}"
        if name not in self.topics:
            topic = self.create(name, len(group.topic.partitions), delay_s=delay_s)
            group.add_retry(topic)
            self._readers[name].append(group)
        return self.topics[name]

    def watch(self, topic: str, tell: Callable[[Message], None] | None) -> None:
        """Call `tell` with each record appended to a topic from now on (a reader without a group); None ends it."""
        if tell is None:
            self._watchers.pop(topic, None)
        else:
            self._watchers[topic] = tell

    def delete_records(self, name: str, partition: int, before: int) -> None:
        """Forget the records of a partition before an offset (K23); its groups lose what they had not read (K24)."""
        topic = self.topics[name]
        self._gone(topic, partition, topic.partitions[partition].delete_before(before))

    # --- dead letters ---

    def letters(self, topic: Topic) -> Iterator[tuple[int, int, Stored]]:
        """(partition, offset, record) of what is kept and not removed, newest first by time of append."""
        kept = [
            (number, offset, record)
            for number, log in enumerate(topic.partitions)
            for offset, record in enumerate(log.read(log.start, log.end - log.start), log.start)
            if offset not in self._removed_of(topic.name, number)
        ]
        return iter(sorted(kept, key=lambda letter: (letter[2].at_s, letter[1]), reverse=True))

    def letters_count(self, topic: Topic) -> int:
        """How many records are kept and not removed."""
        count = 0
        for number, log in enumerate(topic.partitions):
            removed = self._removed_of(topic.name, number)
            removed.move_to(log.start)
            count += log.end - removed.cursor - len(removed.sparse)
        return count

    def remove_letter(self, topic: str, partition: int, offset: int) -> bool:
        """Remember a record as removed; False when it was before, or is not there."""
        log: Partition = self.topics[topic].partitions[partition]
        return log.at(offset) is not None and self._removed_of(topic, partition).add(offset)

    # --- the kernel's Model ---

    def next_due_s(self) -> float | None:
        """The earliest due time of any group."""
        due = [at_s for group in self.groups.values() if (at_s := group.next_due_s()) is not None]
        return min(due, default=None)

    def advance(self, now_s: float) -> None:
        """Advance the groups to each due time in turn."""
        while (due_s := self.next_due_s()) is not None and due_s <= now_s:
            for group in self.groups.values():
                group.advance(due_s)

    def restarted(self, now_s: float) -> None:
        """Logs, offsets and group members are kept on disk; members that were connected are silent from now on."""
        for group in self.groups.values():
            for member in group.members:
                group.crash(member, now_s)

    def _removed_of(self, topic: str, partition: int) -> Removed:
        return self._removed.setdefault((topic, partition), Removed())

    def _trim(self, topic: Topic, number: int) -> None:
        self._gone(topic, number, topic.partitions[number].trim())

    def _gone(self, topic: Topic, number: int, dropped: int) -> None:
        if dropped:
            topic.dropped += dropped
            for group in self._readers[topic.name]:
                group.cursors[topic.name, number].forget(topic.partitions[number].start)
