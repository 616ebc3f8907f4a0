"""Keymap, command line, drafts, failures, filter: the parts without a screen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from rich.segment import Segment
from textual.color import Color

from mqdash.errors import InputError
from mqdash.model.message import Draft, Family
from mqdash.model.topology import Route
from mqdash.safe_text import forbidden
from mqdash.ui import commands, failures, keymap
from mqdash.ui.filters import NoControlCharacters
from mqdash.ui.keymap import Where
from mqdash.ui.screens import drafts
from mqdash.ui.terminal import check_terminal
from tests.support import until

if TYPE_CHECKING:
    from tests.ui.conftest import Stage

TAKEN_BY_TERMINALS = {"ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+z", "ctrl+b", "ctrl+a"}
NOT_BUILT_YET = {"o", "m", "s", "exclamation_mark"}


def pressed(key: keymap.Key) -> list[str]:
    return key.keys.split(",")


def test_every_key_has_an_id_a_label_and_a_tooltip() -> None:
    assert all(key.id and key.label and key.tooltip and key.shown for key in keymap.ALL)
    assert len({key.id for key in keymap.ALL}) == len(keymap.ALL)


def test_keys_that_harm_are_upper_case_and_the_others_are_not_taken() -> None:
    for key in keymap.ALL:
        if key.harms:
            assert all(name.isupper() for name in pressed(key)), key.id
        assert not TAKEN_BY_TERMINALS & set(pressed(key))
        assert not NOT_BUILT_YET & set(pressed(key))


@pytest.mark.parametrize("focus", [Where.PRODUCERS, Where.FLOW, Where.WORKERS, Where.DEAD_LETTERS, Where.STORY])
def test_no_key_means_two_things_in_one_place(focus: Where) -> None:
    keys = [
        name for key in keymap.keys_of(Where.EVERYWHERE, Where.DASHBOARD, Where.LISTS, focus) for name in pressed(key)
    ]
    assert len(keys) == len(set(keys))


def test_footer_shows_the_keys_of_the_focus_first_and_quit_last() -> None:
    footer = keymap.footer_keys(Where.WORKERS, (Where.EVERYWHERE, Where.DASHBOARD))
    assert {"worker.kill", "worker.hang", "worker.more"} <= {key.id for key in footer}
    assert footer[-1].id == "quit"
    assert "producer.toggle" not in {key.id for key in footer}


@pytest.mark.parametrize(
    ("line", "action", "subject", "args"),
    [
        ("kill W2", "kill", "W2", ()),
        ("crash W1", "crash_next", "W1", ()),
        ("scale W 5", "scale", "W", (2,)),
        ("scale W1 1", "scale", "W", (-2,)),
        ("rate shop 200", "set_rate", "shop", (200.0,)),
        ("rate shop 0.5/s", "set_rate", "shop", (0.5,)),
        ("burst sale 50", "burst", "sale", (50,)),
        ("publish", "publish", "", ()),
        ("q", "q", "", ()),
    ],
)
def test_command_line_becomes_a_wish(
    stage: Stage, line: str, action: str, subject: str, args: tuple[object, ...]
) -> None:
    wish = commands.parse(line, stage.app.store.view(), "orders")
    assert (wish.action, wish.subject, wish.args) == (action, subject, args)


@pytest.mark.parametrize(
    "line",
    ["", "dance", "kill", "kill W9", "scale W", "scale W x", "scale Z 2", "rate shop", "rate shop -1", "rate x 1"],
)
def test_command_line_that_is_wrong_says_what(stage: Stage, line: str) -> None:
    with pytest.raises(InputError) as caught:
        commands.parse(line, stage.app.store.view(), "orders")
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize(
    ("typed", "line"), [("ki", "kill"), ("kill W", "kill W1"), ("rate sh", "rate shop"), ("scale W", ""), ("x", "")]
)
def test_command_line_completes_from_what_is_there(stage: Stage, typed: str, line: str) -> None:
    assert commands.complete(typed, stage.app.store.view(), "orders") == line


def fields(**more: str) -> dict[str, str]:
    return {
        "destination": "orders.direct", "key": "order", "body": "{}", "headers": "", "priority": "", "ttl": "", "delay": "",
    } | more  # fmt: skip


def test_draft_carries_every_field() -> None:
    given = fields(headers="a: 1\nb: x: y\n\na: 2", priority="7", ttl="200 ms", delay="2 m")
    draft = drafts.draft_of(given, Draft(body=b"before", id="m-1"), Family.RABBITMQ)
    assert draft.headers == (("a", "1"), ("b", "x: y"), ("a", "2"))
    assert (draft.body, draft.priority, draft.ttl_s, draft.delay_s, draft.id) == (b"{}", 7, 0.2, 120.0, "m-1")


@pytest.mark.parametrize("body", [b"\x00\xff\x1b[2J", b"tab\there", b"x" * 70_000, b"\xe2\x80\xae"])
def test_body_that_was_not_touched_goes_out_byte_for_byte(body: bytes) -> None:
    shown = str(drafts.body_text(body))
    assert drafts.draft_of(fields(body=shown), Draft(body=body), Family.RABBITMQ).body == body
    with pytest.raises(InputError, match="body"):
        drafts.draft_of(fields(body=shown + "!"), Draft(body=body), Family.RABBITMQ)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"priority": "256"}, "priority"), ({"priority": "x"}, "priority"), ({"ttl": "soon"}, "TTL"),
        ({"delay": "-1"}, "delay"), ({"headers": "no colon"}, "headers, line 1"),
    ],
)  # fmt: skip
def test_draft_names_the_field_that_is_wrong(wrong: dict[str, str], word: str) -> None:
    with pytest.raises(InputError, match=word):
        drafts.draft_of(fields(**wrong), Draft(body=b""), Family.RABBITMQ)


def test_draft_refuses_what_the_family_cannot_carry() -> None:
    with pytest.raises(InputError, match="kafka has no priority"):
        drafts.draft_of(fields(priority="1"), Draft(body=b""), Family.KAFKA)
    with pytest.raises(InputError, match="destination"):
        drafts.route_of(fields(destination="", key=""), Route("x"))


def test_filter_replaces_what_could_steer_a_terminal() -> None:
    evil = "a\x1b]0;x\x07\x9b2J\u202eb\u200b"
    (segment,) = NoControlCharacters().apply([Segment(evil)], Color.parse("black"))
    assert not forbidden(segment.text)
    assert segment.text.startswith("a␦]0;x␦␦2J␦b")
    plain = [Segment("plain ascii")]
    assert NoControlCharacters().apply(plain, Color.parse("black")) is plain


async def test_failure_of_a_task_nobody_asks_for_is_reported() -> None:
    told: list[tuple[str, BaseException]] = []
    watch = failures.Watch(asyncio.get_running_loop(), lambda where, error: told.append((where, error)))
    watch.install()

    async def fail(text: str) -> None:
        raise RuntimeError(text)

    kept = asyncio.create_task(fail("kept"), name="poller")
    handled = asyncio.create_task(fail("handled"))
    with pytest.raises(RuntimeError):
        await handled
    await until(lambda: told)
    assert [(where, str(error)) for where, error in told] == [("task poller", "kept")]
    assert kept.done()
    watch.remove()


async def test_failure_of_a_thread_is_reported_on_the_loop() -> None:
    told: list[str] = []
    watch = failures.Watch(asyncio.get_running_loop(), lambda where, error: told.append(f"{where}: {error}"))
    watch.install()
    thread = threading.Thread(target=lambda: 1 / 0, name="fsync")
    thread.start()
    await until(lambda: told)
    assert told == ["thread fsync: division by zero"]
    watch.remove()


def test_F12_crash_report_has_no_local_variables() -> None:
    def connect() -> None:
        password = "hunter2"
        raise RuntimeError(f"login failed for {len(password)}")

    try:
        connect()
    except RuntimeError as error:
        report = failures.crash_report("the screen", error)
    assert "login failed" in report
    assert "test_parts.py" in report
    assert "hunter2" not in report


class Terminal:
    closed = False

    def __init__(self, tty: bool) -> None:
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize(
    ("stdin", "stdout", "term", "word"),
    [
        (False, True, "xterm", "input"),
        (True, False, "xterm", "output"),
        (True, True, "dumb", "TERM"),
        (True, True, "", "TERM"),
    ],
)
def test_no_terminal_is_said(stdin: bool, stdout: bool, term: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        check_terminal(Terminal(stdin), Terminal(stdout), {"TERM": term})  # type: ignore[arg-type]
    check_terminal(Terminal(True), Terminal(True), {"TERM": "xterm"})  # type: ignore[arg-type]


def test_screen_imports_no_client_library() -> None:
    code = "import sys, mqdash.ui.app; print(sorted({'pika', 'aiokafka', 'redis', 'httpx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_waiting_parent_imports_no_textual() -> None:
    code = "import sys, mqdash.ui.terminal; print('textual' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
