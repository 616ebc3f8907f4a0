"""What every client is asked to do, and how it is timed."""

import resource
import sys
import time

import msgspec

WINDOW = 1000


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """`n` messages of `body_bytes` through `queue`: a transient classic queue, a topic, or a stream with its group `bench`.

    `prefetches`: how many are taken at once, one pass each; at 1 only `n_single`, as each waits for the one before.
    `bursts`: publish as many again in batches of 1,000.
    """

    url: str
    queue: str
    n: int
    n_single: int = 0
    body_bytes: int = 200
    prefetches: tuple[int, ...] = ()
    bursts: bool = False

    @property
    def body(self) -> bytes:
        """What each message carries."""
        return b"x" * self.body_bytes

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
    """Runs from its making. `who`: this process with its threads, or `resource.RUSAGE_CHILDREN` that have ended."""

    def __init__(self, who: int = resource.RUSAGE_SELF) -> None:
        self._who = who
        self._cpu_s = self._used_s()
        self._wall_s = time.perf_counter()

    def stop(self, n: int) -> Timing:
        """What `n` messages took."""
        return Timing(n, time.perf_counter() - self._wall_s, self._used_s() - self._cpu_s)

    def _used_s(self) -> float:
        used = resource.getrusage(self._who)
        return used.ru_utime + used.ru_stime


def task() -> Task:
    """The task of the command line, in JSON."""
    return msgspec.json.decode(sys.argv[1], type=Task)


def report(timings: dict[str, Timing]) -> None:
    """Hand the timings to the benchmark."""
    sys.stdout.write(msgspec.json.encode(timings).decode())
