"""The line at the bottom that takes a filter (`/`) or a command (`:`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from mqdash.safe_text import literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.widget import Widget

    from mqdash.safe_text import SafeText


class Completions(Suggester):
    """Suggests by a function of what is typed; "" suggests nothing."""

    def __init__(self, complete: Callable[[str], str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        """The whole line as it could become."""
        return self._complete(value) or None


class Prompt(Input):
    """Hidden until opened; gives the focus back where it was when it closes."""

    class Ended(Message):
        """Enter or escape: `text` is None when it was given up."""

        def __init__(self, kind: str, text: str | None) -> None:
            super().__init__()
            self.kind = kind
            self.text = text

    class Typed(Message):
        """What stands in the line now."""

        def __init__(self, kind: str, text: str) -> None:
            super().__init__()
            self.kind = kind
            self.text = text

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, compact=True)
        self.kind = ""
        self._before: Widget | None = None
        self.display = False

    def open(self, kind: str, hint: SafeText, text: str = "", complete: Callable[[str], str] | None = None) -> None:
        """Show the line with `text` in it; `kind` comes back with its messages."""
        self.kind = kind
        self._before = self.screen.focused
        self.suggester = Completions(complete) if complete is not None else None
        self.placeholder = hint
        self.value = text
        self.cursor_position = len(text)
        self.display = True
        self.screen.set_focus(self)  # now, not with the next message: the next key is part of the text

    def shut(self, text: str | None) -> None:
        """Hide the line and tell what was typed."""
        kind, self.kind = self.kind, ""
        self.display = False
        self.placeholder = literal("")
        if self._before is not None:
            self.screen.set_focus(self._before)
        self.post_message(self.Ended(kind, text))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell while it is typed, so that a filter works at once."""
        event.stop()
        if self.kind:
            self.post_message(self.Typed(self.kind, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        self.shut(event.value)

    async def on_key(self, event: events.Key) -> None:
        """Escape gives up; tab takes the suggestion."""
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self.shut(None)
        elif event.key == "tab":
            event.stop()
            event.prevent_default()
            self.action_cursor_right()
