"""The dead-letter screen: causes, the letters of one, and one letter with its body, headers and path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

from rich.cells import cell_len

from mqdash.model.message import Entry, Wire
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.dead_letters import coloured_body
from mqdash.ui.presentation.lists import (
    FILTER_HINT,
    NO_KEYS,
    Keys,
    empty,
    index_of,
    keys_below,
    matches,
    more_below,
    pane,
)
from mqdash.ui.presentation.paint import Canvas, Drawn, Hit, Look, Subject, window, wrapped

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mqdash.dead_letters.letter import Group, Letter
    from mqdash.model.broker import LeaseInfo

Part = Literal["body", "headers", "path"]
PARTS: Final[tuple[Part, ...]] = ("body", "headers", "path")
BODY_LIMIT: Final = 65_536
"""Bytes of a body that are drawn; what is longer is told as a size."""


def group_subject(broker: str, group: Group) -> Subject:
    """A cause and the queue it happened in."""
    return Subject(broker, f"g:{group.origin}|{group.cause}")


def letter_subject(broker: str, letter: Letter) -> Subject:
    """A letter by its number in the window."""
    return Subject(broker, f"l:{letter.number}")


def window_words(info: LeaseInfo, held: int, since_s: float) -> SafeText:
    """`held 12 s · others cannot take them · esc returns them · oldest 200 of 4,213`: what it costs others comes first."""
    total = "" if info.total is None else f" of {texts.exact(info.total)}"
    words = (
        [f"held {texts.duration(max(int(since_s), 1))}", "others cannot take them", "esc returns them"]
        if info.held
        else []
    )
    if info.returns_left is not None:
        words.append(f"after {info.returns_left} more returns the broker drops them")
    words.append(f"{info.order} {texts.exact(held)}{total}")
    return safe_text(" · ".join([*words, info.cost] if info.cost else words))


def draw_groups(groups: Sequence[Group], look: Look, broker: str) -> Drawn:
    """The causes pane: three lines each while there is room, else one."""
    chosen = [group for group in groups if matches(look, group.cause, str(group.origin or ""))]
    canvas = pane(look, literal("1"), literal("Causes"), safe_text(str(len(chosen))))
    if not chosen:
        empty(canvas, FILTER_HINT if look.filtered else literal("No dead letters here."), literal("esc goes back."))
        return Drawn(canvas.rows())
    order = tuple(group_subject(broker, group) for group in chosen)
    step = 4 if len(chosen) * 4 <= look.height - 2 else 1
    fitting = max((look.height - 2) // step, 1)
    first = window(len(chosen), fitting, look.offset, index_of(order, look.selected))
    hits: list[Hit] = []
    for at, group in enumerate(chosen[first : first + fitting]):
        y, subject = 1 + at * step, order[first + at]
        rows = min(step, 3)
        _group(canvas, y, group, rows)
        hits += [Hit(line, 1, look.width - 1, subject) for line in range(y, y + rows)]
        if subject == look.selected:
            for line in range(y, y + rows):
                canvas.ground(line, 1, look.width - 1, "selection")
    more_below(canvas, len(chosen) - first - fitting)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _group(canvas: Canvas, y: int, group: Group, rows: int) -> None:
    theme, stop = canvas.theme, canvas.width - 2
    canvas.put_right(8, y, texts.count(len(group.letters)), theme.bold(theme.dead))
    canvas.put(10, y, safe_text(group.cause or "(no reason recorded)"), theme.strong, width=stop - 10)
    if rows < 3:
        return
    times = [letter.died_at_s for letter in group.letters if letter.died_at_s is not None]
    if times:
        told = f"first {texts.clock(min(times))}  last {texts.clock(max(times))}"
        canvas.put(10, y + 1, safe_text(told), theme.dim, width=stop - 10)
    workers = "  ".join(f"{name} {n}" for name, n in group.workers.items())
    where = f"{group.origin} · " if group.origin is not None else ""
    canvas.put(10, y + 2, safe_text(f"{where}{workers or 'no worker named'}"), theme.middle, width=stop - 10)


def draw_letters(letters: Sequence[Letter], marked: Collection[int], look: Look, broker: str, title: SafeText) -> Drawn:
    """The letters of a cause; a dot before those that are marked."""
    chosen = [x for x in letters if matches(look, x.id, x.key, x.cause, x.text, preview(x))]
    noun = "message" if len(chosen) == 1 else "messages"
    count = f"{texts.exact(len(chosen))} {noun}" + (f" · {len(marked)} marked" if marked else "")
    canvas = pane(look, literal("2"), title, safe_text(count))
    if not chosen:
        empty(canvas, FILTER_HINT if look.filtered else literal("No dead letters of this cause."))
        return Drawn(canvas.rows())
    order = tuple(letter_subject(broker, letter) for letter in chosen)
    room = max(look.height - 3, 1)
    first = window(len(chosen), room, look.offset, index_of(order, look.selected))
    theme = look.theme
    widths = _columns(chosen, look.width)
    x = 4
    for name, width in zip(("id", "died", "age", "key", "body"), widths, strict=True):
        canvas.put(x, 1, SafeText(name), theme.dim, width=width)
        x += width + 2
    hits: list[Hit] = []
    for at, letter in enumerate(chosen[first : first + room]):
        y, subject = 2 + at, order[first + at]
        _letter_row(canvas, y, letter, widths, look.now_s)
        if letter.number in marked:
            canvas.put(2, y, literal("●"), theme.accent)
        hits.append(Hit(y, 1, look.width - 1, subject))
        if subject == look.selected:
            canvas.ground(y, 1, look.width - 1, "selection")
    more_below(canvas, len(chosen) - first - room)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _columns(letters: Sequence[Letter], width: int) -> tuple[int, int, int, int, int]:
    """Widths of id, died, age, key, body: fixed by the whole list, so that nothing jumps while one scrolls."""
    id_ = min(max((len(texts.ident(letter.id)) for letter in letters[:500]), default=2), max(width // 4, 8))
    key = min(max((len(letter.key) for letter in letters[:500]), default=3), max(width // 6, 6))
    id_, key = max(id_, 2), max(key, 3)
    return id_, 4, 9, key, max(width - 6 - id_ - 4 - 9 - key - 8, 4)


def _letter_row(canvas: Canvas, y: int, letter: Letter, widths: tuple[int, ...], now_s: float) -> None:
    theme = canvas.theme
    deaths = texts.UNKNOWN if letter.deaths is None else safe_text(f"{letter.deaths}×")
    age = texts.UNKNOWN if letter.died_at_s is None else texts.duration(now_s - letter.died_at_s)
    cells = (
        (texts.ident(letter.id), theme.strong),
        (deaths, theme.look if (letter.deaths or 0) > 1 else theme.middle),
        (age, theme.middle),
        (safe_text(letter.key or "–"), theme.middle),
        (safe_text(preview(letter)), theme.dim),
    )
    x = 4
    for (text, style), width in zip(cells, widths, strict=True):
        canvas.put(x, y, text, style, width=width)
        x += width + 2


def preview(letter: Letter) -> str:
    """The beginning of the body on one line, or why it cannot be read."""
    if letter.delivery.message.undecoded:
        return letter.delivery.message.undecoded
    return " ".join(letter.delivery.message.body[:400].decode("utf-8", "backslashreplace").split())


def draw_letter(letter: Letter | None, part: Part, look: Look, *, scroll: int = 0, keys: Keys = NO_KEYS) -> Drawn:
    """One letter: its path and error on top, then the chosen part from line `scroll` on. `offset` is the scroll used."""
    if letter is None:
        canvas = pane(look, literal("3"), literal("Message"), SafeText(""))
        empty(canvas, literal("The selected dead letter is shown here."))
        return Drawn(canvas.rows())
    scope = literal(" ").joined([_tab(name, part) for name in PARTS])
    canvas = pane(look, literal("3"), texts.ident(letter.id), scope)
    theme, width = look.theme, look.width
    y = 1 if look.height < 12 else 2
    y = _path_line(canvas, y, letter)
    why = f"{letter.cause}: {letter.text}" if letter.text and not letter.text.startswith(letter.cause) else letter.text
    for line in wrapped(safe_text(why or letter.cause or "no reason recorded"), width - 6, 2):
        canvas.put(3, y, line, theme.broken)
        y += 1
    y += 1 if look.height >= 12 else 0
    lines = {"body": body_lines, "headers": header_lines, "path": path_lines}[part](letter)
    room = max(look.height - 2 - y - (1 if keys else 0), 1)
    start = max(0, min(scroll, len(lines) - room))
    for at, line in enumerate(lines[start : start + room]):
        if part == "body":
            coloured_body(canvas, 3, y + at, line, width - 6)
        else:
            canvas.put(3, y + at, line, theme.text, width=width - 6)
    keys_below(canvas, keys, 0, lines=1)
    more_below(canvas, len(lines) - start - room)
    return Drawn(canvas.rows(), offset=start)


def _tab(name: Part, part: Part) -> SafeText:
    return safe_text(f"{name} ▾" if name == part else name)


def _path_line(canvas: Canvas, y: int, letter: Letter) -> int:
    """`orders.direct ─▶ orders ╌✗ W1 ╌▶ orders.dlx ╌▶ orders.failed`, as far as it fits."""
    theme, x = canvas.theme, 3
    styles = {"destination": theme.accent, "queue": theme.strong, "grave": theme.dead}
    for at, step in enumerate(letter.path):
        if at:
            dead = letter.path[at - 1].kind != "destination" or step.kind == "grave"
            arrow = literal(" ╌▶ ") if dead else literal(" ─▶ ")
            x = canvas.put(x, y, arrow, theme.dead if dead else theme.middle, width=max(canvas.width - 3 - x, 0))
        x = canvas.put(
            x, y, safe_text(step.name), styles.get(step.kind, theme.text), width=max(canvas.width - 3 - x, 0)
        )
    return y + 1 if letter.path else y


def body_lines(letter: Letter) -> list[SafeText]:
    """The body: JSON indented, else as it is; with a note when it is longer than what is shown."""
    body = letter.delivery.message.body
    if not body:
        return [literal("(empty)")]
    shown = body[:BODY_LIMIT]
    text: str | bytes = shown
    if len(body) <= BODY_LIMIT:
        try:
            text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            text = shown
    lines = safe_text(text, multiline=True).lines()
    if len(body) > BODY_LIMIT:
        lines.append(safe_text(f"… {texts.size(len(body))} in all, the first {texts.size(BODY_LIMIT)} are shown"))
    return lines


def header_lines(letter: Letter) -> list[SafeText]:
    """Headers and the family's own properties, one a line, values as the broker gave them."""
    message = letter.delivery.message
    pairs: list[tuple[str, object]] = list(message.headers)
    if isinstance(message.native, Entry) and not isinstance(message.content, bytes):
        pairs += [(name.decode("utf-8", "backslashreplace"), value) for name, value in message.content]
    fields = getattr(message.native, "__struct_fields__", ())
    native = [(name, getattr(message.native, name)) for name in fields]
    shown = [(name, value) for name, value in (*native, *pairs) if value is not None]
    if not shown:
        return [literal("(none)")]
    width = min(max(cell_len(safe_text(name)) for name, _ in shown), 28)
    return [safe_text(f"{safe_text(name):<{width}}  {_value(value)}") for name, value in shown]


def _value(value: object) -> str:
    if isinstance(value, Wire):
        value = value.value
    return safe_text(value) if isinstance(value, str | bytes) else safe_text(str(value))


def path_lines(letter: Letter) -> list[SafeText]:
    """The way it went, a step a line, and where a replay would send it."""
    lines = [
        safe_text(f"{'' if step.at_s is None else texts.clock(step.at_s):>8}  {step.kind:<11} {step.name}  {step.note}")
        for step in letter.path
    ]
    home = (
        safe_text(f"a replay goes to {letter.home}")
        if letter.home is not None
        else literal("nobody tells where it came from")
    )
    origin = safe_text(f"origin told by {letter.dialect or 'nobody'}; replayed by mqdash {letter.replays} times before")
    return [*lines, SafeText(""), home, origin]
