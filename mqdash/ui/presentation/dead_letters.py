"""The Dead letters pane: the causes of the deaths mqdash saw (or the deaths one by one), and one of them in detail.

It opens nothing: what the broker holds is told as a count, `d` or `enter` looks into it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.lists import (
    FILTER_HINT,
    NO_KEYS,
    Keys,
    empty,
    index_of,
    keys_below,
    matches,
    more_above,
    more_below,
    pane,
)
from mqdash.ui.presentation.paint import Canvas, Drawn, Hit, Look, Span, Subject, right, window, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.style import Style

    from mqdash.model.views import CauseView, DeadLettersView, DeathView, GraveView

By = Literal["cause", "message"]
_WIDE: Final = 54
_NUMBER: Final = re.compile(r"(?<![\w\"])-?\d+(?:\.\d+)?(?![\w\"])")


def cause_subject(cause: CauseView) -> Subject:
    """A cause is its queue and its words."""
    return Subject(cause.broker, f"c:{cause.queue.name}|{cause.queue.group}|{cause.cause}")


def death_subject(death: DeathView) -> Subject:
    """A death is one message dying at one moment."""
    return Subject(death.broker, f"x:{death.id}|{death.at_s}")


def grave_subject(grave: GraveView) -> Subject:
    """A dead-letter queue; the id Flow uses for it too."""
    return Subject(grave.broker, f"q:{grave.queue.name}|{grave.queue.group}")


def draw_dead_letters(view: DeadLettersView, look: Look, *, by: By = "cause", keys: Keys = NO_KEYS) -> Drawn:
    """The whole pane with its frame."""
    canvas = pane(look, literal("4"), literal("Dead letters"), _scope(view, look, by))
    if by == "message":
        return _messages(canvas, view, look, keys)
    causes = [cause for cause in view.causes if matches(look, cause.cause, str(cause.queue), *cause.workers)]
    if not causes:
        return _graves(canvas, view, look, keys)
    order = tuple(cause_subject(cause) for cause in causes)
    head = 1 if look.width >= _WIDE else 0
    room = _list_room(look, len(causes), head)
    first = window(len(causes), room, look.offset, index_of(order, look.selected))
    if head:
        _cause_head(canvas)
    hits: list[Hit] = []
    for at, cause in enumerate(causes[first : first + room]):
        y = 1 + head + at
        _cause(canvas, y, cause)
        hits.append(Hit(y, 1, look.width - 1, order[first + at]))
        if order[first + at] == look.selected:
            canvas.put(2, y, literal("▸"), look.theme.accent)
            canvas.ground(y, 1, look.width - 1, "selection")
    used = head + min(room, len(causes) - first)
    newest = _newest(view.deaths, causes, order, look.selected)
    if newest is not None:
        used = _detail(canvas, used + 1, newest, look) - 1
    keys_below(canvas, keys, used, lines=1)
    more_below(canvas, len(causes) - first - room)
    more_above(canvas, first)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _scope(view: DeadLettersView, look: Look, by: By) -> SafeText:
    held = [grave.count for grave in view.graves]
    seen = texts.count(view.seen)
    if look.width < _WIDE:
        return seen if view.seen or view.graves else SafeText("")
    told = (
        f" · {texts.count(sum(count or 0 for count in held))} held" if any(count is not None for count in held) else ""
    )
    return safe_text(f"{seen} seen{told} · {'by cause' if by == 'cause' else 'newest first'} ▾")


def _list_room(look: Look, count: int, head: int) -> int:
    """Rows for the list: all it needs while four lines are left for the detail, else two thirds, else everything."""
    inner = look.height - 2 - head
    if inner < 7:
        return max(inner, 1)
    return max(min(count, inner - 6), inner // 3, 1)


def _cause_head(canvas: Canvas) -> None:
    dim, width = canvas.theme.dim, canvas.width
    canvas.put_right(10, 1, literal("count"), dim)
    canvas.put(11, 1, literal("cause"), dim)
    canvas.put(width - 28, 1, literal("from"), dim)
    canvas.put(width - 19, 1, literal("last"), dim)
    canvas.put(width - 10, 1, literal("trend"), dim)


def _cause(canvas: Canvas, y: int, cause: CauseView) -> None:
    theme, width = canvas.theme, canvas.width
    if width < _WIDE:
        canvas.put_right(8, y, right(texts.count(cause.count), 5), theme.bold(theme.dead))
        canvas.put(10, y, safe_text(cause.cause), theme.text, width=width - 21)
        canvas.put_right(width - 2, y, texts.clock(cause.last_s), theme.middle)
        return
    canvas.put_right(10, y, texts.count(cause.count), theme.bold(theme.dead))
    canvas.put(11, y, safe_text(cause.cause), theme.text, width=width - 40)
    who = safe_text(" ".join(cause.workers)) if cause.workers else texts.NONE
    canvas.put(width - 28, y, who, theme.middle, width=8)
    canvas.put(width - 19, y, texts.clock(cause.last_s), theme.middle)
    canvas.put(width - 10, y, texts.spark(cause.spark, 8), theme.dead)


def _newest(
    deaths: Sequence[DeathView], causes: Sequence[CauseView], order: Sequence[Subject], selected: Subject | None
) -> DeathView | None:
    """The newest death of the selected cause, else of the first one."""
    at = index_of(order, selected)
    cause = causes[at or 0]
    return next(
        (
            death
            for death in deaths
            if death.cause == cause.cause and death.queue == cause.queue and death.broker == cause.broker
        ),
        None,
    )


def _detail(canvas: Canvas, y: int, death: DeathView, look: Look) -> int:
    """A rule, then who died where and why, its body's beginning and the error; returns the first free row."""
    theme, width, stop = look.theme, look.width, look.height - 1
    if stop - y < 4:
        return y
    canvas.put(2, y, SafeText("─" * (width - 4)), theme.trough)
    y += 1 + (stop - y > 7)
    x = canvas.put(3, y, texts.ident(death.id), theme.strong, width=width // 3)
    ago = safe_text(f"{texts.duration(int(look.now_s - death.at_s))} ago")
    end = canvas.put_right(width - 2, y, ago, theme.dim)
    about = f"attempt {death.attempt} in {death.queue} · dead-lettered by {death.by}"
    canvas.put(x + 2, y, safe_text(about), theme.middle, width=end - x - 3)
    y += 1
    if death.preview:
        coloured_body(canvas, 3, y, safe_text(death.preview[:512]), width - 5)
        y += 1
    why = (
        f"{death.cause}: {death.text}"
        if death.text and not death.text.startswith(death.cause)
        else death.text or death.cause
    )
    for line in wrapped(safe_text(why), width - 5, 2):
        if y >= stop - 1:
            break
        canvas.put(3, y, line, theme.broken)
        y += 1
    return y


def coloured_body(canvas: Canvas, x: int, y: int, body: SafeText, width: int) -> None:
    """One line of a body, its numbers brighter."""
    theme = canvas.theme
    shown = body[: max(width, 0)]
    spans: list[Span] = []
    last = 0
    for found in _NUMBER.finditer(shown):
        spans.append(Span(shown[last : found.start()], theme.dim))
        spans.append(Span(shown[found.start() : found.end()], theme.look))
        last = found.end()
    spans.append(Span(shown[last:], theme.dim))
    canvas.spans(x, y, spans, limit=x + width)


def _graves(canvas: Canvas, view: DeadLettersView, look: Look, keys: Keys) -> Drawn:
    """No death was seen: what the brokers hold, or what will appear here."""
    theme = look.theme
    if look.filtered:
        empty(canvas, FILTER_HINT)
        return Drawn(canvas.rows())
    if not view.graves:
        empty(
            canvas,
            literal("No worker here has buried a message, no broker holds any."),
            literal("Those that do are grouped here by their cause."),
        )
        keys_below(canvas, keys, 4, lines=1)
        return Drawn(canvas.rows())
    order = tuple(grave_subject(grave) for grave in view.graves)
    room = max(look.height - 4, 1)
    first = window(len(order), room, look.offset, index_of(order, look.selected))
    canvas.put(2, 1, literal("No worker here buried any. The brokers hold:"), theme.dim, width=look.width - 4)
    hits: list[Hit] = []
    for at, grave in enumerate(view.graves[first : first + room]):
        y = 2 + at
        style: Style = theme.bold(theme.dead) if grave.count else theme.middle
        canvas.put_right(8, y, right(texts.count(grave.count), 5), style)
        canvas.put(10, y, safe_text(str(grave.queue)), theme.text, width=look.width - 22)
        canvas.put_right(look.width - 2, y, safe_text(grave.broker), theme.family(grave.family), width=10)
        hits.append(Hit(y, 1, look.width - 1, order[first + at]))
        if order[first + at] == look.selected:
            canvas.ground(y, 1, look.width - 1, "selection")
    keys_below(canvas, keys, 1 + len(hits), lines=1)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _messages(canvas: Canvas, view: DeadLettersView, look: Look, keys: Keys) -> Drawn:
    """The deaths one by one, newest first."""
    deaths = [
        death for death in view.deaths if matches(look, death.id, death.key, death.cause, str(death.queue), death.by)
    ]
    if not deaths:
        return _graves(canvas, view, look, keys)
    order = tuple(death_subject(death) for death in deaths)
    room = _list_room(look, len(deaths), 0)
    at_selected = index_of(order, look.selected)
    first = window(len(deaths), room, look.offset, at_selected)
    hits: list[Hit] = []
    for at, death in enumerate(deaths[first : first + room]):
        y = 1 + at
        _death(canvas, y, death, look)
        hits.append(Hit(y, 1, look.width - 1, order[first + at]))
        if order[first + at] == look.selected:
            canvas.ground(y, 1, look.width - 1, "selection")
    used = _detail(canvas, 2 + len(hits), deaths[at_selected or 0], look) - 1
    keys_below(canvas, keys, used, lines=1)
    more_below(canvas, len(deaths) - first - room)
    more_above(canvas, first)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _death(canvas: Canvas, y: int, death: DeathView, look: Look) -> None:
    theme, width = look.theme, look.width
    x = canvas.put(3, y, texts.ident(death.id), theme.strong, width=12)
    x = max(x + 1, 16)
    if death.attempt > 1:
        canvas.put(x, y, safe_text(f"{death.attempt}×"), theme.look, width=4)
    x = canvas.put(x + 4, y, safe_text(death.cause), theme.text, width=max(width - x - 19, 0))
    if width >= _WIDE and x + 24 < width:
        canvas.put(x + 2, y, safe_text(f"{death.queue} · {death.by}"), theme.dim, width=width - x - 14)
    canvas.put_right(width - 2, y, texts.clock(death.at_s), theme.middle)
