"""How wide the columns of the picture are: who publishes, where to, where it waits, who takes it, and the gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len

from mqdash.model.message import Family
from mqdash.safe_text import safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.model.views import NodeView
    from mqdash.ui.presentation.flow.order import Graph, Lane

COMPACT_BAR: Final = 5
COMPACT_COUNT: Final = 5
_KIND: Final = 8
RATE_CELLS: Final = 7
"""`1.24k/s`."""
_MARGIN: Final = 1
_BOX: Final = 16
"""So wide a box holds its trend and its count; it is made wider where there is room."""


class Columns(NamedTuple):
    """First cells and widths. Sources end at `source_x + source_width`; the gap before a column is for edges."""

    source_x: int
    source_width: int
    destination_x: int
    destination_width: int
    queue_x: int
    queue_width: int
    member_x: int
    member_width: int
    boxed: bool

    @property
    def arrow_x(self) -> int:
        """Where the head of an edge into a queue stands; a name without a box keeps a blank before it."""
        return self.queue_x - (1 if self.boxed else 2)


def name_cells(name: str) -> int:
    """How many cells a remote name takes once it is safe to draw."""
    return cell_len(safe_text(name))


def queue_title(node: NodeView) -> str:
    """A group under its topic or stream is called by its own name: the topic stands left of it."""
    grouped = node.family is not Family.RABBITMQ and node.sub and node.id.endswith(f"|{node.sub}")
    return node.sub if grouped else node.name


def columns(graph: Graph, lanes: Sequence[Lane], width: int, *, boxed: bool) -> Columns:
    """Natural widths, then cut or stretched to the pane; what is cut gets `…`, gaps keep their least."""
    sources = {edge.source for lane in lanes for slot in lane.slots for edge in slot.sources}
    by_kind: dict[str, list[NodeView]] = {}
    for node in graph.nodes.values():
        by_kind.setdefault(node.kind, []).append(node)
    mark = 2 if boxed else 0
    source = min(max((name_cells(graph.nodes[name].name) + mark for name in sources), default=0), 16)
    destinations = by_kind.get("destination", [])
    destination = min(max((name_cells(node.name) + 2 for node in destinations), default=0), 26)
    if destinations and boxed:
        destination = max(destination, *(min(name_cells(node.sub), _KIND) + 4 + RATE_CELLS for node in destinations))
    queues = by_kind.get("queue", [])
    name = min(max((name_cells(queue_title(node)) for node in queues), default=0), 26)
    queue = 0
    if queues:
        queue = max(name + 4, _BOX + 2) if boxed else name + COMPACT_BAR + COMPACT_COUNT + 2
    member = _members(lanes, boxed=boxed)
    wants = {"source": source, "g1": 5 if source else 1, "destination": destination, "g2": (6 if boxed else 5) if queues else 1,
             "queue": queue, "g3": (4 if boxed else 1) if member else 0, "member": member}  # fmt: skip
    _cut(wants, width - _MARGIN, title=name, boxed=boxed)
    _stretch(wants, width - _MARGIN - 1, boxed=boxed)
    destination_x = _MARGIN + wants["source"] + wants["g1"]
    queue_x = destination_x + wants["destination"] + wants["g2"]
    return Columns(
        _MARGIN, wants["source"], destination_x, wants["destination"], queue_x, wants["queue"],
        queue_x + wants["queue"] + wants["g3"], wants["member"], boxed,
    )  # fmt: skip


def _members(lanes: Sequence[Lane], *, boxed: bool) -> int:
    workers = [lane.workers for lane in lanes if lane.workers is not None]
    if not boxed:
        return 3 if workers else 0
    names = [name_cells(member.name) + 2 for node in workers for member in node.members]
    graves = any(lane.queue is not None and lane.queue.dead and lane.workers is None for lane in lanes)
    return min(max([*names, 5 if graves else 0, 4 if workers else 0]), 12)


def _cut(wants: dict[str, int], room: int, *, title: int, boxed: bool) -> None:
    if boxed:
        lacking = max(sum(wants.values()) - room, 0)
        wants["queue"] -= min(lacking, max(wants["queue"] - max(title + 4, _BOX), 0))
    if sum(wants.values()) > room and wants["g1"] > 4:
        wants["g1"] = 4
    least = {"source": 4, "destination": 8, "queue": 12 if boxed else 18, "member": 4}
    while sum(wants.values()) > room:
        over = [name for name, floor in least.items() if wants[name] > floor]
        if not over:
            return
        widest = max(over, key=lambda name: wants[name] - (7 if name == "queue" else 0))
        wants[widest] -= 1


def _stretch(wants: dict[str, int], room: int, *, boxed: bool) -> None:
    most = {"g2": 26, "g1": 16, "queue": 44 if boxed else 40}
    while (spare := room - sum(wants.values())) > 0:
        able = [name for name, limit in most.items() if 0 < wants[name] < limit]
        if not able:
            return
        for name in able[:spare]:
            wants[name] += 1
