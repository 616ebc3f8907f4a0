"""Where the panes of the dashboard stand, for every size of the terminal from 80x24 on."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from mqdash.ui.presentation.footer import MIN_HEIGHT, MIN_WIDTH

PaneName = Literal["producers", "flow", "workers", "dead_letters", "story"]
PANES: Final[tuple[PaneName, ...]] = ("producers", "flow", "workers", "dead_letters", "story")
_ALL_THREE: Final = 112
"""From this width on Producers stands beside Flow; below, it takes the place of Workers while it has the focus."""
_STACKED_WIDTH, _STACKED_HEIGHT = 160, 50


class Place(NamedTuple):
    """A rectangle in cells."""

    x: int
    y: int
    width: int
    height: int


class Geometry(NamedTuple):
    """The rectangles of a size. `panes` has those that are seen (none = too small), `folded` those one key away."""

    header: Place
    footer: Place
    panes: dict[PaneName, Place]
    folded: tuple[PaneName, ...] = ()
    stacked: bool = False  # Flow shows all brokers below each other

    @property
    def too_small(self) -> bool:
        """Below 80x24 nothing is drawn but that sentence."""
        return not self.panes


def geometry(width: int, height: int, *, focus: PaneName = "flow", zoomed: bool = False) -> Geometry:
    """Rectangles for a terminal of that size; a zoomed pane takes all but header and footer."""
    header, footer = Place(0, 0, width, 2), Place(0, height - 1, width, 1)
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return Geometry(header, footer, {})
    stacked = width >= _STACKED_WIDTH and height >= _STACKED_HEIGHT
    if zoomed:
        folded = tuple(name for name in PANES if name != focus)
        return Geometry(header, footer, {focus: Place(0, 2, width, height - 3)}, folded, stacked)
    upper = (height - 3) * 3 // 4 if stacked else _upper(height)
    lower = height - 3 - upper
    panes: dict[PaneName, Place] = {}
    hidden: tuple[PaneName, ...] = ()
    if width >= _ALL_THREE:
        producers = min(26 + (width - 120) // 12, 34) if width >= 120 else 24
        workers = min(30 + (width - 120) // 6, 46) if width >= 120 else 26
        panes["producers"] = Place(0, 2, producers, upper)
        panes["flow"] = Place(producers, 2, width - producers - workers, upper)
        panes["workers"] = Place(width - workers, 2, workers, upper)
    else:
        side: PaneName = "producers" if focus == "producers" else "workers"
        hidden = ("workers",) if side == "producers" else ("producers",)
        narrow = 22 + (width - MIN_WIDTH) // 5
        panes["flow"] = Place(0, 2, width - narrow, upper)
        panes[side] = Place(width - narrow, 2, narrow, upper)
    letters = width // 2 + (2 if width >= 120 else 0)
    panes["dead_letters"] = Place(0, 2 + upper, letters, lower)
    panes["story"] = Place(letters, 2 + upper, width - letters, lower)
    return Geometry(header, footer, panes, hidden, stacked)


def _upper(height: int) -> int:
    """Rows of the upper panes: two thirds, the whole rest of a small terminal after seven rows below."""
    room = height - 3
    return max(room * 24 // 37, min(14, room - 7))
