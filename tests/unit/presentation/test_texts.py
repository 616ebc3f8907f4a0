from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mqdash.ui.presentation import texts


@pytest.mark.parametrize(
    ("per_s", "written"),
    [
        (None, "·"), (0, "0/s"), (0.05, "3/min"), (0.001, "<1/min"), (1, "1/s"), (1.24, "1.2/s"), (31, "31/s"),
        (118.4, "118/s"), (999.6, "1.00k/s"), (1240, "1.24k/s"), (12_400, "12.4k/s"), (1_200_000, "1.20M/s"),
    ],
)  # fmt: skip
def test_rates_have_three_digits_and_their_unit(per_s: float | None, written: str) -> None:
    assert texts.rate(per_s) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "·"), (0, "0 ms"), (0.0004, "0.4 ms"), (0.412, "412 ms"), (3.4, "3.4 s"), (4, "4 s"), (41.2, "41 s"), (59.7, "1 m"),
        (151, "2 m 31 s"), (11_520, "3 h 12 m"), (187_200, "2 d 4 h"), (math.inf, "never"), (math.nan, "·"), (-1, "0 ms"),
    ],
)  # fmt: skip
def test_durations_say_what_counts(seconds: float | None, written: str) -> None:
    assert texts.duration(seconds) == written


def test_counts_are_exact_until_they_are_too_long() -> None:
    assert [texts.count(n) for n in (None, 0, 412, 4213, 12_400)] == ["·", "0", "412", "4,213", "12.4k"]
    assert texts.exact(4_120_551) == "4,120,551"


def test_trend_is_silent_when_nothing_moves() -> None:
    assert [texts.trend(value) for value in (None, 0.2, 2, -5, 1240)] == ["", "", "+2/s", "−5/s", "+1.24k/s"]


def test_sizes_and_shares() -> None:
    assert [texts.size(n) for n in (None, 118, 4300, 64 << 10)] == ["·", "118 B", "4.20 KiB", "64.0 KiB"]
    assert [texts.percent(share) for share in (None, 0, 0.001, 0.1)] == ["·", "0 %", "<1 %", "10 %"]


def test_a_stamp_outside_of_the_calendar_is_shown_raw() -> None:
    assert texts.clock(1e30) == str(int(1e30))
    assert texts.clock(math.nan) == "nan"


def test_spark_fills_from_the_right_and_blanks_zero() -> None:
    assert texts.spark((0, 1, 4, 8), 6) == "   ▁▃▆"
    assert texts.spark((), 3) == "   "


def test_gauge_shows_an_eighth_of_anything_above_nothing() -> None:
    assert texts.gauge(0, 4) == "░░░░"
    assert texts.gauge(0.0001, 4) == "▏░░░"
    assert texts.gauge(0.5, 4) == "██░░"
    assert texts.gauge(7, 4) == "████"


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_written_in_a_few_cells(value: float) -> None:
    assert cell_len(texts.short(value)) <= 6 or abs(value) >= 1e15
    assert cell_len(texts.gauge(value, 10)) == 10
    assert cell_len(texts.spark((value, 1.0), 8)) == 8


@given(st.lists(st.floats(min_value=0, max_value=1e9), max_size=30), st.integers(0, 20))
def test_spark_is_exactly_as_wide_as_asked(series: list[float], width: int) -> None:
    assert cell_len(texts.spark(series, width)) == width
