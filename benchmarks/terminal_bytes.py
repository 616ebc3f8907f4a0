"""What the moving dashboard (all three labs) costs at each size: bytes and frames a second, and CPU; beside the bare app."""

import random
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.figures import Figure, Options, figure, median
from benchmarks.programs import DOTS, MQDASH
from benchmarks.terminal import FRAME, Terminal

SIZES = ((80, 24), (120, 40), (160, 45))
SETTLE_S, MEASURE_S = 2.5, 3.0
BUDGET_KIB_PER_S = 500.0
LEAST_FPS = 27.0
BARE = (160, 45)


class Cost(msgspec.Struct):
    """Per second of one program at one size, over all rounds."""

    kib: list[float] = []
    fps: list[float] = []
    cpu_percent: list[float] = []


def run(options: Options) -> list[Figure]:
    """Each round runs every size anew, in shuffled order."""
    jobs = [(MQDASH, size) for size in SIZES] + [(DOTS, BARE)]
    costs = [Cost() for _ in jobs]
    order = list(range(len(jobs)))
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            rng.shuffle(order)
            for at in order:
                argv, size = jobs[at]
                _measure(argv, size, Path(folder), costs[at])
    bare = costs[-1]
    figures = []
    for (_, (width, height)), cost in zip(jobs[:-1], costs, strict=False):
        beside = bare if (width, height) == BARE else None
        figures += _figures(f"{width}×{height}", cost, beside)
    return figures


def _measure(argv: list[str], size: tuple[int, int], home: Path, cost: Cost) -> None:
    with Terminal(argv, width=size[0], height=size[1], home=home) as terminal:
        terminal.read_until(terminal.shows("●"), "the first dot")
        terminal.read_for(SETTLE_S)
        sent, frames, cpu_s, since_s = (
            len(terminal.output),
            terminal.output.count(FRAME),
            terminal.cpu_s(),
            time.perf_counter(),
        )
        terminal.read_for(MEASURE_S)
        passed_s = time.perf_counter() - since_s
        cost.kib.append((len(terminal.output) - sent) / 1024 / passed_s)
        cost.fps.append((terminal.output.count(FRAME) - frames) / passed_s)
        cost.cpu_percent.append((terminal.cpu_s() - cpu_s) / passed_s * 100)


def _figures(size: str, cost: Cost, bare: Cost | None) -> list[Figure]:
    reference = "bare app, 120 dots" if bare else ""
    return [
        figure(f"{size}: bytes", median(cost.kib), "KiB/s", reference=reference,
               beside=median(bare.kib) if bare else None, at_most=BUDGET_KIB_PER_S),
        figure(f"{size}: frames", median(cost.fps), "/s", reference=reference,
               beside=median(bare.fps) if bare else None, at_least=LEAST_FPS),
        figure(f"{size}: CPU, labs included", median(cost.cpu_percent), "% of a core", reference=reference,
               beside=median(bare.cpu_percent) if bare else None),
    ]  # fmt: skip
