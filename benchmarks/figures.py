"""What a benchmark gives: figures, each with what it stands beside and what it may be at most."""

import statistics
from collections.abc import Callable, Sequence

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`rounds`: how often each side is measured, in shuffled order. `rate_per_s`: the load behind the screen."""

    rounds: int = 5
    rate_per_s: int = 5000
    tell: Callable[[str], None] = print


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`ok` is None where nothing is budgeted; `ratio` = value / beside."""

    name: str
    value: float
    unit: str
    reference: str = ""
    beside: float | None = None
    ratio: float | None = None
    budget: str = ""
    ok: bool | None = None
    note: str = ""


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    reference: str = "",
    beside: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    ratio_at_most: float | None = None,
    ratio_at_least: float | None = None,
    note: str = "",
) -> Figure:
    """A figure judged by its budget: in its own unit, or as a ratio to `beside`."""
    ratio = value / beside if beside else None
    budget, ok = "", None
    if at_most is not None:
        budget, ok = f"≤ {at_most:g} {unit}", value <= at_most
    elif at_least is not None:
        budget, ok = f"≥ {at_least:g} {unit}", value >= at_least
    elif ratio_at_most is not None:
        assert ratio is not None, "a ratio needs something to stand beside"
        budget, ok = f"≤ {ratio_at_most:.3g}×", ratio <= ratio_at_most
    elif ratio_at_least is not None:
        assert ratio is not None, "a ratio needs something to stand beside"
        budget, ok = f"≥ {ratio_at_least:.3g}×", ratio >= ratio_at_least
    return Figure(
        name=name, value=value, unit=unit, reference=reference, beside=beside,
        ratio=ratio, budget=budget, ok=ok, note=note,
    )  # fmt: skip


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def short(value: float | None) -> str:
    """Three digits or so: 12345 → 12,345; 1.234 → 1.23."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(figures: Sequence[Figure]) -> str:
    """Aligned rows: figure, reference, ratio, budget."""
    rows = [("", "figure", "reference", "", "ratio", "budget", "")]
    for found in figures:
        verdict = "" if found.ok is None else "ok" if found.ok else "OVER"
        ratio = "–" if found.ratio is None else f"{found.ratio:.2f}×"
        named = f"{short(found.value)} {found.unit}"
        rows.append((found.name, named, found.reference, short(found.beside), ratio, found.budget, verdict))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    right = {1, 3, 4}
    lines = []
    for at, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        note = figures[at - 1].note if at else ""
        lines.append(("  " + "  ".join(cells) + (f"  {note}" if note else "")).rstrip())
    return "\n".join(lines)
