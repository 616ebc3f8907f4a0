"""Where each key and table of a TOML text stands, so that an error can say `file:line:`. Parsing itself is tomllib's."""

from __future__ import annotations

import re

Path = tuple["str | int", ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_QUOTED = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*|[\[\]{}]')


def lines_of(text: str) -> dict[Path, int]:
    """Line numbers (from 1) by path: `("producers", 0, "rate_per_s")`. Keys inside inline tables are not listed."""
    return _Scan().run(text)


def line_at(lines: dict[Path, int], path: Path) -> int:
    """The line of this path, or of the nearest table around it; 1 when nothing is known."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


class _Scan:
    def __init__(self) -> None:
        self._lines: dict[Path, int] = {}
        self._table: Path = ()
        self._counts: dict[Path, int] = {}
        self._quote = ""
        self._depth = 0
        self._value: Path = ()
        self._element = -1

    def run(self, text: str) -> dict[Path, int]:
        for number, line in enumerate(text.splitlines(), start=1):
            rest = line
            if not self._quote and self._depth == 0:
                rest = self._start(line, number)
            self._skip(rest, number)
        return self._lines

    def _start(self, line: str, number: int) -> str:
        """Note the header or key that begins on this line; returns what is left to look through for open quotes."""
        header = _HEADER.match(line)
        if header is not None:
            self._enter(header[2], number, array=header[1] == "[[")
            return ""
        key = _KEY.match(line)
        if key is None:
            return line
        self._value, self._element = (*self._table, *_parts(key[1])), -1
        self._lines.setdefault(self._value, number)
        return line[key.end() :]

    def _enter(self, name: str, number: int, *, array: bool) -> None:
        path: Path = ()
        parts = _parts(name)
        for index, part in enumerate(parts):
            path = (*path, part)
            last = index == len(parts) - 1
            if last and array:
                self._counts[path] = self._counts.get(path, -1) + 1
                self._lines.setdefault(path, number)
            if path in self._counts:
                path = (*path, self._counts[path])
        self._table = path
        self._lines.setdefault(path, number)

    def _skip(self, rest: str, number: int) -> None:
        """Follow multi-line strings, arrays and inline tables to their end; note where each table of an array begins."""
        at = 0
        while at < len(rest):
            if self._quote:
                end = rest.find(self._quote, at)
                if end < 0:
                    return
                at, self._quote = end + 3, ""
                continue
            token = _QUOTED.search(rest, at)
            if token is None:
                return
            at = token.end()
            if token[0] in {'"""', "'''"}:
                self._quote = token[0]
            elif token[0] in {"[", "{"}:
                if token[0] == "{" and self._depth == 1:
                    self._element += 1
                    self._lines.setdefault((*self._value, self._element), number)
                self._depth += 1
            elif token[0] in {"]", "}"}:
                self._depth = max(0, self._depth - 1)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
