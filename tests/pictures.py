"""`make pictures`: the pictures of docs/guide, taken of the running program in a terminal of our own.

    python -m tests.pictures [NAME…]

Needs a DejaVu Sans Mono font (Debian: fonts-dejavu-core); the dev group brings pyte and resvg-py.
"""

from __future__ import annotations

import html
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py

from tests.pty.driver import Terminal

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "guide"
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 9.632, 18.625, 16
BACKGROUND, TEXT = "#0e1116", "#cfd6e4"
NAMED = {
    "black": "#0e1116",
    "red": "#ff6b6b",
    "green": "#6fcf97",
    "brown": "#f2c14e",
    "blue": "#5fb3ff",
    "magenta": "#d58cff",
    "cyan": "#56c8d8",
    "white": "#cfd6e4",
}


@dataclass(frozen=True)
class Picture:
    """What to press, each key with the words to wait for after it ('' = a second)."""

    name: str
    size: tuple[int, int]
    keys: tuple[tuple[str, str], ...] = ()
    settle_s: float = 6.0


PICTURES = (
    Picture("dashboard-120x40", (120, 40), settle_s=20.0),
    Picture("dashboard-80x24", (80, 24)),
    Picture("dashboard-200x60", (200, 60)),
    Picture("killed-120x40", (120, 40), (("3", ""), ("j", ""), ("K", "killed"), ("2", ""))),
    Picture("publish-120x40", (120, 40), (("1", ""), ("p", "Publish on"))),
    Picture(
        "dead-letters-120x40", (120, 40), (("4", ""), ("d", "Causes"), (" ", "marked"), ("j", ""), (" ", "2 marked"))
    ),
    Picture(
        "replay-plan-120x40", (120, 40), (("4", ""), ("d", "Causes"), ("a", "marked"), ("r", "nothing has been sent"))
    ),
    Picture("help-120x40", (120, 40), (("?", "Keys"),)),
)


def main() -> int:
    """Take the pictures named, or all; 2 for an unknown one."""
    names = sys.argv[1:]
    unknown = set(names) - {picture.name for picture in PICTURES}
    if unknown:
        print(f"no picture called {', '.join(unknown)}", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        if not names or picture.name in names:
            take(picture)
            print(FOLDER / f"{picture.name}.png")
    return 0


def take(picture: Picture) -> None:
    """Start the lab, press the keys, write the PNG, leave."""
    with tempfile.TemporaryDirectory() as state:
        environ = {"MQDASH_STATE_DIR": state, "MQDASH_LOG": f"{state}/log"}
        command = [sys.executable, "-m", "mqdash", "lab", "--seed", "7"]
        with Terminal(command, size=picture.size, environ=environ) as terminal:
            terminal.shows("orders")
            _run(terminal, picture.settle_s)
            for key, words in picture.keys:
                terminal.type(key)
                if words:
                    terminal.shows(words)
                _run(terminal, 0.6)
            png = resvg_py.svg_to_bytes(
                svg_string=drawn(terminal.screen),
                font_dirs=["/usr/share/fonts"],
                font_family="DejaVu Sans Mono",
                monospace_family="DejaVu Sans Mono",
            )
            (FOLDER / f"{picture.name}.png").write_bytes(bytes(png))
            terminal.type("\x1b")
            _run(terminal, 0.3)
            terminal.type("\x1b")
            _run(terminal, 0.3)
            terminal.type("q")
            terminal.ends()


def _run(terminal: Terminal, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        terminal.read(0.05)


def drawn(screen: Any) -> str:
    """The screen as SVG, a text per run of equal style."""
    grounds: list[str] = []
    texts: list[str] = []
    for y in range(screen.lines):
        x = 0
        while x < screen.columns:
            cell = screen.buffer[y][x]
            end = x + 1
            while end < screen.columns and _style(screen.buffer[y][end]) == _style(cell):
                end += 1
            run = "".join(screen.buffer[y][at].data for at in range(x, end))
            front, back = _colour(cell.fg, TEXT), _colour(cell.bg, BACKGROUND)
            if cell.reverse:
                front, back = back, front
            if back != BACKGROUND:
                grounds.append(
                    f'<rect x="{x * CELL_WIDTH:.2f}" y="{y * CELL_HEIGHT:.2f}" width="{(end - x) * CELL_WIDTH + 0.4:.2f}" '
                    f'height="{CELL_HEIGHT + 0.4:.2f}" fill="{back}"/>'
                )
            weight = ' font-weight="bold"' if cell.bold else ""
            texts += [
                f'<text x="{(x + word.start()) * CELL_WIDTH:.2f}" y="{y * CELL_HEIGHT + 14.8:.2f}" '
                f'textLength="{len(word[0]) * CELL_WIDTH:.2f}" fill="{front}"{weight} xml:space="preserve">'
                f"{html.escape(word[0])}</text>"
                for word in re.finditer(r"\S+(?: \S+)*", run)
            ]
            x = end
    width, height = screen.columns * CELL_WIDTH, screen.lines * CELL_HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'font-family="DejaVu Sans Mono" font-size="{FONT_SIZE}">'
        f'<rect width="100%" height="100%" fill="{BACKGROUND}"/>{"".join(grounds)}{"".join(texts)}</svg>'
    )


def _style(cell: Any) -> tuple[object, ...]:
    return (cell.fg, cell.bg, cell.bold, cell.reverse)


def _colour(value: str, default: str) -> str:
    if value == "default":
        return default
    return NAMED.get(value.removeprefix("bright"), f"#{value}" if re.fullmatch("[0-9a-fA-F]{6}", value) else default)


if __name__ == "__main__":
    sys.exit(main())
