"""Replay and discard: copy first, remove second, and the remove waits for a positive acknowledgement of the copy (semantics §2).

Every letter ends as DONE, FAILED (proved not copied), UNKNOWN (no proof either way: the original is kept, a duplicate is
possible) or SKIPPED. An UNKNOWN is never retried by itself (F4, F7).
"""

from __future__ import annotations

import enum
import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec

from mqdash.brokers.base import MovesInOne
from mqdash.dead_letters.copies import replayed_copy
from mqdash.dead_letters.files import StateUnavailable, archived
from mqdash.failpoints import failpoint
from mqdash.model.causes import CANNOT_DECODE
from mqdash.model.delivery import Outgoing, Sent, Settled
from mqdash.model.message import Record
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.brokers.base import Lease, Publisher
    from mqdash.clock import Clock
    from mqdash.dead_letters.files import NdjsonFile
    from mqdash.dead_letters.letter import Letter
    from mqdash.model.delivery import Outcome

log = logging.getLogger(__name__)

BATCH = 100
"""Copies that may be unconfirmed at once (semantics §2.1, Bulk)."""
FAILED_IN_A_ROW = 3
HOMELESS = "nobody tells where it came from; choose a target"
UNREADABLE = "it is a compressed batch that could not be decoded, not a message"


class Moved(enum.StrEnum):
    """How one letter ended."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class LetterOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one letter, with the reason in words when it is not plainly done."""

    number: int
    id: str
    moved: Moved
    detail: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an operation: taken = done + failed + unknown + skipped."""

    op: str
    kind: str
    queue: QueueRef
    to: str
    outcomes: tuple[LetterOutcome, ...]
    detail: str = ""  # why it stopped early, or ""

    def count(self, moved: Moved) -> int:
        """How many ended so."""
        return sum(outcome.moved is moved for outcome in self.outcomes)

    @property
    def taken(self) -> int:
        """How many letters the operation was given."""
        return len(self.outcomes)


@dataclass(frozen=True, kw_only=True)
class Redrive:
    """One operation on held letters; entering it opens the journal.

    `lost` says why the lease is over ('' while it holds): it is asked before each batch, since a copy of a letter that is
    no longer ours would stand beside its original.
    """

    op: str
    lease: Lease
    queue: QueueRef
    journal: NdjsonFile
    clock: Clock
    vhost: str = "/"
    lost: Callable[[], str] = lambda: ""
    progress: Callable[[LetterOutcome], None] = lambda _: None

    async def __aenter__(self) -> Self:
        self.journal.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.journal.close()

    async def replay(
        self,
        letters: Sequence[Letter],
        publisher: Publisher,
        *,
        target: Route | None = None,
        bodies: dict[int, bytes] | None = None,
        rate_per_s: float = 50.0,
    ) -> Report:
        """Publish a copy of each letter, and remove those whose copy was confirmed.

        `target` None = each to the queue it failed in; `bodies` replaces bodies by letter number (an edit).

        Raises:
            StateUnavailable: the journal cannot be written at the start; nothing was touched.
        """
        to = str(target) if target is not None else "the queue they failed in"
        await self.journal.write([self._line("plan", kind="replay", to=to, n=len(letters))])
        failpoint("redrive.after_plan")
        outcomes: list[LetterOutcome] = []
        failed_in_a_row, why, done = 0, "", 0
        size = max(1, min(BATCH, int(rate_per_s / 5) or 1))
        while done < len(letters) and not why:
            why = self.lost()
            if why:
                break
            batch = letters[done : done + size]
            started_s = self.clock.monotonic()
            for outcome in await self._replay_batch(batch, publisher, target, bodies or {}):
                outcomes.append(outcome)
                self.progress(outcome)
                failed_in_a_row = failed_in_a_row + 1 if outcome.moved is Moved.FAILED else 0
                if failed_in_a_row >= FAILED_IN_A_ROW:
                    why = f"stopped: {FAILED_IN_A_ROW} in a row could not be delivered ({outcome.detail})"
                elif outcome.moved is Moved.UNKNOWN:
                    why = f"stopped: no proof either way for {outcome.id} ({outcome.detail})"
            done += len(batch)
            if done < len(letters) and not why:
                await self.clock.sleep(max(0.0, len(batch) / rate_per_s - (self.clock.monotonic() - started_s)))
        outcomes += [self._skipped(letter, why or "not reached") for letter in letters[done:]]
        report = Report(op=self.op, kind="replay", queue=self.queue, to=to, outcomes=tuple(outcomes), detail=why)
        await self._end(report)
        return report

    async def _replay_batch(
        self, batch: Sequence[Letter], publisher: Publisher, target: Route | None, bodies: dict[int, bytes]
    ) -> list[LetterOutcome]:
        routes = [
            None if _is_batch(letter) and letter.number not in bodies else target or letter.home for letter in batch
        ]
        outgoing = [
            Outgoing(
                route=route, message=replayed_copy(letter, self.op, vhost=self.vhost, body=bodies.get(letter.number))
            )
            for letter, route in zip(batch, routes, strict=True)
            if route is not None
        ]
        known = [letter for letter, route in zip(batch, routes, strict=True) if route is not None]
        if known and isinstance(self.lease, MovesInOne):
            settled = await self.lease.move([letter.delivery for letter in known], outgoing)
            if settled is not None:
                return await self._moved_in_one(batch, known, settled)
        receipts = iter(await publisher.send(outgoing) if outgoing else ())
        failpoint("redrive.after_confirm")
        outcomes: dict[int, LetterOutcome] = {}
        copied: list[Letter] = []
        for letter, route in zip(batch, routes, strict=True):
            if route is None:
                outcomes[letter.number] = self._skipped(letter, _why_not(letter))
                continue
            receipt = next(receipts)
            if receipt.sent is Sent.CONFIRMED:
                copied.append(letter)
            else:
                moved = Moved.UNKNOWN if receipt.sent is Sent.UNKNOWN else Moved.FAILED
                outcomes[letter.number] = self._outcome(letter, moved, receipt.detail or str(receipt.sent))
        if copied:
            for outcome in await self._noted_and_removed(copied):
                outcomes[outcome.number] = outcome
        return [outcomes[letter.number] for letter in batch]

    async def _noted_and_removed(self, copied: Sequence[Letter]) -> list[LetterOutcome]:
        """The journal knows of the copies before an original goes; if it cannot be written, the originals stay."""
        try:
            await self.journal.write([self._line("copied", ids=[letter.number for letter in copied])])
        except StateUnavailable as error:
            why = f"copied, not removed: may be there twice ({error})"
            return [self._outcome(letter, Moved.UNKNOWN, why) for letter in copied]
        failpoint("redrive.after_copied")
        return await self._remove(copied)

    async def _moved_in_one(
        self, batch: Sequence[Letter], known: Sequence[Letter], settled: Sequence[Outcome]
    ) -> list[LetterOutcome]:
        """Copy and removal were one step on the broker: there is no moment in which both or neither exist."""
        failpoint("redrive.after_move")
        outcomes = {letter.number: self._skipped(letter, _why_not(letter)) for letter in batch}
        for letter, outcome in zip(known, settled, strict=True):
            moved = _ONE_STEP.get(outcome.settled, Moved.UNKNOWN)
            outcomes[letter.number] = self._outcome(letter, moved, outcome.detail if moved is not Moved.DONE else "")
        done = [number for number, outcome in outcomes.items() if outcome.moved is Moved.DONE]
        await self._note("removed", ids=done)
        return [outcomes[letter.number] for letter in batch]

    async def discard(self, letters: Sequence[Letter], archive: NdjsonFile) -> Report:
        """Archive each letter on disk, then remove it from its dead-letter queue.

        Raises:
            StateUnavailable: journal or archive cannot be written; nothing was removed after that.
        """
        await self.journal.write([self._line("plan", kind="discard", to=str(archive.path), n=len(letters))])
        outcomes: list[LetterOutcome] = []
        for start in range(0, len(letters), BATCH):
            why = self.lost()
            if why:
                outcomes += [self._skipped(letter, why) for letter in letters[start:]]
                break
            batch = letters[start : start + BATCH]
            await archive.write([archived(letter, self.op, self.clock.now()) for letter in batch])
            failpoint("redrive.after_archive")
            removed = await self._remove(batch)
            outcomes += removed
            for outcome in removed:
                self.progress(outcome)
        report = Report(op=self.op, kind="discard", queue=self.queue, to=str(archive.path), outcomes=tuple(outcomes))
        await self._end(report)
        return report

    async def _remove(self, letters: Sequence[Letter]) -> list[LetterOutcome]:
        """The second half of a move: the copy is safe, so whatever happens here cannot lose the message."""
        settled = await self.lease.remove([letter.delivery for letter in letters])
        failpoint("redrive.after_remove")
        await self._note("removed", ids=[x.number for x, o in zip(letters, settled, strict=True) if _gone(o.settled)])
        return [
            self._outcome(letter, Moved.DONE)
            if _gone(outcome.settled)
            else self._outcome(
                letter, Moved.UNKNOWN, f"copied, but not surely removed: may be there twice ({outcome.detail})"
            )
            for letter, outcome in zip(letters, settled, strict=True)
        ]

    async def _end(self, report: Report) -> None:
        counts = {str(moved): report.count(moved) for moved in Moved}
        await self._note("end", detail=report.detail, **counts)

    async def _note(self, step: str, **more: object) -> None:
        """A line about what is already so on the broker: without it the journal says 'maybe', and the broker is right."""
        try:
            await self.journal.write([self._line(step, **more)])
        except StateUnavailable as error:
            log.warning("operation %s: %s", self.op, error)

    def _line(self, step: str, **more: object) -> dict[str, object]:
        return {"op": self.op, "at": self.clock.now(), "step": step, "queue": str(self.queue), **more}

    @staticmethod
    def _outcome(letter: Letter, moved: Moved, detail: str = "") -> LetterOutcome:
        return LetterOutcome(number=letter.number, id=letter.id, moved=moved, detail=detail)

    @classmethod
    def _skipped(cls, letter: Letter, why: str) -> LetterOutcome:
        return cls._outcome(letter, Moved.SKIPPED, why)


_BATCH_HEAD = struct.Struct(">8xi4xb")  # first offset, size of what follows it, leader epoch, format
_BATCH_SIZE_FROM = 12
_BATCH_MAGIC = 2  # older formats are never kept whole
_ONE_STEP = {Settled.SETTLED: Moved.DONE, Settled.FAILED: Moved.FAILED, Settled.STALE: Moved.SKIPPED}


def _why_not(letter: Letter) -> str:
    return UNREADABLE if _is_batch(letter) else HOMELESS


def _is_batch(letter: Letter) -> bool:
    """Whether the body is a batch as the broker keeps it (fault 30).

    The copy a worker made of such a batch is a plain record again, and any program may call its error the same: the name
    counts only together with bytes of a batch's shape.
    """
    message = letter.delivery.message
    if message.undecoded:
        return True
    if letter.cause != CANNOT_DECODE or not isinstance(message.native, Record) or len(message.body) < _BATCH_HEAD.size:
        return False
    size, magic = _BATCH_HEAD.unpack_from(message.body)
    return bool(size == len(message.body) - _BATCH_SIZE_FROM and magic >= _BATCH_MAGIC)


def _gone(settled: Settled) -> bool:
    return settled in {Settled.SETTLED, Settled.WRITTEN}
