"""Remote text cannot control a terminal (semantics §5.3, faults 43, 47-49)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqdash.safe_text import MAX_COMBINING, SafeText, forbidden, literal, safe_text

CORPUS = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]0;title\x1b\\",
    "\x1b]52;c;aGk=\x1b\\",
    "\x1b]8;;http://x\x1b\\link",
    "\x1b[6n",
    "\x1b[c",
    "\x1bP$qm\x1b\\",
    "\x1b]50;?\x1b\\",
    "\x1b[21t",
    "\x1b[?1049l",
    "\x1b[>1u",
    "\x1bc",
    "\u009b2J",
    "\u009d0;x\u009c",
    "\u0090q\u009c",
    "\x1b]0;" + "A" * 1_000_000,
    "\r",
    "\b",
    "\x00",
    "\x7f",
    "a\u202eb",
    "\u2066x\u2069",
    "\u200b\u200d\ufeff",
    "\U000e0041",
    "\ud800",
    "\x1bPtmux;\x1b\x1b]52;c;x\x07\x1b\\",
    "\u2028\u2029",
    "\ue000",
]


@pytest.mark.parametrize("payload", CORPUS, ids=[ascii(text[:12]) for text in CORPUS])
@pytest.mark.parametrize("multiline", [False, True])
def test_fault_47_no_control_or_bidi_survives(payload: str, multiline: bool) -> None:
    assert forbidden(safe_text(payload, multiline=multiline)) == []
    if "\ud800" not in payload:
        assert forbidden(safe_text(payload.encode(), multiline=multiline)) == []


@pytest.mark.parametrize("raw", [b"\x9b2J", b"\x9d0;x\x9c", b"\xc0\x9b[2J", b"\xed\xa0\x80", b"\xff\xfe\x00"])
def test_fault_43_bytes_that_are_not_utf8_are_shown_escaped(raw: bytes) -> None:
    shown = safe_text(raw)
    assert forbidden(shown) == []
    assert "\\x" in shown


def test_nothing_is_silently_deleted() -> None:
    assert safe_text("a\x1b[31mb\u202ec") == "a␛[31mb⟨U+202E⟩c"


def test_a_line_break_is_shown_in_one_line_and_kept_in_many() -> None:
    assert safe_text("a\nb\tc") == "a␊b␉c"
    assert safe_text("a\nb\tc\r", multiline=True) == "a\nb    c␍"


def test_fault_49_a_flood_of_combining_marks_is_cut_and_counted() -> None:
    shown = safe_text("a" + "\u0301" * 10_000)
    assert shown == "a" + "\u0301" * MAX_COMBINING + f"⟨+{10_000 - MAX_COMBINING} marks⟩"


def test_text_of_the_world_passes_untouched() -> None:
    for text in ("żółć", "日本語", "Ελλάδα", "👍", "naïve cafe\u0301"):
        assert safe_text(text) == text


def test_only_safe_text_joins_safe_text() -> None:
    assert isinstance(literal("a") + safe_text("\x1b"), SafeText)
    assert isinstance(safe_text("abc")[1:], SafeText)
    with pytest.raises(TypeError):
        _ = literal("a") + "b"


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    assert forbidden(safe_text(text)) == []
    assert forbidden(safe_text(text, multiline=True)) == []


@given(st.binary())
def test_any_bytes_are_harmless(data: bytes) -> None:
    assert forbidden(safe_text(data)) == []


@given(st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = safe_text(text)
    assert safe_text(str(once)) == once
