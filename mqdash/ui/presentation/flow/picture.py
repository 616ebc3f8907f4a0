"""The Flow pane: layouts and static rows are kept while nothing of them changed, dots are laid over them each frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from mqdash.model.broker import LinkState
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation.flow.draw import paint_flow
from mqdash.ui.presentation.flow.group import grouped
from mqdash.ui.presentation.flow.layout import lay_out, needed_heights
from mqdash.ui.presentation.flow.places import is_dead
from mqdash.ui.presentation.header import FAMILY_WORDS, link_style, link_words
from mqdash.ui.presentation.lists import empty, matches, more_above, more_below, pane
from mqdash.ui.presentation.paint import Canvas, Drawn, Hit, Look, Row, Subject, joined, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.style import Style

    from mqdash.model.views import BrokerView, FlowView
    from mqdash.ui.presentation.flow.dots import Dot
    from mqdash.ui.presentation.flow.lines import Cell
    from mqdash.ui.presentation.flow.places import Layout
    from mqdash.ui.presentation.theme import Theme

_DOT: Final = "●"
_DIGITS: Final = "●●23456789"


class _Section(NamedTuple):
    """One broker's flow on the scrolled canvas: its layout starts at row `top`."""

    flow: FlowView
    layout: Layout
    top: int
    merged: dict[str, str]  # edges that went into another one when the flow was grouped
    dead: frozenset[str]  # edges of dead letters


class _Static(NamedTuple):
    """The pane without dots."""

    canvas: Canvas
    rows: list[Row]
    hits: tuple[Hit, ...]
    order: tuple[Subject, ...]
    offset: int
    first_row: int  # the row of the pane the scrolled canvas begins on


class FlowPicture:
    """Draws the Flow pane of one screen. Keeps what it drew: a frame in which only dots moved costs their rows only."""

    def __init__(self) -> None:
        self._layout_key: object = None
        self._sections: list[_Section] = []
        self._height = 0
        self._is_grouped = False
        self._opened: frozenset[str] = frozenset()
        self._static_key: object = None
        self._static: _Static | None = None
        self._overlay: dict[int, tuple[tuple[object, ...], Row]] = {}

    def draw(
        self,
        flows: Sequence[FlowView],
        look: Look,
        *,
        dots: Mapping[str, Sequence[Dot]] | None = None,
        flashing: Mapping[str, frozenset[str]] | None = None,
        brokers: Sequence[BrokerView] = (),
        opened: frozenset[str] = frozenset(),
    ) -> Drawn:
        """The pane with its frame: the given flows, below each other when there are several.

        `dots` and `flashing` per broker name, from `Animation`. `opened`: ids of groups (`g:…`) drawn as their members.
        Rows that did not change are the same objects as in the drawing before.
        """
        self._opened = opened
        static = self._drawn_static(flows, look, brokers)
        marks = self._marks(static, look, dots or {}, flashing or {})
        rows = static.rows
        if marks:
            rows = list(rows)
            for y, cells in marks.items():
                rows[y] = self._row_with(static, y, cells)
        self._overlay = {y: kept for y, kept in self._overlay.items() if y in marks}
        hits = static.hits
        if dots:
            hits += tuple(self._dot_hits(static, look, dots))
        return Drawn(rows, hits, static.order, static.offset)

    # --- what does not move ---

    def _drawn_static(self, flows: Sequence[FlowView], look: Look, brokers: Sequence[BrokerView]) -> _Static:
        names = {flow.broker for flow in flows}
        troubles = tuple(broker for broker in brokers if broker.name in names and _ails(broker))
        key = (
            (look.width, look.height, look.theme.name, look.focused, look.selected, look.offset, look.filtered),
            self._opened,
            tuple((flow.broker, flow.shape, flow.revision) for flow in flows),
            tuple((broker.name, link_words(broker, look.now_s)) for broker in troubles),
        )
        if self._static is None or key != self._static_key:
            self._static_key = key
            before, self._static = self._static, self._paint(flows, look, troubles)
            self._keep_equal(before, self._static)
        return self._static

    def _keep_equal(self, before: _Static | None, now: _Static) -> None:
        """Rows that look as before stay the same objects: whoever puts them on the screen sees that at a glance."""
        old, new = (before.canvas if before is not None else None), now.canvas
        for y in range(new.height):
            if old is not None and y < old.height and old.chars[y] == new.chars[y] and old.styles[y] == new.styles[y]:
                assert before is not None
                now.rows[y] = before.rows[y]
            else:
                self._overlay.pop(y, None)

    def _paint(self, flows: Sequence[FlowView], look: Look, troubles: Sequence[BrokerView]) -> _Static:
        canvas = pane(look, literal("2"), literal("Flow"), _scope(flows, look))
        first = 1
        for broker in troubles:
            first = _trouble(canvas, first, broker, look)
        width, room = look.width - 2, look.height - 1 - first
        if width < 10 or room < 1:
            return _Static(canvas, canvas.rows(), (), (), 0, first)
        if not any(flow.nodes for flow in flows):
            unlisted = next((flow.source for flow in flows if flow.source.startswith("passive")), "")
            if unlisted and not troubles:
                empty(
                    canvas,
                    literal("Without its management API a RabbitMQ lists no names: what is there cannot be shown."),
                    literal("Name it in the address: ?management=http://host:15672"),
                    safe_text(unlisted),
                )
            elif not troubles:
                empty(
                    canvas,
                    literal("Nothing is declared here yet: no exchanges, topics, streams or queues."),
                    literal("They appear as soon as there are some; [ and ] show the next broker."),
                )
            return _Static(canvas, canvas.rows(), (), (), 0, first)
        self._arrange(flows, look, width, room)
        inner = Canvas(width, max(self._height, room), look.theme)
        hits: list[Hit] = []
        for section in self._sections:
            if len(self._sections) > 1:
                _heading(inner, section.top - 1, section.flow)
            hits += paint_flow(inner, section.flow, section.layout, look, top=section.top)
        offset = _scrolled(look, hits, self._height, room)
        for y in range(room):
            if offset + y < inner.height:
                canvas.chars[first + y][1 : width + 1] = inner.chars[offset + y]
                canvas.styles[first + y][1 : width + 1] = inner.styles[offset + y]
        more_below(canvas, self._height - offset - room)
        more_above(canvas, offset)
        seen = tuple(
            Hit(hit.y - offset + first, hit.x0 + 1, hit.x1 + 1, hit.subject)
            for hit in hits
            if 0 <= hit.y - offset < room
        )
        order = tuple(dict.fromkeys(hit.subject for hit in hits if not hit.subject.id.startswith("e:")))
        return _Static(canvas, canvas.rows(), seen, order, offset, first)

    def _arrange(self, flows: Sequence[FlowView], look: Look, width: int, room: int) -> None:
        """Lay out all flows, grouped when they are too many for the pane; kept while none of them changed its shape."""
        chosen = [_filtered(flow, look) for flow in flows]
        keep = look.selected.id if look.selected is not None else ""
        key = (width, room, look.filtered, tuple(_shape(flow) for flow in chosen), self._opened)
        if (key, keep if self._is_grouped else "") == self._layout_key:
            found = [grouped(flow, keep, self._opened) if self._is_grouped else (flow, {}) for flow in chosen]
            self._sections = [
                section._replace(flow=flow, merged=merged)
                for (flow, merged), section in zip(found, self._sections, strict=True)
            ]
            return
        heading = 1 if len(chosen) > 1 else 0
        pairs: list[tuple[FlowView, dict[str, str]]] = [(flow, {}) for flow in chosen]
        spare = room - heading * len(chosen)
        self._is_grouped = sum(needed_heights(flow)[-1] for flow in chosen) > spare
        if self._is_grouped:
            pairs = [grouped(flow, keep, self._opened) for flow in chosen]
        shares = _shares([needed_heights(flow) for flow, _ in pairs], spare)
        self._layout_key = (key, keep if self._is_grouped else "")
        self._sections, top = [], 0
        for at, (flow, merged) in enumerate(pairs):
            layout = lay_out(flow, width, shares[at])
            self._sections.append(_Section(flow, layout, top + heading, merged, _dead_edges(chosen[at])))
            top += heading + layout.height
        self._height = top

    # --- what moves ---

    def _marks(
        self,
        static: _Static,
        look: Look,
        dots: Mapping[str, Sequence[Dot]],
        flashing: Mapping[str, frozenset[str]],
    ) -> dict[int, list[tuple[int, str, Style]]]:
        """Cells that are drawn over the static rows, by row of the pane: column, character ("" = as it is), style."""
        marks: dict[int, list[tuple[int, str, Style]]] = {}
        last = look.height - 1
        for section in self._sections:
            theme = look.theme
            for dot in dots.get(section.flow.broker, ()):
                cell = _cell(dot, section)
                if cell is None or cell[0] + 2 >= look.width:
                    continue  # a pane too narrow for its columns: the way goes on behind its right edge
                y = cell[1] + section.top - static.offset + static.first_row
                if static.first_row <= y < last:
                    marks.setdefault(y, []).append((cell[0] + 1, *_dot_look(dot, section, theme)))
            names = flashing.get(section.flow.broker)
            if names:
                for hit in static.hits:
                    if hit.subject.broker == section.flow.broker and hit.subject.id.removeprefix("m:") in names:
                        marks.setdefault(hit.y, []).extend((x, "", theme.flash) for x in range(hit.x0, hit.x1))
        return marks

    def _row_with(self, static: _Static, y: int, cells: list[tuple[int, str, Style]]) -> Row:
        key = tuple(cells)
        kept = self._overlay.get(y)
        if kept is not None and kept[0] == key:
            return kept[1]
        chars, styles = list(static.canvas.chars[y]), list(static.canvas.styles[y])
        for x, text, style in cells:
            if text:
                chars[x] = text
            styles[x] = style
        row = joined(chars, styles)
        self._overlay[y] = (key, row)
        return row

    def _dot_hits(self, static: _Static, look: Look, dots: Mapping[str, Sequence[Dot]]) -> list[Hit]:
        hits: list[Hit] = []
        for section in self._sections:
            for dot in dots.get(section.flow.broker, ()):
                cell = _cell(dot, section) if dot.message_id else None
                if cell is not None:
                    y = cell[1] + section.top - static.offset + static.first_row
                    if static.first_row <= y < look.height - 1:
                        subject = Subject(section.flow.broker, f"msg:{dot.message_id}")
                        hits.append(Hit(y, cell[0] + 1, cell[0] + 2, subject))
        return hits


def _ails(broker: BrokerView) -> bool:
    return broker.state is not LinkState.UP or bool(broker.blocked)


def _scope(flows: Sequence[FlowView], look: Look) -> SafeText:
    """Whose flow it is and where its figures come from."""
    if len(flows) != 1:
        return safe_text(f"{len(flows)} brokers") if flows else SafeText("")
    parts = [flows[0].broker]
    if look.width >= 60:
        parts.append(FAMILY_WORDS[flows[0].family])
    if look.width >= 80 and flows[0].source:
        parts.append(flows[0].source)
    return safe_text(" · ".join(parts))


def _trouble(canvas: Canvas, y: int, broker: BrokerView, look: Look) -> int:
    """A broker that is not well is a state on screen: address, cause in words, next try. Returns the next free row."""
    glyph, word = link_words(broker, look.now_s)
    told = word or literal("blocked")
    where = f" at {broker.url}" if broker.url else ""
    cause = broker.blocked or broker.cause
    text = f"{glyph} {broker.name}{where}: {told}{f' · {cause}' if cause else ''}"
    for line in wrapped(safe_text(text), canvas.width - 4, 3):
        if y >= canvas.height - 2:
            break
        canvas.put(2, y, line, link_style(broker, look.theme))
        y += 1
    return y


def _heading(canvas: Canvas, y: int, flow: FlowView) -> None:
    theme = canvas.theme
    canvas.put(1, y, SafeText("─" * (canvas.width - 2)), theme.trough)
    x = canvas.put(2, y, safe_text(f" {flow.broker} "), theme.bold(theme.family(flow.family)), width=canvas.width - 4)
    canvas.put(x, y, safe_text(f"{FAMILY_WORDS[flow.family]} "), theme.dim, width=max(canvas.width - x - 2, 0))


def _filtered(flow: FlowView, look: Look) -> FlowView:
    """Nodes whose name has the text, and what they are connected with."""
    if not look.filtered:
        return flow
    found = {node.id for node in flow.nodes if matches(look, node.name)}
    near = {edge.source for edge in flow.edges if edge.target in found}
    near |= {edge.target for edge in flow.edges if edge.source in found}
    return msgspec.structs.replace(flow, nodes=tuple(node for node in flow.nodes if node.id in found | near))


def _shares(needs: Sequence[tuple[int, ...]], room: int) -> list[int]:
    """Rows for each flow: all get the least first, then the roomier modes from the first flow on, then what is left."""
    shares = [need[-1] for need in needs]
    for mode in range(len(needs[0]) - 2, -1, -1) if needs else ():
        for at, need in enumerate(needs):
            if need[mode] <= shares[at] + room - sum(shares):
                shares[at] = max(shares[at], need[mode])
    spare = max(room - sum(shares), 0) // max(len(needs), 1)
    return [share + spare for share in shares]


def _shape(flow: FlowView) -> tuple[object, ...]:
    """What the layout depends on."""
    nodes = tuple(
        (node.id, len(node.partitions), tuple((member.name, is_dead(member)) for member in node.members))
        for node in flow.nodes
    )
    return flow.broker, flow.shape, nodes


def _scrolled(look: Look, hits: Sequence[Hit], height: int, room: int) -> int:
    """The first row of the picture that is seen: the wished one, moved so that the selection is."""
    offset = look.offset or 0
    rows = [hit.y for hit in hits if hit.subject == look.selected]
    if rows:
        offset = max(min(offset, min(rows) - 1), max(rows) + 2 - room)
    return max(0, min(offset, height - room))


def _dead_edges(flow: FlowView) -> frozenset[str]:
    return frozenset(edge.id for edge in flow.edges if edge.kind == "dead")


def _cell(dot: Dot, section: _Section) -> Cell | None:
    """Where a dot is; None on an edge that is not drawn, or before it has started."""
    ways = section.layout.paths.get(section.merged.get(dot.edge_id, dot.edge_id))
    if not ways or dot.progress < 0:
        return None
    path = ways[dot.way % len(ways)]
    return path[min(int(dot.progress * len(path)), len(path) - 1)] if path else None


def _dot_look(dot: Dot, section: _Section, theme: Theme) -> tuple[str, Style]:
    """Family's colour; redelivered amber with its number, replies middle grey, dead letters violet."""
    match dot.kind:
        case "again":
            return _DIGITS[min(dot.attempt, 9)], theme.bold(theme.look)
        case "back":
            return _DOT, theme.look
        case "reply":
            return _DOT, theme.middle
        case "message":
            dead = dot.edge_id in section.dead
            return _DOT, theme.dead if dead else theme.family(section.flow.family)
