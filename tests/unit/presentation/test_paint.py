from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mqdash.safe_text import forbidden, literal, safe_text
from mqdash.ui.presentation.footer import draw_footer, draw_too_small
from mqdash.ui.presentation.paint import Canvas, fit, frame, left, middle_cut, plain, right, window, wrapped
from mqdash.ui.presentation.theme import DARK, MONO

REMOTE = st.text(max_size=40)


def drawn(canvas: Canvas) -> list[str]:
    return plain(canvas.rows())


def test_wide_characters_take_two_cells_and_are_never_halved() -> None:
    canvas = Canvas(6, 1, DARK)
    canvas.put(0, 0, safe_text("日本語"), DARK.text)
    canvas.put(1, 0, literal("x"), DARK.text)
    assert drawn(canvas) == [" x本語"]
    canvas.put(5, 0, safe_text("日"), DARK.text)
    assert drawn(canvas) == [" x本  "]


def test_text_is_cut_at_both_edges() -> None:
    canvas = Canvas(5, 1, DARK)
    canvas.put(-2, 0, safe_text("日本語x"), DARK.text)
    assert drawn(canvas) == ["本語x"]
    assert canvas.put(3, 0, literal("abcdef"), DARK.text) == 9
    assert drawn(canvas) == ["本 ab"]


def test_fit_marks_what_was_cut() -> None:
    assert fit(literal("orders.failed"), 10) == "orders.fa…"
    assert fit(safe_text("日本語"), 4) == "日…"
    assert fit(literal("abc"), 0) == ""
    assert right(literal("7"), 3) == "  7"
    assert left(safe_text("日"), 3) == "日 "


def test_wrapping_keeps_words_and_says_what_is_missing() -> None:
    text = literal("W3 was killed holding 2 unacked messages")
    assert wrapped(text, 20) == ["W3 was killed", "holding 2 unacked", "messages"]
    assert wrapped(text, 20, limit=2) == ["W3 was killed", "holding 2 unacked m…"]


def test_frame_has_key_and_name_left_and_scope_right() -> None:
    canvas = Canvas(30, 3, DARK)
    frame(canvas, literal("2"), literal("Flow"), literal("orders"), focused=True)
    assert drawn(canvas) == [
        "╭─ 2 Flow ───────── orders ──╮",
        "│                            │",
        "╰────────────────────────────╯",
    ]


def test_a_focused_frame_has_the_accent_and_bold_without_colours() -> None:
    for theme in (DARK, MONO):
        canvas = Canvas(20, 3, theme)
        frame(canvas, literal("2"), literal("Flow"), literal(""), focused=True)
        assert canvas.styles[0][0] == theme.line_focus
    assert MONO.line_focus != MONO.line
    assert MONO.grounds["selection"].reverse


def test_mono_has_no_colour_at_all() -> None:
    styles = [value for name in MONO.__slots__ if hasattr(value := getattr(MONO, name), "color")]
    assert styles
    assert all(style.color is None and style.bgcolor is None for style in [*styles, *MONO.families.values()])


def test_the_window_follows_the_selection() -> None:
    assert window(100, 10, 0, 15) == 6
    assert window(100, 10, 50, 15) == 15
    assert window(100, 10, 95, None) == 90
    assert window(3, 10, 2, 2) == 0


def test_the_footer_keeps_help_and_quit() -> None:
    middle = [(literal("x"), literal("something"))] * 20
    keys = (*middle, (literal("?"), literal("help")), (literal("q"), literal("quit")))
    row = plain(draw_footer(keys, 80, DARK).rows)[0]
    assert len(row) == 80
    assert row.rstrip().endswith("? help  q quit")


def test_too_small_never_fails() -> None:
    for width in (0, 1, 2, 40, 79):
        for height in (0, 1, 2, 23):
            rows = plain(draw_too_small(width, height, DARK))
            assert [len(row) for row in rows] == [width] * height
    assert any("needs 80×24" in row for row in plain(draw_too_small(60, 10, DARK)))


@given(st.lists(st.tuples(st.integers(-5, 25), REMOTE), max_size=8))
def test_rows_are_exactly_as_wide_as_the_canvas_whatever_is_written(texts_at: list[tuple[int, str]]) -> None:
    canvas = Canvas(20, 1, DARK)
    for x, text in texts_at:
        canvas.put(x, 0, safe_text(text), DARK.text)
    row = canvas.row(0)
    assert sum(segment.cell_length for segment in row) == 20
    assert not forbidden("".join(segment.text for segment in row))


@given(REMOTE, st.integers(0, 30))
def test_columns_are_exactly_as_wide_as_asked(text: str, width: int) -> None:
    assert cell_len(left(safe_text(text), width)) == width
    assert cell_len(right(safe_text(text), width)) == width


def test_middle_cut_keeps_beginning_and_end() -> None:
    assert middle_cut(literal("mqdash.ab12.orders.direct"), 16) == "mqdas…ers.direct"
    assert middle_cut(literal("orders"), 16) == "orders"
    assert cell_len(middle_cut(literal("漢字漢字漢字漢字漢字"), 8)) <= 8
