"""The app on a store fed once by hand, supervised as the command line does it. Keys `F1`–`F4` break it on purpose."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Any, ClassVar

from mqdash.bus import EventBus
from mqdash.clock import SystemClock
from mqdash.store import Store
from mqdash.ui.terminal import Guard, supervise


def child() -> int:
    from mqdash.ui.app import MqdashApp, show
    from tests.ui.conftest import Recorder
    from tests.ui.feed import lab_events

    class Breakable(MqdashApp):
        BINDINGS: ClassVar = [
            ("f1", "crash", ""),
            ("f2", "fail_task", ""),
            ("f3", "fail_thread", ""),
            ("f4", "stall", ""),
        ]

        def action_crash(self) -> None:
            password = "hunter2"
            raise RuntimeError(f"handler broke {len(password)}")

        async def action_fail_task(self) -> None:
            async def fail() -> None:
                raise RuntimeError("task broke")

            self.kept = asyncio.create_task(fail(), name="poller")

        def action_fail_thread(self) -> None:
            threading.Thread(target=lambda: 1 / 0, name="fsync").start()

        def action_stall(self) -> None:
            os.write(1, b"\x1b]2;stalled\x1b\\")
            time.sleep(60)

        def on_mount(self) -> None:
            os.write(1, f"\x1b]2;pid {os.getpid()}\x1b\\".encode())

    async def body(guard: Guard) -> int:
        clock: Any = SystemClock()
        store = Store(clock)
        bus = EventBus(store.apply)  # type: ignore[arg-type]
        for event in lab_events(clock.now()):
            bus.publish(event)
        return await show(Breakable(store, bus, Recorder(), None, clock), guard)  # type: ignore[arg-type]

    with Guard() as guard:
        return asyncio.run(body(guard))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(supervise(child))
