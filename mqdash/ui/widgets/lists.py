"""The list panes of the dashboard: Producers, Workers, Dead letters, Story. Each one only names its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mqdash.model.actors import WorkerState
from mqdash.safe_text import literal
from mqdash.ui import keymap
from mqdash.ui.presentation.dead_letters import draw_dead_letters
from mqdash.ui.presentation.producers import draw_producers
from mqdash.ui.presentation.story import draw_story
from mqdash.ui.presentation.workers import draw_workers
from mqdash.ui.widgets.pane import Pane

if TYPE_CHECKING:
    from textual.binding import BindingType

    from mqdash.model.views import View
    from mqdash.safe_text import SafeText
    from mqdash.ui.presentation.lists import Keys
    from mqdash.ui.presentation.paint import Drawn, Look, Subject
    from mqdash.ui.presentation.theme import Theme

_PROGRESS_PER_S = 4
READS_FOR_S = 10.0
"""So long after the last key the Story stays where it was scrolled to."""


def pane_keys(*ids: str, controls: frozenset[str] = keymap.EVERY_CONTROL) -> Keys:
    """Keys for the last lines of a pane, from the keymap; of those that need a control, the ones in `controls`."""
    keys = map(keymap.find, ids)
    return tuple((key.shown, key.label) for key in keys if not key.control or key.control in controls)


class ProducersPane(Pane):
    """Who publishes."""

    where = keymap.Where.PRODUCERS
    title: ClassVar[SafeText] = literal("Producers")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Where.PRODUCERS)]
    _keys = ("producer.publish", "producer.burst", "producer.toggle", "producer.faster")

    def revision(self, view: View) -> object:
        """Changes with the producers' numbers."""
        return view.producers.revision

    def picture(self, view: View, look: Look) -> Drawn:
        """The producers, those of the shown broker first."""
        return draw_producers(
            view.producers, look, shown=self.broker, keys=pane_keys(*self._keys, controls=self.controls)
        )


class WorkersPane(Pane):
    """Who works, and on what."""

    where = keymap.Where.WORKERS
    title: ClassVar[SafeText] = literal("Workers")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Where.WORKERS)]
    _keys = ("worker.kill", "worker.hang", "worker.crash", "worker.more", "worker.pause", "worker.finish")

    def revision(self, view: View) -> object:
        """Changes with the workers' numbers, and with time while one has a progress to show."""
        busy = any(row.worker.state is WorkerState.BUSY and row.worker.expected_s for row in view.workers.rows)
        return view.workers.revision, int(view.at_s * _PROGRESS_PER_S) if busy else 0

    def picture(self, view: View, look: Look) -> Drawn:
        """The workers, those of the shown broker first."""
        return draw_workers(view.workers, look, shown=self.broker, keys=pane_keys(*self._keys, controls=self.controls))


class DeadLettersPane(Pane):
    """Deaths mqdash saw itself, by cause, and what the brokers count."""

    where = keymap.Where.DEAD_LETTERS
    title: ClassVar[SafeText] = literal("Dead letters")
    every_ticks = 10
    follows_top = True
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Where.DEAD_LETTERS)]
    _keys = pane_keys("cause.open")

    def revision(self, view: View) -> object:
        """Changes with deaths, and each second with their age."""
        return view.dead_letters.revision, int(view.at_s) if view.dead_letters.deaths else 0

    def picture(self, view: View, look: Look) -> Drawn:
        """Causes, most first, and the newest death of the selected one."""
        return draw_dead_letters(view.dead_letters, look, keys=self._keys)


class StoryPane(Pane):
    """What happened, newest first."""

    where = keymap.Where.STORY
    title: ClassVar[SafeText] = literal("Story")
    follows_top = True

    def __init__(self, theme: Theme, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(theme, id=id)
        self._moved_s = 0.0

    def select(self, subject: Subject | None) -> None:
        """Put the cursor on a sentence; it stays there while one reads."""
        self._moved_s = self._view.at_s if self._view is not None else 0.0
        super().select(subject)

    def show(self, view: View, broker: str) -> None:
        """Draw the view; the newest again when no key was pressed for a while."""
        if not self._is_on_top and not 0 <= view.at_s - self._moved_s < READS_FOR_S:
            self.to_top()
        super().show(view, broker)

    def on_blur(self) -> None:
        """Whoever looks elsewhere wants to see here what happens now."""
        self.to_top()

    def revision(self, view: View) -> object:
        """Changes with a new sentence."""
        return view.story.revision

    def picture(self, view: View, look: Look) -> Drawn:
        """The sentences."""
        return draw_story(view.story, look)
