"""The dead-letter screen on the embedded RabbitMQ: what is held, marked, replayed and discarded is really there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
from textual.worker import WorkerFailed

from mqdash.brokers.embedded import connector
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.control.attachment import Attachment
from mqdash.control.audit import Audit
from mqdash.control.letters import LetterBox
from mqdash.errors import MqdashError
from mqdash.model.delivery import DeadLetter, Outgoing
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import QueueRef, Route
from mqdash.ui.screens.confirm import Confirm
from mqdash.ui.screens.dashboard import Dashboard
from mqdash.ui.screens.dead_letters import LettersScreen
from mqdash.ui.screens.plan import PlanDialog
from tests.support import until
from tests.ui.feed import ORDERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mqdash.brokers.base import Broker
    from mqdash.model.delivery import Delivery
    from tests.ui.conftest import Stage

FAILED, ORIGIN = QueueRef("orders.failed"), QueueRef("orders")
CAUSES = ("PaymentDeclined", "PaymentDeclined", "bad JSON")


class Link:
    """The way to a broker that is connected."""

    def __init__(self, life: Broker) -> None:
        self.life = life
        self.cause = ""
        self.state = "up"


async def bury(broker: Broker) -> None:
    """Publish three orders and dead-letter them, as a worker does."""
    await broker.declare(ORDERS)
    async with broker.publisher(name="shop") as publisher:
        messages = [compose(Draft(body=b'{"order": %d}' % n, id=f"m-{n}"), Family.RABBITMQ) for n in (1, 2, 3)]
        await publisher.send([Outgoing(Route("orders.direct", "order"), message) for message in messages])
    async with broker.consume(ORIGIN, name="W1", prefetch=10) as consumer:
        taken: list[Delivery] = []
        while len(taken) < len(CAUSES):
            taken += await consumer.take(10)
        await consumer.settle([(x, DeadLetter(cause, "as told")) for x, cause in zip(taken, CAUSES, strict=True)])


@asynccontextmanager
async def opened(stage: Stage, state_dir: Path) -> AsyncIterator[Broker]:
    """The dashboard with `d` pressed, over a broker that holds three dead letters."""
    url = parse_url("embedded://rabbitmq")
    broker = await connector(url, clock=SystemClock(), seed=1).connect()
    await bury(broker)
    attachment = Attachment(name="orders", url=url, link=Link(broker), writable=True)  # type: ignore[arg-type]
    audit = Audit(clock=stage.clock, emit=stage.bus.publish)

    async def open_letters(name: str, queue: QueueRef) -> LetterBox:
        assert name == "orders"
        box = LetterBox(
            attachment, queue, clock=SystemClock(), emit=stage.bus.publish, audit=audit, state_dir=state_dir
        )
        await box.open()
        return box

    stage.control.__dict__["open_letters"] = open_letters
    async with stage.running():
        await stage.press("d")
        await until(lambda: isinstance(stage.app.screen, LettersScreen))
        await stage.shows("PaymentDeclined", "m-1", "bad JSON")
        yield broker
    await broker.close()


async def waiting(broker: Broker) -> dict[str, int | None]:
    return {found.queue.name: found.waiting for found in await broker.measure([ORIGIN, FAILED])}


async def test_shows_causes_messages_and_one_message_with_its_path(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path):
        await stage.shows("orders.failed", "held", "2 messages", '"order": 1', "as told")
        await stage.press("v")
        await stage.shows("x-mqdash-error")
        await stage.press("v")
        await stage.shows("a replay goes to")


async def test_enter_on_a_cause_opens_its_letters(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path):
        await stage.press("escape")
        await until(lambda: isinstance(stage.app.screen, Dashboard))
        causes = [found.cause for found in stage.app.view.dead_letters.causes]
        assert "bad JSON" in causes[1:]
        await stage.press("4", "g", *["j"] * causes.index("bad JSON"), "enter")
        await until(lambda: isinstance(stage.app.screen, LettersScreen))
        await stage.shows("2 bad JSON", "1 message")


async def test_leaving_gives_everything_back(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path) as broker:
        await stage.press("escape")
        await until(lambda: isinstance(stage.app.screen, Dashboard))

        async def all_back() -> bool:
            return (await waiting(broker))["orders.failed"] == 3

        await until(all_back)


async def test_replay_of_the_marked_ones_shows_the_plan_first(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path) as broker:
        await stage.press("a", "r")
        await until(lambda: isinstance(stage.app.screen, PlanDialog))
        await stage.shows("Replay 2", "nothing sent yet", "orders", "may come")
        assert (await waiting(broker))["orders"] == 0
        await stage.press("enter")  # the embedded lab: the button that does it has the focus
        await until(lambda: isinstance(stage.app.screen, LettersScreen))

        async def replayed() -> bool:
            return (await waiting(broker))["orders"] == 2

        await until(replayed)
        await stage.shows("taken 2 = 2 done, 0 failed, 0 unknown, 0 skipped")
        await until(lambda: "PaymentDeclined" not in stage.text().split("Causes")[1].split("bad JSON")[0])


async def test_plan_that_asks_has_the_focus_on_cancel_and_names_what_is_marked(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path) as broker:
        stage.control.asking = "confirm"
        await stage.press("a", "r")
        await until(lambda: isinstance(stage.app.screen, PlanDialog))
        await stage.shows("Replay 2 dead letters (2 marked)", "enter presses it", "▼ 50/s ▲")
        await stage.press("up")
        await stage.shows("▼ 100/s ▲")
        await stage.press("left", "right", "enter")  # to the button that does it, and back
        await until(lambda: isinstance(stage.app.screen, LettersScreen))
        await stage.shows("2 marked")
        assert (await waiting(broker))["orders"] == 0


async def test_what_holding_costs_is_whole_at_every_width(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path):
        assert stage.pilot is not None
        for size in ((80, 24), (100, 30), (200, 60)):
            await stage.pilot.resize_terminal(*size)
            await stage.tick(times=10)
            said = " ".join(" ".join(stage.text().split("\n")[1:3]).split())
            assert "others cannot take them · esc returns them" in said
            assert "oldest 3 of 3" in said


async def test_escape_in_the_plan_sends_nothing(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path) as broker:
        await stage.press("r")
        await until(lambda: isinstance(stage.app.screen, PlanDialog))
        await stage.press("escape")
        await until(lambda: isinstance(stage.app.screen, LettersScreen))
        await stage.press("escape")

        async def all_back() -> bool:
            return await waiting(broker) == {"orders": 0, "orders.failed": 3}

        await until(all_back)


async def test_discard_asks_and_archives_before_it_removes(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path) as broker:
        await stage.press("space", "X")
        await until(lambda: isinstance(stage.app.screen, Confirm))
        await stage.shows("Discard 1 marked of orders.failed?", "m-1", "first, then removed")
        await stage.press("left", "enter")
        await stage.shows("discard: taken 1 = 1 done")
        await until(lambda: list((tmp_path / "archive").glob("*.ndjson")))
        await stage.press("escape")

        async def one_less() -> bool:
            return (await waiting(broker))["orders.failed"] == 2

        await until(one_less)


async def test_filter_finds_by_body(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path):
        await stage.press("slash", *'"order": 2', "enter")
        await stage.shows("1 message ", "3 m-2")
        assert "m-1 " not in stage.text()


async def test_queue_that_cannot_be_opened_says_why(stage: Stage) -> None:
    async def refuse(*_: object) -> None:
        raise MqdashError("orders is not connected: connection refused")

    stage.control.__dict__["open_letters"] = refuse
    async with stage.running():
        await stage.press("d")
        await until(lambda: isinstance(stage.app.screen, LettersScreen))
        await stage.shows("orders is not connected: connection refused")
        await stage.press("escape")
        await until(lambda: isinstance(stage.app.screen, Dashboard))


async def test_fault_67_fault_of_our_own_while_opening_is_reported_and_the_app_goes_on(stage: Stage) -> None:
    async def fail(*_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'letters'")

    stage.control.__dict__["open_letters"] = fail
    async with stage.running():
        await stage.press("d")
        await stage.shows("a fault in mqdash (opening dead letters)")
        assert stage.app.failures == [
            "opening dead letters: AttributeError: 'NoneType' object has no attribute 'letters'"
        ]
        await stage.press("escape")
        await until(lambda: isinstance(stage.app.screen, Dashboard))


async def test_broker_that_does_not_answer_does_not_hold_the_way_out(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqdash.ui.screens.dead_letters.CLOSE_LIMIT_S", 0.05)
    async with opened(stage, tmp_path):
        screen = stage.app.screen
        assert isinstance(screen, LettersScreen)
        assert screen.box is not None
        box, closed = screen.box, screen.box.close
        box.__dict__["close"] = asyncio.Event().wait  # for ever
        await stage.press("escape")
        await until(lambda: isinstance(stage.app.screen, Dashboard))
        await until(lambda: not screen.is_attached)
        await closed()


async def test_fault_67_crash_in_a_worker_is_reported_as_what_it_is(stage: Stage) -> None:
    stage.app._exception = WorkerFailed(AttributeError("no letters"))
    stage.app._fatal_error()
    assert "AttributeError: no letters" in stage.app.crash
    assert "WorkerFailed" not in stage.app.crash


async def test_fault_67_fault_of_our_own_in_a_replay_is_reported(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path):
        screen = stage.app.screen
        assert isinstance(screen, LettersScreen)
        assert screen.box is not None
        screen.box.__dict__["plan"] = lambda *_: None  # not even something to wait for
        await stage.press("r")
        await stage.shows("a fault in mqdash (moving dead letters)")
        await stage.press("X")
        await stage.shows("Discard the selected one")


@pytest.mark.parametrize("size", [(1, 1), (60, 20), (80, 24), (200, 60)])
async def test_any_size_is_survived(stage: Stage, tmp_path: Path, size: tuple[int, int]) -> None:
    async with opened(stage, tmp_path):
        assert stage.pilot is not None
        await stage.pilot.resize_terminal(*size)
        await stage.tick(times=10)
        small = size[0] < 80 or size[1] < 24
        assert ("1 Causes" in stage.text()) is not small


async def test_12_letters_that_went_back_by_themselves_are_said_on_the_screen(stage: Stage, tmp_path: Path) -> None:
    async with opened(stage, tmp_path):
        box = stage.app.screen.box  # type: ignore[attr-defined]
        box._lease.info = msgspec.structs.replace(box.info, returned="returned by broker: ack timeout")
        await stage.tick(times=10)
        await stage.shows("back in their queue: returned by broker: ack timeout", "open them again")
