"""The one way of remote data to the screen: what comes out of `safe_text` cannot move a cursor, hide, reverse or style anything.

Nothing is silently deleted: an operator must see that something was there. Control characters become pictures (`␛`), others
`⟨U+202E⟩` (semantics §5.3). `SafeText` is a str that only this module makes; drawing takes nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal, LiteralString

MAX_COMBINING: Final = 4
"""Combining marks kept per base character; a flood of them is cut and counted."""

_ZERO_WIDTH = (
    "\u200b-\u200f\u2060-\u206f\ufeff\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufff0-\ufffb"
)
_SUSPECT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\U000e0000-\U000effff\U000f0000-\U0010ffff"
    + _ZERO_WIDTH
    + "]"
)
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class SafeText(str):
    """Text that may be drawn. Made by `safe_text` and `literal` only; joining and slicing through the methods here keeps it safe."""

    __slots__ = ()

    def __add__(self, other: str) -> SafeText:
        if not isinstance(other, SafeText):
            msg = "only SafeText joins SafeText"
            raise TypeError(msg)
        return SafeText(str.__add__(self, other))

    def __getitem__(self, index: object) -> SafeText:
        return SafeText(str.__getitem__(self, index))  # type: ignore[index]

    def joined(self, parts: list[SafeText] | tuple[SafeText, ...]) -> SafeText:
        """`str.join` for safe parts."""
        return SafeText(str.join(self, parts))

    def lines(self) -> list[SafeText]:
        """The lines of a multi-line text."""
        return [SafeText(line) for line in str.split(self, "\n")]


def literal(text: LiteralString) -> SafeText:
    """Our own words: takes literals only, which the type checker holds."""
    return SafeText(text)


def number(value: float | str) -> SafeText:
    """A number already written out by us, or to be written plainly."""
    return safe_text(str(value))


def safe_text(data: str | bytes, *, multiline: bool = False) -> SafeText:
    """Remote text made harmless and visible; bytes are decoded as UTF-8, what is not is shown as hex escapes.

    With `multiline` line breaks and tabs stay (tabs as four spaces); without, a line break is shown as `␊`. CR never passes.
    """
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    if type(text) is SafeText and not multiline:
        return text if "\n" not in text else SafeText(text.replace("\n", "␊"))
    if _PLAIN.match(text):
        return SafeText(text)
    return _cleaned(text, multiline) if len(text) <= 256 else _clean(text, multiline)


def _clean(text: str, multiline: bool) -> SafeText:
    if multiline:
        return SafeText("\n".join(_clean_line(line.replace("\t", "    ")) for line in text.split("\n")))
    return SafeText(_clean_line(text))


_cleaned = lru_cache(maxsize=4096)(_clean)


def _clean_line(line: str) -> str:
    if line.isascii():
        return _SUSPECT.sub(_picture, line)
    return _limit_combining("".join(_visible(character) for character in line))


def _visible(character: str) -> str:
    if character < "\x7f" and character >= " ":
        return character
    if _SUSPECT.match(character) or unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return _name(character)
    return character


def _picture(match: re.Match[str]) -> str:
    return _name(match[0])


def _name(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"⟨U+{code:04X}⟩"


def _limit_combining(text: str) -> str:
    """At most `MAX_COMBINING` marks on one base character; the rest is told as a count. A mark without a base gets one."""
    out: list[str] = []
    marks = cut = 0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
            marks += 1
            if not out:
                out.append("◌")
            if marks > MAX_COMBINING:
                cut += 1
                continue
        else:
            if cut:
                out.append(f"⟨+{cut} marks⟩")
            marks = cut = 0
        out.append(character)
    if cut:
        out.append(f"⟨+{cut} marks⟩")
    return "".join(out)


Forbidden = Literal["control", "bidi", "invisible"]


def forbidden(text: str) -> list[tuple[int, Forbidden]]:
    """Where a drawn text holds what must never reach a terminal: the check tests and the line filter share.

    U+0000-001F (but for newline), U+007F-009F, bidi controls, zero-width and tag characters.
    """
    found: list[tuple[int, Forbidden]] = []
    for at, character in enumerate(text):
        if character == "\n" or not _SUSPECT.match(character):
            continue
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0:
            found.append((at, "control"))
        elif code in {0x061C, 0x200E, 0x200F} or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069:
            found.append((at, "bidi"))
        else:
            found.append((at, "invisible"))
    return found
