"""Asks before something is done: a second key, or the name of the target typed (semantics §5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from mqdash.safe_text import SafeText, literal, safe_text

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType


class TypedName(Input):
    """Pasted text is no confirmation: only what is typed counts."""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.app.notify(literal("type the name: pasted text does not count"), severity="warning", markup=False)


class Confirm(ModalScreen[bool]):
    """True when it shall be done. `how`: "confirm", or "typed:NAME" where the name must be typed first.

    The button that does nothing has the focus, so that a key too many does no harm.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("left", "app.focus_previous", "Previous", show=False),
        Binding("right", "app.focus_next", "Next", show=False),
    ]

    def __init__(self, question: SafeText, how: str, details: tuple[SafeText, ...] = ()) -> None:
        super().__init__()
        self._question = question
        self._details = details
        self._name = safe_text(how.partition(":")[2]) if how.startswith("typed:") else SafeText("")

    def compose(self) -> ComposeResult:
        """The question, what it means, the name to type, two buttons."""
        with Vertical(classes="dialog") as box:
            box.border_title = literal("Sure?")
            box.border_subtitle = literal("enter presses the lit one · ← → the other · esc cancels")
            yield Label(self._question, markup=False, classes="note")
            for line in self._details:
                yield Label(line, markup=False, classes="hint wide")
            if self._name:
                yield Label(safe_text(f"To go on type {self._name}"), markup=False, classes="hint gap")
                yield TypedName(id="name", compact=True)
            with Horizontal(classes="buttons"):
                yield Button(literal("Do it"), id="yes", compact=True, disabled=bool(self._name))
                yield Button(literal("Cancel"), id="no", compact=True)

    def on_mount(self) -> None:
        """Typing starts at once; else Cancel has the focus."""
        self.query_one("#name" if self._name else "#no").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The button works once the name is right."""
        self.query_one("#yes", Button).disabled = event.value != self._name

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter behind the right name does it."""
        if event.value == self._name:
            self.dismiss(True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Done or not."""
        self.dismiss(event.button.id == "yes")

    def action_cancel(self) -> None:
        """Escape: not."""
        self.dismiss(False)
