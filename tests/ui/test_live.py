"""Live panes: what changed is painted, and nothing else; Textual's private parts they lean on are where they were."""

from __future__ import annotations

import inspect
import io
import itertools
import subprocess
import sys

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual import _compositor
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from mqdash.ui.live import JOIN_CELLS, changed_spans, paint_spans
from mqdash.ui.pacing import ASK, SILENCE_S, Pacing

RED, BLUE = Style(color="red"), Style(color="blue")


def test_compositor_still_has_what_is_replaced() -> None:
    """When this fails Textual moved: look at `ChopsUpdate` again before the patch is trusted."""
    assert list(inspect.signature(ChopsUpdate.__init__).parameters) == ["self", "chops", "spans", "chop_ends"]
    assert list(inspect.signature(ChopsUpdate.render_segments).parameters) == ["self", "console"]
    source = inspect.getsource(_compositor.Compositor.render_partial_update)
    assert "ChopsUpdate(chops, spans, chop_ends)" in source
    assert "render_segments" in inspect.getsource(App._display)
    assert "crop" in inspect.signature(Widget.render_lines).parameters


def test_paint_rate_is_set_before_textual_is_imported() -> None:
    code = "import mqdash.ui.live, textual.constants; print(textual.constants.MAX_FPS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "240"


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)


def on_screen(data: str, width: int, height: int) -> pyte.Screen:
    screen = pyte.Screen(width, height)
    pyte.Stream(screen).feed(data)
    return screen


def test_painting_starts_at_the_changed_cell() -> None:
    row = Strip([Segment("a" * 150 + "●" + "b" * 9, RED)], 160)
    update = ChopsUpdate([{0: row}], [(0, 150, 151)], [[160]])
    data = paint_spans(update, console())
    assert "●" in data
    assert "a" not in data.replace("\x1b", "")
    assert data.startswith("\x1b[1;151H")


CELLS = st.lists(st.tuples(st.sampled_from("abc ─●"), st.sampled_from([RED, BLUE])), min_size=30, max_size=30)


def segments(cells: list[tuple[str, Style]], cuts: set[int]) -> list[Segment]:
    out: list[Segment] = []
    for at, (character, style) in enumerate(cells):
        if out and out[-1].style is style and at not in cuts:
            out[-1] = Segment(out[-1].text + character, style)
        else:
            out.append(Segment(character, style))
    return out


@given(CELLS, CELLS, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)))
def test_changed_spans_repaint_exactly_to_the_new_row(
    old: list[tuple[str, Style]], new: list[tuple[str, Style]], cuts: set[int], more: set[int]
) -> None:
    before, after = segments(old, cuts), segments(new, more)
    spans = changed_spans(before, after, 30)
    covered = {x for first, last in spans for x in range(first, last)}
    assert {x for x in range(30) if old[x] != new[x]} <= covered
    for (_, last), (first, _) in itertools.pairwise(spans):
        assert first - last > JOIN_CELLS
    screen = on_screen(
        "\x1b[1;1H" + Strip(before, 30).render(console())
        + paint_spans(ChopsUpdate([{0: Strip(after, 30)}], [(0, a, b) for a, b in spans], [[30]]), console()),
        30, 1,
    )  # fmt: skip
    assert screen.display[0] == "".join(character for character, _ in new)
    assert [screen.buffer[0][x].fg for x in range(30) if new[x][0] != " "] == [
        "red" if style is RED else "blue" for character, style in new if character != " "
    ]


def test_equal_rows_paint_nothing_and_far_changes_stay_apart() -> None:
    row = [Segment("x" * 60, RED)]
    assert changed_spans(row, [Segment("x" * 30, RED), Segment("x" * 30, RED)], 60) == []
    assert changed_spans(row, [Segment("y" + "x" * 58 + "y", RED)], 60) == [(0, 1), (59, 60)]


@pytest.mark.parametrize("text", ["日本語" * 5 + "x" * 10, "é" * 20, "a" * 19 + "日" + "b" * 9])
def test_wide_characters_are_never_cut(text: str) -> None:
    old = [Segment("-" * 40, RED)]
    new = Strip([Segment(text, RED)]).adjust_cell_length(40)
    spans = changed_spans(old, list(new), 40)
    data = paint_spans(ChopsUpdate([{0: new}], [(0, a, b) for a, b in spans], [[40]]), console())
    screen = on_screen("\x1b[1;1H" + "-" * 40 + data, 40, 1)
    assert screen.display[0].replace(" ", "").startswith(text.strip()[:10])


class Ticking:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_one_frame_in_flight_and_a_silent_terminal_is_not_waited_for() -> None:
    clock = Ticking()
    pacing = Pacing(clock)
    assert pacing.question() == ""
    pacing.drew()
    assert pacing.question() == ASK
    assert pacing.question() == ""
    waiting = [pacing.waiting]
    clock.now_s += 0.038
    pacing.answered()
    waiting.append(pacing.waiting)
    assert waiting == [True, False]
    assert pacing.link_s == pytest.approx(0.038)
    pacing.drew()
    pacing.question()
    clock.now_s += SILENCE_S
    assert not pacing.waiting


def test_region_of_one_cell_is_what_a_moving_dot_costs() -> None:
    old = [Segment("─" * 50, BLUE)]
    new = [Segment("─" * 20, BLUE), Segment("●", RED), Segment("─" * 29, BLUE)]
    (span,) = changed_spans(old, new, 50)
    assert Region(span[0], 0, span[1] - span[0], 1).area == 1
