"""Brokers of the tests' own that freeze, run short of memory, go away or lose a queue, seen on the dashboard."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.config import Config
from mqdash.lab.lab import Lab
from mqdash.model.actors import ProducerState
from mqdash.model.broker import LinkState
from mqdash.model.topology import QueueRef, Topology
from mqdash.runtime import Target, lab_target
from tests.conformance.proxy import Proxy
from tests.faults.dashboards import Board, board
from tests.harness import RunningBroker, start_or_skip
from tests.support import until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120)]

SAID_S = 5.0


@pytest.fixture(scope="module")
def own() -> Iterator[RunningBroker]:
    with start_or_skip("rabbitmq-3.10") as running:
        yield running


async def _lab_on(url: str, run: str) -> Target:
    return await asyncio.to_thread(lab_target, "orders", url, Config(), {}, run=run, seed=7)


def _lab(shown: Board) -> Lab:
    lab = shown.attachment("orders").lab
    assert lab is not None
    return lab


async def _works(shown: Board, *, timeout_s: float = 20) -> None:
    """Messages are confirmed now."""
    before = shown.confirmed("orders")
    await until(lambda: shown.confirmed("orders") > before + 5, timeout_s, what="messages are confirmed")


async def test_2_a_connection_that_is_cut_comes_back_by_itself(own: RunningBroker, tmp_path: Path) -> None:
    async with Proxy("127.0.0.1", own.port) as way:
        url = f"amqp://guest:guest@127.0.0.1:{way.port}/?management=127.0.0.1:{own.port + 1}"
        async with board([await _lab_on(url, "cut")], tmp_path) as shown:
            await _works(shown)
            way.cut()
            await shown.shows("✗ orders", "down", timeout_s=SAID_S)
            await shown.tells(f"rabbitmq at 127.0.0.1:{way.port}", "trying again")
            port, cut_s = way.port, time.monotonic()
            again = Proxy("127.0.0.1", own.port)
            again._server = await asyncio.start_server(again._accept, "127.0.0.1", port)
            try:
                await until(lambda: shown.state("orders") is LinkState.UP, 8)
                assert time.monotonic() - cut_s < 6.5  # the longest wait is 5 s
                await shown.tells(f"rabbitmq at 127.0.0.1:{port}", "is back after")
                await _works(shown)
            finally:
                await shown.runtime.control.attachments["orders"].link.close()
                await again.__aexit__(None, None, None)


async def test_5_a_broker_that_stands_still_is_said_within_5_s_and_resumes(own: RunningBroker, tmp_path: Path) -> None:
    async with board([await _lab_on(own.url, "frozen")], tmp_path) as shown:
        await _works(shown)
        os.kill(own.pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        try:
            await until(lambda: shown.state("orders") in {LinkState.STALE, LinkState.DOWN}, SAID_S + 1)
            await shown.shows("◐ orders", "silent", timeout_s=1)
            assert time.monotonic() - stopped_s < SAID_S
            await shown.tells("does not answer", "no answer for")
            await until(lambda: shown.state("orders") is LinkState.DOWN, 10)
            await shown.tells("no answer", "trying again")
        finally:
            os.kill(own.pid, signal.SIGCONT)
        await until(lambda: shown.state("orders") is LinkState.UP, 20)
        await shown.tells("is back after")
        await _works(shown)


def _control(own: RunningBroker, *words: str) -> None:
    environment = {"HOME": f"{own.data_dir}/home", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    environment["ERL_EPMD_PORT"] = str(own.port + 5)
    command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", f"mqdash{own.port}@localhost", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)


async def test_7_R15_a_memory_alarm_is_shown_publishing_ends_and_resumes(own: RunningBroker, tmp_path: Path) -> None:
    async with board([await _lab_on(own.url, "alarm")], tmp_path) as shown:
        await _works(shown)
        await asyncio.to_thread(_control, own, "set_vm_memory_high_watermark", "absolute", "1")
        try:
            await shown.shows("◐ orders", "blocked", timeout_s=SAID_S)
            await shown.tells("blocks publishers", "low on memory")
            assert shown.state("orders") is LinkState.UP

            def stopped() -> bool:
                rows = shown.runtime.store.view().producers.rows
                return ProducerState.BLOCKED in {row.producer.state for row in rows}

            await until(stopped)
        finally:
            await asyncio.to_thread(_control, own, "set_vm_memory_high_watermark", "0.4")
        await shown.tells("takes publishes again", timeout_s=20)
        await _works(shown)


async def test_11_R27_a_queue_deleted_under_its_workers_is_said(own: RunningBroker, tmp_path: Path) -> None:
    async with board([await _lab_on(own.url, "deleted")], tmp_path) as shown:
        await _works(shown)
        [orders] = [queue for queue in _lab(shown).topology.queues if queue.ref.name == "orders"]
        scope = shown.attachment("orders").scope
        assert scope is not None
        stranger = await connector(parse_url(own.url), clock=SystemClock()).connect()
        await stranger.remove(scope.real_topology(Topology(queues=(orders,))))
        await stranger.close()
        await shown.tells("orders", "deleted", timeout_s=SAID_S)


async def test_12_what_is_not_acknowledged_in_time_is_returned_by_the_broker_and_told(
    own: RunningBroker, tmp_path: Path
) -> None:
    limits = (
        "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {})."
    )
    await asyncio.to_thread(_control, own, "eval", limits.format(3000, 300))
    try:
        async with board([await _lab_on(own.url, "late")], tmp_path) as shown, AsyncExitStack() as closing:
            await _works(shown)
            failed = QueueRef("orders.failed")
            await until(lambda: _waiting(shown, failed), 20, every_s=0.1)
            box = await shown.runtime.control.open_letters("orders", failed)
            closing.push_async_callback(box.close)
            worker = next(iter(_lab(shown).workers.values()))
            await until(lambda: worker.held_ids)
            shown.runtime.control.hang("orders", worker.name)
            consumer: Any = worker._consumer
            inner = consumer._inner._inner  # below what counts and what names
            await until(lambda: inner._ended is not None, 15)
            shown.runtime.control.hang("orders", worker.name)  # it hears of it when it wakes
            await shown.tells(
                f"ended {worker.name}'s subscription", "returned by broker: ack timeout: not acknowledged"
            )
            await until(box.returned)
            assert "returned by broker: ack timeout: not acknowledged within 3000 ms" in box.returned()
            await shown.tells("dead letters of orders.failed were returned", "ack timeout")
            assert shown.state("orders") is LinkState.UP
            await _works(shown)
            assert shown.app.failures == []
    finally:
        await asyncio.to_thread(_control, own, "eval", limits.format(1_800_000, 60_000))


async def _waiting(shown: Board, ref: QueueRef) -> bool:
    measured = await shown.attachment("orders").life.measure([ref])
    return bool(measured and measured[0].waiting)
