"""From topology to cells: in which row every lane stands, where every edge runs, what a dot passes.

Tried from roomy to tight until it fits: boxes with room for labels, boxes, one line each. What still does not fit is
taller than the pane and scrolls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mqdash.ui.presentation.flow.columns import Columns, columns, name_cells
from mqdash.ui.presentation.flow.lines import FROM_LEFT, Line, Path, grid, polyline
from mqdash.ui.presentation.flow.order import Graph, Lane, lanes
from mqdash.ui.presentation.flow.places import (
    MODES,
    LabelPlace,
    LaneRows,
    Layout,
    MemberPlace,
    Mode,
    SourcePlace,
    back_id,
    bars_of,
    is_dead,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.model.views import EdgeView, FlowView

MIN_BOXED_WIDTH: Final = 46


def needed_heights(flow: FlowView) -> tuple[int, ...]:
    """Rows the flow needs in each of `MODES`, roomiest first."""
    graph = Graph(flow)
    order = lanes(graph)
    return tuple(sum(row.gap + row.height for row in _rows(graph, order, mode)) for mode in MODES)


def lay_out(flow: FlowView, width: int, height: int) -> Layout:
    """The roomiest layout of the flow that fits in `height` rows of `width` cells, else the tightest."""
    graph = Graph(flow)
    order = lanes(graph)
    for mode in MODES:
        if mode.boxed and width < MIN_BOXED_WIDTH:
            continue
        rows = _rows(graph, order, mode)
        needed = sum(row.gap + row.height for row in rows)
        if needed <= height or not mode.boxed:
            _spread(rows, height - needed)
            return _Drawing(graph, rows, columns(graph, order, width, boxed=mode.boxed), mode).done()
    raise AssertionError("the last mode is taken whatever it needs")


def _rows(graph: Graph, order: Sequence[Lane], mode: Mode) -> list[LaneRows]:
    fallen = {edge.target: edge for edge in graph.edges if graph.falls(edge)}
    rows: list[LaneRows] = []
    for lane in order:
        row = LaneRows(lane)
        if lane.queue is not None and mode.boxed:
            bars = bars_of(lane.queue)
            row.above, row.height = 1 + (bars - 1) // 2, bars + 2
        at = row.above
        for slot in lane.slots:
            row.slot_rows.append(at)
            least = 2 if mode.boxed and slot.node is not None else 1
            at += max(least, min(len(slot.sources), mode.sources))
        row.height = max(row.height, at)
        if lane.workers is not None and mode.boxed:
            row.height = max(row.height, row.above + min(len(lane.workers.members), mode.members) - min(row.above, 1))
        names = [slot.node.id for slot in lane.slots if slot.node is not None]
        names += [lane.queue.id] if lane.queue is not None else []
        falls = [fallen[name] for name in names if name in fallen]
        if falls:
            above = rows[-1].lane.queue if rows else None
            row.gap = mode.fall if above is not None and any(edge.source == above.id for edge in falls) else 1
        rows.append(row)
    return rows


def _spread(rows: Sequence[LaneRows], spare: int) -> None:
    """Give spare rows to where the picture breathes: before requests, above all, between destinations."""
    starts = [
        row for row in rows[1:] if row.gap == 0 and (row.lane.request or any(slot.node for slot in row.lane.slots))
    ]
    starts.sort(key=lambda row: row.lane.request is None)
    for _ in range(2):
        for row in [*rows[:1], *starts]:
            if spare > 0:
                row.gap += 1
                spare -= 1
    top = 0
    for row in rows:
        top += row.gap
        row.top = top
        row.slot_rows = [top + at for at in row.slot_rows]
        top += row.height


class _Drawing:
    """Places everything of laid out rows and routes the edges."""

    def __init__(self, graph: Graph, rows: list[LaneRows], cols: Columns, mode: Mode) -> None:
        self.graph, self.cols, self.mode = graph, cols, mode
        self.layout = Layout(cols, rows=rows, height=rows[-1].top + rows[-1].height if rows else 0)
        self.row_of: dict[str, LaneRows] = {}
        self.wishes: list[tuple[int, int, str]] = []
        for row in rows:
            for slot, y in zip(row.lane.slots, row.slot_rows, strict=True):
                if slot.node is not None:
                    self.layout.destinations[slot.node.id] = y
                    self.row_of[slot.node.id] = row
            for node in (row.lane.queue, row.lane.request):
                if node is not None:
                    self.row_of[node.id] = row

    def done(self) -> Layout:
        """Route in two rounds: first who needs a vertical channel, then all lines."""
        self.channels = self._channels()
        for row in self.layout.rows:
            self._sources(row)
            self._members(row)
        for edge in self.graph.edges:
            if self.graph.forward(edge):
                self._forward(edge)
            elif self.graph.falls(edge):
                self._fall(edge)
        self.layout.glyphs = grid(self.layout.lines)
        return self.layout

    def _line(self, edge: EdgeView, cells: Path, head: str, *, tail: str = "") -> None:
        entry = 0 if self.graph.falls(edge) else FROM_LEFT
        self.layout.lines.append(Line(edge.id, cells, head, edge.kind == "dead", tail, entry))
        path = cells[1 if tail else 0 : -1 if head else len(cells)]
        self.layout.paths[edge.id] = (*self.layout.paths.get(edge.id, ()), path)

    # --- vertical channels between destinations and queues ---

    def _channels(self) -> dict[str, int]:
        """A column per bundle of edges that runs vertically; bundles that overlap get different ones if possible."""
        spans: dict[str, tuple[int, int]] = {}
        for edge in self.graph.edges:
            ends = self._vertical(edge)
            if ends is not None:
                key = self._bundle(edge)
                low, high = spans.get(key, (min(ends), max(ends)))
                spans[key] = (min(low, *ends), max(high, *ends))
        first = self.cols.destination_x + self.cols.destination_width + 1
        last = self.cols.arrow_x - 3
        usable = [*range(last, first - 1, -1), *range(last + 1, self.cols.arrow_x)] or [self.cols.arrow_x - 1]
        busy: list[int] = [-1] * len(usable)
        chosen: dict[str, int] = {}
        for key, (low, high) in sorted(spans.items(), key=lambda item: item[1]):
            at = next((at for at, end in enumerate(busy) if end < low), len(chosen) % len(usable))
            busy[at] = max(busy[at], high)
            chosen[key] = usable[at]
        return chosen

    def _bundle(self, edge: EdgeView) -> str:
        """Edges that share a channel: those out of one destination, and those that fall to one target."""
        return edge.source if self.graph.forward(edge) else f"to {edge.target}"

    def _vertical(self, edge: EdgeView) -> tuple[int, int] | None:
        if self.graph.forward(edge):
            start, stop = self.layout.destinations[edge.source], self.row_of[edge.target].axis
            return (start, stop) if start != stop else None
        if self.graph.falls(edge) and not self._adjacent(edge):
            return self.row_of[edge.source].axis, self.row_of[edge.target].top
        return None

    def _adjacent(self, edge: EdgeView) -> bool:
        rows = self.layout.rows
        source = self.row_of[edge.source]
        at = rows.index(source)
        return (
            source.lane.queue is not None
            and source.lane.queue.id == edge.source
            and at + 1 < len(rows)
            and rows[at + 1] is self.row_of[edge.target]
            and rows[at + 1].gap > 0
        )

    # --- left: who publishes ---

    def _sources(self, row: LaneRows) -> None:
        for slot, y in zip(row.lane.slots, row.slot_rows, strict=True):
            limit = self.mode.sources
            folded = len(slot.sources) - limit + 1 if len(slot.sources) > limit else 0
            for at, edge in enumerate(slot.sources):
                line_y = y + min(at, limit - 1)
                if at < limit - 1 or not folded:
                    self.layout.sources.append(SourcePlace(edge.source, line_y))
                elif at == limit - 1:
                    self.layout.sources.append(SourcePlace(edge.source, line_y, folded))
                self._publish(edge, row, y, line_y, to_queue=slot.node is None)

    def _publish(self, edge: EdgeView, row: LaneRows, y: int, line_y: int, *, to_queue: bool) -> None:
        cols = self.cols
        name = name_cells(self.graph.nodes[edge.source].name) + (2 if cols.boxed else 0)
        start = cols.source_x + min(name, cols.source_width) + 1
        join = max(cols.destination_x - 3, start)
        if row.lane.request is not None:
            stop = cols.destination_x - 2
            corners = (
                [(start, line_y), (stop, line_y)]
                if line_y == y
                else [(start, line_y), (join, line_y), (join, y), (stop, y)]
            )
            self._line(edge, polyline(corners), "▶", tail="◀" if line_y == y and stop - start > 1 else "")
            return
        corners = [(start, line_y)]
        if line_y != y:
            corners += [(join, line_y), (join, y)]
        if not to_queue:
            corners.append((cols.destination_x - 1, y))
        else:
            if y != row.axis:
                corners += [(cols.arrow_x - 2, y), (cols.arrow_x - 2, row.axis)]
            corners.append((cols.arrow_x, row.axis))
        self._line(edge, polyline(corners), "▶")

    # --- middle: destinations to queues ---

    def _destination_end(self, name: str) -> int:
        width = min(name_cells(self.graph.nodes[name].name) + 2, self.cols.destination_width)
        return self.cols.destination_x + width + 1

    def _forward(self, edge: EdgeView) -> None:
        start, row = self._destination_end(edge.source), self.row_of[edge.target]
        y = self.layout.destinations[edge.source]
        corners = [(start, y)]
        if y != row.axis:
            channel = self.channels[self._bundle(edge)]
            corners += [(channel, y), (channel, row.axis)]
        corners.append((self.cols.arrow_x, row.axis))
        self._line(edge, polyline(corners), "▶")
        if self.cols.boxed:
            self.layout.labels.append(LabelPlace(edge.id, self.cols.queue_x - 1, row.axis - 1, leftwards=True))

    def _fall(self, edge: EdgeView) -> None:
        cols, source, target = self.cols, self.row_of[edge.source], self.row_of[edge.target]
        to_queue = self.graph.kind(edge.target) == "queue"
        bottom = source.axis + bars_of(source.lane.queue) // 2 + 1 if cols.boxed else source.axis
        if self._adjacent(edge):
            x = cols.queue_x + (4 if cols.boxed else 2)
            start = bottom + 1
            self.layout.labels.append(LabelPlace(edge.id, x + 2, start, leftwards=False))
            corners = [(x, start), (x, target.top - 1)]
        else:
            x = self.channels[self._bundle(edge)]
            corners = [(x, source.axis)]
            if self.graph.kind(edge.source) == "destination":
                corners = [(self._destination_end(edge.source), self.layout.destinations[edge.source])]
                corners.append((x, corners[0][1]))
            elif cols.boxed:
                corners = [(cols.queue_x - 1, bottom), (x, bottom)]
            if to_queue:
                self._line(edge, polyline([*corners, (x, target.axis), (cols.arrow_x, target.axis)]), "▶")
                return
            corners.append((x, target.top - 1))
            self.layout.labels.append(LabelPlace(edge.id, x + 1, target.top - 1, leftwards=False))
        if not to_queue:
            y = self.layout.destinations[edge.target]
            corners += [(cols.destination_x, target.top - 1), (cols.destination_x, max(y - 1, target.top - 1))]
        self._line(edge, polyline(corners), "▼")

    # --- right: who takes ---

    def _members(self, row: LaneRows) -> None:
        workers = row.lane.workers
        if workers is None:
            return
        deliver = [edge for edge in self.graph.into.get(workers.id, ()) if self.graph.kind(edge.source) != "producers"]
        if not self.cols.boxed:
            self.layout.members.append(MemberPlace(workers.id, 0, row.axis, len(workers.members)))
            for edge in deliver:
                if self.graph.kind(edge.source) == "destination":
                    self._deliver(edge, row, row.axis)
            return
        above = [-1] if row.above else []
        near = [*above, 1] if any(is_dead(member) for member in workers.members) else [1, *above]
        offsets = [0, *near, *range(2, row.height)]
        offsets = [at for at in offsets if row.above + at < row.height]
        members = list(enumerate(workers.members))
        room = min(len(offsets), max(self.mode.members, 1))
        shown = len(members) if len(members) <= room else room - 1
        used = sorted(offsets[: shown + (shown < len(members))])
        # Who lives comes first when not all fit; the dead stand on top, so that the axis leads to somebody.
        kept = sorted(sorted(members, key=lambda pair: is_dead(pair[1]))[:shown], key=lambda pair: not is_dead(pair[1]))
        ways: list[int] = []
        for (place, member), at in zip(kept, used, strict=False):
            y = row.axis + at
            self.layout.members.append(MemberPlace(workers.id, place, y))
            if not is_dead(member):
                ways.append(y)
            elif deliver:
                self.layout.paths[back_id(member.name)] = (self._way(deliver[0], row, y)[-2::-1],)
        if shown < len(members):
            y = row.axis + used[shown]
            self.layout.members.append(MemberPlace(workers.id, shown, y, len(members) - shown))
            ways.append(y)
        for edge in deliver:
            for y in ways or ([] if members else [row.axis]):
                self._deliver(edge, row, y)

    def _deliver(self, edge: EdgeView, row: LaneRows, y: int) -> None:
        # Without boxes the arrow is part of the workers' count.
        self._line(edge, self._way(edge, row, y), "▶" if self.cols.boxed else "")

    def _way(self, edge: EdgeView, row: LaneRows, y: int) -> Path:
        cols = self.cols
        stop = cols.member_x - 2 if cols.boxed else cols.member_x - 1
        if self.graph.kind(edge.source) == "destination":
            start_y = self.layout.destinations.get(edge.source, y)
            start = self._destination_end(edge.source)
        else:
            start, start_y = cols.queue_x + cols.queue_width, row.axis
        corners = [(start, start_y)]
        if y != start_y:
            corners += [(stop - 1, start_y), (stop - 1, y)]
        corners.append((stop, y))
        return polyline(corners)
