"""The Workers pane: who takes, what each one has in hand, how far it is and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from mqdash.model.actors import WorkerState
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
from mqdash.ui.presentation.paint import Canvas, Drawn, Hit, Look, Subject, cat, end_cut, right, window

if TYPE_CHECKING:
    from rich.style import Style

    from mqdash.model.views import WorkersView, WorkerView
    from mqdash.ui.presentation.theme import Theme

_GLYPHS: Final = {
    WorkerState.STARTING: literal("◌"),
    WorkerState.IDLE: literal("●"),
    WorkerState.BUSY: literal("●"),
    WorkerState.PAUSED: literal("◌"),
    WorkerState.HUNG: literal("◉"),
    WorkerState.DRAINING: literal("◐"),
    WorkerState.KILLED: literal("✗"),
    WorkerState.CRASHED: literal("✗"),
    WorkerState.STUCK: literal("!"),
    WorkerState.GONE: literal("–"),
}
_LEAST_BAR: Final = 5
_DEAD: Final = frozenset({WorkerState.KILLED, WorkerState.CRASHED, WorkerState.GONE})
_QUIET: Final = frozenset({WorkerState.PAUSED, WorkerState.STARTING})


def worker_subject(row: WorkerView) -> Subject:
    """The id Flow uses for the same worker beside its queue."""
    return Subject(row.worker.broker, f"m:{row.worker.name}")


def state_style(state: WorkerState, theme: Theme) -> Style:
    """Colour of a worker's state; its glyph and word say the same."""
    match state:
        case WorkerState.IDLE | WorkerState.BUSY:
            return theme.well
        case WorkerState.HUNG | WorkerState.DRAINING:
            return theme.look
        case WorkerState.KILLED | WorkerState.CRASHED | WorkerState.STUCK:
            return theme.broken
        case WorkerState.PAUSED | WorkerState.STARTING | WorkerState.GONE:
            return theme.dim


def draw_workers(view: WorkersView, look: Look, *, shown: str = "", keys: Keys = NO_KEYS) -> Drawn:
    """The whole pane with its frame; workers of the `shown` broker first."""
    rows = shown_first(view.rows, (row.worker.broker for row in view.rows), shown)
    rows = [row for row in rows if matches(look, row.worker.name, str(row.worker.queue), row.worker.state)]
    living = sum(row.worker.state not in _DEAD for row in rows)
    canvas = pane(look, literal("3"), literal("Workers"), safe_text(str(living)))
    if not rows:
        if look.filtered:
            empty(canvas, FILTER_HINT)
        else:
            empty(
                canvas,
                literal("Nobody takes messages."),
                literal("Whoever consumes from a queue of this broker appears here by itself."),
            )
        return Drawn(canvas.rows())
    order = tuple(worker_subject(row) for row in rows)
    room = max(look.height - 2, 1)
    step = _step(len(rows), room - (key_lines(keys, look.width) + 1 if keys else 0), look)
    fitting = max((room + (step == 3)) // step, 1)
    first = window(len(rows), fitting, look.offset, index_of(order, look.selected))
    visible = rows[first : first + fitting]
    names = min(max(len(row.worker.name) for row in visible), 10 if look.width < 40 else 18)
    hits: list[Hit] = []
    for at, row in enumerate(visible):
        y = 1 + at * step
        _draw(canvas, y, row, look, names=names, lines=min(step, 2))
        hits += [Hit(line, 1, look.width - 1, order[first + at]) for line in range(y, y + min(step, 2))]
        if order[first + at] == look.selected:
            for line in range(y, min(y + min(step, 2), look.height - 1)):
                canvas.ground(line, 1, look.width - 1, "selection")
    keys_below(canvas, keys, len(visible) * step - (step == 3))
    more_below(canvas, len(rows) - first - fitting)
    more_above(canvas, first)
    return Drawn(canvas.rows(), tuple(hits), order, first)


def _step(count: int, room: int, look: Look) -> int:
    """Lines per worker; the narrow pane has one."""
    if look.width < 26:
        return 1
    if count * 3 - 1 <= room:
        return 3
    return 2 if count * 2 <= room + 1 else 1


def _draw(canvas: Canvas, y: int, row: WorkerView, look: Look, *, names: int, lines: int) -> None:
    theme, worker = canvas.theme, row.worker
    style = state_style(worker.state, theme)
    stop = canvas.width - 2
    canvas.put(2, y, _GLYPHS[worker.state], style)
    x = canvas.put(4, y, safe_text(worker.name), theme.strong, width=names)
    value, value_style = _value(row, theme)
    start = canvas.put_right(stop, y, value, value_style)
    x = canvas.put(
        max(x + 1, 5 + names) if look.width >= 26 else x + 1,
        y,
        safe_text(worker.state.value),
        style,
        width=start - x - 1,
    )
    if worker.current_id and worker.state not in _DEAD and stop - 8 - x > 5:
        again = worker.current_attempt > 1
        times = safe_text(f" ×{worker.current_attempt}" if again else "")
        mark = cat(end_cut(texts.ident(worker.current_id), stop - 9 - x - len(times)), times)
        canvas.put_right(min(start, stop - 7) - 1, y, mark, theme.look if again else theme.middle, width=stop - 9 - x)
    if lines < 2 or y + 1 >= canvas.height - 1:
        return
    _second(canvas, y + 1, row, look, style)


def _second(canvas: Canvas, y: int, row: WorkerView, look: Look, style: Style) -> None:
    theme, worker = canvas.theme, row.worker
    stop = canvas.width - 2
    held = _held(row)
    place = safe_text(worker.queue.group or worker.queue.name)
    widest = (
        2 * len(texts.short(worker.prefetch)) + 1 if worker.prefetch else 5
    )  # as wide as held may get: nothing jumps
    bar = 8 if canvas.width < 40 else 12
    bar = max(min(bar, stop - 4 - cell_len(place) - widest - 2), _LEAST_BAR)
    limit = stop
    if worker.state not in _DEAD and not worker.subscriber and worker.expected_s is not None:
        limit = stop - bar - 1
        _progress(canvas, stop - bar, y, row, look.now_s, width=bar, style=style)
    elif row.spark and worker.state not in _DEAD:
        limit = stop - bar - 1
        canvas.put(stop - bar, y, texts.spark(row.spark, bar), theme.middle)
    if worker.note and (worker.state is WorkerState.STUCK or worker.state in _DEAD or worker.foreign):
        canvas.put(4, y, safe_text(worker.note), theme.dim if worker.foreign else theme.look, width=limit - 4)
        return
    room = limit - 4 - len(held) - 1
    x = canvas.put(4, y, place, theme.dim, width=max(room, 0))
    x = canvas.put(x + 1, y, held, theme.middle)
    if row.error_rate and x + 10 < limit:
        canvas.put(x + 2, y, safe_text(f"✗ {texts.percent(row.error_rate)}"), theme.look, width=limit - x - 2)


def _held(row: WorkerView) -> SafeText:
    worker = row.worker
    if worker.subscriber or worker.state in _DEAD:
        return texts.NONE
    held = texts.short(worker.in_flight)
    return held if worker.prefetch is None else safe_text(f"{held}/{texts.short(worker.prefetch)}")


def _value(row: WorkerView, theme: Theme) -> tuple[SafeText, Style]:
    worker = row.worker
    if worker.state in {WorkerState.KILLED, WorkerState.CRASHED}:
        return cat(texts.short(worker.came_back), literal(" back")), theme.text
    if worker.state in _QUIET or worker.state is WorkerState.GONE:
        return texts.NONE, theme.dim
    return right(texts.rate(row.rate_per_s), 7), theme.text


def _progress(canvas: Canvas, x: int, y: int, row: WorkerView, now_s: float, *, width: int, style: Style) -> None:
    worker = row.worker
    done = 0
    if worker.busy_since_s is not None and worker.expected_s:
        share = (now_s - worker.busy_since_s) / worker.expected_s
        done = round(min(max(share, 0.0), 1.0) * width)
    canvas.put(x, y, SafeText("━" * done), style)
    canvas.put(x + done, y, SafeText("─" * (width - done)), canvas.theme.trough)
