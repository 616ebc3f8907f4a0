"""A pane: a live picture with a cursor. It draws views by the pure functions of `presentation` and reports what is wished."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from mqdash.safe_text import literal
from mqdash.ui import keymap
from mqdash.ui.live import FastPane
from mqdash.ui.presentation.paint import Drawn, Look, Subject

if TYPE_CHECKING:
    from textual import events
    from textual.binding import BindingType

    from mqdash.model.views import View
    from mqdash.safe_text import SafeText
    from mqdash.ui.presentation.theme import Theme

WHEEL_ROWS = 3


class Pane(FastPane):
    """A list or a picture of which one subject at a time is selected.

    Subclasses give `revision` (what the picture depends on beside the cursor) and `picture`. The cursor stays with its
    subject when rows come and go; when the subject goes it moves to the neighbour.
    """

    where: ClassVar[keymap.Where]
    title: ClassVar[SafeText] = literal("")
    every_ticks: ClassVar[int] = 3
    """Redrawn at most each n-th tick of the 30 Hz clock."""
    follows_top: ClassVar[bool] = False
    """The cursor stays on the first row, whatever comes there, until it is moved away from it."""
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Where.LISTS)]

    class Moved(Message):
        """The cursor went to another subject, by key or by mouse."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    class Sideways(Message):
        """The focus is wished to go to the pane beside this one; `by` -1 left, 1 right."""

        def __init__(self, pane: Pane, by: int) -> None:
            super().__init__()
            self.pane = pane
            self.by = by

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.look_theme = theme
        self.selected: Subject | None = None
        self.first_row: int | None = None
        self.filter_text = ""
        self.drawn = Drawn([])
        self._view: View | None = None
        self.broker = ""
        self.controls: frozenset[str] = frozenset()
        """What can be done with what is selected: keys that need another control are not offered."""
        self._key: object = None
        self._stale = True
        self._index = 0
        self._is_on_top = self.follows_top

    # --- drawing ---------------------------------------------------------------------------------------------------

    def revision(self, view: View) -> object:
        """Equal values draw the same picture."""
        raise NotImplementedError

    def picture(self, view: View, look: Look) -> Drawn:
        """The picture of the view."""
        raise NotImplementedError

    def show(self, view: View, broker: str) -> None:
        """Draw the view unless the picture would be the same; `broker` is the one shown in Flow."""
        self._view, self.broker = view, broker
        width, height = self.size
        if width < 1 or height < 1 or not self.display:
            return
        key = (
            self.revision(view),
            broker,
            self.controls,
            width,
            height,
            self.has_focus,
            self.selected,
            self.first_row,
            self.filter_text,
        )
        if key == self._key and not self._stale:
            return
        self._key, self._stale = key, False
        self.drawn = self.picture(view, self._look(view))
        if self._keep_cursor():
            self.drawn = self.picture(view, self._look(view))
        self.put_all(self.drawn.rows)
        self.flush()

    def redraw(self) -> None:
        """Draw again now: a key must show at once, not with the next tick."""
        self._stale = True
        if self._view is not None:
            self.show(self._view, self.broker)

    def _look(self, view: View) -> Look:
        width, height = self.size
        return Look(
            width=width,
            height=height,
            theme=self.look_theme,
            focused=self.has_focus,
            selected=self.selected,
            offset=self.first_row,
            now_s=view.at_s,
            filtered=self.filter_text,
        )

    def _keep_cursor(self) -> bool:
        """Whether the cursor had to move since its subject is not in the picture any more."""
        order = self.drawn.order
        if self._is_on_top and order and self.selected != order[0]:
            self.selected, self.first_row, self._index = order[0], None, 0
            return True
        if self.selected in order:
            self._index = order.index(self.selected)
            return False
        before = self.selected
        self.selected = order[min(self._index, len(order) - 1)] if order else None
        return self.selected != before

    def to_top(self) -> None:
        """Follow the first row again, where the pane does so; drawn with the next view."""
        self._is_on_top, self._stale = self.follows_top, True

    def forget(self) -> None:
        """The next draw paints everything."""
        super().forget()
        self._stale = True

    def on_focus(self) -> None:
        """The frame tells where one is."""
        self.redraw()

    def on_blur(self) -> None:
        """The frame tells where one is not any more."""
        self.redraw()

    # --- the cursor ------------------------------------------------------------------------------------------------

    def select(self, subject: Subject | None) -> None:
        """Put the cursor on a subject."""
        if subject != self.selected:
            self.selected = subject
            self._is_on_top = self.follows_top and subject == next(iter(self.drawn.order), None)
            self.first_row = self.drawn.offset
            self.redraw()
            self.post_message(self.Moved(self))

    def move_by(self, rows: int) -> None:
        """Move the cursor; it stops at the ends."""
        order = self.drawn.order
        if order:
            at = order.index(self.selected) if self.selected in order else 0
            self.select(order[max(0, min(len(order) - 1, at + rows))])

    def action_move(self, by: int) -> None:
        """The row above or below."""
        self.move_by(by)

    def action_page(self, by: int) -> None:
        """A page up or down."""
        self.move_by(by * max(1, self.size.height - 3))

    def action_edge(self, by: int) -> None:
        """The first or the last row."""
        self.move_by(by * len(self.drawn.order))

    def action_sideways(self, by: int) -> None:
        """To the pane beside this one."""
        self.post_message(self.Sideways(self, by))

    def on_click(self, event: events.Click) -> None:
        """A click selects what is drawn there."""
        found = self.drawn.at(event.x, event.y)
        if found is not None and found in self.drawn.order:
            self.select(found)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves through the list."""
        event.stop()
        self.move_by(WHEEL_ROWS)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves through the list."""
        event.stop()
        self.move_by(-WHEEL_ROWS)

    # --- what it tells ---------------------------------------------------------------------------------------------

    def copied(self) -> str:
        """What `y` copies: the drawn rows of the selected subject."""
        if self.selected is None:
            return ""
        rows = sorted({hit.y for hit in self.drawn.hits if hit.subject == self.selected})
        texts = self.texts
        return "\n".join(texts[y].strip(" │╭╮╰╯─") for y in rows if y < len(texts))
