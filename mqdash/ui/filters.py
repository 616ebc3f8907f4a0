"""The second line of defence against terminal sequences in remote text: stock widgets send what they are given (F9).

The first is `safe_text`; this filter runs on every line of a stock widget after layout. Drawn panes skip it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.filter import LineFilter

from mqdash.safe_text import forbidden

if TYPE_CHECKING:
    from textual.color import Color


class NoControlCharacters(LineFilter):
    """Replaces every control, bidi and invisible character of a drawn line by `␦`; widths stay as laid out.

    A replacement of the same character count is used since the line is laid out already.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's signature
        """The line with nothing in it that could steer a terminal."""
        if all(segment.text.isascii() and segment.text.isprintable() for segment in segments):
            return segments
        return [segment if segment.control else Segment(harmless(segment.text), segment.style) for segment in segments]


def harmless(text: str) -> str:
    """The text with `␦` for each character that must never reach a terminal."""
    found = forbidden(text)
    if not found and "\n" not in text:
        return text
    characters = list(text.replace("\n", "␊"))
    for at, _ in found:
        characters[at] = "␦"
    return "".join(characters)
