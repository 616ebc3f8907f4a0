"""Connections of the embedded Kafka: publisher, consumer, requester. Thin asyncio over `cluster` and `group`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mqdash.brokers.embedded.group import Member
from mqdash.brokers.embedded.kernel import Link
from mqdash.brokers.moves import copied, dead_letter_copy
from mqdash.brokers.waiting import Waiting
from mqdash.errors import ConsumerCancelled, NotFound, Unsupported
from mqdash.model.delivery import (
    Ack,
    Answer,
    DeadLetter,
    Delivery,
    Outcome,
    PartitionMove,
    Receipt,
    RecordClaim,
    Reply,
    Sent,
    Settled,
)
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.embedded.cluster import Cluster
    from mqdash.brokers.embedded.group import Cursor, Group
    from mqdash.brokers.embedded.kernel import Life
    from mqdash.model.delivery import Outgoing, Verdict
    from mqdash.model.message import Message
    from mqdash.model.topology import QueueRef

SETTLED: Final = Outcome(Settled.SETTLED)
HELD: Final = Outcome(Settled.HELD, "done behind an open offset")
STALE: Final = Outcome(Settled.STALE, "the partition was given away, or this record is settled already")


class Connection(Link):
    """A link of a life on the embedded Kafka."""

    def __init__(self, life: Life[Cluster], name: str) -> None:
        super().__init__(life, name)
        self.server = life.server
        self.cluster = life.server.model


class KafkaPublisher(Connection):
    """Appends records with acks=all on one node: what is appended is confirmed."""

    blocked = ""

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Append in order; a position is `partition/offset`."""
        await asyncio.sleep(0)
        receipts: list[Receipt] = []
        at = 0
        while at < len(batch):
            run = [batch[at]]
            topic = batch[at].route.destination
            while at + len(run) < len(batch) and batch[at + len(run)].route.destination == topic:
                run.append(batch[at + len(run)])
            receipts += self._append(topic, run)
            at += len(run)
        return receipts

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """Append to the asker's reply topic; an asker who is gone loses the reply (C3)."""
        await asyncio.sleep(0)
        topic = request.reply_to
        if topic is None:
            return Receipt(Sent.REFUSED, "the request names no reply topic")
        if self.cause is not None:
            return Receipt(Sent.UNKNOWN, self.cause)
        if topic not in self.cluster.topics:
            return Receipt(Sent.CONFIRMED, "nobody waits for the reply any more")
        if request.correlation_id is not None:
            reply = reply.with_headers((("correlation-id", request.correlation_id.encode()),))
        places = self.cluster.append(topic, [(reply, None)], self.server.step())
        return Receipt(Sent.CONFIRMED, position=f"{places[0][0]}/{places[0][1]}")

    def _append(self, topic: str, run: list[Outgoing]) -> list[Receipt]:
        if self.cause is not None:
            return [Receipt(Sent.UNKNOWN, self.cause)] * len(run)
        refusals = [self.cluster.refusal(topic, out.message, out.route.partition) for out in run]
        kept = [(out.message, out.route.partition) for out, no in zip(run, refusals, strict=True) if not no]
        places = iter(self.cluster.append(topic, kept, self.server.step()) if kept else ())
        receipts = []
        for no in refusals:
            if no:
                receipts.append(Receipt(Sent.REFUSED, no))
            else:
                partition, offset = next(places)
                receipts.append(Receipt(Sent.CONFIRMED, "", f"{partition}/{offset}"))
        return receipts


class KafkaConsumer(Connection):
    """A member of a group. A delivery's claim is our assignment, partition and offset; its route says which topic."""

    def __init__(
        self,
        life: Life[Cluster],
        name: str,
        ref: QueueRef,
        *,
        prefetch: int,
        dead_letter: Route | None,
        session_timeout_s: float,
    ) -> None:
        if ref.name not in life.server.model.topics:
            raise NotFound(life.server.name, f"there is no topic {ref.name!r} to consume from")
        if not ref.group:
            raise Unsupported(life.server.name, f"consuming topic {ref.name!r} needs a group; to only look, browse it")
        super().__init__(life, name)
        self.ref = ref
        self._group: Group = self.cluster.group(ref.name, ref.group)
        self._dead_letter = dead_letter or self._group.dead_letter
        self._paused = False
        self._routes: dict[tuple[str, int], Route] = {}
        self._member = Member(name, prefetch=prefetch, session_timeout_s=session_timeout_s, wake=self.wake)
        self._group.join(self._member, self.server.step())
        self.server.rearm()

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for records of our partitions or due retries."""
        await asyncio.sleep(0)
        while True:
            self.check()
            if self.cluster.groups.get((self.ref.name, self.ref.group)) is not self._group:
                raise ConsumerCancelled(self.server.name, f"topic or group of {self.ref} was deleted")
            if not self._paused:
                deliveries = self._fetch(limit)
                if deliveries:
                    return deliveries
            await self.changed()

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """Commit forward over the contiguous done prefix of each partition; copies of moves are made first."""
        if self.cause is not None:
            return [Outcome(Settled.STALE, self.cause)] * len(verdicts)
        now_s = self.server.step()
        marked: list[Outcome | tuple[Cursor, int]] = [self._settle(one, verdict, now_s) for one, verdict in verdicts]
        self.server.rearm()
        self.wake()
        return [
            mark
            if isinstance(mark, Outcome)
            else (SETTLED if mark[0].committed is not None and mark[0].committed > mark[1] else HELD)
            for mark in marked
        ]

    def crash(self) -> None:
        """The socket drops; the group learns of it when the session times out (K12, E4)."""
        self.end("crashed")

    def pause(self) -> None:
        """Fetch nothing; heartbeats go on."""
        self._paused = True

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self.wake()

    def moved(self) -> Sequence[PartitionMove]:
        """Partitions that came to us since the last call."""
        moves, self._member.moves = self._member.moves, []
        return moves

    def leave(self) -> None:
        """Leave the group politely: its partitions are given away at once."""
        self._group.leave(self._member, self.server.step())
        self.end("left the group")

    def _dropped(self) -> None:
        self._group.crash(self._member, self.server.now_s())
        self.server.rearm()

    def _fetch(self, limit: int) -> list[Delivery]:
        group, ref = self._group, self.ref
        runs = group.fetch(self._member, limit, self.server.step())
        deliveries: list[Delivery] = []
        assignment = group.assignment
        for run in runs:
            partition = run.partition
            aside = "" if run.topic.name == ref.name else run.topic.name
            route = self._routes.get((run.topic.name, partition))
            if route is None:
                route = self._routes[run.topic.name, partition] = Route(run.topic.name, "", partition)
            deliveries += [
                Delivery(
                    message=record.message,
                    queue=ref,
                    route=route,
                    claim=RecordClaim(assignment, partition, offset, aside),
                )
                for offset, record in enumerate(run.records, run.first)
            ]
        return deliveries

    def _settle(self, delivery: Delivery, verdict: Verdict, now_s: float) -> Outcome | tuple[Cursor, int]:
        claim = delivery.claim
        if not isinstance(claim, RecordClaim):
            return STALE
        topic, offset = delivery.route.destination, claim.offset
        cursor = self._group.held(self._member, claim.assignment, topic, claim.partition)
        if cursor is None or not cursor.open(offset):
            return STALE
        if not isinstance(verdict, Ack):
            failure = self._move(delivery, verdict, claim.partition, now_s)
            if failure:
                return Outcome(Settled.FAILED, failure)
        cursor.settle(offset)
        self._member.unsettled -= 1
        return cursor, offset

    def _move(self, delivery: Delivery, verdict: Verdict, partition: int, now_s: float) -> str:
        """Copy to the dead-letter or retry topic; why that failed, or an empty string."""
        if isinstance(verdict, DeadLetter):
            copy = dead_letter_copy(delivery, verdict, worker=self.name, to=self._dead_letter)
            topic, message = copy.route.destination, copy.message
            partitions = len(self._group.topic.partitions)
            known = self.cluster.create(topic, partitions)
            wanted = copy.route.partition
            if wanted is None and len(known.partitions) == partitions:
                wanted = partition  # the same partition as the original: order within it stays
        else:
            assert not isinstance(verdict, Ack)
            message = copied(delivery, verdict.error, verdict.error_text, worker=self.name)
            topic, wanted = self.cluster.retry_topic(self._group, verdict.after_s).name, partition
        failure = self.cluster.refusal(topic, message, wanted)
        if not failure:
            self.cluster.append(topic, [(message, wanted)], now_s)
        return failure


class KafkaRequester(Connection):
    """Asks through a topic and reads its own reply topic without a group."""

    def __init__(self, life: Life[Cluster], name: str) -> None:
        super().__init__(life, name)
        self._waiting = Waiting(self.server.clock, self.server.rng)
        self._topic = f"mqdash.reply.{name}.{self._waiting.new_id()}"
        self.cluster.create(self._topic)
        self.cluster.watch(self._topic, self._waiting.arrived)

    @property
    def late(self) -> int:
        """Replies after their time-out (C5)."""
        return self._waiting.late

    @property
    def unmatched(self) -> int:
        """Replies to nothing we know (C1)."""
        return self._waiting.unmatched

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """Publish with our reply topic and wait for the same correlation id."""
        await asyncio.sleep(0)
        if self.cause is not None:
            return Reply(answer=Answer.UNKNOWN, detail=self.cause)
        failure = self.cluster.refusal(route.destination, message, route.partition)
        if failure:
            return Reply(answer=Answer.RETURNED, detail=failure)
        correlation_id = message.correlation_id or self._waiting.new_id()
        headers = (("correlation-id", correlation_id.encode()), ("reply-to", self._topic.encode()))
        self._waiting.begin(correlation_id)
        asked = message.with_headers(headers)
        self.cluster.append(route.destination, [(asked, route.partition)], self.server.step())
        return await self._waiting.wait(correlation_id, timeout_s)

    def _dropped(self) -> None:
        self._waiting.ended()
        self.cluster.watch(self._topic, None)
        self.cluster.delete(self._topic)


def letter(ref: QueueRef, topic: str, partition: int, offset: int, message: Message) -> Delivery:
    """A record that was only looked at: its claim says where it is."""
    return Delivery(
        message=message,
        queue=ref,
        route=Route(topic, "", partition),
        claim=RecordClaim(0, partition, offset),
    )
