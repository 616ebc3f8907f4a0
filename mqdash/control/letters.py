"""Dead letters in hand: a window of one dead-letter queue, read, grouped, replayed and discarded (semantics §2)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import msgspec

from mqdash.brokers.base import HoldsDeadLetters
from mqdash.dead_letters.copies import header_names, is_stripped, new_operation_id
from mqdash.dead_letters.dialects import family_note, read_letter
from mqdash.dead_letters.files import NdjsonFile
from mqdash.dead_letters.grouping import by_cause
from mqdash.dead_letters.letter import Letter
from mqdash.dead_letters.redrive import LetterOutcome, Moved, Redrive, Report
from mqdash.errors import MqdashError, Unsupported
from mqdash.model.events import MovesEnded, Noted
from mqdash.model.topology import Queue, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mqdash.brokers.base import Lease
    from mqdash.clock import Clock
    from mqdash.control.attachment import Attachment
    from mqdash.control.audit import Audit
    from mqdash.dead_letters.letter import Group
    from mqdash.model.broker import LeaseInfo
    from mqdash.model.events import Event


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would do, before anything is sent. `checks`: (fine?, sentence) each."""

    queue: QueueRef
    letters: tuple[Letter, ...]
    target: Route | None
    to: str
    to_note: str
    stripped: tuple[str, ...]
    checks: tuple[tuple[bool, str], ...]
    duplicates: str
    rate_per_s: float


class LetterBox:
    """An open window on a dead-letter queue; `close` gives back what was not removed.

    `letters` shrinks as letters are moved away. Opened by `Control.open_letters`.
    """

    def __init__(
        self,
        attachment: Attachment,
        queue: QueueRef,
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        audit: Audit,
        state_dir: Path,
    ) -> None:
        self.queue = queue
        self.broker = attachment.name
        self.letters: tuple[Letter, ...] = ()
        self._attachment = attachment
        self._clock = clock
        self._emit = emit
        self._audit = audit
        self._state_dir = state_dir
        self._stack = AsyncExitStack()
        self._lease: Lease | None = None
        self._life: object = None
        self._told_returned = False

    async def open(self, *, limit: int = 200) -> None:
        """Hold up to `limit` letters.

        Raises:
            MqdashError: read-only, not connected, or it would cost messages; the text says what to do.
        """
        broker = self._attachment.broker
        if not isinstance(broker, HoldsDeadLetters):
            raise Unsupported(self.broker, f"dead letters of {broker.info.family} cannot be opened here yet")
        self._life = broker
        self._lease = await self._stack.enter_async_context(broker.lease(self.queue, limit=limit))
        self.letters = tuple(self._shown(read_letter(n, found)) for n, found in enumerate(self._lease.letters))

    def _shown(self, letter: Letter) -> Letter:
        """Names written on the broker as the scenario names them."""
        scope = self._attachment.scope
        if scope is None:
            return letter
        return msgspec.structs.replace(
            letter,
            origin=letter.origin and scope.shown_queue(letter.origin),
            home=letter.home and scope.shown_route(letter.home),
            source=letter.source and scope.shown_route(letter.source),
            path=tuple(
                msgspec.structs.replace(step, name=" › ".join(map(scope.shown, step.name.split(" › "))))
                for step in letter.path
            ),
        )

    @property
    def info(self) -> LeaseInfo:
        """What the window holds and costs."""
        return self._held.info

    @property
    def _held(self) -> Lease:
        if self._lease is None:
            msg = "these dead letters are not open"
            raise MqdashError(msg)
        return self._lease

    def groups(self) -> tuple[Group, ...]:
        """The letters by normalised cause, most first."""
        return by_cause(self.letters)

    async def plan(self, numbers: Iterable[int], *, target: Route | None = None, rate_per_s: float = 50.0) -> Plan:
        """What replaying these letters would do; asks the broker whether their targets exist. Changes nothing."""
        letters = self._chosen(numbers)
        homes = [target] if target is not None else sorted({letter.home for letter in letters if letter.home})
        homeless = sum(letter.home is None for letter in letters) if target is None else 0
        checks = [await self._check(home) for home in homes]
        if homeless:
            checks.append((False, f"{homeless} do not tell where they came from and stay here"))
        back = [letter for letter in letters if letter.replays >= 3]
        if back:
            checks.append((False, f"{len(back)} have come back {max(x.replays for x in back)} times already"))
        note = family_note(letters[0].delivery.message) if letters else ""
        if note:
            note = await self._reaching(note, homes, {letter.origin for letter in letters})
        names = sorted({name for letter in letters for name in _stripped(letter)})
        return Plan(
            queue=self.queue,
            letters=letters,
            target=target,
            to=", ".join(_place(home) for home in homes) or "nowhere",
            to_note=note or "the queue they failed in, by the default exchange",
            stripped=tuple(names),
            checks=tuple(checks),
            duplicates=f"never: copy and removal are {self.info.in_one}"
            if self.info.in_one
            else "twice, if mqdash or the broker dies in the moment between confirm and ack; "
            "x-mqdash-src makes such a pair findable",
            rate_per_s=rate_per_s,
        )

    async def _check(self, home: Route) -> tuple[bool, str]:
        place = _place(home)
        if home.destination:
            page = await self._attachment.life.catalog(prefix=home.destination, limit=50)
            names = {getattr(entity, "name", None) for entity in page.entities}
            known = home.destination in names
            return known, f"{place} exists" if known else f"{place} does not exist: nothing would be sent"
        measured = await self._attachment.life.measure([QueueRef(home.key)])
        if not measured:
            return False, f"{place} does not exist: the broker would return the copies"
        consumers = measured[0].consumers
        told = "" if consumers is None else f", {consumers} consumers"
        return True, f"{place} exists, takes messages{told}"

    async def _reaching(self, note: str, homes: Iterable[Route], failed_in: set[QueueRef | None]) -> str:
        """Whom a replay reaches beside the group each letter failed in, by name where any is known (semantics §2.2).

        "No other group" is said only when it is sure: all failed in one group (None: nobody tells), go back to its topic
        or stream, and the catalogue told of all there is.
        """
        alone = next(iter(failed_in)) if len(failed_in) == 1 else None
        readers: set[QueueRef] = set()
        sure = True
        for home in homes:
            page = await self._attachment.life.catalog(prefix=home.destination, limit=50)
            queues = [entity.ref for entity in page.entities if isinstance(entity, Queue)]
            readers |= {ref for ref in queues if ref.name == home.destination and ref.group}
            sure = sure and page.after is None and alone is not None and home.destination == alone.name
        if alone is not None and sure and readers == {alone}:
            return f"read by {alone.group}, where it failed, and by no other group"
        others = sorted({ref.group for ref in readers if ref != alone})
        return f"{note}: {', '.join(others)}" if others else note

    async def replay(
        self,
        plan: Plan,
        *,
        bodies: dict[int, bytes] | None = None,
        progress: Callable[[LetterOutcome], None] = lambda _: None,
    ) -> Report:
        """Carry out a plan: copy first, remove second, an outcome per letter.

        Raises:
            StateUnavailable: the journal cannot be written, so nothing is sent.
            MqdashError: read-only or not connected.
        """
        broker = self._attachment.broker
        async with (
            self._operation(progress) as redrive,
            broker.publisher(name="replay", window=100) as publisher,
        ):
            report = await redrive.replay(
                plan.letters, publisher, target=plan.target, bodies=bodies, rate_per_s=plan.rate_per_s
            )
        self._ended(report)
        return report

    async def discard(
        self, numbers: Iterable[int], *, progress: Callable[[LetterOutcome], None] = lambda _: None
    ) -> Report:
        """Archive these letters on disk, then remove them.

        Raises:
            StateUnavailable: archive or journal cannot be written, so nothing is removed.
        """
        _ = self._attachment.broker  # refuses when read-only or gone
        archive = NdjsonFile(self._state_dir / "archive" / f"{new_operation_id(self._clock.now())}.ndjson")
        archive.open()
        try:
            async with self._operation(progress) as redrive:
                report = await redrive.discard(self._chosen(numbers), archive)
        finally:
            archive.close()
        self._ended(report)
        return report

    def _operation(self, progress: Callable[[LetterOutcome], None]) -> Redrive:
        op = new_operation_id(self._clock.now())
        journal = NdjsonFile(self._state_dir / "journal" / f"{op}.ndjson")
        return Redrive(
            op=op,
            lease=self._held,
            queue=self.queue,
            journal=journal,
            clock=self._clock,
            lost=self._lost,
            vhost=self._attachment.url.path if self._attachment.url.scheme.startswith("amqp") else "/",
            progress=progress,
        )

    def _lost(self) -> str:
        """Why nothing is held any more, or ''."""
        if self._lease is not None and self._lease.info.returned:
            return f"these letters are back in their queue: {self._lease.info.returned}; open them again"
        if self._attachment.link.life is self._life:
            return ""
        return "the connection was lost meanwhile: these letters are back in their queue; open them again"

    def returned(self) -> str:
        """Why what was held went back by itself, or ''; told in the Story the first time (faults 9, 12)."""
        if self._lease is None or not self._lease.info.held:
            return ""
        why = self._lost()
        if why and not self._told_returned:
            self._told_returned = True
            text = f"{len(self.letters)} dead letters of {self.queue} were returned: {why}"
            self._emit(Noted(broker=self.broker, at_s=self._clock.now(), text=text, level="look"))
        return why

    def _chosen(self, numbers: Iterable[int]) -> tuple[Letter, ...]:
        wanted = set(numbers)
        return tuple(letter for letter in self.letters if letter.number in wanted)

    def _ended(self, report: Report) -> None:
        done = {outcome.number for outcome in report.outcomes if outcome.moved is Moved.DONE}
        lost = bool(self._lost())
        self.letters = () if lost else tuple(letter for letter in self.letters if letter.number not in done)
        verb = "replayed" if report.kind == "replay" else "discarded"
        self._audit.kept(
            self.broker,
            f"you {verb} {len(done)} of {report.taken} dead letters of {self.queue}",
            f"mqdash operation {report.op}",
        )
        self._emit(
            MovesEnded(
                broker=self.broker,
                at_s=self._clock.now(),
                op=report.op,
                kind=report.kind,
                queue=self.queue,
                to=report.to,
                detail=report.detail,
                kept_in=report.to
                if report.kind == "discard"
                else str(self._state_dir / "journal" / f"{report.op}.ndjson"),
                ids=tuple(outcome.id for outcome in report.outcomes if outcome.moved is Moved.DONE)[:16],
                **{str(moved): report.count(moved) for moved in Moved},
            )
        )

    async def close(self) -> None:
        """Give back what is still held, in place; closing twice does nothing."""
        self._lease = None
        await self._stack.aclose()


def _place(home: Route) -> str:
    return home.destination or home.key


def _stripped(letter: Letter) -> list[str]:
    return [name for name in header_names(letter.delivery.message) if is_stripped(name)]
