"""Connection lives of adapters without one of their own: what their probe tells."""

import asyncio

from mqdash.brokers.base import TellsSilence
from mqdash.brokers.life import PROBE_EVERY_S, Life
from mqdash.clock import ManualClock


async def test_5_F8_a_life_tells_how_long_its_probe_has_waited() -> None:
    clock = ManualClock()
    life = Life("b", clock)
    answers: list[asyncio.Future[None]] = []

    async def probe() -> None:
        answers.append(asyncio.get_running_loop().create_future())
        await answers[-1]

    assert isinstance(life, TellsSilence)
    life.watch(probe)
    await clock.settle()
    await clock.advance(PROBE_EVERY_S)
    await clock.advance(1.5)
    assert (len(answers), life.silent_s) == (1, 1.5)
    answers[0].set_result(None)
    await clock.settle()
    assert life.silent_s == 0
    await clock.advance(1.0)
    assert life.silent_s == 0  # it waits for nothing between two questions
    await life.finish()


async def test_23_a_probe_that_fails_as_nobody_expected_ends_the_life() -> None:
    clock = ManualClock()
    life = Life("b", clock)

    async def probe() -> None:
        raise AssertionError("21762 should be less than or equal to 10")

    life.watch(probe)
    await clock.settle()
    await clock.advance(PROBE_EVERY_S)
    assert await life.lost() == "protocol error: an answer nobody can read (AssertionError)"
    await life.finish()
