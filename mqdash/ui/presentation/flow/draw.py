"""A laid out flow with its numbers, drawn: nodes, boxes, bars, edges and what is written on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from mqdash.model.actors import WorkerState
from mqdash.model.message import Family
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.flow.columns import COMPACT_BAR, COMPACT_COUNT, name_cells, queue_title
from mqdash.ui.presentation.flow.places import MAX_BARS, Layout, bars_of, is_dead
from mqdash.ui.presentation.paint import Canvas, Hit, Look, Subject, cat, end_cut, fit, middle_cut, right
from mqdash.ui.presentation.workers import state_style

if TYPE_CHECKING:
    from rich.style import Style

    from mqdash.model.views import EdgeView, FlowView, MemberView, NodeView
    from mqdash.ui.presentation.flow.lines import Cell, Glyph
    from mqdash.ui.presentation.flow.places import LaneRows, MemberPlace, SourcePlace

POOL_PREFIX: Final = "p:pool/"
_STATE_MARKS: Final = {"hung": "◉", "paused": "◌", "draining": "◐", "stuck": "!", "starting": "…"}
_LEAST_FULL: Final = 10
"""A bar is full at no fewer messages than this: two waiting messages are no alarm, whatever the last minutes were."""
_LEAST_ALIKE: Final = 12
"""Names that share fewer characters are told apart by their beginnings."""
_LEAST_GAUGE: Final = 6
_KEEPS_NOTHING: Final = literal("keeps nothing")
_LEAST_REASON: Final = 16
"""A reason cut shorter than this tells nothing."""
_MIN_RATE_GAP: Final = 12
"""An edge that long has room for its rate beside its key."""


def paint_flow(canvas: Canvas, flow: FlowView, layout: Layout, look: Look, *, top: int = 0) -> list[Hit]:
    """Draw the layout from row `top` of the canvas on; returns what stands where, in reading order."""
    return _Painter(canvas, flow, layout, look, top).painted()


class _Painter:
    def __init__(self, canvas: Canvas, flow: FlowView, layout: Layout, look: Look, top: int) -> None:
        self.canvas, self.flow, self.layout, self.look, self.top = canvas, flow, layout, look, top
        self.theme, self.cols = look.theme, layout.columns
        self.nodes = {node.id: node for node in flow.nodes}
        self.edges = {edge.id: edge for edge in flow.edges}
        self.hits: list[Hit] = []
        self.full_names = {queue_title(node) if node.kind == "queue" else node.name for node in flow.nodes}
        self.names = max((name_cells(queue_title(n)) for n in flow.nodes if n.kind == "queue"), default=0)

    def painted(self) -> list[Hit]:
        lines = self.layout.glyphs
        for (x, y), glyph in lines.items():
            self.canvas.put(x, self.top + y, SafeText(glyph.text), self._line_style(glyph))
        sources: dict[int, list[SourcePlace]] = {}
        for source in self.layout.sources:
            sources.setdefault(source.y, []).append(source)
        members: dict[str, list[MemberPlace]] = {}
        for member in self.layout.members:
            members.setdefault(member.node_id, []).append(member)
        for row in self.layout.rows:
            for y in range(row.top, row.top + row.height):
                for source in sources.get(y, ()):
                    self._source(source)
            for slot in row.lane.slots:
                if slot.node is not None:
                    self._destination(self.nodes.get(slot.node.id, slot.node), self.layout.destinations[slot.node.id])
            self._queue(row)
            if row.lane.request is not None:
                self._request(self.nodes.get(row.lane.request.id, row.lane.request), row.axis)
            if row.lane.workers is not None:
                for member in members.get(row.lane.workers.id, ()):
                    self._member(member)
        self._labels(lines)
        return self.hits

    # --- nodes ---

    def _subject(self, node_id: str) -> Subject:
        return Subject(self.flow.broker, node_id)

    def _named(self, name: str, width: int) -> SafeText:
        """A name in its room; where several begin alike and would be cut to the same text, its middle goes, not its end."""
        start = name[: max(width * 2 // 3, _LEAST_ALIKE)]
        alike = name_cells(name) > width and sum(other.startswith(start) for other in self.full_names) > 1
        return middle_cut(safe_text(name), width) if alike else safe_text(name)

    def _hit(self, subject: Subject, x0: int, x1: int, y: int, *, rows: int = 1) -> None:
        for line in range(self.top + y, self.top + y + rows):
            self.hits.append(Hit(line, x0, x1, subject))
            if self.look.selected == subject:
                self.canvas.ground(line, x0, x1, "selection")

    def _source(self, place: SourcePlace) -> None:
        node, theme, x = self.nodes[place.node_id], self.theme, self.cols.source_x
        stop = x + self.cols.source_width
        if place.folded:
            end = self.canvas.put(x, self.top + place.y, safe_text(f"+{place.folded} more"), theme.dim, width=stop - x)
            self._hit(self._subject(node.id), x, end, place.y)
            return
        idle = not node.rate_per_s
        if self.cols.boxed:
            glyph = literal("● ") if node.id.startswith(POOL_PREFIX) else literal("▶ ")
            self.canvas.put(x, self.top + place.y, glyph, theme.dim if idle else theme.well)
            x += 2
        style = theme.middle if idle else theme.bold(theme.well)
        end = self.canvas.put(x, self.top + place.y, safe_text(node.name), style, width=stop - x)
        self._hit(self._subject(node.id), self.cols.source_x, end, place.y)

    def _destination(self, node: NodeView, y: int) -> None:
        theme, x, width = self.theme, self.cols.destination_x, self.cols.destination_width
        colour = theme.dead if node.dead else theme.family(node.family)
        self.canvas.put(x, self.top + y, literal("◆"), colour)
        end = self.canvas.put(
            x + 2, self.top + y, self._named(node.name, width - 2), theme.bold(colour), width=width - 2
        )
        rows = 1
        if self.cols.boxed and (node.sub or node.rate_per_s is not None) and not (node.dead and not node.rate_per_s):
            kind, rate = safe_text(node.sub), texts.rate(node.rate_per_s)
            about = cat(kind, literal(" " if len(kind) + len(rate) + 4 > width else "  "), rate)
            self.canvas.put(x + 2, self.top + y + 1, about, theme.dim, width=width - 2)
            rows = 2
        self._hit(self._subject(node.id), x, end, y, rows=rows)

    def _request(self, node: NodeView, y: int) -> None:
        theme, canvas = self.theme, self.canvas
        start = self.cols.destination_x
        x = canvas.put(start, self.top + y, safe_text(node.name), theme.bold(theme.family(node.family)), width=24)
        if node.p50_ms is not None:
            words = f"reply in {texts.milliseconds(node.p50_ms)}  p99 {texts.milliseconds(node.p99_ms)}"
        else:
            words = node.note or "no reply yet"
        glyph = "" if self.cols.boxed else "⇄ "
        canvas.put(x + 1, self.top + y, safe_text(glyph + words), theme.dim, width=max(canvas.width - x - 2, 0))
        self._hit(self._subject(node.id), start, x, y)

    def _queue(self, row: LaneRows) -> None:
        if row.lane.queue is None:
            return
        node = self.nodes.get(row.lane.queue.id, row.lane.queue)
        colour = self.theme.dead if node.dead else self.theme.family(node.family)
        if self.cols.boxed:
            self._box(node, row, colour)
        else:
            self._line(node, row.axis, colour)
        if node.dead and row.lane.workers is None and self.cols.boxed and self.cols.member_width >= 5:
            x = self.canvas.put(self.cols.member_x - 1, self.top + row.axis, literal("d "), self.theme.key)
            self.canvas.put(x, self.top + row.axis, literal("open"), self.theme.dim)

    def _box(self, node: NodeView, row: LaneRows, colour: Style) -> None:
        theme, canvas, x, width = self.theme, self.canvas, self.cols.queue_x, self.cols.queue_width
        bars = bars_of(node)
        y = self.top + row.top
        subject = self._subject(node.id)
        border = theme.accent if subject == self.look.selected else colour
        inner = width - 2
        canvas.put(x, y, SafeText("╭" + "─" * inner + "╮"), border)
        title = self._named(queue_title(node), inner - 2)
        canvas.put(x + 1, y, cat(literal(" "), title), theme.strong, width=inner - 1)
        end = min(x + 2 + name_cells(queue_title(node)), x + inner)
        canvas.put(end, y, literal(" "), theme.strong)
        for at in range(bars):
            canvas.put(x, y + 1 + at, literal("│"), border)
            canvas.put(x + width - 1, y + 1 + at, literal("│"), border)
        self._bars(node, x + 1, y + 1, inner, bars, colour)
        bottom = y + 1 + bars
        canvas.put(x, bottom, SafeText("╰" + "─" * inner + "╯"), border)
        trend, depth = self._levels(node, row, inner)
        if trend:
            grows = (node.trend_per_s or 0) > 0 and not node.dead
            canvas.put(x + 1, bottom, cat(literal(" "), trend), theme.look if grows else theme.middle, width=inner)
            canvas.put(x + 2 + len(trend), bottom, literal(" "), theme.middle)
        canvas.put_right(x + width - 1, bottom, cat(literal(" "), depth, literal(" ")), theme.bold(colour), width=inner)
        self._hit(subject, x, x + width, row.top, rows=bars + 2)

    @staticmethod
    def _levels(node: NodeView, row: LaneRows, inner: int) -> tuple[SafeText, SafeText]:
        """What is written on the lower edge: trend and level, in the broker's own word; the level comes first."""
        trend = texts.trend(node.trend_per_s)
        if node.family is Family.REDIS_PUBSUB:
            members = row.lane.workers.members if row.lane.workers is not None else ()
            living = sum(not is_dead(member) for member in members)
            return SafeText(""), safe_text(f"{living} listening" if living else "nobody listens")
        lags = [part.waiting for part in node.partitions]
        level = texts.count(sum(lag or 0 for lag in lags)) if lags and None not in lags else texts.count(node.depth)
        if lags and len(trend) + len(level) + 7 <= inner:
            level = cat(literal("lag "), level)
        return (trend if len(trend) + len(level) + 3 <= inner else SafeText("")), level

    def _bars(self, node: NodeView, x: int, y: int, width: int, bars: int, colour: Style) -> None:
        theme, canvas = self.theme, self.canvas
        if len(node.partitions) > MAX_BARS:
            waiting = [float(part.waiting or 0) for part in node.partitions]
            canvas.put(x, y, SafeText("░" * width), theme.trough)
            canvas.put(x, y, texts.spark(waiting, min(len(waiting), width)), colour)
            return
        if bars == 1:
            self._bar(node, x, y, width, colour)
            return
        most = max([part.waiting or 0 for part in node.partitions] + [node.depth_max // bars, _LEAST_FULL])
        owners = max(*(cell_len(safe_text(part.owner)) for part in node.partitions), 1)
        if 3 + owners + 1 + _LEAST_GAUGE > width:
            owners = min(owners, max(width - 4 - _LEAST_GAUGE, 0))
        start = 3 + (owners + 1 if owners else 0)
        counts = COMPACT_COUNT + 1 if width - start - COMPACT_COUNT - 1 >= _LEAST_GAUGE else 0
        for at, part in enumerate(node.partitions):
            label = right(safe_text(str(part.partition)), 2)
            canvas.put(x, y + at, label, theme.dim if part.owner else theme.broken)
            owner = end_cut(safe_text(part.owner), owners) if part.owner else texts.NONE
            canvas.put(x + 3, y + at, owner, theme.middle if part.owner else theme.broken, width=owners)
            style = colour if part.owner else theme.broken
            self._gauge(x + start, y + at, (part.waiting or 0) / most, width - start - counts, style)
            if counts:
                canvas.put_right(x + width, y + at, texts.count(part.waiting), theme.middle, width=COMPACT_COUNT)

    def _bar(self, node: NodeView, x: int, y: int, width: int, colour: Style) -> None:
        if node.depth is None:
            self.canvas.put(x, y, SafeText("·" * width), self.theme.trough)
            if node.family is Family.REDIS_PUBSUB and width > len(_KEEPS_NOTHING):
                self.canvas.put(x, y, cat(_KEEPS_NOTHING, literal(" ")), self.theme.dim)
            return
        pending = (node.in_flight or 0) if node.family is Family.REDIS_STREAMS else 0
        most = max(node.limit or max(node.depth_max, node.depth + pending, _LEAST_FULL), 1)
        self._gauge(x, y, node.depth / most, width, colour)
        if pending:
            start = round(min(node.depth / most, 1) * width)
            stop = min(max(round((node.depth + pending) / most * width), start + 1), width)
            self.canvas.put(x + start, y, SafeText("▒" * (stop - start)), colour)

    def _gauge(self, x: int, y: int, share: float, width: int, colour: Style) -> None:
        bar = texts.gauge(share, width)
        full = len(bar.rstrip("░"))
        self.canvas.put(x, y, bar[:full], colour)
        self.canvas.put(x + full, y, bar[full:], self.theme.trough)

    def _line(self, node: NodeView, y: int, colour: Style) -> None:
        """A queue in one row: name, bar, count."""
        canvas, x, width = self.canvas, self.cols.queue_x, self.cols.queue_width
        names = min(self.names, width - COMPACT_BAR - COMPACT_COUNT - 2)
        canvas.put(x, self.top + y, self._named(queue_title(node), names), self.theme.strong, width=names)
        bar = min(width - names - COMPACT_COUNT - 2, 20)
        self._bar(node, x + names + 1, self.top + y, bar, colour)
        count = right(texts.short(node.depth), COMPACT_COUNT)
        canvas.put(x + names + bar + 2, self.top + y, count, self.theme.bold(colour))
        self._hit(self._subject(node.id), x, x + width, y)

    def _member(self, place: MemberPlace) -> None:
        node = self.nodes.get(place.node_id)
        if node is None:
            return
        x, y, theme = self.cols.member_x, self.top + place.y, self.theme
        if not self.cols.boxed:
            living = sum(not is_dead(member) for member in node.members)
            text = safe_text(f"▶{living}") if living or not node.members else literal("✗0")
            end = self.canvas.put(x, y, text, theme.bold(theme.well) if living else theme.broken, width=4)
            self._hit(self._subject(node.id), x, end, place.y)
            return
        if place.folded:
            end = self.canvas.put(
                x, y, safe_text(f"+{place.folded}"), theme.bold(theme.well), width=self.cols.member_width
            )
            self._hit(self._subject(node.id), x, end, place.y)
            return
        if place.place < len(node.members):
            self._one(node.members[place.place], x, place.y)

    def _one(self, member: MemberView, x: int, y: int) -> None:
        theme = self.theme
        try:
            style = theme.bold(state_style(WorkerState(member.state), theme))
        except ValueError:
            style = theme.text
        if is_dead(member):
            gone = member.state == WorkerState.GONE  # it finished and left: nothing went wrong
            glyph = literal("–") if gone else literal("✗")
            self.canvas.put(x - 2, self.top + y, glyph, theme.dim if gone else theme.broken)
        mark = _STATE_MARKS.get(member.state, "")
        name = safe_text(f"{member.name} {mark}" if mark else member.name)
        end = self.canvas.put(x, self.top + y, name, style, width=self.cols.member_width)
        self._hit(self._subject(f"m:{member.name}"), x, end, y)

    # --- edges ---

    def _line_style(self, glyph: Glyph) -> Style:
        edge = self.edges.get(glyph.edge)
        return self.theme.dead if edge is not None and edge.kind == "dead" else self.theme.dim

    def _labels(self, lines: dict[Cell, Glyph]) -> None:
        """Write what stands on edges where nothing else is: a label never covers a line or a name."""
        for place in self.layout.labels:
            edge = self.edges.get(place.edge_id)
            if edge is None or not 0 <= self.top + place.y < self.canvas.height:
                continue
            room = self._room(place.x, place.y, lines, leftwards=place.leftwards)
            text = self._label(edge, room)
            if not text or room < min(len(text), 4):
                continue
            style = self.theme.dead if edge.kind == "dead" else self.theme.dim
            y = self.top + place.y
            if place.leftwards:
                start = self.canvas.put_right(place.x, y, text, style, width=room)
                end = place.x
            else:
                start, end = place.x, self.canvas.put(place.x, y, text, style, width=room)
            self._hit(self._subject(edge.id), start, end, place.y)

    def _label(self, edge: EdgeView, room: int) -> SafeText:
        if edge.kind == "dead":
            if self.nodes[edge.source].kind == "destination":
                return SafeText("")
            rate = f"✗ {texts.rate(edge.rate_per_s)}" if edge.rate_per_s is not None else "✗"
            spare = room - len(rate) - 2
            reason = fit(safe_text(edge.label), spare) if spare >= min(len(edge.label), _LEAST_REASON) else ""
            return safe_text(f"{rate}, {reason}" if reason else rate)
        gap = self.cols.queue_x - self.cols.destination_x - self.cols.destination_width
        rate = str(texts.rate(edge.rate_per_s)) if gap >= _MIN_RATE_GAP and edge.rate_per_s is not None else ""
        return safe_text(" ".join(part for part in (edge.label, rate) if part))

    def _room(self, x: int, y: int, lines: dict[Cell, Glyph], *, leftwards: bool) -> int:
        """Free cells from `x` on (or before `x`), one blank kept to what comes next."""
        row = self.canvas.chars[self.top + y]
        step = -1 if leftwards else 1
        at, free = (x - 1 if leftwards else x), 0
        least = self.cols.destination_x + 2 if leftwards else 0
        while least <= at < self.canvas.width and row[at] == " " and (at, y) not in lines:
            free += 1
            at += step
        ended = not least <= at < self.canvas.width
        return free if ended else max(free - 1, 0)
