"""Numbers, durations and sizes as the screen writes them: three significant digits, the unit on it.

`–` means none, `·` means this broker cannot tell; zero is written only when it was measured.
"""

from __future__ import annotations

import math
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mqdash.model.names import tag
from mqdash.safe_text import SafeText, literal, safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE: Final = literal("–")
UNKNOWN: Final = literal("·")
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_SCALES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SIZES: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_DAY_S: Final = 86_400


def _digits(value: float) -> str:
    """Three significant digits below 1000, trailing zeros of a scaled number kept so that its width is steady."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


@lru_cache(maxsize=2048)
def _short(value: float) -> str:
    size = abs(value)
    sign = "−" if value < 0 else ""
    if not math.isfinite(value):
        return sign + "∞" if math.isinf(value) else "·"
    for scale, unit in _SCALES:
        if size >= scale * 0.9995:
            return sign + _digits(size / scale) + unit
    if size < 9.95 and abs(size - round(size)) >= 0.05:
        return f"{sign}{size:.1f}"
    return f"{sign if round(size) else ''}{size:.0f}"


def short(value: float | None) -> SafeText:
    """`412`, `1.24k`, `12.4k`, `1.20M`; at most five cells and a sign."""
    return UNKNOWN if value is None else safe_text(_short(value))


def count(value: int | None) -> SafeText:
    """An exact count while it fits: `412`, `4,213`; from ten thousand on `12.4k`."""
    if value is None:
        return UNKNOWN
    return safe_text(f"{value:,}" if abs(value) < 10_000 else _short(value))


def burst(messages: int) -> SafeText:
    """A round number as people say it: `5k`, `1200`."""
    return safe_text(f"{messages // 1000}k" if messages >= 1000 and messages % 1000 == 0 else str(messages))


def exact(value: int | None) -> SafeText:
    """A count in full: `4,120,551`."""
    return UNKNOWN if value is None else safe_text(f"{value:,}")


def rate(per_s: float | None) -> SafeText:
    """`31/s`, `1.24k/s`; below one a second per minute: `3/min`."""
    if per_s is None:
        return UNKNOWN
    if 0 < abs(per_s) < 0.95:
        per_min = per_s * 60
        return safe_text(("<1" if 0 < per_min < 0.5 else _short(round(per_min, 0))) + "/min")
    return safe_text(_short(round(per_s, 1)) + "/s")


def trend(per_s: float | None) -> SafeText:
    """How a level moves: `+2/s`, `−5/s`; nothing while it stands still or nobody can tell."""
    if per_s is None or abs(per_s) < 0.5:
        return SafeText("")
    return safe_text(f"{'+' if per_s > 0 else ''}{_short(round(per_s))}/s")


def duration(seconds: float | None) -> SafeText:
    """`4 ms`, `3.4 s`, `41 s`, `2 m 31 s`, `3 h 12 m`, `2 d 4 h`; a whole number is written without tenths."""
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if math.isinf(seconds):
        return literal("never")
    seconds = max(seconds, 0)
    if seconds < 0.9995:
        return milliseconds(seconds * 1000)
    if seconds < 59.5:
        tenths = seconds < 9.95 and not isinstance(seconds, int)
        return safe_text(f"{seconds:.1f} s" if tenths else f"{seconds:.0f} s")
    whole = round(seconds)
    if whole < 3600:
        return safe_text(f"{whole // 60} m {whole % 60} s" if whole % 60 else f"{whole // 60} m")
    if whole < _DAY_S:
        return safe_text(f"{whole // 3600} h {whole % 3600 // 60} m")
    return safe_text(f"{whole // _DAY_S} d {whole % _DAY_S // 3600} h")


def milliseconds(value_ms: float | None) -> SafeText:
    """`4 ms`, `0.4 ms`, from a second on `1.2 s`."""
    if value_ms is None or math.isnan(value_ms):
        return UNKNOWN
    if value_ms >= 999.5:
        return duration(value_ms / 1000)
    return safe_text(f"{value_ms:.1f} ms" if 0 < value_ms < 0.95 else f"{value_ms:.0f} ms")


def size(size_bytes: int | None) -> SafeText:
    """`118 B`, `4.20 KiB`, `64.0 KiB`."""
    if size_bytes is None:
        return UNKNOWN
    for scale, unit in _SIZES:
        if size_bytes >= scale:
            return safe_text(f"{_digits(size_bytes / scale)} {unit}")
    return safe_text(f"{size_bytes} B")


def percent(share: float | None) -> SafeText:
    """0..1 as `10 %`, small shares as `<1 %`."""
    if share is None:
        return UNKNOWN
    return literal("<1 %") if 0 < share < 0.005 else safe_text(f"{share * 100:.0f} %")


@lru_cache(maxsize=1024)
def _clock(second: int) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(second))
    except (OverflowError, ValueError, OSError):
        return str(second)


def clock(at_s: float) -> SafeText:
    """Unix seconds as local `12:09:40`; a stamp outside of the calendar is shown raw."""
    return safe_text(_clock(int(at_s)) if math.isfinite(at_s) else str(at_s))


def ident(message_id: str) -> SafeText:
    """A message's id as people call it: `#8102` for a number."""
    if not message_id:
        return literal("(no id)")
    return safe_text(tag(message_id, None))


def spark(series: Sequence[float], width: int, peak: float | None = None) -> SafeText:
    """The newest `width` points as eighth blocks, oldest first, filled up with blanks on the left.

    A zero is a blank, anything above it at least the lowest block; `peak` is the full height (default: a third above the
    largest, so that a steady rate is a line and not a wall).
    """
    points = [point if math.isfinite(point) else 0.0 for point in series[-width:]] if width > 0 else []
    top = peak if peak is not None else max(points, default=0.0) * 4 / 3
    if top <= 0:
        return SafeText(" " * max(width, 0))
    blocks = "".join(_EIGHTHS[min(8, max(1, math.ceil(point / top * 8)))] if point > 0 else " " for point in points)
    return SafeText(blocks.rjust(width))


def gauge(share: float, width: int) -> SafeText:
    """A horizontal bar of eighth blocks over `░`; something above nothing shows at least an eighth."""
    if width <= 0:
        return SafeText("")
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, part = divmod(eighths, 8)
    bar = "█" * full + ("▏▎▍▌▋▊▉"[part - 1] if part else "")
    return SafeText(bar + "░" * (width - len(bar)))
