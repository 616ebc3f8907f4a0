"""From the command to its first painted frame, and to a lab that moves; beside a bare import of Textual in each round."""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, Options, figure, median
from benchmarks.programs import DOTS, MQDASH
from benchmarks.screen import first_move_s
from benchmarks.terminal import Ended, Terminal, environment

SIZE = (160, 45)
IMPORT = "python -c 'import textual.app'"
BUDGET_RATIO, BUDGET_MOVING_S = 2.0, 1.0
DOT = "●".encode()
WATCH_S = 1.2


def run(options: Options) -> list[Figure]:
    """At least nine rounds: each is short. One before them warms the file cache."""
    rng = random.Random(1)
    times: dict[str, list[float]] = {"import": [], "bare": [], "paint": [], "moving": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        jobs = [lambda: _import(home), lambda: _bare(home), lambda: _mqdash(home)]
        for at in range(max(9, options.rounds) + 1):
            rng.shuffle(jobs)
            for job in jobs:
                for name, took_s in job().items():
                    if at:
                        times[name].append(took_s * 1000)
    imported, paint, moving = (median(times[name]) for name in ("import", "paint", "moving"))
    return [
        figure("first frame", paint, "ms", reference=IMPORT, beside=imported, ratio_at_most=BUDGET_RATIO),
        figure("first frame, slowest", max(times["paint"]), "ms", reference=IMPORT, beside=max(times["import"])),
        figure("bare Textual app, first frame", median(times["bare"]), "ms", reference=IMPORT, beside=imported),
        figure("a dot has moved", moving, "ms", at_most=BUDGET_MOVING_S * 1000),
        figure("a dot has moved, slowest", max(times["moving"]), "ms"),
    ]


def _import(home: Path) -> dict[str, float]:
    started_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import textual.app"], env=environment(home), check=True)
    return {"import": time.perf_counter() - started_s}


def _bare(home: Path) -> dict[str, float]:
    with Terminal(DOTS, width=SIZE[0], height=SIZE[1], home=home) as terminal:
        return {"bare": terminal.read_until(lambda: DOT in terminal.output, "a dot") - terminal.started_s}


def _mqdash(home: Path) -> dict[str, float]:
    with Terminal(MQDASH, width=SIZE[0], height=SIZE[1], home=home) as terminal:
        paint_s = terminal.read_until(terminal.shows("Producers"), "the first frame")
        terminal.read_for(WATCH_S)
        moving_s = first_move_s(bytes(terminal.output), terminal.arrivals, *SIZE)
    if moving_s is None:
        raise Ended(f"no dot had moved {WATCH_S:g} s after the first frame")
    return {"paint": paint_s - terminal.started_s, "moving": moving_s - terminal.started_s}
