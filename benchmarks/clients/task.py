"""What every client is asked to do, and how it is timed."""

import argparse
import resource
import sys
import time

import msgspec

WINDOW = 1000
BODY = b"x" * 200
PREFETCHES = (500, 50, 1)


class Task(msgspec.Struct, frozen=True):
    """`n` messages through the transient classic `queue`; `n_single` where each waits for the one before."""

    url: str
    queue: str
    n: int
    n_single: int

    def count(self, prefetch: int) -> int:
        """How many messages are taken with that prefetch."""
        return self.n_single if prefetch == 1 else self.n


class Timing(msgspec.Struct, frozen=True):
    """Wall and CPU seconds of `n` messages."""

    n: int
    wall_s: float
    cpu_s: float

    @property
    def k_per_s(self) -> float:
        """Thousands of messages a second."""
        return self.n / self.wall_s / 1000

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per message."""
        return self.cpu_s / self.n * 1e6


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self._cpu_s = _cpu_s()
        self._wall_s = time.perf_counter()

    def stop(self, n: int) -> Timing:
        """What `n` messages took."""
        return Timing(n, time.perf_counter() - self._wall_s, _cpu_s() - self._cpu_s)


def task() -> Task:
    """The task of the command line: URL QUEUE N N_SINGLE."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("n", type=int)
    parser.add_argument("n_single", type=int)
    given = parser.parse_args()
    return Task(given.url, given.queue, given.n, given.n_single)


def report(timings: dict[str, Timing]) -> None:
    """Hand the timings to the benchmark."""
    sys.stdout.write(msgspec.json.encode(timings).decode())


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
