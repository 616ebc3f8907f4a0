"""The last line: the keys of what has the focus; and what is said when there is no room for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from mqdash.safe_text import literal, safe_text
from mqdash.ui.presentation.paint import Canvas, Drawn, Row, fit, keys_line

if TYPE_CHECKING:
    from mqdash.ui.presentation.lists import Keys
    from mqdash.ui.presentation.theme import Theme

_ALWAYS = 2
MIN_WIDTH, MIN_HEIGHT = 80, 24
"""The smallest terminal that is drawn, in cells."""


def draw_footer(keys: Keys, width: int, theme: Theme) -> Drawn:
    """As many keys as fit, in their order, the last two (help and quit) before all others."""
    canvas = Canvas(width, 1, theme)
    keys_line(canvas, 1, 0, _fitting(keys, width - 2), limit=width - 1)
    canvas.ground(0, 0, width, "bar")
    return Drawn(canvas.rows())


def _fitting(keys: Keys, room: int) -> Keys:
    kept = list(keys)
    while len(kept) > _ALWAYS and sum(cell_len(key) + cell_len(word) + 3 for key, word in kept) - 2 > room:
        del kept[-_ALWAYS - 1]
    return tuple(kept)


def draw_too_small(width: int, height: int, theme: Theme) -> list[Row]:
    """Below 80x24: what it is and what it needs, as far as that fits. Never fails, not even at 0x0."""
    canvas = Canvas(width, height, theme)
    lines = (
        (literal("mqdash: too small"), theme.bold(theme.look)),
        (safe_text(f"{width}×{height}, needs {MIN_WIDTH}×{MIN_HEIGHT}"), theme.middle),
    )
    for y, (text, style) in enumerate(lines, start=max((height - 2) // 2, 0)):
        shown = fit(text, width)
        canvas.put(max((width - len(shown)) // 2, 0), y, shown, style)
    return canvas.rows()
