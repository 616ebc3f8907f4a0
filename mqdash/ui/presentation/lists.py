"""What the list panes share: which items are drawn, the selected one, what an empty pane says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation.paint import Canvas, Look, frame, keys_line, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mqdash.ui.presentation.paint import Subject

Keys = tuple[tuple[SafeText, SafeText], ...]
"""Keys of a pane for its last lines: what is pressed and one word of what it does (made from the keymap)."""
Item = TypeVar("Item")
NO_KEYS: Final[Keys] = ()


def matches(look: Look, *words: str) -> bool:
    """Whether an item passes the filter of its pane: its words contain the text, whatever the case."""
    wanted = look.filtered.casefold()
    return not wanted or any(wanted in word.casefold() for word in words)


def shown_first(items: Iterable[Item], brokers: Iterable[str], shown: str) -> list[Item]:
    """The items of the shown broker, then the others, each in the order they came."""
    pairs = list(zip(items, brokers, strict=True))
    return [item for item, broker in pairs if broker == shown] + [item for item, broker in pairs if broker != shown]


def index_of(order: Sequence[Subject], selected: Subject | None) -> int | None:
    """Where the selected one is; None when it is not there (any more)."""
    return order.index(selected) if selected is not None and selected in order else None


def pane(look: Look, key: SafeText, name: SafeText, scope: SafeText) -> Canvas:
    """A framed canvas; a filter in force is told beside the scope."""
    canvas = Canvas(look.width, look.height, look.theme)
    if look.filtered:
        scope = safe_text(f"/{look.filtered} · {scope}" if scope else f"/{look.filtered}")
    frame(canvas, key, name, scope, focused=look.focused)
    return canvas


def keys_below(canvas: Canvas, keys: Keys, used: int, *, lines: int = 2) -> None:
    """The keys in the last line or two of a pane, when the rows above `used` leave a blank line between."""
    inner = canvas.height - 2
    if not keys or canvas.width < 12:
        return
    rows = _key_rows(keys, canvas.width - 4, lines)
    if inner - used < len(rows) + 1:
        rows = rows[: inner - used - 1] if inner - used > 1 else []
    for at, row in enumerate(rows):
        keys_line(canvas, 2, canvas.height - 1 - len(rows) + at, row, limit=canvas.width - 2)


def key_lines(keys: Keys, width: int, *, lines: int = 2) -> int:
    """How many lines the keys of a pane of that width take."""
    return len(_key_rows(keys, width - 4, lines))


def _key_rows(keys: Keys, width: int, lines: int) -> list[Keys]:
    rows: list[list[tuple[SafeText, SafeText]]] = [[]]
    room = width
    for key, word in keys:
        need = len(key) + 1 + len(word) + (2 if rows[-1] else 0)
        if need > room:
            if len(rows) == lines:
                break
            rows.append([])
            room, need = width, len(key) + 1 + len(word)
        rows[-1].append((key, word))
        room -= need
    return [tuple(row) for row in rows if row]


def empty(canvas: Canvas, *sentences: SafeText) -> None:
    """What will appear in an empty pane, and which key makes it happen."""
    y = 2 if canvas.height > 8 else 1
    for at, sentence in enumerate(sentences):
        for line in wrapped(sentence, canvas.width - 4):
            if y >= canvas.height - 1:
                return
            canvas.put(2, y, line, canvas.theme.middle if at == 0 else canvas.theme.dim)
            y += 1


def more_below(canvas: Canvas, left_out: int) -> None:
    """`▼ 12 more` in the lower border."""
    if left_out > 0 and canvas.width > 16:
        canvas.put(3, canvas.height - 1, safe_text(f" ▼ {left_out} more "), canvas.theme.dim)


def more_above(canvas: Canvas, left_out: int) -> None:
    """`▲ 3` in the lower border, beside `▼`."""
    if left_out > 0 and canvas.width > 30:
        canvas.put(18, canvas.height - 1, safe_text(f" ▲ {left_out} "), canvas.theme.dim)


FILTER_HINT: Final = literal("Nothing matches the filter. esc clears it.")
