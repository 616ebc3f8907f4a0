"""Replays in one transaction: the copies and the cursor that removes their letters are committed together, or neither is.

The transactional id is the group's, so opening a producer ends what an earlier one left open and shuts that one out: while
ours is not shut out, nobody else has moved a cursor by a transaction, and two dashboards on one topic cannot both replay a
letter. What a lost answer meant is read from the cursor afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from mqdash.brokers.kafka.errors import refusal, translated
from mqdash.brokers.kafka.letters import FULL, place_of, with_removed
from mqdash.brokers.kafka.records import wire_headers
from mqdash.brokers.kafka.way import stop
from mqdash.errors import AccessRefused, BrokerError
from mqdash.failpoints import failpoint
from mqdash.model.delivery import Outcome, RecordClaim, Settled
from mqdash.model.message import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import TopicPartition

    from mqdash.brokers.kafka.cursor import Cursor
    from mqdash.brokers.kafka.letters import Graves
    from mqdash.brokers.kafka.way import Way
    from mqdash.model.delivery import Delivery, Outgoing

LOOK_LIMIT_S: Final = 5.0
STEP_LIMIT_S: Final = 15.0
SETTLED: Final = Outcome(Settled.SETTLED)
STALE: Final = Outcome(Settled.STALE, "it was removed elsewhere meanwhile")
TAKEN_OVER: Final = Outcome(Settled.FAILED, "another mqdash replays from this topic; nothing was moved")
TAKEOVERS: Final = 5
"""How often a move that was shut out is begun again."""
_Pair = tuple["Delivery", "Outgoing"]


class ShutOut(Exception):
    """Another producer has our transactional id now, so our transaction was aborted."""


class Aborted(Exception):
    """The transaction was aborted: nothing of it happened. The text says why."""


class Transactions:
    """Moves of one dead-letter topic, one transaction at a time."""

    def __init__(self, way: Way, graves: Graves) -> None:
        self._way = way
        self._graves = graves
        self._producer: Any = None
        self._cursors: dict[TopicPartition, Cursor] = {}
        self._forbidden = False

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        """See `mqdash.brokers.base.MovesInOne`."""
        if self._forbidden:
            return None
        try:
            await self._ready()
        except AccessRefused:
            self._forbidden = True
            return None
        except BrokerError as error:
            return [Outcome(Settled.FAILED, f"{error.text}; nothing was sent")] * len(letters)
        outcomes: dict[int, Outcome] = {}
        left = dict(enumerate(zip(letters, copies, strict=True)))
        for _ in range(TAKEOVERS):
            outcomes |= {index: STALE for index, (letter, _) in left.items() if not self._holds(letter)}
            left = {index: pair for index, pair in left.items() if index not in outcomes}
            try:
                if left:
                    outcomes |= zip(left, await self._move_all(list(left.values())), strict=True)
                break
            except ShutOut:
                continue
            except BrokerError as error:
                outcomes |= dict.fromkeys(left, Outcome(Settled.FAILED, f"{error.text}; nothing was moved"))
                break
        return [outcomes.get(index, TAKEN_OVER) for index in range(len(letters))]

    async def _move_all(self, pairs: list[_Pair]) -> list[Outcome]:
        """All in one transaction; when one of them spoils it, each in its own.

        Raises:
            ShutOut: nothing of it happened, and the cursors are read anew.
            BrokerError: likewise, and no new producer could be opened.
        """
        outcome = await self._move_once(pairs)
        if outcome.settled is not Settled.FAILED or len(pairs) == 1:
            return [outcome] * len(pairs)
        return [await self._alone(pair) for pair in pairs]

    async def _alone(self, pair: _Pair) -> Outcome:
        try:
            await self._ready()
            return await self._move_once([pair]) if self._holds(pair[0]) else STALE
        except ShutOut:
            return TAKEN_OVER
        except BrokerError as error:
            return Outcome(Settled.FAILED, f"{error.text}; nothing was moved")

    async def _move_once(self, pairs: Sequence[_Pair]) -> Outcome:
        by = secrets.token_hex(4)
        moved = with_removed(self._cursors, [letter for letter, _ in pairs], by)
        if moved is None:
            return Outcome(Settled.FAILED, FULL)
        try:
            async with asyncio.timeout(STEP_LIMIT_S):
                await self._transact(pairs, moved)
        except Aborted as error:
            return Outcome(Settled.FAILED, f"{error}; nothing was moved")
        except ProducerFenced:
            await self._drop()
            await self._ready()
            raise ShutOut from None
        except (KafkaError, IllegalOperation, TimeoutError) as error:
            return await self._found_out(by, pairs[0][0], error)
        self._cursors |= moved
        return SETTLED

    async def _transact(self, pairs: Sequence[_Pair], moved: dict[TopicPartition, Cursor]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        try:
            sent = [await self._send(letter, copy) for letter, copy in pairs]
            await asyncio.gather(*sent)
        except (KafkaError, ValueError) as error:
            why = refusal(error)
            if not why:
                raise
            await producer.abort_transaction()
            raise Aborted(why) from None
        failpoint("kafka.after_copies")
        offsets = {place: (cursor.offset, cursor.metadata()) for place, cursor in moved.items()}
        await producer.send_offsets_to_transaction(offsets, self._graves.group)
        failpoint("kafka.before_commit")
        await producer.commit_transaction()
        failpoint("kafka.after_commit")

    async def _send(self, letter: Delivery, copy: Outgoing) -> asyncio.Future[Any]:
        topic, message = copy.route.destination, copy.message
        native = message.native if isinstance(message.native, Record) else Record()
        partitions = await self._producer.partitions_for(topic)
        partition = copy.route.partition
        here = await self._producer.partitions_for(self._graves.topic)
        if partition is None and len(partitions) == len(here):
            partition = place_of(letter).partition  # where its original was: the order with its neighbours stays
        future: asyncio.Future[Any] = await self._producer.send(
            topic,
            value=message.content,
            key=native.key,
            partition=partition,
            timestamp_ms=native.timestamp_ms,
            headers=wire_headers(message),
        )
        future.add_done_callback(_seen)  # when one fails first, nobody asks for the others
        return future

    async def _found_out(self, by: str, letter: Delivery, error: BaseException) -> Outcome:
        """No answer: a new producer ends the transaction either way, and the cursor then tells which."""
        why = "no answer in time" if isinstance(error, TimeoutError) else translated("", error).text
        await self._drop()
        try:
            await self._ready()
        except BrokerError as again:
            return Outcome(Settled.UNKNOWN, f"{why}, then {again.text}: moved or not, but not by half")
        if self._cursors[place_of(letter)].by == by:
            return SETTLED
        if not self._holds(letter):
            return STALE
        return Outcome(Settled.FAILED, f"the transaction did not end ({why}); nothing was moved")

    async def _ready(self) -> None:
        """Have a producer, and the cursors as they are while nobody else can move them.

        Raises:
            BrokerError: no transaction can be opened; AccessRefused when the right is missing.
        """
        if self._producer is not None:
            return
        producer = await self._way.transactional(self._graves.group)
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                _, self._cursors = await self._graves.look()
        except TimeoutError:
            await stop(producer)
            raise BrokerError("", "the cluster did not tell its offsets in time") from None
        except BaseException:
            await stop(producer)
            raise
        self._producer = producer

    def _holds(self, letter: Delivery) -> bool:
        assert isinstance(letter.claim, RecordClaim)
        cursor = self._cursors.get(place_of(letter))
        return cursor is not None and cursor.holds(letter.claim.offset)

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop(producer)

    async def close(self) -> None:
        """Stop the producer, if there ever was one."""
        await self._drop()


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
