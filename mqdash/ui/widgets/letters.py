"""The three panes of the dead-letter screen. They show what the screen gives them, not a view of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mqdash.safe_text import SafeText, literal
from mqdash.ui import keymap
from mqdash.ui.presentation.letters import PARTS, draw_groups, draw_letter, draw_letters
from mqdash.ui.widgets.lists import pane_keys
from mqdash.ui.widgets.pane import Pane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.dead_letters.letter import Group, Letter
    from mqdash.model.views import View
    from mqdash.ui.presentation.letters import Part
    from mqdash.ui.presentation.paint import Drawn, Look
    from mqdash.ui.presentation.theme import Theme


class CausesPane(Pane):
    """The causes of the window, most first."""

    where = keymap.Where.LETTERS
    title: ClassVar[SafeText] = literal("Causes")

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(theme, id=id)
        self.groups: Sequence[Group] = ()

    def revision(self, view: View) -> object:  # noqa: ARG002 - the store has no part in it
        """Changes when letters go."""
        return tuple((group.cause, len(group.letters)) for group in self.groups)

    def picture(self, view: View, look: Look) -> Drawn:  # noqa: ARG002 - the store has no part in it
        """The causes."""
        return draw_groups(self.groups, look, self.broker)


class LettersPane(Pane):
    """The letters of the selected cause, with marks."""

    where = keymap.Where.LETTERS
    title: ClassVar[SafeText] = literal("Messages")

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(theme, id=id)
        self.letters: Sequence[Letter] = ()
        self.marked: set[int] = set()
        self.heading = SafeText("")

    def revision(self, view: View) -> object:
        """Changes with marks and letters, and each second with their age."""
        return (self.heading, len(self.letters), frozenset(self.marked), int(view.at_s))

    def picture(self, view: View, look: Look) -> Drawn:  # noqa: ARG002 - the store has no part in it
        """The letters."""
        return draw_letters(self.letters, self.marked, look, self.broker, self.heading)


class LetterPane(Pane):
    """One letter; its cursor keys scroll."""

    where = keymap.Where.LETTERS
    title: ClassVar[SafeText] = literal("Message")
    _keys = pane_keys("letter.replay", "letter.discard", "letter.mark", "letter.view")

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(theme, id=id)
        self.letter: Letter | None = None
        self.part: Part = PARTS[0]
        self.scrolled = 0

    def revision(self, view: View) -> object:  # noqa: ARG002 - the store has no part in it
        """Changes with the letter and the part of it that is read."""
        return (self.letter.number if self.letter is not None else None, self.part, self.scrolled)

    def picture(self, view: View, look: Look) -> Drawn:  # noqa: ARG002 - the store has no part in it
        """The letter."""
        drawn = draw_letter(self.letter, self.part, look, scroll=self.scrolled, keys=self._keys)
        self.scrolled = drawn.offset
        return drawn

    def move_by(self, rows: int) -> None:
        """Scroll instead of moving a cursor."""
        self.scrolled = max(0, self.scrolled + rows)
        self.redraw()

    def action_edge(self, by: int) -> None:
        """To the beginning or the end."""
        self.move_by(by * 1_000_000)
