from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mqdash.store.rates import Beat, Counter, Durations, Meter, RecentMax, Slope
from tests.unit.store.scene import HandClock


def timed() -> tuple[HandClock, Beat]:
    clock = HandClock()
    return clock, Beat(clock)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 90)), max_size=60))
def test_a_meter_is_exact_in_total_and_within_a_minute(steps: list[tuple[int, float]]) -> None:
    clock, beat = timed()
    meter = Meter(beat)
    counted: list[tuple[int, int]] = []
    for n, pause_s in steps:
        clock.passed_s += pause_s
        beat.read()
        meter.add(n)
        counted.append((beat.second, n))
    assert meter.total == sum(n for _, n in counted)
    assert meter.last(60) == sum(n for second, n in counted if second >= beat.second - 60)
    if meter.total:
        assert sum(meter.spark(30)) == sum(n for second, n in counted if beat.second - 30 <= second < beat.second)


def test_a_meter_steps_evenly_and_stops() -> None:
    clock, beat = timed()
    meter = Meter(beat)
    for _ in range(100):
        clock.passed_s += 0.1
        beat.read()
        meter.add(2)
    assert 18 <= meter.rate_per_s() <= 22
    clock.passed_s += 6
    beat.read()
    assert meter.rate_per_s() == 0


def test_a_young_meter_does_not_exaggerate() -> None:
    clock, beat = timed()
    meter = Meter(beat)
    clock.passed_s = 0.01
    beat.read()
    meter.add(5)
    assert meter.rate_per_s() <= 5


def test_a_slope_needs_two_moments_and_starts_anew_when_time_steps_back() -> None:
    slope = Slope(5.0)
    slope.add(100.0, 10)
    assert slope.per_s() is None
    slope.add(100.0, 99)
    assert slope.per_s() is None
    slope.add(102.0, 20)
    assert slope.per_s() == 5
    slope.add(50.0, 0)
    assert slope.per_s() is None


def test_a_counter_begins_wherever_it_begins_and_survives_a_restart() -> None:
    counter = Counter()
    assert [counter.growth(at, total) for at, total in ((1, 500), (2, 510), (3, 4), (4, 6), (5, None), (6, 9))] == [
        0,
        10,
        0,
        2,
        0,
        0,
    ]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60)), min_size=1, max_size=100))
def test_the_recent_maximum_is_that_of_the_last_five_minutes(steps: list[tuple[int, int]]) -> None:
    clock, beat = timed()
    recent = RecentMax(beat)
    seen: list[tuple[int, int]] = []
    for value, pause_s in steps:
        clock.passed_s += pause_s
        beat.read()
        recent.add(value)
        seen.append((beat.second, value))
    surely = max(value for second, value in seen if second >= beat.second - 300)
    at_most = max(value for second, value in seen if second >= beat.second - 310)
    assert surely <= recent.value() <= at_most


def test_percentiles_lie_in_their_bucket_and_are_forgotten_after_a_minute() -> None:
    clock, beat = timed()
    durations = Durations(beat)
    assert durations.percentiles_ms(0.5) == (None,)
    durations.add((0, 0, 0, 98, 0, 0, 0, 2) + (0,) * 8)
    p50_ms, p99_ms = durations.percentiles_ms(0.5, 0.99)
    assert p50_ms is not None
    assert p99_ms is not None
    assert 4 <= p50_ms <= 8
    assert 64 <= p99_ms <= 128
    clock.passed_s += 71
    beat.read()
    assert durations.percentiles_ms(0.5) == (None,)
