"""The moving picture: dots are stepped by the time between two views, rows are drawn by `FlowPicture`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from mqdash.safe_text import literal
from mqdash.ui import keymap
from mqdash.ui.presentation.flow.dots import Animation
from mqdash.ui.presentation.flow.picture import FlowPicture
from mqdash.ui.widgets.pane import Pane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import BindingType

    from mqdash.model.views import FlowView, View
    from mqdash.safe_text import SafeText
    from mqdash.ui.presentation.flow.dots import Dot
    from mqdash.ui.presentation.paint import Drawn, Look
    from mqdash.ui.presentation.theme import Theme

STEP_S: Final = 0.1
"""What one step of a paused picture shows."""
LONGEST_S: Final = 0.25
"""After a pause of the tick (a slow link, a dialog) dots go on from where they are instead of jumping."""


class FlowPane(Pane):
    """The topology of the shown broker (of all of them where there is room), with messages on their way.

    `paused` stops the dots, never the numbers; with `motion` off there are no dots at all.
    """

    where = keymap.Where.FLOW
    title: ClassVar[SafeText] = literal("Flow")
    every_ticks = 1
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Where.FLOW)]

    def __init__(self, theme: Theme, *, id: str, motion: bool) -> None:  # noqa: A002 - Textual's name
        super().__init__(theme, id=id)
        self.motion = motion
        self.paused = False
        self.stacked = False
        self._picture = FlowPicture()
        self._animations: dict[str, Animation] = {}
        self._dots: dict[str, Sequence[Dot]] = {}
        self._at_s: float | None = None

    def revision(self, view: View) -> object:
        """Each frame in which dots move is a new picture; a still one is redrawn when a number changed."""
        troubles = tuple((b.name, b.state, b.blocked, b.cause, b.retry_at_s) for b in view.header.brokers)
        moving = any(not found.still for found in self._animations.values()) or any(self._dots.values())
        flows = tuple((flow.broker, flow.shape, flow.revision) for flow in self.flows(view))
        waiting = int(view.at_s) if any(broker.retry_at_s for broker in view.header.brokers) else 0
        return flows, troubles, waiting, self._at_s if moving else None

    def flows(self, view: View) -> list[FlowView]:
        """The flow of the shown broker, or all of them on a large screen."""
        if self.stacked:
            return list(view.flows)
        return [flow for flow in view.flows if flow.broker == self.broker]

    def show(self, view: View, broker: str) -> None:
        """Move the dots by the time since the last view, then draw."""
        self.broker = broker
        if self.motion and not self.paused and view is not self._view:
            self._move(view, 0.0 if self._at_s is None else min(max(view.at_s - self._at_s, 0.0), LONGEST_S))
        super().show(view, broker)

    def step(self) -> None:
        """Let a paused picture go on by `STEP_S`."""
        if self.paused and self._view is not None:
            self._move(self._view, STEP_S)
            self.redraw()

    def _move(self, view: View, dt_s: float) -> None:
        self._at_s = view.at_s
        self._dots = {}
        for flow in self.flows(view):
            animation = self._animations.setdefault(flow.broker, Animation())
            workers = [row for row in view.workers.rows if row.worker.broker == flow.broker]
            self._dots[flow.broker] = animation.step(dt_s, flow, workers)

    def picture(self, view: View, look: Look) -> Drawn:
        """The topology with the dots where they are now."""
        flashing = {name: found.flashing for name, found in self._animations.items()}
        return self._picture.draw(
            self.flows(view), look, dots=self._dots, flashing=flashing, brokers=view.header.brokers
        )
