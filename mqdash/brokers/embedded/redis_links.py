"""Connections of the embedded Redis that work on streams: publisher and consumer. Thin asyncio over `keyspace`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.brokers.embedded.kernel import Link
from mqdash.brokers.embedded.keyspace import as_fields, dlq_name, retry_name
from mqdash.brokers.embedded.stream import START, Given, Id, id_text, parse_id
from mqdash.brokers.moves import copied, dead_letter_copy
from mqdash.errors import ConsumerCancelled, NotFound
from mqdash.model.delivery import Ack, DeadLetter, Delivery, EntryClaim, Outcome, Receipt, Sent, Settled
from mqdash.model.message import Message, PubSub
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.brokers.embedded.due import Due
    from mqdash.brokers.embedded.kernel import Life
    from mqdash.brokers.embedded.keyspace import Keyspace
    from mqdash.brokers.embedded.stream import StreamGroup
    from mqdash.model.delivery import Outgoing, Verdict

SETTLED: Final = Outcome(Settled.SETTLED)
STALE: Final = Outcome(Settled.STALE, "another consumer owns it now, or it is settled already")
POLITE: Final = ("closed", "left the group")
NO_SUBSCRIBER: Final = "no subscriber: gone"


class Connection(Link):
    """A link of a life on the embedded Redis."""

    def __init__(self, life: Life[Keyspace], name: str) -> None:
        super().__init__(life, name)
        self.server = life.server
        self.keys = life.server.model

    def _forget(self, connection: Callable[[], None]) -> None:
        """The broker's side forgets the connection: at once after a goodbye, else when it notices (E4)."""
        if self.cause in POLITE:
            connection()
        else:
            self.keys.drop(connection, self.server.now_s())
            self.server.rearm()


class RedisPublisher(Connection):
    """XADD to streams, PUBLISH to everything else."""

    blocked = ""

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Publish in order. A position is the entry id, or how many subscribers a channel had (P2)."""
        await asyncio.sleep(0)
        if self.cause is not None:
            return [Receipt(Sent.UNKNOWN, self.cause)] * len(batch)
        now_s = self.server.step()
        receipts: list[Receipt] = []
        at = 0
        while at < len(batch):
            name, message = batch[at].route.destination, batch[at].message
            if self.keys.is_stream(name, message):
                run = [message]
                while at + len(run) < len(batch) and batch[at + len(run)].route.destination == name:
                    run.append(batch[at + len(run)].message)
                receipts += [Receipt(Sent.CONFIRMED, "", id_text(added)) for added in self.keys.add(name, run, now_s)]
                at += len(run)
            else:
                receipts.append(self._publish(name, message, now_s))
                at += 1
        self.server.rearm()
        return receipts

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """Push to the asker's reply list; an asker who is gone loses the reply (C3)."""
        await asyncio.sleep(0)
        if request.reply_to is None:
            return Receipt(Sent.REFUSED, "the request names no reply list")
        if self.cause is not None:
            return Receipt(Sent.UNKNOWN, self.cause)
        answer = as_fields(reply)
        if request.correlation_id is not None:
            answer = answer.with_headers((("correlation-id", request.correlation_id),))
        waits = self.keys.answer(request.reply_to, answer)
        return Receipt(Sent.CONFIRMED, "" if waits else "nobody waits for the reply any more")

    def _publish(self, channel: str, message: Message, now_s: float) -> Receipt:
        body = message if isinstance(message.native, PubSub) else Message(content=message.body, native=PubSub())
        receivers = self.keys.channels.publish(channel, body, now_s)
        return Receipt(Sent.CONFIRMED, "" if receivers else NO_SUBSCRIBER, str(receivers))


class StreamConsumer(Connection):
    """A consumer of a group. It begins with what is still pending under its own name (S4), then reads new entries.

    A delivery's route tells whether it came from the stream or from the group's retries.
    """

    def __init__(
        self,
        life: Life[Keyspace],
        name: str,
        ref: QueueRef,
        *,
        prefetch: int,
        dead_letter: Route | None,
        session_timeout_s: float,
    ) -> None:
        group = life.server.model.group(ref.name, ref.group)
        if group is None:
            raise NotFound(life.server.name, f"NOGROUP: there is no group {ref.group!r} on a stream {ref.name!r}")
        super().__init__(life, name)
        self.ref = ref
        self.prefetch = prefetch
        self._group: StreamGroup = group
        self._dead_letter = dead_letter or group.dead_letter or Route(dlq_name(ref.name))
        self._session_timeout_s = session_timeout_s
        self._routes = (Route(ref.name), Route(retry_name(ref.name, ref.group)))
        self._held: set[tuple[bool, str]] = set()
        self._paused = False
        self._reread_after: Id | None = START
        group.readers.append(self)

    @property
    def in_flight(self) -> int:
        """What this consumer holds."""
        return len(self._held)

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for entries: own pending ones first, then due retries, then new ones."""
        await asyncio.sleep(0)
        try:
            while True:
                self._check_group()
                room = limit if self.prefetch <= 0 else min(limit, self.prefetch - len(self._held))
                if not self._paused and room > 0:
                    deliveries = self._read(room)
                    if deliveries:
                        return deliveries
                    self._group.blocked[self] = self.wake
                await self.changed()
        finally:
            self._group.blocked.pop(self, None)

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """Settle by scripts that check the owner: an entry somebody else claimed is STALE, nothing happens to it."""
        if self.cause is not None:
            return [Outcome(Settled.STALE, self.cause)] * len(verdicts)
        now_s = self.server.step()
        outcomes = [self._settle(delivery, verdict, now_s) for delivery, verdict in verdicts]
        self.server.rearm()
        self.wake()
        return outcomes

    async def claim(self, *, min_idle_s: float, limit: int) -> Sequence[Delivery]:
        """Take over entries that another consumer has held for so long (S8-S10)."""
        await asyncio.sleep(0)
        self._check_group()
        now_s = self.server.step()
        given: list[Given] = []
        start: Id | None = (0, 0)
        while start is not None and len(given) < limit:
            found, cursor, _ = self._group.autoclaim(
                self.name,
                min_idle_s=min_idle_s,
                limit=limit - len(given),
                now_s=now_s,
                start=start,
                others_only=True,
            )
            given += found
            start = cursor if cursor > (0, 0) else None
        return self._deliveries(given)

    def crash(self) -> None:
        """The socket drops: pending entries stay with this consumer until they are claimed (S6)."""
        self.end("crashed")

    def pause(self) -> None:
        """Read nothing more."""
        self._paused = True

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self.wake()

    def leave(self) -> None:
        """Go politely: retries go back at once, entries stay pending; a consumer that holds none is deleted (S12)."""
        self._group.retries.give_back(self.name, self.server.step())
        if not self._group.holding.get(self.name):
            self._group.holding.pop(self.name, None)
        self.end("left the group")

    def _dropped(self) -> None:
        self._forget(lambda: self._group.readers.remove(self))
        self._group.retries.give_back(self.name, self.server.now_s() + self._session_timeout_s)
        self.server.rearm()

    def _check_group(self) -> None:
        self.check()
        if self.keys.group(self.ref.name, self.ref.group) is not self._group:
            raise ConsumerCancelled(self.server.name, f"NOGROUP: stream or group of {self.ref} was deleted")

    def _read(self, room: int) -> list[Delivery]:
        now_s = self.server.step()
        while self._reread_after is not None:
            pending = self._group.reread(self.name, room, now_s, after=self._reread_after)
            self._reread_after = pending[-1].entry_id if pending else None
            # What was claimed before the first take is pending under our name, too, and held already.
            mine = [one for one in pending if (False, id_text(one.entry_id)) not in self._held]
            if deliveries := self._deliveries(mine):
                return deliveries
        due = self._group.retries.lease(self.name, room, now_s)
        deliveries = [self._retry(entry_id, retry) for entry_id, retry in due]
        if len(deliveries) < room:
            deliveries += self._deliveries(self._group.read(self.name, room - len(deliveries), now_s))
        return deliveries

    def _deliveries(self, given: Sequence[Given]) -> list[Delivery]:
        ref, owner, route = self.ref, self.name, self._routes[0]
        deliveries: list[Delivery] = []
        for one in given:
            if one.kept is None:
                self._group.ack(one.entry_id, owner)  # deleted while pending: nothing is left to work on (S11)
                continue
            entry_id = id_text(one.entry_id)
            self._held.add((False, entry_id))
            deliveries.append(
                Delivery(
                    message=one.kept.message,
                    queue=ref,
                    route=route,
                    claim=EntryClaim(owner, entry_id),
                    redelivered=one.count > 1,
                    delivery_count=one.count,
                    idle_s=one.idle_s,
                )
            )
        return deliveries

    def _retry(self, entry_id: str, due: Due) -> Delivery:
        self._held.add((True, entry_id))
        return Delivery(
            message=due.message,
            queue=self.ref,
            route=self._routes[1],
            claim=EntryClaim(self.name, entry_id),
            redelivered=True,
            delivery_count=due.count,
        )

    def _settle(self, delivery: Delivery, verdict: Verdict, now_s: float) -> Outcome:
        claim = delivery.claim
        if not isinstance(claim, EntryClaim) or claim.owner != self.name:
            return STALE
        retry = delivery.route == self._routes[1]
        entry_id = parse_id(claim.entry_id)
        keys, group = self.keys, self._group
        if isinstance(verdict, Ack):
            settled = keys.settle(group, self.name, entry_id, retry=retry)
        else:
            settled = keys.holds(group, self.name, entry_id, retry=retry)
            if settled:
                failure = self._move(delivery, verdict, entry_id, now_s, retry=retry)
                if failure:
                    return Outcome(Settled.FAILED, failure)
        self._held.discard((retry, claim.entry_id))
        return SETTLED if settled else STALE

    def _move(self, delivery: Delivery, verdict: Verdict, entry_id: Id, now_s: float, *, retry: bool) -> str:
        """One script: copy, then settle. Why it failed, or an empty string."""
        keys, group = self.keys, self._group
        if isinstance(verdict, DeadLetter):
            target = self._dead_letter.destination
            if target in keys.declared_channels:
                return f"{target!r} is a channel: it keeps nothing"
            keys.bury(
                target, dead_letter_copy(delivery, verdict, worker=self.name, to=self._dead_letter).message, now_s
            )
            keys.settle(group, self.name, entry_id, retry=retry)
        else:
            assert not isinstance(verdict, Ack)
            copy = _with_id(copied(delivery, verdict.error, verdict.error_text, worker=self.name), delivery.message)
            keys.postpone(group, self.name, entry_id, copy, now_s + verdict.after_s, retry=retry)
        return ""


def _with_id(copy: Message, original: Message) -> Message:
    """A retry is still the same entry: it keeps the id."""
    return msgspec.structs.replace(copy, native=original.native)
