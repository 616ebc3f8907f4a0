"""Edges as cells: paths through the picture, and the grid that turns crossing paths into box-drawing characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Cell = tuple[int, int]
Path = tuple[Cell, ...]
"""The cells a dot passes, in its direction; the arrow head is not one of them."""

_NORTH, _EAST, _SOUTH, _WEST = 1, 2, 4, 8
FROM_LEFT: Final = _WEST
_BITS: Final = {
    _NORTH: "│", _EAST: "─", _NORTH | _EAST: "╰", _SOUTH: "│", _NORTH | _SOUTH: "│", _EAST | _SOUTH: "╭",
    _NORTH | _EAST | _SOUTH: "├", _WEST: "─", _NORTH | _WEST: "╯", _EAST | _WEST: "─", _NORTH | _EAST | _WEST: "┴",
    _SOUTH | _WEST: "╮", _NORTH | _SOUTH | _WEST: "┤", _EAST | _SOUTH | _WEST: "┬", 15: "┼",
}  # fmt: skip
_DASHED: Final = {"─": "╌", "│": "╎"}


class Line(NamedTuple):
    """A drawn edge: its cells with the head as the last one."""

    edge: str
    cells: Path
    head: str  # "▶", "▼", "◀"; "" = none
    dashed: bool
    tail: str = ""  # a head at the first cell, of edges that go both ways
    entry: int = 0  # the side the first cell is entered from


def polyline(corners: Sequence[Cell]) -> Path:
    """All cells along horizontal and vertical pieces through the corners."""
    cells: list[Cell] = [corners[0]]
    for x1, y1 in corners[1:]:
        x0, y0 = cells[-1]
        cells += [(x, y0) for x in _between(x0, x1)]
        cells += [(x1, y) for y in _between(y0, y1)]
    return tuple(cells)


def _between(start: int, stop: int) -> Iterator[int]:
    step = 1 if stop > start else -1
    return iter(range(start + step, stop + step, step)) if start != stop else iter(())


class Glyph(NamedTuple):
    """What is drawn in a cell: a character and the edge whose colour it has."""

    text: str
    edge: str


def grid(lines: Sequence[Line]) -> dict[Cell, Glyph]:
    """All lines laid over each other: corners, tees and crossings come out of the directions that meet in a cell."""
    bits: dict[Cell, int] = {}
    owner: dict[Cell, Line] = {}
    for line in lines:
        for at, cell in enumerate(line.cells):
            before = line.cells[at - 1] if at else None
            after = line.cells[at + 1] if at + 1 < len(line.cells) else None
            bits[cell] = bits.get(cell, 0) | _towards(cell, before) | _towards(cell, after)
            owner[cell] = line
        if line.cells:
            bits[line.cells[0]] |= line.entry
    out = {cell: _glyph(mask, owner[cell]) for cell, mask in bits.items()}
    for line in lines:
        if line.cells and line.head:
            out[line.cells[-1]] = Glyph(line.head, line.edge)
        if line.cells and line.tail:
            out[line.cells[0]] = Glyph(line.tail, line.edge)
    return out


def _towards(cell: Cell, other: Cell | None) -> int:
    if other is None:
        return 0
    (x0, y0), (x1, y1) = cell, other
    if y0 == y1:
        return _EAST if x1 > x0 else _WEST
    return _SOUTH if y1 > y0 else _NORTH


def _glyph(mask: int, line: Line) -> Glyph:
    text = _BITS.get(mask, "─")
    return Glyph(_DASHED.get(text, text) if line.dashed else text, line.edge)
