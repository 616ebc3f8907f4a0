"""A broker killed with -9 and restarted under the dashboard: it says so, resumes by itself, loses nothing confirmed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mqdash.config import Config
from mqdash.lab.counting import count
from mqdash.lab.headless import quiet
from mqdash.model.broker import LinkState
from mqdash.runtime import Runtime, lab_target
from mqdash.ui.app import MqdashApp
from tests.harness import start_or_skip
from tests.support import until

if TYPE_CHECKING:
    from mqdash.lab.scenario import Scenario
    from tests.proof.part import Run


@dataclass(frozen=True, kw_only=True)
class Load:
    """A scenario, its producer, and how many workers that take how long keep up with the rate."""

    scenario: str
    producer: str
    pool: str
    workers: int
    work_s: float
    rate_per_s: float


LOADS = {
    "rabbitmq": Load(scenario="orders", producer="shop", pool="W", workers=5, work_s=0.0005, rate_per_s=500.0),
    "kafka": Load(scenario="clicks", producer="visitors", pool="C", workers=3, work_s=0.0005, rate_per_s=1000.0),
    "redis": Load(scenario="alerts", producer="sensors", pool="P", workers=3, work_s=0.0005, rate_per_s=1000.0),
}
WARM_S = 1.5
"""A broker just started takes its first second's messages slowly, and the screen's figure is one of the last 4 s."""
BROKERS = ("rabbitmq-3.10", "rabbitmq-4")
KAFKAS = ("kafka-4",)
REDISES = ("redis-7", "redis-8")


def screen_text(app: MqdashApp) -> str:
    """What stands on the screen now."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def restart_under_load(name: str, *, before_s: float = 3.0, after_s: float = 3.0) -> Run:
    """One cycle on a throw-away broker; `good` when the screen told it, the lab resumed and no confirmed message is lost."""
    with tempfile.TemporaryDirectory() as state_dir:
        broker = await asyncio.to_thread(start_or_skip, name, durable=True)
        try:
            return await _cycle(name, broker, state_dir, before_s=before_s, after_s=after_s)
        finally:
            await asyncio.to_thread(broker.stop)


async def _cycle(name: str, broker: Any, state_dir: str, *, before_s: float, after_s: float) -> Run:
    config = Config(state_dir=state_dir)
    load = LOADS[broker.family]
    target = await asyncio.to_thread(lab_target, load.scenario, broker.url, config, {}, run="restart")  # reads its file
    target = msgspec.structs.replace(target, scenario=_steady(target.scenario, load))
    async with Runtime([target], config) as runtime:
        app = MqdashApp(runtime.store, runtime.bus, runtime.control, clock=runtime.clock)
        async with app.run_test(size=(120, 40)):
            attachment = runtime.control.attachments[load.scenario]
            lab = attachment.lab
            assert lab is not None
            port = await lab.ready()
            refs = [queue.ref for queue in lab.topology.queues]
            before = {found.queue: found for found in await port.measure(refs)}
            runtime.control.scale(load.scenario, load.pool, load.workers - lab.living(load.pool))
            for worker in list(lab.workers):
                runtime.control.set_work(load.scenario, worker, time_s=load.work_s)
            runtime.control.set_rate(load.scenario, load.producer, load.rate_per_s)
            await asyncio.sleep(WARM_S)
            began, began_s = _confirmed(runtime, load), time.monotonic()
            await asyncio.sleep(before_s)  # the load, not a condition
            confirmed_before, killed_s = _confirmed(runtime, load), time.monotonic()
            rate_per_s = (confirmed_before - began) / (killed_s - began_s)
            await asyncio.to_thread(broker.kill9)
            await until(lambda: attachment.link.state is not LinkState.UP, 15)
            await until(lambda: f"{load.scenario} down" in screen_text(app), 15)
            said_s = time.monotonic() - killed_s
            await asyncio.to_thread(broker.restart)
            back_s = time.monotonic()
            await until(lambda: _confirmed(runtime, load) > confirmed_before + 100, 30)
            resumed_s = time.monotonic() - back_s
            await asyncio.sleep(after_s)
            await lab.stop_producers()
            await quiet(lab)
            await lab.stop_workers()
            counted = await count(lab, await lab.ready(), before)
            return {
                "broker": name,
                "confirmed": _confirmed(runtime, load),
                "lost": counted.lost,
                "duplicates": lab.ledger.total().duplicates,
                "unknown": lab.ledger.unknown,
                "said_s": round(said_s, 2),
                "resumed_s": round(resumed_s, 2),
                "rate_per_s": round(rate_per_s),
                "gaps": sum("was away for" in line.text for line in runtime.store.view().story.lines),
                "good": counted.lost == 0,
                "queues": [
                    f"{q.name} {q.published}={q.acked}+{q.waiting}+{q.in_flight}+{q.dead}" for q in counted.queues
                ],
            }


def _confirmed(runtime: Runtime, load: Load) -> int:
    rows = runtime.store.view().producers.rows
    return next(row.total - row.unconfirmed for row in rows if row.producer.name == load.producer)


def _steady(scenario: Scenario | None, load: Load) -> Scenario:
    """The scenario with a producer whose rate does not swing: what it reaches is compared with what it aims at."""
    assert scenario is not None
    producers = tuple(
        msgspec.structs.replace(one, sway=0.0, flurry=0) if one.name == load.producer else one
        for one in scenario.producers
    )
    return msgspec.structs.replace(scenario, producers=producers)
