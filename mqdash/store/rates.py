"""Counting over time: meters of what we count ourselves, slopes of what brokers tell, largest values, durations.

Everything reads one `Beat`, so that a frame has one idea of now. Windows are on the monotonic clock; slopes are on the
broker's own stamps, since what counts there is when it looked.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mqdash.model.events import DURATION_BUCKETS_MS

if TYPE_CHECKING:
    from mqdash.clock import Clock
    from mqdash.model.events import Histogram

TICKS_PER_S = 4
"""Rates are worked out anew this often: more often they only flicker."""
WINDOW_S = 4
SPARK_S = 30
MINUTE_S = 60
_SLOTS = 64
_PHASES = 8


class Beat:
    """The store's reading of the clock, taken once per event and once per view."""

    __slots__ = ("_clock", "_phase", "fine", "mono_s", "second", "tick")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.mono_s = 0.0
        self.second = 0
        self.tick = 0
        self.fine = 0
        self._phase = 0
        self.read()

    def read(self) -> bool:
        """Look at the clock; whether a new second began."""
        mono_s = self._clock.monotonic()
        self.mono_s = mono_s
        self.fine = int(mono_s * TICKS_PER_S * _PHASES)
        self.tick = self.fine // _PHASES
        second = int(mono_s)
        if second == self.second:
            return False
        self.second = second
        return True

    def phase(self) -> int:
        """Who works something out once per tick does so at `tick_at(phase)`: not all in one frame."""
        self._phase = (self._phase + 1) % _PHASES
        return self._phase

    def tick_at(self, phase: int) -> int:
        """The tick of those with that phase."""
        return (self.fine + phase) // _PHASES

    def wall_s(self) -> float:
        """Unix seconds."""
        return self._clock.now()


class Meter:
    """An exact total and a ring of counts per second: rates and sparklines of the last minute."""

    __slots__ = (
        "_beat",
        "_born_s",
        "_counts",
        "_newest",
        "_phase",
        "_rate_per_s",
        "_rate_tick",
        "_spark",
        "_spark_second",
        "total",
    )

    def __init__(self, beat: Beat) -> None:
        self.total = 0
        self._beat = beat
        self._born_s = beat.mono_s
        self._counts = [0] * _SLOTS
        self._newest = beat.second
        self._rate_per_s = 0.0
        self._rate_tick = -1
        self._phase = beat.phase()
        self._spark: tuple[float, ...] = ()
        self._spark_second = -1

    def add(self, n: int) -> None:
        """Count `n` now."""
        second = self._beat.second
        if second != self._newest:
            self._roll(second)
        self._counts[second % _SLOTS] += n
        self.total += n

    @property
    def warm(self) -> bool:
        """Whether its rate or its sparkline may still change with time alone."""
        return self.total > 0 and self._beat.second - self._newest <= MINUTE_S + 1

    def last(self, span_s: int) -> int:
        """What was counted in the running second and the `span_s` before it (at most 62)."""
        second, newest = self._beat.second, self._newest
        first = max(second - span_s, newest - _SLOTS + 1)
        counts = self._counts
        return sum([counts[slot % _SLOTS] for slot in range(first, newest + 1)]) if first <= newest else 0

    def rate_per_s(self, window_s: int = WINDOW_S) -> float:
        """Counted per second over the window, once per tick. A young meter divides by its age, at least 1 s."""
        beat = self._beat
        tick = (beat.fine + self._phase) // _PHASES
        if self._rate_tick != tick:
            self._rate_tick = tick
            if self.total == 0 or beat.second - self._newest > window_s:
                self._rate_per_s = 0.0
            else:
                span_s = min(window_s + beat.mono_s - beat.second, beat.mono_s - self._born_s)
                self._rate_per_s = self.last(window_s) / max(span_s, 1.0)
        return self._rate_per_s

    def spark(self, seconds: int = SPARK_S, width_s: int = 1) -> tuple[float, ...]:
        """Counts per second of the last complete seconds in bars of `width_s`, oldest first; () if none."""
        if self.total == 0:
            return ()
        second = self._beat.second
        if self._spark_second != second:
            self._spark_second = second
            newest, counts = self._newest, self._counts
            oldest = newest - _SLOTS
            series = [
                counts[slot % _SLOTS] if oldest < slot <= newest else 0
                for slot in range(second - seconds * width_s, second)
            ]
            if width_s > 1:
                series = [sum(series[at : at + width_s]) for at in range(0, len(series), width_s)]
            self._spark = tuple([count / width_s for count in series])
        return self._spark

    def _roll(self, second: int) -> None:
        counts = self._counts
        if second - self._newest >= _SLOTS:
            counts[:] = [0] * _SLOTS
        else:
            for slot in range(self._newest + 1, second + 1):
                counts[slot % _SLOTS] = 0
        self._newest = second


class Slope:
    """How fast a told number changes: newest against oldest of its samples in a window, by the broker's stamps."""

    __slots__ = ("_samples", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, float]] = deque(maxlen=64)

    def add(self, at_s: float, value: float) -> None:
        """One sample; the same stamp again is no news, a stamp from the past starts anew."""
        samples = self._samples
        if samples and at_s <= samples[-1][0]:
            if at_s == samples[-1][0]:
                return
            samples.clear()
        samples.append((at_s, value))
        while len(samples) > 2 and at_s - samples[0][0] > self._window_s:
            samples.popleft()

    def clear(self) -> None:
        """Forget: what comes next has nothing to do with what was."""
        self._samples.clear()

    def per_s(self) -> float | None:
        """Change per second, None while there are not two samples at least 0.9 s apart."""
        samples = self._samples
        if len(samples) < 2:
            return None
        (first_s, first), (last_s, last) = samples[0], samples[-1]
        return (last - first) / (last_s - first_s) if last_s - first_s >= 0.9 else None


class Counter:
    """A total told by a broker: its growth, whatever it began at, and its rate. A smaller one starts anew (restart)."""

    __slots__ = ("_last", "_slope")

    def __init__(self) -> None:
        self._last: int | None = None
        self._slope = Slope(10.0)

    def growth(self, at_s: float, total: int | None) -> int:
        """How much it grew since the last time; 0 the first time and after a restart of the broker."""
        last, self._last = self._last, total
        if total is None or (last is not None and total < last):
            self._slope.clear()
        if total is None:
            return 0
        self._slope.add(at_s, total)
        return max(total - last, 0) if last is not None else 0

    @property
    def known(self) -> bool:
        """Whether the broker tells it."""
        return self._last is not None

    def per_s(self) -> float | None:
        """Growth per second over about 10 s, None while it cannot be told."""
        return self._slope.per_s()


class RecentMax:
    """The largest value of the last five minutes, at most one sample kept per 5 s."""

    __slots__ = ("_beat", "_falling")
    SPAN_S = 300
    GRAIN_S = 5

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._falling: deque[tuple[int, int]] = deque()

    def add(self, value: int) -> None:
        """One sample, now."""
        falling = self._falling
        slot = self._beat.second // self.GRAIN_S
        while falling and falling[-1][1] <= value:
            falling.pop()
        # A smaller value in the slot of a larger one would never be the largest for more than one grain.
        if not falling or falling[-1][0] != slot:
            falling.append((slot, value))

    def value(self) -> int:
        """The largest; the newest stays however old it is."""
        falling = self._falling
        oldest = (self._beat.second - self.SPAN_S) // self.GRAIN_S
        while len(falling) > 1 and falling[0][0] < oldest:
            falling.popleft()
        return falling[0][1] if falling else 0


class Durations:
    """Histograms of the last minute in slots of 10 s; percentiles by place within their bucket."""

    __slots__ = ("_beat", "_slots")
    SLOT_S = 10

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._slots: deque[tuple[int, list[int]]] = deque(maxlen=MINUTE_S // self.SLOT_S)

    def add(self, histogram: Histogram) -> None:
        """Add 16 counts (`DURATION_BUCKETS_MS` and one for longer); () adds nothing."""
        if not histogram:
            return
        slot = self._beat.second // self.SLOT_S
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, [0] * (len(DURATION_BUCKETS_MS) + 1)))
        counts = self._slots[-1][1]
        for place, n in enumerate(histogram):
            counts[place] += n

    def percentiles_ms(self, *shares: float) -> tuple[float | None, ...]:
        """The duration below which that share (0..1) of the last minute stayed, in ms; None when nothing was timed."""
        oldest = (self._beat.second - MINUTE_S) // self.SLOT_S
        recent = [counts for slot, counts in self._slots if slot > oldest]
        summed = [sum(column) for column in zip(*recent, strict=True)]
        total = sum(summed)
        return tuple(_percentile_ms(summed, share * total) if total else None for share in shares)


def _percentile_ms(counts: list[int], wanted: float) -> float:
    passed = 0
    for place, n in enumerate(counts):
        if n and passed + n >= wanted:
            if place == len(DURATION_BUCKETS_MS):
                break
            low = DURATION_BUCKETS_MS[place - 1] if place else 0
            return low + (DURATION_BUCKETS_MS[place] - low) * (wanted - passed) / n
        passed += n
    return float(DURATION_BUCKETS_MS[-1])
