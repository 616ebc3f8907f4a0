"""Producing with a receipt each, in batches of our own, acks=all, idempotent within this producer's session (K5, K6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import (
    DuplicateSequenceNumber,
    IllegalOperation,
    KafkaError,
    OutOfOrderSequenceNumber,
    UnknownTopicOrPartitionError,
)

from mqdash.brokers.kafka.errors import is_too_large, refusal
from mqdash.brokers.kafka.lanes import Lanes, NotWritten, Run
from mqdash.brokers.kafka.records import wire_headers
from mqdash.brokers.kafka.way import DELIVERY_TIMEOUT_MS, MAX_RECORD_BYTES, stop
from mqdash.brokers.life import Link
from mqdash.errors import BrokerError
from mqdash.model.delivery import Receipt, Sent
from mqdash.model.message import Message, Record
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import AIOKafkaProducer

    from mqdash.brokers.kafka.way import Way
    from mqdash.brokers.life import Life
    from mqdash.model.delivery import Outgoing

METADATA_LIMIT_S: Final = 1.5
"""How long a topic nobody has heard of is asked for before it counts as missing."""
RECEIPT_LIMIT_S: Final = DELIVERY_TIMEOUT_MS / 1000 + 5
"""After so long without a result a publish is UNKNOWN."""
LANDING_LIMIT_S: Final = 1.0
"""How long answers to what is on its way are waited for before a new session begins."""
_BROKEN = (OutOfOrderSequenceNumber, DuplicateSequenceNumber)


class KafkaPublisher(Link):
    """See `mqdash.brokers.base.Publisher`; a position is `partition/offset`."""

    blocked = ""

    def __init__(self, life: Life, name: str, producer: AIOKafkaProducer, way: Way, *, window: int) -> None:
        super().__init__(life, name)
        self._producer: Any = producer
        self._way = way
        self._window = max(window, 1)
        self._largest_bytes: dict[str, int] = {}
        self._lanes = self._new_lanes()
        self._renewing = asyncio.Lock()
        self._open = 0
        self._queued = 0
        self._freed = asyncio.Condition()

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Publish in order, at most `window` of them unconfirmed at a time."""
        receipts: list[Receipt] = []
        at = 0
        while at < len(batch):
            room = await self._room(len(batch) - at)
            try:
                receipts += await self._send(batch[at : at + room])
            finally:
                self._open -= room
                if self._queued:
                    await self._tell_free()
            at += room
        return receipts

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """Produce to the asker's reply topic; an asker who is gone loses the reply (C3)."""
        topic = request.reply_to
        if topic is None:
            return Receipt(Sent.REFUSED, "the request names no reply topic")
        if request.correlation_id is not None:
            reply = reply.with_headers((("correlation-id", request.correlation_id.encode()),))
        if self.cause is None and not await self.knows(topic):
            return Receipt(Sent.CONFIRMED, "nobody waits for the reply any more")
        return (await self._send_to(Route(topic), [reply]))[0]

    async def knows(self, topic: str) -> bool:
        """Whether the topic exists, asked of the cluster when it is new to us."""
        return await self.partitions(topic) > 0

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has; 0 = there is no such topic."""
        try:
            async with asyncio.timeout(METADATA_LIMIT_S):
                return len(await self._producer.partitions_for(topic))
        except (TimeoutError, UnknownTopicOrPartitionError):
            return 0

    def dropped(self) -> None:
        """The producer's sockets close; what it has not sent is not sent."""
        self._lanes.close()
        self.life.start(stop(self._producer), name=f"stop producer {self.name}")

    async def _send_to(self, route: Route, messages: Sequence[Message]) -> list[Receipt]:
        from mqdash.model.delivery import Outgoing

        return await self._send([Outgoing(route, message) for message in messages])

    async def _send(self, batch: Sequence[Outgoing]) -> list[Receipt]:
        if self.cause is not None:
            return [Receipt(Sent.UNKNOWN, self.cause)] * len(batch)
        try:
            runs = self._lanes.put(batch)
        except (TypeError, ValueError) as error:
            return [_receipt(error)] * len(batch)  # some of it may go out
        if runs is not None:
            return await self._landed(runs, batch)
        sending = asyncio.ensure_future(self._produce(batch))
        try:
            first: tuple[asyncio.Future[Any], ...] = (sending, self._ended)
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                return sending.result()
            return [Receipt(Sent.UNKNOWN, str(self.cause))] * len(batch)
        finally:
            sending.cancel()

    async def _landed(self, runs: list[Run], batch: Sequence[Outgoing]) -> list[Receipt]:
        """The receipts of what is in the lanes: a record ends as its batch does.

        A batch the topic does not take was not written: its records go out again in smaller ones, at last alone (K28), and
        may then come behind what was sent after them.
        """
        producer = self._producer
        open_ends = {run.batch.end for run in runs}
        renewed = True
        try:
            async with asyncio.timeout(RECEIPT_LIMIT_S):
                while open_ends and self.cause is None:
                    await asyncio.wait({*open_ends, self._ended}, return_when=asyncio.FIRST_COMPLETED)
                    open_ends = {end for end in open_ends if not end.done()}
        except TimeoutError:
            renewed = await self._renew(producer)  # its lanes end with it
        if any(run.batch.end.done() and _leaves_a_gap(run.batch.end.result()) for run in runs):
            renewed = await self._renew(producer)
        unproved = _receipt(TimeoutError()) if self.cause is None else Receipt(Sent.UNKNOWN, self.cause)
        receipts = [unproved] * len(batch)
        for run in runs:
            if run.batch.end.done():
                for index, receipt in zip(run.indexes, _receipts(run), strict=True):
                    receipts[index] = receipt
        again = sorted(index for run in runs if _may_go_again(run) for index in run.indexes)
        if again and renewed:
            for index, receipt in zip(again, await self._smaller([batch[at] for at in again]), strict=True):
                receipts[index] = receipt
        return receipts

    async def _produce(self, batch: Sequence[Outgoing]) -> list[Receipt]:
        """Record by record: to several topics, or to one or a partition that is not known, or large ones."""
        missing = await self._missing({outgoing.route.destination for outgoing in batch})
        started = [
            Receipt(Sent.REFUSED, f"there is no topic {outgoing.route.destination!r}")
            if outgoing.route.destination in missing
            else await self._start(outgoing)
            for outgoing in batch
        ]
        futures = [one for one in started if not isinstance(one, Receipt)]
        results = iter(await self._ends(futures))
        ended = [one if isinstance(one, Receipt) else next(results) for one in started]
        receipts = [_receipt(result) for result in ended]
        if len(futures) > 1 and any(is_too_large(result) for result in ended):
            # The library put some into one batch, and what came behind a refused batch is out of order.
            again = [at for at, result in enumerate(ended) if is_too_large(result) or isinstance(result, _BROKEN)]
            for index, receipt in zip(again, await self._smaller([batch[at] for at in again]), strict=True):
                receipts[index] = receipt
        return receipts

    async def _smaller(self, batch: Sequence[Outgoing]) -> list[Receipt]:
        """Once more, in batches of our own, which learn what the topic takes; or one by one."""
        if self.cause is not None:
            return [Receipt(Sent.UNKNOWN, self.cause)] * len(batch)
        await self._missing({outgoing.route.destination for outgoing in batch})  # a new session has yet to ask
        runs = self._lanes.put(batch)
        if runs is not None:
            return await self._landed(runs, batch)
        return [_receipt(await self._alone(outgoing)) for outgoing in batch]

    async def _alone(self, outgoing: Outgoing) -> Any:
        """Result or exception of a record that waits for no other."""
        started = await self._start(outgoing)
        return started if isinstance(started, Receipt) else (await self._ends([started]))[0]

    async def _ends(self, futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
        """Result or exception of each; the library tries some errors again for ever, so we do not wait for ever (fault 33)."""
        producer = self._producer
        if futures:
            await asyncio.wait(futures, timeout=RECEIPT_LIMIT_S)
        results = [_result(future) for future in futures]
        if any(isinstance(result, TimeoutError) or _leaves_a_gap(result) for result in results):
            await self._renew(producer)
        return results

    async def _missing(self, topics: set[str]) -> set[str]:
        """Those of the topics that do not exist; each is asked for once."""
        known = self._producer.client.cluster.partitions_for_topic
        return {topic for topic in topics if known(topic) is None and not await self.knows(topic)}

    async def _start(self, outgoing: Outgoing) -> asyncio.Future[Any] | Receipt:
        route, message = outgoing.route, outgoing.message
        if not isinstance(message.content, bytes):
            return Receipt(Sent.REFUSED, "a Kafka record holds bytes, not field pairs")
        topic = route.destination
        known = await self._producer.partitions_for(topic)
        if route.partition is not None and route.partition not in known:
            return Receipt(Sent.REFUSED, f"topic {topic!r} has no partition {route.partition}")
        native = message.native if isinstance(message.native, Record) else Record()
        try:
            sent: asyncio.Future[Any] = await self._producer.send(
                topic,
                value=message.content,
                key=native.key,
                partition=route.partition,
                timestamp_ms=native.timestamp_ms,
                headers=wire_headers(message),
            )
        except (KafkaError, IllegalOperation, ValueError) as error:
            return _receipt(error)
        return sent

    async def _renew(self, broken: Any) -> bool:
        """A gap in the sequence never closes again in this session: go on in a new one; whether there is one.

        A caller who is cancelled leaves nothing half done.
        """
        await asyncio.shield(self.life.start(self._go_on(broken), name=f"renew {self.name}"))
        return self._producer is not broken

    async def _go_on(self, broken: Any) -> None:
        unused = None
        try:
            async with self._renewing:
                if self._producer is not broken or self.cause is not None:
                    return  # somebody else has seen it, too, or nobody sends any more
                try:
                    renewed = unused = await self._way.producer(self.name)
                    self.check()
                    self._lanes.close()
                    await self._lanes.landed(LANDING_LIMIT_S)
                    self.check()  # an end meanwhile has stopped the old one, and nobody would stop the new one
                except BrokerError:
                    return  # the old one stays, and says UNKNOWN until the life ends or the cluster is back
                self._lanes.give_up()
                self._producer, unused = renewed, broken
                self._lanes = self._new_lanes()
                await self._missing(set(self._largest_bytes))  # or the library would make their batches, full ones
        finally:
            if unused is not None:
                await stop(unused)

    def _new_lanes(self) -> Lanes:
        start = self.life.start
        return Lanes(self._producer, lambda work: start(work, name=f"lane {self.name}"), self._largest_bytes)

    async def _room(self, wanted: int) -> int:
        """Take so much of the window, or what is left of it; who has waited comes first."""
        if self._queued or self._open >= self._window:
            async with self._freed:
                self._queued += 1
                try:
                    await self._freed.wait_for(lambda: self._open < self._window)
                finally:
                    self._queued -= 1
                return self._taken(wanted)
        return self._taken(wanted)

    def _taken(self, wanted: int) -> int:
        room = min(wanted, self._window - self._open)
        self._open += room
        return room

    async def _tell_free(self) -> None:
        async with self._freed:
            self._freed.notify_all()


def _result(future: asyncio.Future[Any]) -> Any:
    if not future.done():
        future.add_done_callback(lambda late: late.cancelled() or late.exception())
        return TimeoutError()
    if future.cancelled():
        return TimeoutError()
    return future.exception() or future.result()


def _receipts(run: Run) -> list[Receipt]:
    result, count = run.batch.end.result(), len(run.indexes)
    if isinstance(result, BaseException):
        return [_receipt(result)] * count
    partition, offset = result.partition, result.offset + run.first
    return [Receipt(Sent.CONFIRMED, "", f"{partition}/{offset + number}") for number in range(count)]


def _may_go_again(run: Run) -> bool:
    """Whether its records were certainly not written, and may be next time."""
    result = run.batch.end.result() if run.batch.end.done() else None
    return isinstance(result, NotWritten) or (is_too_large(result) and run.batch.count > 1)


def _leaves_a_gap(result: Any) -> bool:
    """Whether the next record of that partition would be out of order: the library counts on after a refusal, too."""
    return isinstance(result, (*_BROKEN, NotWritten)) or (isinstance(result, BaseException) and bool(refusal(result)))


def _receipt(result: Any) -> Receipt:
    if isinstance(result, Receipt):
        return result
    if not isinstance(result, BaseException):
        return Receipt(Sent.CONFIRMED, position=f"{result.partition}/{result.offset}")
    text = refusal(result)
    if text:
        detail = f"{text}; mqdash sends up to {MAX_RECORD_BYTES} bytes" if "larger" in text else text
        return Receipt(Sent.REFUSED, detail)
    if isinstance(result, TimeoutError):
        return Receipt(Sent.UNKNOWN, f"no proof: no answer within {RECEIPT_LIMIT_S:g} s")
    # No answer, or one that does not say whether the record was appended.
    return Receipt(Sent.UNKNOWN, f"no proof: {type(result).__name__.removesuffix('Error')}")
