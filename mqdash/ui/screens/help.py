"""`?`: every key, made from the keymap, so that it cannot lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mqdash.safe_text import literal
from mqdash.ui import keymap
from mqdash.ui.keymap import Where
from mqdash.ui.presentation.paint import wrapped

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

SECTIONS = (
    (literal("Everywhere"), (Where.EVERYWHERE,)),
    (literal("Moving"), (Where.LISTS,)),
    (literal("Dashboard"), (Where.DASHBOARD,)),
    (literal("Producers, when focused"), (Where.PRODUCERS,)),
    (literal("Flow, when focused"), (Where.FLOW,)),
    (literal("Workers, when focused"), (Where.WORKERS,)),
    (literal("Dead letters, when focused"), (Where.DEAD_LETTERS,)),
    (literal("The dead-letter screen (d)"), (Where.LETTERS,)),
)
KEY_WIDTH, TEXT_WIDTH = 11, 55


def help_text() -> Content:
    """All sections as one text."""
    parts: list[Content | tuple[str, str]] = [
        ("A key that harms is upper case. A click selects, the wheel scrolls.\n", "$dim")
    ]
    for title, places in SECTIONS:
        parts.append(("\n" + title + "\n", "bold"))
        for key in keymap.keys_of(*places):
            style = "bold $error" if key.harms else "bold $accent"
            parts.append((" " * (KEY_WIDTH - cell_len(key.shown)) + key.shown, style))
            for at, line in enumerate(wrapped(key.tooltip, TEXT_WIDTH)):
                parts.append((" " * (KEY_WIDTH + 2 if at else 2) + line + "\n", "$foreground"))
    return Content.assemble(*parts)


class Help(ModalScreen[None]):
    """Closed by any of esc, q, ?."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "dismiss", "Close", show=False),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]

    def compose(self) -> ComposeResult:
        """One scrolling text."""
        with Vertical(classes="dialog") as box:
            box.border_title = literal("Keys")
            box.border_subtitle = literal("esc closes · j k scroll")
            with VerticalScroll(id="help-scroll"):
                yield Static(help_text())

    def on_mount(self) -> None:
        """Arrows scroll at once."""
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, by: int) -> None:
        """A line up or down."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
