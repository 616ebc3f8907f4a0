"""Replay and discard: copy first, remove second, an outcome per letter, and a crash at every step loses nothing (§2.1)."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from mqdash import failpoints
from mqdash.dead_letters.files import NdjsonFile, StateUnavailable
from mqdash.dead_letters.redrive import Moved
from mqdash.errors import MqdashError, ReadOnly
from mqdash.model.events import MovesEnded
from mqdash.model.topology import Route
from tests.support import until
from tests.unit.dead_letters.support import FAILED, ORDERS, bench

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_letter_tells_where_it_came_from_and_why(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        (letter,) = box.letters
        assert (letter.cause, letter.text, letter.by, letter.origin) == ("PaymentDeclined", "card 4242", "W1", ORDERS)
        assert letter.home == Route("", "orders")
        assert [step.name for step in letter.path] == ["orders", "orders.dlx", "orders.failed"]
        assert [group.cause for group in box.groups()] == ["PaymentDeclined"]
        await box.close()
        assert await lab.waiting(FAILED) == 1


async def test_replay_puts_the_chosen_ones_back_and_leaves_the_others(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(5)
        box = await lab.open()
        plan = await box.plan([1, 3])
        assert plan.to == "orders"
        assert (True, "orders exists, takes messages, 0 consumers") in plan.checks
        report = await box.replay(plan)
        assert (report.taken, report.count(Moved.DONE)) == (2, 2)
        assert [letter.number for letter in box.letters] == [0, 2, 4]
        await box.close()
        assert await lab.bodies(ORDERS) == [b'{"n": 1}', b'{"n": 3}']
        assert await lab.bodies(FAILED) == [b'{"n": 0}', b'{"n": 2}', b'{"n": 4}']
        (ended,) = [event for event in lab.events if isinstance(event, MovesEnded)]
        assert (ended.done, ended.failed, ended.unknown, ended.skipped, ended.ids) == (2, 0, 0, 0, ("m-1", "m-3"))


async def test_a_copy_keeps_what_it_was_and_says_that_it_is_a_copy(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        await box.replay(await box.plan([0]))
        await box.close()
        async with lab.broker.consume(ORDERS, name="W2", prefetch=1) as worker:
            (copy,) = await worker.take(1)
        assert (copy.message.body, copy.message.id, copy.message.attempt) == (b'{"n": 0}', "m-0", 1)
        headers = dict(copy.message.headers)
        assert headers["x-mqdash-n"] == 1
        assert headers["x-mqdash-src"].startswith("amqp://orders.failed#")
        assert json.loads(headers["x-mqdash-history"])["x-mqdash-error"] == "PaymentDeclined"
        assert not any(name.startswith("x-mqdash-error") for name in headers)


async def test_R7_a_returned_copy_is_failed_and_the_letter_stays(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(2)
        box = await lab.open()
        plan = await box.plan([0, 1], target=Route("", "nowhere"))
        assert plan.checks == ((False, "nowhere does not exist: the broker would return the copies"),)
        report = await box.replay(plan)
        assert report.count(Moved.FAILED) == 2
        await box.close()
        assert await lab.waiting(FAILED) == 2


async def test_three_failures_in_a_row_stop_a_replay_and_the_rest_is_skipped(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(30)
        box = await lab.open()
        report = await box.replay(await box.plan(range(30), target=Route("", "nowhere"), rate_per_s=25))
        assert "3 in a row" in report.detail
        assert report.count(Moved.FAILED) + report.count(Moved.SKIPPED) == report.taken == 30
        assert report.count(Moved.SKIPPED) > 0
        await box.close()
        assert await lab.waiting(FAILED) == 30


async def test_discard_archives_on_disk_before_it_removes(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(3)
        box = await lab.open()
        report = await box.discard([0, 2])
        assert report.count(Moved.DONE) == 2
        await box.close()
        assert await lab.bodies(FAILED) == [b'{"n": 1}']
        (archive,) = (tmp_path / "archive").iterdir()
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        lines = [json.loads(line) for line in archive.read_text().splitlines()]
        assert [line["id"] for line in lines] == ["m-0", "m-2"]
        assert {line["cause"] for line in lines} == {"PaymentDeclined"}


async def test_fault_69_without_a_journal_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder must be")
    (tmp_path / "archive").write_text("a file where a folder must be")
    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        with pytest.raises(StateUnavailable, match="nothing is removed without it"):
            await box.replay(await box.plan([0]))
        with pytest.raises(StateUnavailable):
            await box.discard([0])
        await box.close()
        assert (await lab.waiting(FAILED), await lab.waiting(ORDERS)) == (1, 0)


async def test_the_journal_holds_the_steps_and_no_payload(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        await box.replay(await box.plan([0]))
        await box.close()
    (journal,) = (tmp_path / "journal").iterdir()
    text = journal.read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == ["plan", "copied", "removed", "end"]
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert '"n": 0' not in text.replace('"n": 1', "")


async def test_a_read_only_attachment_gives_no_window(tmp_path: Path) -> None:
    async with bench(tmp_path, writable=False) as lab:
        with pytest.raises(ReadOnly, match="--write"):
            await lab.open()


class Dies(Exception):
    """Stands for the end of the process at a failpoint."""


@pytest.mark.parametrize(
    ("point", "copies"),
    [
        ("redrive.after_plan", 0),
        ("redrive.after_confirm", 1),
        ("redrive.after_copied", 1),
    ],
)
async def test_failpoint_death_before_the_remove_loses_nothing(tmp_path: Path, point: str, copies: int) -> None:
    """At most one visible duplicate, never a loss: the original is still in the grave."""

    def die() -> None:
        raise Dies

    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        plan = await box.plan([0])
        failpoints.armed[point] = die
        try:
            with pytest.raises(Dies):
                await box.replay(plan)
        finally:
            failpoints.armed.clear()
        await box.close()
        assert await lab.waiting(FAILED) == 1
        assert await lab.waiting(ORDERS) == copies


async def test_failpoint_death_after_the_remove_leaves_exactly_one(tmp_path: Path) -> None:
    def die() -> None:
        raise Dies

    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        failpoints.armed["redrive.after_remove"] = die
        try:
            with pytest.raises(Dies):
                await box.replay(await box.plan([0]))
        finally:
            failpoints.armed.clear()
        await box.close()
        assert (await lab.waiting(FAILED), await lab.waiting(ORDERS)) == (0, 1)


async def test_failpoint_death_between_archive_and_remove_keeps_the_letter(tmp_path: Path) -> None:
    def die() -> None:
        raise Dies

    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        failpoints.armed["redrive.after_archive"] = die
        try:
            with pytest.raises(Dies):
                await box.discard([0])
        finally:
            failpoints.armed.clear()
        await box.close()
        assert await lab.waiting(FAILED) == 1


async def test_a_broker_that_goes_during_a_replay_leaves_unknown_and_loses_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(2)
        box = await lab.open()
        plan = await box.plan([0, 1])
        failpoints.armed["redrive.after_copied"] = lab.server.stop
        try:
            report = await box.replay(plan)
        finally:
            failpoints.armed.clear()
        assert report.count(Moved.UNKNOWN) == 2
        assert "may be there twice" in report.outcomes[0].detail
        lab.server.start()
        await box.close()
        broker = await lab.control.attachments["lab"].link.opened()
        measured = {m.queue: m.waiting for m in await broker.measure([ORDERS, FAILED])}
        assert measured == {ORDERS: 2, FAILED: 2}


async def test_an_unknown_broker_is_said(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        with pytest.raises(MqdashError, match="no broker called x"):
            await lab.control.open_letters("x", FAILED)


async def test_a_window_whose_connection_was_lost_copies_nothing(tmp_path: Path) -> None:
    """The letters went back to their queue with the connection: a copy would stand beside its original."""
    async with bench(tmp_path) as lab:
        await lab.bury(3)
        box = await lab.open()
        plan = await box.plan([0, 1, 2])
        lab.server.cut()
        await until(lambda: lab.control.attachments["lab"].link.life not in {None, box._life})
        report = await box.replay(plan)
        assert report.count(Moved.SKIPPED) == 3
        assert "back in their queue" in report.detail
        assert box.letters == ()
        broker = await lab.control.attachments["lab"].link.opened()
        assert {m.queue: m.waiting for m in await broker.measure([ORDERS, FAILED])} == {ORDERS: 0, FAILED: 3}
        await box.close()


async def test_fault_69_a_disk_that_fills_between_copy_and_remove_leaves_an_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as lab:
        await lab.bury(1)
        box = await lab.open()
        plan = await box.plan([0])
        write = NdjsonFile.write

        async def full(self: NdjsonFile, lines: list[dict[str, object]]) -> None:
            if lines[0]["step"] == "copied":
                raise StateUnavailable("no space left on device")
            await write(self, lines)

        monkeypatch.setattr(NdjsonFile, "write", full)
        report = await box.replay(plan)
        assert report.count(Moved.UNKNOWN) == 1
        assert "may be there twice" in report.outcomes[0].detail
        await box.close()
        assert (await lab.waiting(FAILED), await lab.waiting(ORDERS)) == (1, 1)
