"""At most one animation frame in flight: on a slow link the picture gets slower, never the keys.

After a frame the terminal is asked where its cursor is; until it answers the frame is still on its way and nothing is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ASK: Final = "\x1b[6n"
SILENCE_S: Final = 2.0
"""A terminal that has not answered for so long does not answer."""
SLOW_LINK_S: Final = 0.15
"""From here on the way to the terminal is worth a word in the header."""


class Pacing:
    """Knows whether the last frame has arrived. `link_s`: how long the last one took, there and back."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._asked_s: float | None = None
        self._wanted = False
        self.link_s: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether a frame is still on its way."""
        return self._asked_s is not None and self._monotonic() - self._asked_s < SILENCE_S

    def drew(self) -> None:
        """A frame was drawn; the next paint carries the question."""
        self._wanted = True

    def question(self) -> str:
        """What to send behind a paint: the question, once per drawn frame, else nothing."""
        if not self._wanted:
            return ""
        self._wanted = False
        self._asked_s = self._monotonic()
        return ASK

    def answered(self) -> None:
        """The terminal has told where its cursor is: the frame has arrived."""
        if self._asked_s is not None:
            self.link_s = self._monotonic() - self._asked_s
            self._asked_s = None
