"""A consumer of a stream's group: one blocking reader, one writer; entries stay pending when it dies (S6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.life import Link
from mqdash.brokers.redis import scripts
from mqdash.brokers.redis.entries import message_of, retry_keys, retry_name, unpacked
from mqdash.brokers.redis.errors import translated
from mqdash.brokers.redis.session import Lost
from mqdash.errors import BrokerError, ConnectionLost
from mqdash.model.delivery import Ack, Delivery, EntryClaim, Outcome, Settled
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.life import Life
    from mqdash.brokers.redis.session import Session
    from mqdash.brokers.redis.settling import Settler
    from mqdash.model.delivery import Verdict
    from mqdash.model.topology import QueueRef

BLOCK_MS: Final = 250
"""How long a read waits; also how late a retry that another consumer postponed may be noticed."""
LOOK_EVERY_S: Final = 0.05
SILENCE_LIMIT_S: Final = 4.0
UNLIMITED: Final = 1000
_CLAIM_PAGE: Final = 100
_OVER: Final = frozenset({Settled.SETTLED, Settled.STALE})


class StreamConsumer(Link):
    """See `mqdash.brokers.base.Consumer` and `CanClaim`. What is still pending under its name comes first (S4)."""

    def __init__(
        self,
        life: Life,
        name: str,
        ref: QueueRef,
        *,
        prefetch: int,
        reader: Session,
        writer: Session,
        settler: Settler,
        session_timeout_s: float,
    ) -> None:
        super().__init__(life, name)
        self.ref = ref
        self.prefetch = prefetch
        self._limit = prefetch if prefetch > 0 else UNLIMITED
        self._reader = reader
        self._writer = writer
        self._settler = settler
        self._lease_ms = max(round(session_timeout_s * 1000), 1)
        self._stream_route, self._retry_route = Route(ref.name), Route(retry_name(ref))
        self._arrived: deque[Delivery] = deque()
        self._held: set[tuple[bool, str]] = set()
        self._reread_after: str | None = "0"
        self._look_at_s = 0.0
        self._polling: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._paused = False
        self._changed = asyncio.Event()
        reader.ended = writer.ended = self.end

    @property
    def in_flight(self) -> int:
        """What this consumer holds."""
        return len(self._held)

    # --- taking ---

    async def take(self, limit: int) -> Sequence[Delivery]:
        """See `mqdash.brokers.base.Consumer.take`. A cancelled take loses nothing: its read goes on for the next one."""
        while True:
            self.check()
            if self._arrived and not self._paused:
                return [self._arrived.popleft() for _ in range(min(max(limit, 1), len(self._arrived)))]
            if self._paused or self._room() <= 0:
                await self._wait_for_change()
            else:
                await self._poll_once(limit)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        waiting = asyncio.ensure_future(self._changed.wait())
        try:
            await self.unless_ended(waiting)
        finally:
            waiting.cancel()

    async def _poll_once(self, limit: int) -> None:
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll(min(limit, self._room())), name=f"poll {self.name}")
        task = self._polling
        await asyncio.wait({task, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        self.check()
        self._polling = None
        task.result()

    def _room(self) -> int:
        return self._limit - len(self._held)

    async def _poll(self, room: int) -> None:
        if self._reread_after is not None:
            await self._reread(room)
            return
        block_ms = await self._lease(room)
        room -= len(self._arrived)
        if room > 0:
            waits = () if self._arrived else ("BLOCK", block_ms)
            self._receive(await self._read(">", room, waits, limit_s=BLOCK_MS / 1000 + SILENCE_LIMIT_S))

    async def _reread(self, room: int) -> None:
        """Our own pending entries of before: a lost reply or a former life of this name (F4)."""
        assert self._reread_after is not None
        entries = await self._read(self._reread_after, room, (), limit_s=SILENCE_LIMIT_S)
        if not entries:
            self._reread_after = None
            return
        self._reread_after = entries[-1][0].decode()
        gone = [entry_id for entry_id, fields in entries if fields is None]
        if gone:  # deleted while pending: nothing is left to work on (S11)
            await self._writer.call("XACK", self.ref.name, self.ref.group, *gone)
        # What was claimed before the first take is pending under our name, too, and held already.
        await self._receive_again(
            [
                (entry_id, fields)
                for entry_id, fields in entries
                if fields is not None and (False, entry_id.decode()) not in self._held
            ]
        )

    async def _read(self, after: str, count: int, waits: tuple[Any, ...], *, limit_s: float) -> list[Any]:
        group, stream = self.ref.group, self.ref.name
        command = ("XREADGROUP", "GROUP", group, self.name, "COUNT", count, *waits, "STREAMS", stream, after)
        result = (await self._reader.run([command], limit_s=limit_s))[0]
        if isinstance(result, Lost):
            raise ConnectionLost(self.life.broker, str(result))
        if isinstance(result, Exception):
            raise translated(self.life.broker, result, what=str(self.ref))
        return list(result[0][1]) if result else []

    def _receive(self, entries: list[Any]) -> None:
        self._arrived += [self._delivery(entry_id, fields, count=1) for entry_id, fields in entries]

    async def _receive_again(self, entries: list[Any]) -> None:
        if entries:
            counts = await self._counts([entry_id for entry_id, _ in entries])
            self._arrived += [
                self._delivery(entry_id, fields, count=counts.get(entry_id, 2)) for entry_id, fields in entries
            ]

    async def _counts(self, ids: list[bytes]) -> dict[bytes, int]:
        asked = [("XPENDING", self.ref.name, self.ref.group, one, one, 1) for one in ids]
        found = await self._writer.run(asked)
        return {one: reply[0][3] for one, reply in zip(ids, found, strict=True) if isinstance(reply, list) and reply}

    def _delivery(self, entry_id: bytes, fields: list[bytes], *, count: int, idle_s: float | None = None) -> Delivery:
        entry = entry_id.decode()
        self._held.add((False, entry))
        return Delivery(
            message=message_of(entry, fields),
            queue=self.ref,
            route=self._stream_route,
            claim=EntryClaim(self.name, entry),
            redelivered=count > 1,
            delivery_count=count,
            idle_s=idle_s,
        )

    # --- the group's retries ---

    async def _lease(self, room: int) -> int:
        """Take due retries; returns how many ms a read may wait before the next one is due."""
        now_s = self.life.clock.monotonic()
        if now_s < self._look_at_s:
            return min(max(int((self._look_at_s - now_s) * 1000), 1), BLOCK_MS)
        reply = (
            await self._writer.scripts(scripts.LEASE, [(retry_keys(self.ref), (self.name, self._lease_ms, room))])
        )[0]
        if isinstance(reply, Exception):
            if isinstance(reply, Lost):
                raise ConnectionLost(self.life.broker, str(reply))
            raise translated(self.life.broker, reply, what=self._retry_route.destination)
        due, next_ms = reply
        self._arrived += [self._retry(entry_id.decode(), copy, count) for entry_id, copy, count in due]
        if due:
            self._keep_leases()
        wait_ms = BLOCK_MS if next_ms < 0 else min(max(next_ms, 1), BLOCK_MS)
        self._look_at_s = now_s + max(wait_ms / 1000, 0 if 0 <= next_ms < BLOCK_MS else LOOK_EVERY_S)
        return int(wait_ms)

    def _retry(self, entry_id: str, copy: bytes, count: int) -> Delivery:
        self._held.add((True, entry_id))
        return Delivery(
            message=unpacked(copy, entry_id),
            queue=self.ref,
            route=self._retry_route,
            claim=EntryClaim(self.name, entry_id),
            redelivered=True,
            delivery_count=count,
        )

    def _keep_leases(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = self.life.start(self._renew(), name=f"renew {self.name}")

    async def _renew(self) -> None:
        """While we hold retries, tell so: a lease lasts as long as its consumer is there."""
        while self.cause is None and (ids := [entry_id for retry, entry_id in self._held if retry]):
            waiting = asyncio.ensure_future(self.life.clock.sleep(self._lease_ms / 3000))
            with contextlib.suppress(ConnectionLost):
                await self.unless_ended(waiting)
            waiting.cancel()
            if self.cause is None:
                await self._writer.scripts(scripts.RENEW, [(retry_keys(self.ref), (self.name, self._lease_ms, *ids))])

    # --- settling, claiming ---

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """See `mqdash.brokers.base.Consumer.settle`: an entry that somebody else claimed is STALE, nothing happens to it."""
        if self.cause is not None:
            return [Outcome(Settled.STALE, self.cause)] * len(verdicts)
        outcomes = await self._settler.settle(verdicts)
        for (delivery, _), outcome in zip(verdicts, outcomes, strict=True):
            if outcome.settled in _OVER and isinstance(delivery.claim, EntryClaim):
                self._held.discard((self._settler.is_retry(delivery), delivery.claim.entry_id))
        if not all(isinstance(verdict, Ack) for _, verdict in verdicts):
            self._look_at_s = 0.0  # there may be a retry that is due
        self._changed.set()
        return outcomes

    async def claim(self, *, min_idle_s: float, limit: int) -> Sequence[Delivery]:
        """Take over entries another consumer has held for so long (S8-S10); of two claimants one wins each (S9)."""
        self.check()
        idle_ms = max(round(min_idle_s * 1000), 0)
        stream, group = self.ref.name, self.ref.group
        claimed: list[Delivery] = []
        start = "-"
        while len(claimed) < limit:
            page = await self._told("XPENDING", stream, group, "IDLE", idle_ms, start, "+", _CLAIM_PAGE)
            others = [row for row in page if row[1].decode() != self.name][: limit - len(claimed)]
            if others:
                counts = {row[0]: row[3] + 1 for row in others}
                idle_s = {row[0]: row[2] / 1000 for row in others}
                entries = await self._told("XCLAIM", stream, group, self.name, idle_ms, *counts)
                claimed += [
                    self._delivery(entry[0], entry[1], count=counts[entry[0]], idle_s=idle_s[entry[0]])
                    for entry in entries
                    if entry is not None and entry[1] is not None
                ]
            if len(page) < _CLAIM_PAGE:
                break
            start = f"({page[-1][0].decode()}"
        return claimed

    async def _told(self, *command: Any) -> list[Any]:
        try:
            return list(await self._writer.call(*command))
        except BrokerError as error:
            self.check()
            raise error from None

    # --- pausing and ending ---

    def pause(self) -> None:
        """Read nothing more; leases of retries are kept."""
        self._paused = True

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self._changed.set()

    def crash(self) -> None:
        """The sockets drop: entries stay pending until somebody claims them (S6)."""
        self.end("crashed")

    def dropped(self) -> None:
        """Drop both sockets."""
        for session in (self._reader, self._writer):
            session.drop(self.cause or "closed")
        self.life.start(self._close(), name=f"close consumer {self.name}")

    async def leave(self) -> None:
        """Go politely: retries go back at once, entries stay pending; a consumer that holds none is deleted (S12)."""
        if not self.retire("left the group"):
            return
        ids = [entry_id for retry, entry_id in self._held if retry]
        if self._polling is not None:
            self._reader.drop("left the group")
        if ids:
            await self._writer.scripts(scripts.RETRY_GIVE_BACK, [(retry_keys(self.ref), (self.name, *ids))])
        await self._writer.scripts(scripts.LEAVE, [((self.ref.name,), (self.ref.group, self.name))])
        await self._close()

    async def _close(self) -> None:
        for session in (self._reader, self._writer):
            await session.close()
        if self._polling is not None:
            await asyncio.gather(self._polling, return_exceptions=True)
