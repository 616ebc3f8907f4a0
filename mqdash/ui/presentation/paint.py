"""A canvas of terminal cells and what the panes are drawn with. Only `SafeText` gets onto it.

Every drawn row is exactly as wide as its canvas in terminal cells: wide characters take two, combining marks none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len, get_character_cell_size
from rich.segment import Segment

from mqdash.safe_text import SafeText, literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.style import Style

    from mqdash.ui.presentation.theme import Ground, Theme

Row = list[Segment]
ELLIPSIS: Final = "…"


class Subject(NamedTuple):
    """What a drawn cell is about.

    `id`: a flow node or edge id, `p:NAME` a producer, `m:NAME` a worker, `c:…` a cause, `x:…` a death, `line:N` a line.
    """

    broker: str
    id: str


class Hit(NamedTuple):
    """Cells `x0 <= x < x1` of row `y` (both in the pane) belong to `subject`."""

    y: int
    x0: int
    x1: int
    subject: Subject


class Span(NamedTuple):
    """Some text in a style."""

    text: SafeText
    style: Style


@dataclass(frozen=True, slots=True)
class Look:
    """How a pane is to be drawn: its size in cells, what is selected, where it is scrolled to (None = the top)."""

    width: int
    height: int
    theme: Theme
    focused: bool = False
    selected: Subject | None = None
    offset: int | None = None
    now_s: float = 0.0
    filtered: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn pane. `order`: every subject the cursor can stand on, visible or not; `offset`: the one really used."""

    rows: list[Row]
    hits: tuple[Hit, ...] = ()
    order: tuple[Subject, ...] = ()
    offset: int = 0

    def at(self, x: int, y: int) -> Subject | None:
        """What is drawn in a cell; the last drawn wins."""
        return next((hit.subject for hit in reversed(self.hits) if hit.y == y and hit.x0 <= x < hit.x1), None)


@lru_cache(maxsize=8192)
def cells_of(text: str) -> tuple[str, ...]:
    """One string per terminal cell; the second cell of a wide character is empty, marks stay with their base."""
    if text.isascii():
        return tuple(text)
    cells: list[str] = []
    for character in text:
        width = get_character_cell_size(character)
        if width == 0:
            if not cells:
                cells.append("◌")
            at = len(cells) - 1
            while at > 0 and not cells[at]:
                at -= 1
            cells[at] += character
        elif width == 1:
            cells.append(character)
        else:
            cells += (character, "")
    return tuple(cells)


def fit(text: SafeText, width: int) -> SafeText:
    """The text in at most `width` cells, with `…` where it was cut."""
    if width <= 0:
        return SafeText("")
    if (len(text) <= width and text.isascii()) or cell_len(text) <= width:
        return text
    kept = cells_of(text)[: width - 1]
    if len(kept) and len(cells_of(text)) > len(kept) and cells_of(text)[len(kept)] == "":
        kept = kept[:-1]  # half of a wide character
    return SafeText("".join(kept) + ELLIPSIS)


def middle_cut(text: SafeText, width: int) -> SafeText:
    """The text in at most `width` cells, cut in its middle: a third of the room for its beginning, the rest for its end."""
    cells = cells_of(text)
    if len(cells) <= width or width < 3:
        return fit(text, width)
    head = (width - 1) // 3
    tail = cells[len(cells) - (width - 1 - head) :]
    while tail and tail[0] == "":
        tail = tail[1:]  # half of a wide character
    return fit(text, head + 1) + SafeText("".join(tail))


def end_cut(text: SafeText, width: int) -> SafeText:
    """The text in at most `width` cells, without its beginning: ids of one producer differ in their ends."""
    cells = cells_of(text)
    if len(cells) <= width or width < 2:
        return fit(text, width)
    kept = cells[len(cells) - width + 1 :]
    while kept and kept[0] == "":
        kept = kept[1:]  # half of a wide character
    return SafeText(ELLIPSIS + "".join(kept))


def right(text: SafeText, width: int) -> SafeText:
    """Right-aligned in a column of fixed width."""
    text = fit(text, width)
    return SafeText(" " * (width - cell_len(text)) + str(text))


def left(text: SafeText, width: int) -> SafeText:
    """Left-aligned in a column of fixed width."""
    text = fit(text, width)
    return SafeText(str(text) + " " * (width - cell_len(text)))


def cat(*parts: SafeText) -> SafeText:
    """Safe parts in a row are safe."""
    return SafeText("".join(parts))


def wrapped(text: SafeText, width: int, limit: int = 4) -> list[SafeText]:
    """The text broken at blanks into lines of at most `width` cells; what is beyond `limit` lines ends in `…`."""
    if width <= 0:
        return []
    lines: list[str] = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
        elif lines[-1]:
            lines.append(word)
        else:
            lines[-1] = word
    if len(lines) > limit:
        lines[limit - 1 :] = [" ".join(lines[limit - 1 :])]
    return [fit(SafeText(line), width) for line in lines]


class Canvas:
    """`height` rows of `width` cells, each a character and a style, on the ground of the theme."""

    __slots__ = ("chars", "height", "styles", "theme", "width")

    def __init__(self, width: int, height: int, theme: Theme) -> None:
        self.width, self.height, self.theme = max(width, 0), max(height, 0), theme
        blank = theme.grounds["pane"]
        self.chars = [[" "] * self.width for _ in range(self.height)]
        self.styles = [[blank] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, text: SafeText, style: Style, *, width: int | None = None) -> int:
        """Write from cell `x` on, cut at the edge, or with `…` at `width`; returns the cell behind the text."""
        if width is not None:
            text = fit(text, width)
        cells: Sequence[str] = text if text.isascii() else cells_of(text)
        end = x + len(cells)
        if not 0 <= y < self.height or x >= self.width or end <= 0:
            return end
        if x < 0:
            cells, x = cells[-x:], 0
        if end > self.width:
            cells = cells[: self.width - x]
        stop = x + len(cells)
        row = self.chars[y]
        self._heal(row, x, stop)
        row[x:stop] = cells
        if not row[x]:
            row[x] = " "  # the left half was cut away
        if stop < end and stop and get_character_cell_size(row[stop - 1][:1] or " ") > 1:
            row[stop - 1] = " "
        self.styles[y][x:stop] = [style] * (stop - x)
        return end

    def spans(self, x: int, y: int, spans: Iterable[Span | tuple[SafeText, Style]], *, limit: int | None = None) -> int:
        """Write several texts one behind the other, none beyond cell `limit`."""
        stop = self.width if limit is None else limit
        for text, style in spans:
            x = self.put(x, y, text, style, width=max(stop - x, 0)) if x < stop else x
        return x

    def put_right(self, x: int, y: int, text: SafeText, style: Style, *, width: int | None = None) -> int:
        """Write so that the text ends before cell `x`; returns its first cell."""
        if width is not None:
            text = fit(text, width)
        start = x - len(cells_of(text))
        self.put(start, y, text, style)
        return start

    def ground(self, y: int, x0: int, x1: int, ground: Ground) -> None:
        """Lay another ground under cells that are drawn already."""
        if 0 <= y < self.height:
            styles = self.styles[y]
            for x in range(max(x0, 0), min(x1, self.width)):
                styles[x] = self.theme.on(styles[x], ground)

    def row(self, y: int) -> Row:
        """One row as segments, exactly `width` cells."""
        return joined(self.chars[y], self.styles[y])

    def rows(self) -> list[Row]:
        """All rows from the top."""
        return [joined(chars, styles) for chars, styles in zip(self.chars, self.styles, strict=True)]

    @staticmethod
    def _heal(row: list[str], x: int, stop: int) -> None:
        """Blank the other half of wide characters that are about to be overwritten by half."""
        if not row[x] and x > 0:
            row[x - 1] = " "
        if stop < len(row) and not row[stop]:
            row[stop] = " "


def joined(chars: list[str], styles: list[Style]) -> Row:
    """Cells of equal style become one segment."""
    out: Row = []
    start, count = 0, len(chars)
    while start < count:
        style = styles[start]
        end = start + 1
        while end < count and styles[end] is style:
            end += 1
        out.append(Segment("".join(chars[start:end]), style))
        start = end
    return out


def plain(rows: Iterable[Row]) -> list[str]:
    """The drawing without its styles, for tests and for copying."""
    return ["".join(segment.text for segment in row) for row in rows]


_TOP: Final = (literal("╭"), literal("╮"), literal("╰"), literal("╯"))
_ACROSS: Final = literal("─")
_DOWN: Final = literal("│")
_SPACE: Final = literal(" ")


def frame(canvas: Canvas, key: SafeText, name: SafeText, scope: SafeText, *, focused: bool) -> None:
    """The border of a pane: its key and name on the left, its scope or counts on the right."""
    theme, width, height = canvas.theme, canvas.width, canvas.height
    if width < 2 or height < 2:
        return
    line = theme.line_focus if focused else theme.line
    across = SafeText("─" * (width - 2))
    for y, first, last in ((0, _TOP[0], _TOP[1]), (height - 1, _TOP[2], _TOP[3])):
        canvas.put(0, y, cat(first, across, last), line)
    for y in range(1, height - 1):
        canvas.put(0, y, _DOWN, line)
        canvas.put(width - 1, y, _DOWN, line)
    title = theme.strong if focused else theme.bold(theme.middle)
    limit = width - 2
    x = canvas.put(2, 0, cat(_SPACE, key, _SPACE), theme.key if focused else theme.middle, width=max(limit - 2, 0))
    x = canvas.put(x, 0, cat(name, _SPACE), title, width=max(limit - x, 0))
    room = limit - x - 2
    if scope and room > 4:
        canvas.put_right(width - 3, 0, cat(_SPACE, scope, _SPACE), theme.dim, width=room)


def keys_line(
    canvas: Canvas, x: int, y: int, keys: Sequence[tuple[SafeText, SafeText]], *, limit: int, gap: int = 2
) -> int:
    """`K kill  H hang`: as many whole pairs as fit before cell `limit`; returns the cell behind the last."""
    for at, (key, word) in enumerate(keys):
        start = x if at == 0 else x + gap
        if start + cell_len(key) + 1 + cell_len(word) > limit:
            break
        x = canvas.put(start, y, key, canvas.theme.key)
        x = canvas.put(x + 1, y, word, canvas.theme.middle)
    return x


def window(count: int, room: int, offset: int | None, selected: int | None) -> int:
    """The first item to draw of `count` when `room` fit: the wished offset, moved so that the selected one is seen."""
    first = offset or 0
    if selected is not None:
        first = min(first, selected)
        first = max(first, selected - room + 1)
    return max(0, min(first, count - room))
