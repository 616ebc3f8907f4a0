"""Live panes: a widget that keeps its rows and repaints only the cells that changed, and the patch that makes it cheap.

Textual paints a changed region from the left edge of its widget; `paint_spans` writes the changed cells only, which takes a
moving flow from 2.4 to 0.25 MiB/s. It replaces a private method: a test fails when that moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual._compositor import ChopsUpdate
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.segment import Segment
    from textual.events import Resize

JOIN_CELLS = 6
"""Changed spans this near to each other are painted as one: moving the cursor costs about as many bytes."""


def paint_spans(self: ChopsUpdate, console: Console) -> str:
    """What the terminal is sent for an update: each changed span from its own first cell."""
    out: list[str] = []
    for y, x1, x2 in self.spans:
        for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
            first, last = max(x, x1), min(end, x2)
            if strip is not None and first < last:
                out.append(f"\x1b[{y + 1};{first + 1}H" + strip.crop(first - x, last - x).render(console))
    return "".join(out)


def install_span_painting() -> None:
    """Paint changed cells only, in every app of this process."""
    ChopsUpdate.render_segments = paint_spans  # type: ignore[method-assign]


def changed_spans(old: Sequence[Segment], new: Sequence[Segment], width: int) -> list[tuple[int, int]]:
    """Where two rows of `width` cells differ: half-open cell spans, those nearer than `JOIN_CELLS` joined.

    Rows are compared cell by cell while their characters are one cell wide; a wide one makes the rest of the row one span.
    """
    spans: list[tuple[int, int]] = []

    def differs(first: int, last: int) -> None:
        if spans and first - spans[-1][1] <= JOIN_CELLS:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, last))

    x = i = j = a_at = b_at = 0
    while x < width:
        if i >= len(old) or j >= len(new):
            differs(x, width)
            break
        a, b = old[i], new[j]
        if a is b and a_at == b_at:
            x += a.cell_length if a_at == 0 else len(a.text) - a_at
            i, j, a_at, b_at = i + 1, j + 1, 0, 0
            continue
        if not (_is_narrow(a) and _is_narrow(b)):
            if a_at == b_at == 0 and a == b:
                x, i, j = x + a.cell_length, i + 1, j + 1
                continue
            differs(x, width)
            break
        step = min(len(a.text) - a_at, len(b.text) - b_at)
        if step:
            _compare(a, a_at, b, b_at, step, x, differs)
        x, a_at, b_at = x + step, a_at + step, b_at + step
        if a_at >= len(a.text):
            i, a_at = i + 1, 0
        if b_at >= len(b.text):
            j, b_at = j + 1, 0
    return [(first, min(last, width)) for first, last in spans if first < width]


def _is_narrow(segment: Segment) -> bool:
    return segment.text.isascii() or segment.cell_length == len(segment.text)


def _compare(a: Segment, a_at: int, b: Segment, b_at: int, step: int, x: int, differs: object) -> None:
    assert callable(differs)
    if a.style is not b.style and a.style != b.style:
        differs(x, x + step)
        return
    if a.text[a_at : a_at + step] == b.text[b_at : b_at + step]:
        return
    for at in range(step):
        if a.text[a_at + at] != b.text[b_at + at]:
            differs(x + at, x + at + 1)


class FastPane(Widget, can_focus=True):
    """A widget of rows drawn by hand (Line API). It draws its own frame and skips Textual's borders, padding and filters.

    So only text from `safe_text()` in finished styles may be put into it. `draw()` puts rows; it is called by the owner's
    tick, never by a timer of the pane.
    """

    DEFAULT_CSS = "FastPane { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, markup=False)
        self._rows: dict[int, tuple[Sequence[Segment], Strip]] = {}
        self._dirty: list[Region] = []
        self.painted_cells = 0
        """Cells handed out for painting so far: what tests and the benchmark count."""

    def put(self, y: int, segments: Sequence[Segment]) -> None:
        """Row `y` from now on; only the cells that changed will be painted."""
        width = self.size.width
        known = self._rows.get(y)
        if known is None:
            spans = [(0, width)]
        elif known[0] is segments:
            return
        else:
            spans = changed_spans(known[0], segments, width)
        if spans:
            self._rows[y] = (segments, Strip(segments).adjust_cell_length(width, self.rich_style))
            self._dirty += [Region(first, y, last - first, 1) for first, last in spans]

    def put_all(self, rows: Sequence[Sequence[Segment]]) -> None:
        """All rows from the top; what is below them becomes blank."""
        height = self.size.height
        for y, row in enumerate(rows[:height]):
            self.put(y, row)
        for y in range(len(rows), height):
            if y in self._rows:
                del self._rows[y]
                self._dirty.append(Region(0, y, self.size.width, 1))

    def flush(self) -> None:
        """Ask for one paint of everything that changed since the last flush."""
        if self._dirty:
            self.painted_cells += sum(region.area for region in self._dirty)
            self.refresh(*self._dirty)
            self._dirty = []

    def forget(self) -> None:
        """The next draw paints everything (after a resize, a new theme)."""
        self._rows.clear()
        self._dirty = []

    def on_resize(self, _event: Resize) -> None:
        """Rows of another width are worth nothing."""
        self.forget()
        self.redraw()

    def redraw(self) -> None:
        """Draw at once what was drawn last; for subclasses that know it."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """The finished rows, cropped; a row shorter than the widget would not be painted at all."""
        blank = Strip.blank(self.size.width, self.rich_style)
        rows = self._rows
        return [(rows[y][1] if y in rows else blank).crop(crop.x, crop.right) for y in crop.line_range]

    @property
    def texts(self) -> list[str]:
        """The rows as plain text, for copying and for tests."""
        return [self._rows[y][1].text if y in self._rows else "" for y in range(self.size.height)]
