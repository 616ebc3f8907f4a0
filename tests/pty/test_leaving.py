"""A signal leaves as `q` does: what a run has on a real broker is taken off it, and the terminal is given back."""

from __future__ import annotations

import signal
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.topology import Destination, Queue
from tests.pty.driver import Terminal
from tests.support import until

if TYPE_CHECKING:
    from tests.harness import Target

pytestmark = [pytest.mark.pty, pytest.mark.slow, pytest.mark.broker]
SCENARIOS = {"rabbitmq": ("orders", "W1 busy"), "kafka": ("clicks", "C1 busy"), "redis": ("alerts", "P1 busy")}


def begun(target: Target, run: str) -> Terminal:
    scenario, words = SCENARIOS[target.family]
    command = (sys.executable, "-m", "mqdash", "lab", scenario, target.url, "--run", run)
    terminal = Terminal(command, size=(120, 40))
    terminal.shows(words)
    return terminal


async def names_of(target: Target, run: str) -> set[str]:
    """Everything on the broker that bears the run's name."""
    place = f"{target.url}?management={target.management_url}" if target.management_url else target.url
    observer = await connector_for(parse_url(place), clock=SystemClock()).observe()
    found, after = set(), None
    try:
        while True:
            page = await observer.catalog(after=after)
            named = [one for one in page.entities if isinstance(one, Destination | Queue)]
            found |= {one.name if isinstance(one, Destination) else str(one.ref) for one in named}
            after = page.after
            if after is None:
                return {name for name in found if run in name}
    finally:
        await observer.close()


async def nothing_is_left(target: Target, run: str) -> None:
    async def nothing() -> bool:
        return not await names_of(target, run)

    await until(nothing, what=f"nothing of {run} left", every_s=0.1)


@pytest.mark.parametrize("target", ["rabbitmq-4", "kafka-4", "redis-8"], indirect=True)
async def test_F11_signal_takes_the_run_off_its_broker(target: Target) -> None:
    run = uuid.uuid4().hex[:8]
    with begun(target, run) as terminal:

        async def listed() -> bool:
            terminal.read(0)  # a terminal that takes nothing blocks its program
            return bool(await names_of(target, run))

        await until(listed, what="the run's names on the broker", every_s=0.1)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ends() == 128 + signal.SIGTERM
        assert terminal.left_behind() == []
    await nothing_is_left(target, run)


@pytest.mark.parametrize("target", ["redis-8"], indirect=True)
async def test_F11_closed_terminal_takes_the_run_off_its_broker(target: Target) -> None:
    run = uuid.uuid4().hex[:8]
    with begun(target, run) as terminal:
        terminal.hang_up()
        assert terminal.process.wait(15) == 128 + signal.SIGHUP
    await nothing_is_left(target, run)
