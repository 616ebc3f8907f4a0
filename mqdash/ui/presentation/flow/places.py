"""What a layout consists of: where lanes, nodes and labels stand, and the lines between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from mqdash.model.views import MemberView, NodeView
    from mqdash.ui.presentation.flow.columns import Columns
    from mqdash.ui.presentation.flow.lines import Cell, Glyph, Line, Path
    from mqdash.ui.presentation.flow.order import Lane


MAX_BARS: Final = 4
"""Up to so many partitions get a bar of their own; more become one column each."""
_DEAD_STATES: Final = frozenset({"killed", "crashed", "gone"})


class Mode(NamedTuple):
    """How much room lanes take. `fall` rows are kept below a queue whose dead letters go down from it."""

    boxed: bool
    fall: int
    members: int
    sources: int


MODES: Final = (Mode(True, 2, 8, 4), Mode(True, 2, 3, 3), Mode(True, 1, 3, 3), Mode(False, 1, 0, 2))


@dataclass(slots=True)
class LaneRows:
    """Where a lane stands. `axis` is the row edges run on, `slot_rows` those of its destinations."""

    lane: Lane
    gap: int = 0
    top: int = 0
    above: int = 0  # rows over the axis
    height: int = 1
    slot_rows: list[int] = field(default_factory=list)

    @property
    def axis(self) -> int:
        """The row edges run on."""
        return self.top + self.above


class SourcePlace(NamedTuple):
    """A publisher beside one of its destinations. `folded` > 0: it stands for so many that had no room."""

    node_id: str
    y: int
    folded: int = 0


class MemberPlace(NamedTuple):
    """A worker beside its queue. `folded` > 0: it stands for so many that had no room."""

    node_id: str
    place: int
    y: int
    folded: int = 0


class LabelPlace(NamedTuple):
    """Where the text of an edge may stand: from `x` on to the right, or ending before `x`."""

    edge_id: str
    x: int
    y: int
    leftwards: bool


@dataclass(slots=True)
class Layout:
    """A laid out flow. `paths`: per edge id the ways its dots may take; `glyphs`: all lines as characters."""

    columns: Columns
    height: int = 0
    rows: list[LaneRows] = field(default_factory=list)
    sources: list[SourcePlace] = field(default_factory=list)
    destinations: dict[str, int] = field(default_factory=dict)
    members: list[MemberPlace] = field(default_factory=list)
    labels: list[LabelPlace] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    paths: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    glyphs: dict[Cell, Glyph] = field(default_factory=dict)


def is_dead(member: MemberView) -> bool:
    """A worker that takes nothing any more."""
    return member.state in _DEAD_STATES


def back_id(worker: str) -> str:
    """Key in `Layout.paths` of the way back from a dead worker to its queue."""
    return f"back:{worker}"


def bars_of(node: NodeView | None) -> int:
    """How many bars are in a queue's box."""
    count = len(node.partitions) if node is not None else 0
    return count if 1 < count <= MAX_BARS else 1
