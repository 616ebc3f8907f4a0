"""`?`: every key, made from the keymap, so that it cannot lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mqdash.safe_text import literal, safe_text
from mqdash.ui import keymap
from mqdash.ui.keymap import Where
from mqdash.ui.presentation.paint import wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from mqdash.model.views import BrokerView
    from mqdash.safe_text import SafeText

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
SIGNS = (
    (literal("●"), literal("works, or is connected; a moving one is a message")),
    (literal("▶ ■ »"), literal("a producer that sends, is off, sends a burst")),
    (literal("◌ ◐"), literal("paused or starting; finishing, or a link that is not well")),
    (literal("◉ !"), literal("hung: holds messages and does nothing; stuck: could not settle")),
    (literal("✗"), literal("killed, crashed, failed; on a dashed edge: dead letters")),
    (literal("‖"), literal("held back by the broker, or a paused picture")),
    (literal("1 back"), literal("of a dead worker's messages so many have come back")),
    (literal("×2"), literal("a message in its second attempt; in the Story: so often")),
    (literal("▲185"), literal("so many more dead letters in the last minute")),
    (literal("–"), literal("none")),
    (literal("·"), literal("this broker cannot tell")),
    (literal("█░"), literal("a queue's depth against its largest of five minutes (at least 10), or its limit")),
    (literal("▒"), literal("entries of a stream that are pending")),
    (literal("╌ violet"), literal("the way of dead letters")),
    (
        literal("dots"),
        literal("messages on their way: each one up to about 20 a second, above a sample; amber: once more"),
    ),
)


def help_text(brokers: Sequence[BrokerView] = ()) -> Content:
    """All sections as one text; last what is simplified in, or to be known of, each broker that was reached (E5)."""
    parts: list[Content | tuple[str, str]] = [
        ("A key that harms is upper case. A click selects, the wheel scrolls.\n", "$dim")
    ]
    for title, places in SECTIONS:
        parts.append(("\n" + title + "\n", "bold"))
        for key in keymap.keys_of(*places):
            parts += _entry(key.shown, key.tooltip, "bold $error" if key.harms else "bold $accent")
    parts.append(("\nSigns\n", "bold"))
    for sign, meaning in SIGNS:
        parts += _entry(sign, meaning, "$foreground")
    noted = [(broker.name, broker.info.notes) for broker in brokers if broker.info is not None and broker.info.notes]
    if noted:
        parts.append(("\nBrokers\n", "bold"))
    for name, notes in noted:
        parts.append((f"{' ' * (KEY_WIDTH + 2)}{safe_text(name)}\n", "$accent"))
        for note in notes:
            parts += _entry(literal("–"), safe_text(note), "$foreground")
    return Content.assemble(*parts)


def _entry(shown: SafeText, text: SafeText, style: str) -> list[tuple[str, str]]:
    """What is explained, right-aligned, and its meaning in lines beside it."""
    lines = [(" " * max(KEY_WIDTH - cell_len(shown), 0) + shown, style)]
    for at, line in enumerate(wrapped(text, TEXT_WIDTH)):
        lines.append((" " * (KEY_WIDTH + 2 if at else 2) + line + "\n", "$foreground"))
    return lines


class Help(ModalScreen[None]):
    """Closed by any of esc, q, ?."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "dismiss", "Close", show=False),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, brokers: Sequence[BrokerView] = ()) -> None:
        super().__init__()
        self._brokers = brokers

    def compose(self) -> ComposeResult:
        """One scrolling text."""
        with Vertical(classes="dialog") as box:
            box.border_title = literal("Keys")
            box.border_subtitle = literal("esc closes · j k scroll")
            with VerticalScroll(id="help-scroll"):
                yield Static(help_text(self._brokers))

    def on_mount(self) -> None:
        """Arrows scroll at once."""
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, by: int) -> None:
        """A line up or down."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
