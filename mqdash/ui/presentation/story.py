"""The Story pane: what happened, in sentences, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.lists import FILTER_HINT, empty, index_of, matches, more_above, more_below, pane
from mqdash.ui.presentation.paint import Drawn, Hit, Look, Span, Subject, wrapped

if TYPE_CHECKING:
    from rich.style import Style

    from mqdash.model.views import StoryLine, StoryView
    from mqdash.ui.presentation.theme import Theme

_HINT = ("+", "H wakes")
"""A second line that begins with a key says what can be done."""


def level_style(level: str, theme: Theme) -> Style:
    """Colour of a sentence."""
    return {"look": theme.look, "broken": theme.broken, "good": theme.well, "dead": theme.dead}.get(level, theme.text)


def draw_story(view: StoryView, look: Look) -> Drawn:
    """The whole pane with its frame. `order` and `offset` count sentences, not rows."""
    count = len(view.lines)
    chosen = [(at, line) for at, line in enumerate(view.lines) if matches(look, line.text, *line.more)]
    order = tuple(Subject(line.broker, f"line:{count - at}") for at, line in chosen)
    first = window_of(chosen, look, index_of(order, look.selected)) if chosen else 0
    canvas = pane(look, literal("5"), literal("Story"), _scope(first, look))
    if not chosen:
        if look.filtered:
            empty(canvas, FILTER_HINT)
        else:
            empty(
                canvas,
                literal("What happens is told here, in sentences."),
                literal("K kills a worker, p publishes a message."),
            )
        return Drawn(canvas.rows())
    hits: list[Hit] = []
    y, at = 1, first
    while at < len(chosen) and y < look.height - 1:
        spans = _sentence(chosen[at][1], look)
        top = y
        for indent, span in spans:
            if y >= look.height - 1:
                break
            canvas.put(indent, y, span.text, span.style, width=look.width - 2 - indent)
            y += 1
        canvas.put(2, top, texts.clock(chosen[at][1].at_s), look.theme.dim)
        hits += [Hit(row, 1, look.width - 1, order[at]) for row in range(top, y)]
        if look.focused and order[at] == look.selected:
            for row in range(top, y):
                canvas.ground(row, 1, look.width - 1, "selection")
        at += 1
    more_below(canvas, len(chosen) - at)
    more_above(canvas, first)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _scope(newer: int, look: Look) -> SafeText:
    """`newest first`, or how many newer sentences are out of sight and the key that goes there."""
    if newer:
        return safe_text(f"{newer} newer · g")
    return literal("newest first") if look.width > 46 else SafeText("")


def window_of(chosen: list[tuple[int, StoryLine]], look: Look, selected: int | None) -> int:
    """The first sentence to draw so that the selected one is whole."""
    first = min(look.offset or 0, len(chosen) - 1)
    if selected is None:
        return first
    if selected < first:
        return selected
    rows, start = look.height - 2, selected
    while start >= first:
        rows -= len(_sentence(chosen[start][1], look))
        if rows < 0:
            break
        start -= 1
    return max(first, min(start + 1, selected))


def _sentence(line: StoryLine, look: Look) -> list[tuple[int, Span]]:
    """The rows of a sentence, each with its first cell: the text wrapped, then its dimmer second lines."""
    theme = look.theme
    indent = 12 if look.width >= 46 else 11
    room = max(look.width - 2 - indent, 8)
    times = f" ×{line.n}" if line.n > 1 and f"{line.n:,}" not in line.text else ""
    style = level_style(line.level, theme)
    first = wrapped(safe_text(f"{line.text}{times}"), room, 3)
    out = [(indent if at == 0 else indent + 2, Span(text, style)) for at, text in enumerate(first)]
    deeper = indent + (2 if look.width >= 46 else 0)
    for more in line.more:
        hint = theme.accent if more.startswith(_HINT) else theme.middle
        out += [(deeper, Span(text, hint)) for text in wrapped(safe_text(more), look.width - 2 - deeper, 2)]
    return out
