"""The peer on the screen: the least Textual app that moves 120 dots at 30 frames/s and takes a line of text.

Stock Textual, Line API, one widget, a loop of its own; no store, no broker, no list, no header. It is given the same paint
timer as mqdash (`TEXTUAL_FPS`), since that is worth 10 ms of each key. `:` opens the line, as in mqdash.
"""

import asyncio
import os
import random
import time

os.environ.setdefault("TEXTUAL_FPS", "240")

from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

DOTS = 120
FPS = 30
CELLS_PER_S = 20.0
HINT = "type here"
READY = "120 dots"


class Dots(Widget, can_focus=True):
    """Dots on their rows, each at its own speed."""

    def __init__(self) -> None:
        super().__init__()
        rng = random.Random(1)
        self.dots = [(rng.random(), rng.random(), 0.5 + rng.random()) for _ in range(DOTS)]
        self.started_s = time.monotonic()
        self.at: list[tuple[int, int]] = []
        self.rows: dict[int, Strip] = {}
        self.style = Style(color="bright_cyan")

    def tick(self) -> None:
        """Move all dots and repaint the cells they left and reached."""
        width, height = self.size
        if width < 2 or height < 2:
            return
        passed = (time.monotonic() - self.started_s) * CELLS_PER_S
        before = self.at
        self.at = [(int(x * width + passed * speed) % width, int(y * height)) for x, y, speed in self.dots]
        columns: dict[int, set[int]] = {}
        for x, y in self.at:
            columns.setdefault(y, set()).add(x)
        self.rows = {y: self.row(sorted(xs), width) for y, xs in columns.items()}
        moved = [
            Region(x, y, 1, 1) for old, new in zip(before, self.at, strict=False) if old != new for x, y in (old, new)
        ]
        self.refresh(*moved)

    def row(self, xs: list[int], width: int) -> Strip:
        """One row: blanks and dots."""
        segments, end = [], 0
        for x in xs:
            segments += [Segment(" " * (x - end), Style.null()), Segment("●", self.style)]
            end = x + 1
        segments.append(Segment(" " * (width - end), Style.null()))
        return Strip(segments, width)

    def render_line(self, y: int) -> Strip:
        """The row as it is now."""
        return self.rows.get(y, Strip.blank(self.size.width))


class DotsApp(App[None]):
    """120 dots and a line."""

    CSS = "Input { dock: bottom; display: none; } Dots { height: 1fr; }"
    BINDINGS = [("colon", "open", READY), ("escape", "shut", "close")]  # noqa: RUF012 - as Textual shows it

    def compose(self) -> ComposeResult:
        """The dots and the line below them."""
        self.dots, self.line = Dots(), Input(placeholder=HINT, compact=True)
        yield self.dots
        yield self.line

    def on_mount(self) -> None:
        """Start moving."""
        self.dots.focus()
        self.run_worker(self.frames())

    async def frames(self) -> None:
        """The loop of textual's users who measured: no interval timer."""
        due_s = time.monotonic()
        while True:
            self.dots.tick()
            due_s = max(due_s + 1 / FPS, time.monotonic())
            await asyncio.sleep(max(due_s - time.monotonic(), 0.002))

    def action_open(self) -> None:
        """Show the line, empty."""
        self.line.value = ""
        self.line.display = True
        self.line.focus()

    def action_shut(self) -> None:
        """Hide the line."""
        self.line.display = False
        self.dots.focus()


if __name__ == "__main__":
    DotsApp().run()
