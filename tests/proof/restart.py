"""RabbitMQ killed with -9 and restarted under the dashboard at 500 msgs/s: it says so, resumes by itself, loses nothing."""

from __future__ import annotations

import asyncio
import tempfile
import time
from typing import TYPE_CHECKING, Any

from mqdash.config import Config
from mqdash.lab.counting import count
from mqdash.lab.headless import quiet
from mqdash.model.broker import LinkState
from mqdash.runtime import Runtime, lab_target
from mqdash.ui.app import MqdashApp
from tests.harness import start_or_skip
from tests.support import until

if TYPE_CHECKING:
    from tests.proof.part import Run

BROKERS = ("rabbitmq-3.10", "rabbitmq-4")
RATE_PER_S = 500.0


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
    target = await asyncio.to_thread(lab_target, "orders", broker.url, config, {}, run="restart")  # reads its file
    async with Runtime([target], config) as runtime:
        app = MqdashApp(runtime.store, runtime.bus, runtime.control, clock=runtime.clock)
        async with app.run_test(size=(120, 40)):
            attachment = runtime.control.attachments["orders"]
            lab = attachment.lab
            assert lab is not None
            port = await lab.ready()
            refs = [queue.ref for queue in lab.topology.queues]
            before = {found.queue: found for found in await port.measure(refs)}
            runtime.control.scale("orders", "W", 5)
            for worker in list(lab.workers):
                runtime.control.set_work("orders", worker, time_s=0.0005)
            runtime.control.set_rate("orders", "shop", RATE_PER_S)
            await asyncio.sleep(before_s)  # the load, not a condition
            rate_per_s = _rate(runtime)
            confirmed_before = _confirmed(runtime)
            killed_s = time.monotonic()
            await asyncio.to_thread(broker.kill9)
            await until(lambda: attachment.link.state is not LinkState.UP, 15)
            await until(lambda: "orders down" in screen_text(app), 15)
            said_s = time.monotonic() - killed_s
            await asyncio.to_thread(broker.restart)
            back_s = time.monotonic()
            await until(lambda: _confirmed(runtime) > confirmed_before + 100, 30)
            resumed_s = time.monotonic() - back_s
            await asyncio.sleep(after_s)
            await lab.stop_producers()
            await quiet(lab)
            await lab.stop_workers()
            counted = await count(lab, await lab.ready(), before)
            return {
                "broker": name,
                "confirmed": _confirmed(runtime),
                "lost": counted.lost,
                "duplicates": lab.ledger.total().duplicates,
                "unknown": lab.ledger.unknown,
                "said_s": round(said_s, 2),
                "resumed_s": round(resumed_s, 2),
                "rate_per_s": round(rate_per_s),
                "good": counted.lost == 0,
                "queues": [
                    f"{q.name} {q.published}={q.acked}+{q.waiting}+{q.in_flight}+{q.dead}" for q in counted.queues
                ],
            }


def _confirmed(runtime: Runtime) -> int:
    rows = runtime.store.view().producers.rows
    return next(row.total for row in rows if row.producer.name == "shop")


def _rate(runtime: Runtime) -> float:
    rows = runtime.store.view().producers.rows
    return next(row.rate_per_s for row in rows if row.producer.name == "shop")
