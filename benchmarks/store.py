"""Events in, views out: CPU time of the store alone, on the events of the live lab and on a broker of 1,000 queues."""

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from benchmarks.figures import Figure, Options, figure, median, percentile
from benchmarks.scenes import START_S, Large, SceneClock, recorded
from mqdash.model.events import AnyEvent, Event
from mqdash.store import Store

LAB_S = 5.0
FRAME_S = 1 / 30
LARGE_FRAMES, MEASURED_EVERY = 150, 30
VIEW_MS, LARGE_VIEW_MS, APPLY_US = 3.0, 5.0, 20.0
"""Of the 15 ms a frame may take in all: what is left to the store so that drawing and painting have the rest."""


def run(options: Options) -> list[Figure]:
    """Each round replays the same events into a fresh store."""
    with tempfile.TemporaryDirectory() as folder:
        events = asyncio.run(recorded(LAB_S, Path(folder)))
    applied_us: list[float] = []
    views_ms: list[float] = []
    large = _Large()
    for _ in range(options.rounds):
        took_us, took_ms = _replay(events)
        applied_us.append(took_us)
        views_ms += took_ms
        large.round()
    return [
        figure("lab: apply", median(applied_us), "µs", at_most=APPLY_US, note=f"{len(events) / LAB_S:,.0f} events/s"),
        figure("lab: view, median", median(views_ms), "ms", at_most=VIEW_MS),
        figure("lab: view, p99", percentile(views_ms, 0.99), "ms"),
        figure("1,000 queues, 64 workers: apply", median(large.applied_us), "µs", at_most=APPLY_US),
        figure("1,000 queues, 64 workers: apply all levels", median(large.levels_ms), "ms", note="once in 5 s"),
        figure("1,000 queues, 64 workers: view, median", median(large.views_ms), "ms", at_most=LARGE_VIEW_MS),
        figure("1,000 queues, 64 workers: view, p99", percentile(large.views_ms, 0.99), "ms"),
    ]


def _replay(events: list[Event]) -> tuple[float, list[float]]:
    """µs per apply, and ms of each view taken at 30 Hz of the events' own time."""
    clock = SceneClock()
    store = Store(clock)
    views_ms: list[float] = []
    spent_s, due_s = 0.0, events[0].at_s + FRAME_S
    slice_: list[Event] = []
    for event in events:
        if event.at_s >= due_s:
            clock.at_s = due_s
            spent_s += _apply(store, slice_)
            views_ms.append(_view_ms(store))
            slice_, due_s = [], due_s + FRAME_S
        slice_.append(event)
    return spent_s / len(events) * 1e6, views_ms


class _Large:
    """The large broker, round after round."""

    def __init__(self) -> None:
        self.applied_us: list[float] = []
        self.levels_ms: list[float] = []
        self.views_ms: list[float] = []

    def round(self) -> None:
        """150 frames, the levels told anew each second."""
        scene, clock = Large(), SceneClock()
        store = Store(clock)
        _apply(store, scene.opening(START_S))
        store.view()
        for frame in range(1, LARGE_FRAMES + 1):
            clock.at_s = START_S + frame * FRAME_S
            if frame % MEASURED_EVERY == 0:
                self.levels_ms.append(_apply(store, [scene.measured(clock.at_s)]) * 1000)
            traffic = list(scene.traffic(clock.at_s))
            self.applied_us.append(_apply(store, traffic) / len(traffic) * 1e6)
            self.views_ms.append(_view_ms(store))


def _apply(store: Store, events: Iterable[Event]) -> float:
    """CPU seconds."""
    given = [cast("AnyEvent", event) for event in events]
    started_s = time.thread_time()
    for event in given:
        store.apply(event)
    return time.thread_time() - started_s


def _view_ms(store: Store) -> float:
    started_s = time.thread_time()
    store.view()
    return (time.thread_time() - started_s) * 1000
