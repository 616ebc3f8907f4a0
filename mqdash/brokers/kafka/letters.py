"""Dead letters of a topic: read freely, removed by a cursor, replayed in one transaction (semantics §2.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from mqdash.brokers.kafka.browsing import read_between, seen
from mqdash.brokers.kafka.cluster import places_of
from mqdash.brokers.kafka.errors import translated
from mqdash.brokers.kafka.records import LETTERS_PREFIX
from mqdash.brokers.kafka.way import stop
from mqdash.errors import BrokerError, NotFound
from mqdash.failpoints import failpoint
from mqdash.model.broker import LeaseInfo
from mqdash.model.delivery import Outcome, RecordClaim, Settled
from mqdash.model.message import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.kafka.cluster import Cluster, Ends
    from mqdash.brokers.kafka.cursor import Cursor
    from mqdash.brokers.kafka.transaction import Transactions
    from mqdash.brokers.kafka.way import Way
    from mqdash.model.delivery import Delivery, Outgoing
    from mqdash.model.topology import QueueRef

COMMIT_LIMIT_S: Final = 8.0
IN_ONE: Final = "one transaction"
COST: Final = "reading is free; what is removed is unlisted, and kept until retention"
GONE: Final = Outcome(Settled.SETTLED, "it was gone already")
FULL: Final = (
    "too many holes: which records are removed does not fit beside the group's offset; remove the oldest ones first"
)


class Graves:
    """What is kept and what is removed of one dead-letter topic. The committed cursors are the truth."""

    def __init__(self, way: Way, cluster: Cluster, topic: str) -> None:
        self.topic = topic
        self.group = LETTERS_PREFIX + topic
        self._way = way
        self._cluster = cluster
        self._committer: Any = None

    async def look(self) -> tuple[dict[TopicPartition, Ends], dict[TopicPartition, Cursor]]:
        """Bounds and cursors of all partitions now.

        Raises:
            NotFound: there is no such topic.
        """
        topics = await self._cluster.topics()
        if self.topic not in topics:
            raise NotFound(self._cluster.broker, f"there is no topic {self.topic!r}")
        ends = await self._cluster.ends(places_of(topics, self.topic))
        return ends, await self._cluster.cursors(self.topic, ends)

    async def newest(self, queue: QueueRef, limit: int) -> tuple[list[Delivery], int]:
        """Up to `limit` letters, newest first, and how many there are."""
        ends, cursors = await self.look()
        total = sum(ends[place].end - cursor.offset - len(cursor.removed) for place, cursor in cursors.items())
        records: list[Any] = []
        until = {place: ends[place].end for place in cursors}
        while len(records) < limit:
            starts = {place: _back(cursors[place], until[place], limit) for place in until}
            spans = {place: (start, until[place]) for place, start in starts.items() if start < until[place]}
            if not spans:
                break
            found = await read_between(self._way, spans)
            records += [one for one in found if cursors[TopicPartition(one.topic, one.partition)].holds(one.offset)]
            until = starts  # transaction markers and compacted records are offsets without a letter: look further back
        records.sort(key=lambda record: (record.timestamp, record.partition, record.offset), reverse=True)
        return [seen(queue, record) for record in records[:limit]], total

    async def commit(self, cursors: dict[TopicPartition, Cursor]) -> None:
        """Commit without being a member: nobody ever joins this group (K18).

        Raises:
            BrokerError: no proof that it was taken; the text says why.
        """
        offsets = {place: (cursor.offset, cursor.metadata() or "") for place, cursor in cursors.items()}
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                if self._committer is None:
                    self._committer = await self._way.committer(self.group)
                self._committer.assign(list(offsets))
                self._committer.pause(*offsets)  # it commits and never reads
                await self._committer.commit(offsets)
        except TimeoutError:
            raise BrokerError(self._cluster.broker, "no answer to the commit in time") from None
        except KafkaError as error:
            raise translated(self._cluster.broker, error, what=self.group) from None

    async def close(self) -> None:
        """Stop the committer, if there ever was one."""
        if self._committer is not None:
            await stop(self._committer)


def _back(cursor: Cursor, until: int, count: int) -> int:
    """The offset from which `count` records before `until` are not removed, or the cursor."""
    start = until
    while count and start > cursor.offset:
        start -= 1
        count -= cursor.holds(start)
    return start


class KafkaLease:
    """See `mqdash.brokers.base.Lease` and `MovesInOne`: nothing is held, so nothing needs to be given back."""

    def __init__(
        self, graves: Graves, letters: Sequence[Delivery], total: int, transactions: Transactions | None
    ) -> None:
        self.letters = letters
        self.info = LeaseInfo(
            total=total, order="newest", held=False, cost=COST, in_one=IN_ONE if transactions is not None else ""
        )
        self._graves = graves
        self._transactions = transactions
        self._writing = asyncio.Lock()

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """Move the cursors; what others removed meanwhile is read again first and stays removed."""
        async with self._writing:
            try:
                _, cursors = await self._graves.look()
                there = [_holds(cursors, letter) for letter in letters]
                moved = with_removed(cursors, [one for one, holds in zip(letters, there, strict=True) if holds])
                if moved is None:
                    return [Outcome(Settled.FAILED, FULL)] * len(letters)
                failpoint("kafka.before_cursor")
                if moved:
                    await self._graves.commit(moved)
            except BrokerError as error:
                return [Outcome(Settled.UNKNOWN, error.text)] * len(letters)
        return [Outcome(Settled.SETTLED) if holds else GONE for holds in there]

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        """Copies and cursor in one transaction; None on brokers before 4.0, or without the right to transactions."""
        if self._transactions is None:
            return None
        async with self._writing:
            return await self._transactions.move(letters, copies)


def place_of(letter: Delivery) -> TopicPartition:
    """Where a dead letter lies."""
    assert isinstance(letter.claim, RecordClaim)
    return TopicPartition(letter.route.destination, letter.claim.partition)


def _holds(cursors: dict[TopicPartition, Cursor], letter: Delivery) -> bool:
    cursor = cursors.get(place_of(letter))
    assert isinstance(letter.claim, RecordClaim)
    return cursor is not None and cursor.holds(letter.claim.offset)


def _offsets(letter: Delivery, last: int) -> range:
    """The letter's own offset; a batch nobody can read has one for each of its records (fault 30)."""
    native = letter.message.native
    n = native.batch_size if isinstance(native, Record) else None
    return range(last - (n or 1) + 1, last + 1)


def with_removed(
    cursors: dict[TopicPartition, Cursor], letters: Sequence[Delivery], by: str = ""
) -> dict[TopicPartition, Cursor] | None:
    """The cursors of the partitions these letters lie in, with them removed; None when one would not fit."""
    offsets: dict[TopicPartition, list[int]] = {}
    for letter in letters:
        assert isinstance(letter.claim, RecordClaim)
        offsets.setdefault(place_of(letter), []).extend(_offsets(letter, letter.claim.offset))
    moved = {place: cursors[place].with_removed(removed, by) for place, removed in offsets.items()}
    return None if any(cursor.metadata() is None for cursor in moved.values()) else moved
