"""Clients beside each other: a process each, in shuffled order inside each round; medians of what they took."""

import random
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

import msgspec

from benchmarks.clients.task import Task, Timing
from benchmarks.figures import Figure, figure, median

TIMEOUT_S = 60.0
SIZES = {"1 KB": 1_024, "10 KB": 10_240, "100 KB": 102_400}
SIZED_BYTES, MOST_SIZED = 20_480_000, 10_000
"""Of the messages of one size: all together, and how many at most."""
Client = Callable[[Task], dict[str, Timing]]
Timings = dict[str, list[Timing]]
"""By work, one for each round."""


def process(module: str) -> Client:
    """A client of `benchmarks.clients`, run to its end."""

    def run(task: Task) -> dict[str, Timing]:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.clients.{module}", msgspec.json.encode(task).decode()],
            capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{module} failed:\n{done.stderr.decode()[-2000:]}")
        return msgspec.json.decode(done.stdout, type=dict[str, Timing])

    return run


def measured(clients: dict[str, Client], tasks: Iterable[Task], rounds: int) -> dict[Task, dict[str, Timings]]:
    """For each task the timings by client and work. Every client has a queue of its own name in every round."""
    jobs = [(task, name) for task in tasks for name in clients]
    found: dict[Task, dict[str, Timings]] = {task: {name: {} for name in clients} for task, _ in jobs}
    rng = random.Random(1)
    for _ in range(rounds):
        rng.shuffle(jobs)
        for task, name in jobs:
            own = msgspec.structs.replace(task, queue=f"bench.{secrets.token_hex(4)}")
            for work, timing in clients[name](own).items():
                found[task][name].setdefault(work, []).append(timing)
    return found


def sized(url: str, prefetch: int) -> dict[str, Task]:
    """A task for each size, by its name; so many are taken at once, or a twentieth of all."""
    counts = {name: min(MOST_SIZED, SIZED_BYTES // size) for name, size in SIZES.items()}
    return {
        name: Task(url=url, queue="", n=n, body_bytes=SIZES[name], prefetches=(min(prefetch, n // 20),))
        for name, n in counts.items()
    }


def pair(
    name: str,
    ours: Sequence[Timing],
    reference: str,
    theirs: Sequence[Timing],
    *,
    rate_at_least: float | None = None,
    cpu_at_most: float | None = None,
) -> list[Figure]:
    """Rate and CPU beside a peer; budgets are ratios."""
    return [
        figure(name, _rate(ours), "k/s", reference=reference, beside=_rate(theirs), ratio_at_least=rate_at_least),
        figure(f"{name}, CPU", _cpu(ours), "µs", reference=reference, beside=_cpu(theirs), ratio_at_most=cpu_at_most),
    ]


def _rate(timings: Sequence[Timing]) -> float:
    return median([timing.k_per_s for timing in timings])


def _cpu(timings: Sequence[Timing]) -> float:
    return median([timing.cpu_us for timing in timings])
