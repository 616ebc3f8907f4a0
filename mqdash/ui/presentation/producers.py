"""The Producers pane: who publishes, whereto, how fast; two lines each while there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from mqdash.model.actors import ProducerState
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.lists import (
    FILTER_HINT,
    NO_KEYS,
    Keys,
    empty,
    index_of,
    key_lines,
    keys_below,
    matches,
    more_above,
    more_below,
    pane,
    shown_first,
)
from mqdash.ui.presentation.paint import Canvas, Drawn, Hit, Look, Subject, window

if TYPE_CHECKING:
    from rich.style import Style

    from mqdash.model.views import ProducersView, ProducerView
    from mqdash.ui.presentation.theme import Theme

_GLYPHS: Final = {
    ProducerState.ON: literal("▶"),
    ProducerState.OFF: literal("■"),
    ProducerState.BURST: literal("»"),
    ProducerState.BLOCKED: literal("‖"),
}


def producer_subject(row: ProducerView) -> Subject:
    """The id Flow uses for it too."""
    return Subject(row.producer.broker, f"p:{row.producer.name}")


def draw_producers(view: ProducersView, look: Look, *, shown: str = "", keys: Keys = NO_KEYS) -> Drawn:
    """The whole pane with its frame; producers of the `shown` broker first."""
    rows = shown_first(view.rows, (row.producer.broker for row in view.rows), shown)
    rows = [
        row for row in rows if matches(look, row.producer.name, row.producer.route.destination, row.producer.broker)
    ]
    running = sum(row.producer.state is not ProducerState.OFF for row in rows)
    canvas = pane(look, literal("1"), literal("Producers"), safe_text(f"{running} on"))
    if not rows:
        if look.filtered:
            empty(canvas, FILTER_HINT)
        else:
            empty(
                canvas,
                literal("No producers: nothing here publishes."),
                literal("p publishes a message by hand, where that is allowed."),
            )
        keys_below(canvas, keys, 4)
        return Drawn(canvas.rows())
    order = tuple(producer_subject(row) for row in rows)
    room = max(look.height - 2, 1)
    step = _step(len(rows), room - (key_lines(keys, look.width) + 1 if keys else 0), room)
    fitting = max((room + (step == 3)) // step, 1)
    first = window(len(rows), fitting, look.offset, index_of(order, look.selected))
    hits: list[Hit] = []
    for at, row in enumerate(rows[first : first + fitting]):
        y = 1 + at * step
        _draw(canvas, y, row, lines=min(step, 2))
        hits += [Hit(line, 1, look.width - 1, order[first + at]) for line in range(y, y + min(step, 2))]
        if order[first + at] == look.selected:
            for line in range(y, min(y + min(step, 2), look.height - 1)):
                canvas.ground(line, 1, look.width - 1, "selection")
    used = min(fitting, len(rows) - first) * step - (step == 3)
    keys_below(canvas, keys, used)
    more_below(canvas, len(rows) - first - fitting)
    more_above(canvas, first)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _step(count: int, room: int, all_room: int) -> int:
    """Lines per producer: three with a blank one, two, or one."""
    if count * 3 - 1 <= room:
        return 3
    return 2 if count * 2 <= all_room else 1


def _style(state: ProducerState, theme: Theme) -> Style:
    match state:
        case ProducerState.ON:
            return theme.well
        case ProducerState.OFF:
            return theme.dim
        case ProducerState.BURST:
            return theme.look
        case ProducerState.BLOCKED:
            return theme.broken


def _draw(canvas: Canvas, y: int, row: ProducerView, *, lines: int) -> None:
    theme, producer = canvas.theme, row.producer
    stop = canvas.width - 2
    canvas.put(2, y, _GLYPHS[producer.state], _style(producer.state, theme))
    value, style = _value(row, theme, stop - 5 - cell_len(safe_text(producer.name)))
    start = canvas.put_right(stop, y, value, style, width=max(stop - 6, 0))
    canvas.put(4, y, safe_text(producer.name), theme.strong, width=max(start - 5, 0))
    if lines < 2 or y + 1 >= canvas.height - 1:
        return
    start = stop - (8 if canvas.width >= 32 else 4)
    if row.unconfirmed:
        start = canvas.put_right(stop, y + 1, safe_text(f"!{texts.short(row.unconfirmed)} unproved"), theme.look)
    else:
        canvas.put(start, y + 1, texts.spark(row.spark, stop - start), theme.family(row.family))
    target = producer.route.destination or producer.route.key
    canvas.put(4, y + 1, safe_text(f"→ {target}"), theme.dim, width=max(start - 5, 0))


def _value(row: ProducerView, theme: Theme, room: int) -> tuple[SafeText, Style]:
    """What it does, beside what it was set to where there is `room`: `62/s of 80`."""
    producer = row.producer
    match producer.state:
        case ProducerState.BLOCKED:
            return literal("blocked"), theme.broken
        case ProducerState.BURST:
            return safe_text(f"{texts.short(producer.burst_left)} left"), theme.look
        case ProducerState.OFF if producer.rate_per_s <= 0:
            return safe_text(f"{texts.burst(producer.burst_size)} burst"), theme.dim
        case ProducerState.OFF:
            return literal("off"), theme.dim
        case ProducerState.ON:
            told = safe_text(f"{texts.rate(row.rate_per_s)} of {texts.short(producer.rate_per_s)}")
            fits = producer.rate_per_s > 0 and cell_len(told) <= room
            return told if fits else texts.rate(row.rate_per_s), theme.text
