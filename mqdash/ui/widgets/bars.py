"""The two lines on top and the line of keys at the bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from mqdash.safe_text import SafeText, literal
from mqdash.ui.live import FastPane
from mqdash.ui.presentation.footer import draw_footer, draw_too_small
from mqdash.ui.presentation.header import LIVE, draw_header
from mqdash.ui.presentation.paint import Canvas, Drawn, Look, cat, wrapped

if TYPE_CHECKING:
    from textual import events
    from textual.widget import Widget

    from mqdash.model.views import View
    from mqdash.ui.keymap import Key
    from mqdash.ui.presentation.header import Corner
    from mqdash.ui.presentation.theme import Theme


NARROW = 100
"""Below this width keys have their brief labels."""
LINES_SAID = 3
"""A sentence under the header takes so many lines at most."""


class HeaderBar(FastPane):
    """Brokers and totals; a click on a broker's name shows it."""

    can_focus = False

    class BrokerChosen(Message):
        """A broker's name was clicked."""

        def __init__(self, broker: str) -> None:
            super().__init__()
            self.broker = broker

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.look_theme = theme
        self.corner: Corner = LIVE
        self._drawn = Drawn([])
        self._last: tuple[View, str] | None = None
        self._key: object = None

    def show(self, view: View, broker: str) -> None:
        """Draw the header of the view unless nothing of it changed; retries count down by the second."""
        self._last = (view, broker)
        key = (view.header.revision, int(view.at_s), broker, self.corner, self.size)
        if key == self._key or self.size.width < 1:
            return
        self._key = key
        look = Look(width=self.size.width, height=self.size.height, theme=self.look_theme, now_s=view.at_s)
        self._drawn = draw_header(view.header, look, shown=broker, corner=self.corner)
        self.put_all(self._drawn.rows)
        self.flush()

    def redraw(self) -> None:
        """After a resize."""
        self._key = None
        if self._last is not None:
            self.show(*self._last)

    def on_click(self, event: events.Click) -> None:
        """A broker's name was clicked, or nothing."""
        found = self._drawn.at(event.x, event.y)
        if found is not None:
            self.post_message(self.BrokerChosen(found.broker))


class FooterBar(FastPane):
    """The keys of what has the focus."""

    can_focus = False

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.look_theme = theme
        self._keys: list[Key] = []

    def show_keys(self, keys: list[Key]) -> None:
        """Show these keys from now on."""
        self._keys = keys
        self.redraw()

    def redraw(self) -> None:
        """Draw the keys in the width there is."""
        if self.size.width > 0:
            narrow = self.size.width < NARROW
            pairs = tuple((key.shown, key.brief if narrow and key.brief else key.label) for key in self._keys)
            self.put_all(draw_footer(pairs, self.size.width, self.look_theme).rows)
            self.flush()


class TooSmall(FastPane):
    """All there is below 80x24."""

    can_focus = False

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.look_theme = theme

    def redraw(self) -> None:
        """Say it in the size there is, down to one cell."""
        self.put_all(draw_too_small(self.size.width, self.size.height, self.look_theme))
        self.flush()


class LineBar(FastPane):
    """What is said under the header: one line where it fits, else up to three."""

    can_focus = False

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.look_theme = theme
        self._said = (SafeText(""), SafeText(""), False)

    def say(self, text: SafeText, *, name: SafeText | None = None, bad: bool = False) -> None:
        """Show this from now on, behind a name in the colour of dead letters."""
        self._said = (name or SafeText(""), text, bad)
        self.redraw()

    def lines(self, width: int) -> list[SafeText]:
        """What is said, the name first, broken for that width."""
        name, text, _ = self._said
        return wrapped(cat(name, literal(" "), text) if name else text, width - 2, LINES_SAID)

    def redraw(self) -> None:
        """Draw it in the width there is."""
        name, _, bad = self._said
        theme = self.look_theme
        canvas = Canvas(self.size.width, self.size.height, theme)
        for y, line in enumerate(self.lines(self.size.width)):
            canvas.put(1, y, line, theme.broken if bad else theme.middle)
        canvas.put(1, 0, name, theme.bold(theme.dead), width=max(self.size.width - 2, 0))
        self.put_all(canvas.rows())
        self.flush()


def place(widget: Widget, where: tuple[int, int, int, int] | None) -> None:
    """Put a widget on its rectangle (x, y, width, height in cells of the screen); None hides it."""
    widget.display = where is not None
    if where is not None:
        x, y, width, height = where
        widget.styles.offset = (x, y)
        widget.styles.width, widget.styles.height = width, height
