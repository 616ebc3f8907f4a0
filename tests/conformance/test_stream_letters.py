"""Dead letters of streams: a replay is one script with the letter's id as its token, nothing is lost, nothing doubled (§2.3)."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mqdash import failpoints
from mqdash.brokers.base import Broker, CanBrowse, HoldsDeadLetters, MovesInOne
from mqdash.clock import SystemClock
from mqdash.dead_letters.copies import new_operation_id
from mqdash.dead_letters.dialects import read_letter
from mqdash.dead_letters.files import NdjsonFile
from mqdash.dead_letters.grouping import by_cause
from mqdash.dead_letters.letter import Letter
from mqdash.dead_letters.redrive import Moved, Redrive, Report
from mqdash.model.delivery import DeadLetter, Delivery
from mqdash.model.topology import QueueRef, Route
from tests.conformance.helpers import bodies, publish, settle, take
from tests.conformance.subjects import Subject, Work, conformance


class Dies(Exception):
    """Stands for the end of the process at a failpoint."""


class Window:
    """Open dead letters of a place of work, and operations on them."""

    def __init__(self, lease: object, dead: QueueRef, folder: Path) -> None:
        assert isinstance(lease, MovesInOne)
        self.lease = lease
        self.dead = dead
        self.folder = folder
        self.letters: list[Letter] = [read_letter(n, found) for n, found in enumerate(lease.letters)]  # type: ignore[attr-defined]

    @contextlib.asynccontextmanager
    async def operation(self) -> AsyncIterator[Redrive]:
        clock = SystemClock()
        op = new_operation_id(clock.now())
        journal = NdjsonFile(self.folder / f"{op}.ndjson")
        async with Redrive(op=op, lease=self.lease, queue=self.dead, journal=journal, clock=clock) as redrive:  # type: ignore[arg-type]
            yield redrive

    async def replay(
        self,
        broker: Broker,
        letters: Sequence[Letter],
        *,
        to: Route | None = None,
        edit: dict[int, bytes] | None = None,
    ) -> Report:
        async with self.operation() as redrive, broker.publisher(name="replay") as publisher:
            return await redrive.replay(letters, publisher, target=to, bodies=edit)


@contextlib.asynccontextmanager
async def window(broker: Broker, work: Work, folder: Path) -> AsyncIterator[Window]:
    assert isinstance(broker, HoldsDeadLetters)
    async with broker.lease(work.dead) as lease:
        yield Window(lease, work.dead, folder)


async def bury(subject: Subject, broker: Broker, work: Work, n: int) -> None:
    """`n` entries, dead-lettered by W1; the even ones as Declined, the odd ones as Broken."""
    await publish(broker, work, [subject.message(b"%d" % at, id=f"m-{at}") for at in range(n)])
    async with broker.consume(work.queue, name="W1", prefetch=n) as worker:
        taken = await take(worker, n)
        causes = ["Declined", "Broken"]
        await settle(worker, [(one, DeadLetter(causes[at % 2], f"no {at}")) for at, one in enumerate(taken)])


async def entries(broker: Broker, stream: str) -> Sequence[Delivery]:
    assert isinstance(broker, CanBrowse)
    return await broker.browse(QueueRef(stream), newest=1000)


@conformance("claims", "dead_letters")
async def test_letters_of_a_stream_are_listed_newest_first_and_grouped(
    subject: Subject, broker: Broker, work: Work, tmp_path: Path
) -> None:
    await bury(subject, broker, work, 5)
    async with window(broker, work, tmp_path) as opened:
        info = opened.lease.info  # type: ignore[attr-defined]
        assert (info.order, info.total, info.held) == ("newest", 5, False)
        assert [letter.id for letter in opened.letters] == ["m-4", "m-3", "m-2", "m-1", "m-0"]
        groups = {group.cause: len(group.letters) for group in by_cause(opened.letters)}
        assert groups == {"Declined": 3, "Broken": 2}
        letter = opened.letters[0]
        assert (letter.text, letter.by, letter.origin) == ("no 4", "W1", work.queue)
        assert letter.home == Route(work.queue.name)


@conformance("claims", "dead_letters")
async def test_a_replay_moves_the_chosen_ones_and_an_edit_is_a_new_entry(
    subject: Subject, broker: Broker, work: Work, tmp_path: Path
) -> None:
    await bury(subject, broker, work, 3)
    async with window(broker, work, tmp_path) as opened:
        two, _, zero = opened.letters
        report = await opened.replay(broker, [two, zero], edit={zero.number: b"mended"})
        assert (report.taken, report.count(Moved.DONE)) == (2, 2)
    assert bodies(await entries(broker, work.dead.name)) == [b"1"]
    plain, mended = [one.message for one in await entries(broker, work.queue.name)][3:]
    assert (plain.body, plain.id, mended.body, mended.id) == (b"2", "m-2", b"mended", "m-0")
    assert plain.header_text("x-mqdash-src") == f"redis:{work.dead.name}/{two.delivery.message.native.entry_id}"  # type: ignore[union-attr]
    assert plain.header_text("x-mqdash-error") is None
    assert "Declined" in (plain.header_text("x-mqdash-history") or "")
    assert plain.header_text("x-mqdash-edited") is None
    assert mended.header_text("x-mqdash-edited") is not None


@conformance("claims", "dead_letters")
async def test_fault_58_two_windows_replay_the_same_letters_and_each_moves_once(
    subject: Subject, broker: Broker, work: Work, tmp_path: Path
) -> None:
    await bury(subject, broker, work, 4)
    async with window(broker, work, tmp_path) as mine, window(broker, work, tmp_path) as theirs:
        first = await mine.replay(broker, mine.letters[:3])
        second = await theirs.replay(broker, theirs.letters)
    assert first.count(Moved.DONE) == 3
    assert (second.count(Moved.DONE), second.count(Moved.SKIPPED)) == (1, 3)
    assert "already" in second.outcomes[0].detail
    assert await entries(broker, work.dead.name) == []
    assert sorted(bodies(await entries(broker, work.queue.name))[4:]) == [b"0", b"1", b"2", b"3"]


@conformance("claims", "dead_letters")
@pytest.mark.parametrize("point", ["redrive.after_plan", "redrive.after_move"])
async def test_failpoint_death_during_a_replay_and_its_repeat_leave_exactly_one_each(
    subject: Subject, broker: Broker, work: Work, tmp_path: Path, point: str
) -> None:
    def die() -> None:
        raise Dies

    await bury(subject, broker, work, 3)
    async with window(broker, work, tmp_path) as opened:
        failpoints.armed[point] = die
        try:
            with pytest.raises(Dies):
                await opened.replay(broker, opened.letters)
        finally:
            failpoints.armed.clear()
        await opened.replay(broker, opened.letters)
    assert await entries(broker, work.dead.name) == []
    assert sorted(bodies(await entries(broker, work.queue.name))[3:]) == [b"0", b"1", b"2"]


@conformance("claims", "dead_letters")
async def test_a_target_that_does_not_exist_is_failed_and_is_not_made(
    subject: Subject, broker: Broker, work: Work, tmp_path: Path
) -> None:
    await bury(subject, broker, work, 1)
    nowhere = f"{work.queue.name}-nowhere"
    async with window(broker, work, tmp_path) as opened:
        report = await opened.replay(broker, opened.letters, to=Route(nowhere))
        assert report.count(Moved.FAILED) == 1
        assert "no stream" in report.outcomes[0].detail
    assert bodies(await entries(broker, work.dead.name)) == [b"0"]
    assert (await broker.catalog(prefix=nowhere)).entities == ()


@conformance("claims", "dead_letters")
async def test_discard_archives_first_and_leaves_no_pending_id_behind(
    subject: Subject, broker: Broker, work: Work, tmp_path: Path
) -> None:
    await bury(subject, broker, work, 2)
    async with broker.consume(work.dead, name="reader", prefetch=5) as reader:
        await take(reader, 2)
        archive = NdjsonFile(tmp_path / "archive.ndjson")
        archive.open()
        async with window(broker, work, tmp_path) as opened, opened.operation() as redrive:
            report = await redrive.discard(opened.letters[:1], archive)
        archive.close()
        assert report.count(Moved.DONE) == 1
        assert '"id":"m-1"' in (tmp_path / "archive.ndjson").read_text().replace(": ", ":")
        assert bodies(await entries(broker, work.dead.name)) == [b"0"]
        [level] = await broker.measure([work.dead])
        assert level.in_flight == 1
