"""The link: lives one after another, backoff, refusals that are not retried (faults 1, 2, 3, 13)."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from mqdash.brokers.supervise import Link
from mqdash.brokers.url import parse_url
from mqdash.clock import ManualClock
from mqdash.errors import BrokerUnavailable, LoginRefused
from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.events import Event, LinkChanged
from mqdash.model.message import Family
from tests.support import until

if TYPE_CHECKING:
    import pytest


class Life:
    """A connection life that ends when a test says so."""

    def __init__(self) -> None:
        self.info = BrokerInfo(family=Family.RABBITMQ, version="test", url="amqp://test")
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed = False

    async def lost(self) -> str:
        return await self.over

    async def close(self) -> None:
        self.closed = True


class Opener:
    """Fails with what it is given, in order, then opens lives."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.lives: list[Life] = []
        self.tries = 0
        self.make: type[Life] = Life

    async def __call__(self) -> Life:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.lives.append(self.make())
        return self.lives[-1]


def _failed(link: Link[Life], opener: Opener, tries: int) -> bool:  # type: ignore[type-var]
    return opener.tries == tries and link.state is LinkState.DOWN


def a_link(opener: Opener) -> tuple[Link[Life], ManualClock, list[LinkChanged]]:  # type: ignore[type-var]
    clock, told = ManualClock(), list[LinkChanged]()

    def emit(event: Event) -> None:
        assert isinstance(event, LinkChanged)
        told.append(event)

    link = Link[Life]("b", parse_url("amqp://h"), opener, clock=clock, emit=emit, jitter=random.Random(1))  # type: ignore[type-var]
    return link, clock, told


async def test_fault_1_a_broker_that_is_down_is_a_state_and_is_tried_again() -> None:
    opener = Opener(BrokerUnavailable("b", "connection refused"), BrokerUnavailable("b", "connection refused"))
    link, clock, told = a_link(opener)
    link.start()
    await until(lambda: link.state is LinkState.DOWN)
    assert told[-1].cause == "connection refused"
    assert told[-1].retry_at_s is not None
    assert 0.25 <= told[-1].retry_at_s - clock.now() <= 0.5
    await clock.advance(0.6)
    await until(lambda: opener.tries == 2)
    assert told[-1].retry_at_s is not None
    assert 0.5 <= told[-1].retry_at_s - clock.now() <= 1.0
    await clock.advance(1.1)
    await until(lambda: link.state is LinkState.UP)
    await link.close()
    assert opener.lives[0].closed
    assert link.state is LinkState.CLOSED


async def test_fault_2_each_new_life_is_handed_out_once() -> None:
    opener = Opener()
    link, clock, _ = a_link(opener)
    link.start()
    seen: list[Life] = []

    async def owner() -> None:
        async for life in link.lives():
            seen.append(life)  # noqa: PERF401 - each as it comes

    task = asyncio.create_task(owner())
    await until(lambda: len(seen) == 1)
    seen[0].over.set_result("gone")
    await clock.advance(6)
    await until(lambda: len(seen) == 2)
    assert seen == opener.lives
    assert opener.lives[0].closed
    await link.close()
    await asyncio.wait_for(task, 5)


async def test_fault_2_the_backoff_stays_under_five_seconds() -> None:
    opener = Opener(*[BrokerUnavailable("b", "refused") for _ in range(12)])
    link, clock, told = a_link(opener)
    link.start()
    for n in range(1, 12):
        await until(partial(_failed, link, opener, n))
        retry_at_s = told[-1].retry_at_s
        assert retry_at_s is not None
        assert retry_at_s - clock.now() <= 5.0
        await clock.advance(retry_at_s - clock.now() + 0.001)
    await link.close()


async def test_fault_13_a_refused_login_is_not_tried_again_by_itself() -> None:
    opener = Opener(LoginRefused("b", "login refused for user u"))
    link, clock, _ = a_link(opener)
    link.start()
    await until(lambda: link.state is LinkState.REFUSED)
    await clock.advance(3600)
    assert opener.tries == 1
    link.retry_now()
    await until(lambda: link.state is LinkState.UP)
    await link.close()


class Ailing(Life):
    """A life that tells how it is."""

    silent_s = 0.0
    blocked = ""


async def test_fault_5_a_broker_that_does_not_answer_is_stale_until_it_does() -> None:
    opener = Opener()
    opener.make = Ailing
    link, clock, told = a_link(opener)
    link.start()
    await until(lambda: link.state is LinkState.UP)
    life = opener.lives[0]
    assert isinstance(life, Ailing)
    life.silent_s = 2.1
    await clock.advance(0.6)
    assert (link.state, link.life) == (LinkState.STALE, life)
    life.silent_s = 0.0
    await clock.advance(0.6)
    assert (link.state, link.life) == (LinkState.UP, life)
    life.silent_s = 3.0
    await clock.advance(0.6)
    life.over.set_result("no answer for 4 s")
    await until(lambda: len(opener.lives) == 2 and link.state is LinkState.UP)
    states = [event.state for event in told]
    assert states == [
        *(LinkState.CONNECTING, LinkState.UP, LinkState.STALE, LinkState.UP, LinkState.STALE, LinkState.DOWN),
        *(LinkState.CONNECTING, LinkState.UP),
    ]
    await link.close()


async def test_fault_7_a_broker_that_blocks_publishers_is_up_and_says_why() -> None:
    opener = Opener()
    opener.make = Ailing
    link, clock, told = a_link(opener)
    link.start()
    await until(lambda: link.state is LinkState.UP)
    life = opener.lives[0]
    assert isinstance(life, Ailing)
    life.blocked = "low on memory"
    await clock.advance(5)
    assert (told[-1].state, told[-1].blocked, len(told)) == (LinkState.UP, "low on memory", 3)
    life.blocked = ""
    await clock.advance(5)
    assert (told[-1].state, told[-1].blocked, len(told)) == (LinkState.UP, "", 4)
    life.blocked = "low on memory"
    await clock.advance(0.6)
    life.over.set_result("gone")
    await until(lambda: len(opener.lives) == 2 and link.state is LinkState.UP)
    assert not told[-1].blocked
    await link.close()


async def test_an_unforeseen_error_of_a_client_library_is_a_state_too(caplog: pytest.LogCaptureFixture) -> None:
    link, _, told = a_link(Opener(ValueError("secret detail")))
    link.start()
    await until(lambda: link.state is LinkState.DOWN)
    assert "ValueError" in told[-1].cause
    assert "secret detail" not in told[-1].cause
    assert "connecting b" in caplog.text
    await link.close()
