"""Reads a terminal's picture back out of its bytes, after everything was timed."""

import re
from collections.abc import Sequence

import pyte

_RATE = re.compile(r"\bin ([\d.,]+)(k?)/s")


def picture(output: bytes, width: int, height: int) -> list[str]:
    """The rows as a person would see them now."""
    screen = pyte.Screen(width, height)
    pyte.ByteStream(screen).feed(output)
    return [str(row) for row in screen.display]


def shown_rate_per_s(output: bytes, width: int, height: int) -> float | None:
    """The rate the header shows, None where there is none."""
    for row in picture(output, width, height)[:3]:
        found = _RATE.search(row)
        if found:
            return float(found[1].replace(",", "")) * (1000 if found[2] else 1)
    return None


def first_move_s(output: bytes, arrivals: Sequence[tuple[float, int]], width: int, height: int) -> float | None:
    """When the dots of Flow stood elsewhere than before for the first time; None when they never did."""
    screen = pyte.Screen(width, height)
    stream = pyte.ByteStream(screen)
    fed, before = 0, frozenset[tuple[int, int]]()
    for at_s, size in arrivals:
        stream.feed(output[fed:size])
        fed = size
        dots = _dots_of_flow([str(row) for row in screen.display])
        if before and dots and dots != before:
            return at_s
        before = dots
    return None


def _dots_of_flow(rows: Sequence[str]) -> frozenset[tuple[int, int]]:
    title = next((row for row in rows if "2 Flow" in row and "3 Workers" in row), None)
    if title is None:
        return frozenset()
    left, right = title.index("2 Flow"), title.index("3 Workers")
    return frozenset((x, y) for y, row in enumerate(rows) if y > 2 for x in range(left, right) if row[x] == "●")
