"""A frame of the dashboard without the terminal: CPU time of one tick over the live lab, and what of it goes where.

A tick takes the store's view, draws the pictures that are due (pure functions) and finds the cells that changed. What Textual
does with those cells afterwards is in `terminal_bytes`.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import Figure, Options, figure, median, percentile
from benchmarks.scenes import config
from mqdash.runtime import Runtime, lab_targets
from mqdash.ui.app import MqdashApp
from mqdash.ui.settings import Settings

SIZES = ((80, 24), (160, 45), (200, 60))
WARM_UP_FRAMES, FRAMES = 45, 60
FRAME_S = 1 / 30
TICK_MS = 10.0
"""Tick and paint together must stay under 15 ms for 30 frames/s and quick keys."""


class Parts(msgspec.Struct):
    """Milliseconds of each tick at one size; `pictures` and `cells` are parts of `ticks`."""

    ticks_ms: list[float] = []
    pictures_ms: list[float] = []
    cells_ms: list[float] = []


class Meter:
    """Adds up the CPU time of the functions it is put around."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def around(self, holder: Any, name: str) -> None:
        """Time this method of this object from now on."""
        setattr(holder, name, self._timed(getattr(holder, name)))

    def taken_ms(self) -> float:
        """Milliseconds since the last call."""
        taken_ms, self.spent_s = self.spent_s * 1000, 0.0
        return taken_ms

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            started_s = time.thread_time()
            try:
                return call(*args)
            finally:
                self.spent_s += time.thread_time() - started_s

        return timed


def run(options: Options) -> list[Figure]:
    """Each round starts the labs anew and draws them at every size."""
    parts = {size: Parts() for size in SIZES}
    for _ in range(options.rounds):
        asyncio.run(_round(parts))
    figures = []
    for (width, height), found in parts.items():
        size = f"{width}×{height}"
        figures += [
            figure(f"{size}: tick, median", median(found.ticks_ms), "ms", at_most=TICK_MS),
            figure(f"{size}: tick, p99", percentile(found.ticks_ms, 0.99), "ms"),
            figure(f"{size}: of it pictures, mean", _mean(found.pictures_ms), "ms"),
            figure(f"{size}: of it changed cells, mean", _mean(found.cells_ms), "ms"),
        ]
    return figures


async def _round(parts: dict[tuple[int, int], Parts]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(lab_targets(seed=7), config(Path(folder))) as runtime:
            for size, found in parts.items():
                app = MqdashApp(runtime.store, runtime.bus, runtime.control, Settings(), runtime.clock, fps=0)
                async with app.run_test(size=size):
                    await _frames(app, found)


async def _frames(app: MqdashApp, found: Parts) -> None:
    pictures, cells = Meter(), Meter()
    for pane in app.dashboard.panes.values():
        pictures.around(pane, "picture")
        cells.around(pane, "put_all")
    for frame in range(WARM_UP_FRAMES + FRAMES):
        await asyncio.sleep(FRAME_S)
        started_s = time.thread_time()
        app.tick()
        took_ms = (time.thread_time() - started_s) * 1000
        drawn_ms, compared_ms = pictures.taken_ms(), cells.taken_ms()
        if frame >= WARM_UP_FRAMES:
            found.ticks_ms.append(took_ms)
            found.pictures_ms.append(drawn_ms)
            found.cells_ms.append(compared_ms)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
