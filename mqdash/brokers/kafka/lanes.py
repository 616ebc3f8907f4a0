"""Records on their way out, built into batches here: a third of what handing them over one by one costs (K1: order stays).

Each partition is a lane with one open batch. It leaves when it is full, when it holds enough, or after the linger, but never
beside a batch that is still on its way: so what comes meanwhile goes together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.errors import IllegalOperation, KafkaError, OutOfOrderSequenceNumber
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from mqdash.brokers.kafka.errors import is_too_large, refusal
from mqdash.brokers.kafka.records import wire_headers
from mqdash.brokers.kafka.way import BATCH_BYTES, LINGER_S
from mqdash.model.message import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, MutableMapping

    from mqdash.model.delivery import Outgoing
    from mqdash.model.message import Message
    from mqdash.model.topology import Route

ENOUGH: Final = 50
"""An open batch of this many records lingers no more."""
LARGEST_BYTES: Final = BATCH_BYTES // 4
_partition_of = DefaultPartitioner()


class NotWritten(Exception):
    """A batch that never left, or came behind a refused one and was out of order: certainly not written, to be sent again."""


class Batch:
    """Records that go together. `end`: what the broker said, or the error as a value; it never raises."""

    __slots__ = ("builder", "end", "since_s")

    def __init__(self, builder: Any) -> None:
        loop = asyncio.get_running_loop()
        self.builder = builder
        self.since_s = loop.time()
        self.end: asyncio.Future[Any] = loop.create_future()

    @property
    def count(self) -> int:
        """How many records are in it."""
        return int(self.builder.record_count())

    def ended(self, result: Any) -> None:
        """Tell those who wait."""
        if not self.end.done():
            self.end.set_result(result)


class Run(msgspec.Struct, frozen=True):
    """Records of one call that lie together: `count` of `batch` from its record `first` on. `indexes`: which of the call."""

    batch: Batch
    first: int
    indexes: Sequence[int]


class Lanes:
    """All lanes of one producer; `start` runs a lane's work in the background.

    `largest_bytes`: of topics that refused a batch although it was not full, how large one may become. Lanes learn that:
    half of what was refused, so that it ends above half of what the topic takes (`max.message.bytes`).
    """

    def __init__(
        self,
        producer: Any,
        start: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        largest_bytes: MutableMapping[str, int],
    ) -> None:
        self._producer = producer
        self._start = start
        self._largest_bytes = largest_bytes
        self._lanes: dict[tuple[str, int], _Lane] = {}

    def put(self, batch: Sequence[Outgoing]) -> list[Run] | None:
        """Take all of them, or none: when they go to several topics, or to one or a partition that is not known, or are large.

        Raises:
            TypeError, ValueError: a record cannot be written; some before it are on their way.
        """
        topic = batch[0].route.destination
        cluster = self._producer.client.cluster
        partitions = cluster.partitions_for_topic(topic)
        routes = {id(one.route): one.route for one in batch}.values()
        if not partitions or not _fit(batch, routes):
            return None
        rows = _rows(batch, routes, sorted(partitions), cluster.available_partitions_for_topic(topic) or ())
        if not rows.keys() <= partitions:
            return None
        return [run for partition, indexes in rows.items() for run in self._lane(topic, partition).put(batch, indexes)]

    def close(self) -> None:
        """Nothing more leaves; what is on its way may still land."""
        for lane in self._lanes.values():
            lane.close()

    async def landed(self, limit_s: float) -> None:
        """Wait, at most so long, for the answers to what is on its way; close them first."""
        ends = [batch.end for lane in self._lanes.values() for batch in lane.leaving]
        if ends:
            await asyncio.wait(ends, timeout=limit_s)

    def give_up(self) -> None:
        """Close, and end what has no answer yet without one; after a refusal what never left can be sent again."""
        self.close()
        refused = any(lane.refused for lane in self._lanes.values())
        for lane in self._lanes.values():
            lane.give_up(NotWritten() if refused else TimeoutError())

    def _lane(self, topic: str, partition: int) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = _Lane(self._producer, topic, partition, self._start, self._largest_bytes)
            self._lanes[topic, partition] = lane
        return lane


class _Lane:
    """One partition."""

    def __init__(
        self,
        producer: Any,
        topic: str,
        partition: int,
        start: Callable[..., asyncio.Task[None]],
        largest_bytes: MutableMapping[str, int],
    ) -> None:
        self.refused = False
        self.leaving: set[Batch] = set()
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._start = start
        self._open: Batch | None = None
        self._full: deque[Batch] = deque()
        self._largest_bytes = largest_bytes
        self._handed: Batch | None = None
        self._closed = False
        self._newest: asyncio.Future[Any] | None = None
        self._hurry = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    def put(self, records: Sequence[Outgoing], indexes: Sequence[int]) -> list[Run]:
        """Write these of the records into the open batch and as many more as they fill."""
        batch = self._open or self._opened()
        append = batch.builder.append
        runs, begin, first = [], 0, batch.count
        for at, index in enumerate(indexes):
            while not _written(append, records[index].message):
                if at > begin:
                    runs.append(Run(batch, first, indexes[begin:at]))
                self._full.append(batch)
                batch, begin, first = self._opened(), at, 0
                append = batch.builder.append
        runs.append(Run(batch, first, indexes[begin:]))
        if self._full or batch.count >= ENOUGH:
            self._hurry.set()
        if self._working is None and not self._closed:
            self._working = self._start(self._work())
        return runs

    def close(self) -> None:
        self._closed = True
        if self._working is not None:
            self._working.cancel()

    def give_up(self, stayed: Exception) -> None:
        for batch in self.leaving.copy():
            batch.ended(TimeoutError())
        for batch in (*filter(None, [self._handed, self._open]), *self._full):
            batch.ended(stayed)

    def _opened(self) -> Batch:
        largest = self._largest_bytes.get(self._topic)
        if largest is None:
            builder = self._producer.create_batch()
        else:  # the library makes batches of one size only
            compression = self._producer._message_accumulator._compression_type  # noqa: SLF001
            builder = BatchBuilder(largest, compression)
        self._open = Batch(builder)
        return self._open

    async def _work(self) -> None:
        try:
            while self._full or self._open is not None:
                if not self._full:
                    await self._ripe()
                await self._leave(self._full.popleft() if self._full else self._taken())
        finally:
            self._working = None

    async def _ripe(self) -> None:
        """Wait until the open batch may leave."""
        if self._newest is not None and not self._newest.done():
            await asyncio.wait({self._newest})
        assert self._open is not None
        if not self._hurry.is_set():
            timer = asyncio.get_running_loop().call_at(self._open.since_s + LINGER_S, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()
        self._hurry.clear()

    def _taken(self) -> Batch:
        batch, self._open = self._open, None
        assert batch is not None
        return batch

    async def _leave(self, batch: Batch) -> None:
        """Hand it to the library, which takes the next one when the one before has left."""
        batch.builder.close()
        self._handed = batch
        try:
            self._newest = await self._producer.send_batch(batch.builder, self._topic, partition=self._partition)
        except (KafkaError, IllegalOperation, AssertionError, TypeError, ValueError) as error:
            batch.ended(error)  # the library asserts that it knows the partition
        else:
            self.leaving.add(batch)
            self._newest.add_done_callback(lambda future: self._landed(batch, future))
        self._handed = None  # not when this was cancelled: then the library did not take it

    def _landed(self, batch: Batch, future: asyncio.Future[Any]) -> None:
        """Take over how the library's future ended."""
        self.leaving.discard(batch)
        result = TimeoutError() if future.cancelled() else future.exception() or future.result()
        if isinstance(result, BaseException):
            if self.refused and isinstance(result, OutOfOrderSequenceNumber):
                result = NotWritten()
            elif refusal(result):
                self.refused = True
                if is_too_large(result) and batch.count > 1:
                    known_bytes = self._largest_bytes.get(self._topic, BATCH_BYTES)
                    self._largest_bytes[self._topic] = min(known_bytes, batch.builder.size() // 2)
        batch.ended(result)


def _fit(batch: Sequence[Outgoing], routes: Collection[Route]) -> bool:
    topic = batch[0].route.destination
    if any(route.destination != topic for route in routes):
        return False
    for one in batch:
        message = one.message
        content, native = message.content, message.native
        if not isinstance(content, bytes) or len(content) > LARGEST_BYTES:
            return False
        if isinstance(native, Record) and native.key is not None and len(native.key) > LARGEST_BYTES:
            return False
        for _, value in message.headers:
            if isinstance(value, (bytes, str)) and len(value) > LARGEST_BYTES:
                return False
    return True


def _rows(
    batch: Sequence[Outgoing], routes: Collection[Route], partitions: list[int], available: Collection[int]
) -> Mapping[int, Sequence[int]]:
    """The indexes of the records by the partition they go to; those without a key stay together."""
    wanted = {route.partition for route in routes}
    if len(partitions) == 1 and wanted <= {None, partitions[0]}:
        return {partitions[0]: range(len(batch))}
    # The hash of a key is made by Python: of each key once.
    known: dict[bytes | None, int] = {None: _partition_of(None, partitions, list(available))}
    rows: dict[int, list[int]] = {}
    for index, one in enumerate(batch):
        partition = one.route.partition
        if partition is None:
            native = one.message.native
            key = native.key if isinstance(native, Record) else None
            partition = known.get(key)
            if partition is None:
                partition = known[key] = int(_partition_of(key, partitions, partitions))
        row = rows.get(partition)
        if row is None:
            row = rows[partition] = []
        row.append(index)
    return rows


def _written(append: Callable[..., Any], message: Message) -> bool:
    native = message.native
    key, timestamp_ms = (native.key, native.timestamp_ms) if isinstance(native, Record) else (None, None)
    headers = wire_headers(message) if message.headers else []
    return append(timestamp=timestamp_ms, key=key, value=message.content, headers=headers) is not None
