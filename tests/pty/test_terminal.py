"""The terminal is given back whatever happens (semantics, appendix A), and keys typed into a real one work."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

from tests.pty.driver import Terminal

pytestmark = [pytest.mark.pty, pytest.mark.slow]
ENTRY = (sys.executable, "-m", "tests.pty.entry")
F1, F2, F3, F4 = "\x1bOP", "\x1bOQ", "\x1bOR", "\x1bOS"


def started(size: tuple[int, int] = (100, 30)) -> Terminal:
    terminal = Terminal(ENTRY, size=size)
    terminal.shows("2 Flow")
    terminal.shows("W1 busy")
    return terminal


def ui_pid(terminal: Terminal) -> int:
    terminal.until(lambda: b"]2;pid " in terminal.output, "no pid told")
    found = re.search(rb"\]2;pid (\d+)", terminal.output)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
@pytest.mark.parametrize("stalled", [False, True])
def test_F11_signal_restores_the_terminal(number: signal.Signals, code: int, stalled: bool) -> None:
    with started() as terminal:
        if stalled:
            terminal.type(F4)
            terminal.until(lambda: b"]2;stalled" in terminal.output, "did not stall")
        terminal.process.send_signal(number)
        assert terminal.ends() == code
        assert terminal.left_behind() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGSEGV, 139)])
def test_F11_parent_restores_what_a_killed_ui_left(number: signal.Signals, code: int) -> None:
    with started() as terminal:
        os.kill(ui_pid(terminal), number)
        assert terminal.ends() == code
        assert terminal.left_behind() == []


def test_F12_crash_in_a_handler_ends_with_a_report_without_locals() -> None:
    with started() as terminal:
        terminal.type(F1)
        assert terminal.ends() == 1
        assert terminal.left_behind() == []
        assert b"mqdash crashed in the screen: RuntimeError: handler broke 7" in terminal.output
        assert b"hunter2" not in terminal.output


@pytest.mark.parametrize(("key", "words"), [(F2, "task broke"), (F3, "division by zero")])
def test_failure_of_a_task_or_thread_is_told_and_the_app_goes_on(key: str, words: str) -> None:
    with started() as terminal:
        terminal.type(key)
        terminal.shows(words)
        terminal.type("z")
        terminal.until(lambda: "1 Producers" not in terminal.text(), "keys do not work any more")
        terminal.type("q")
        assert terminal.ends() == 1
        assert terminal.left_behind() == []
        assert b"caught faults of its own" in terminal.output


def test_keys_work_and_q_leaves_cleanly() -> None:
    with started() as terminal:
        terminal.type("?")
        terminal.shows("Leave mqdash")
        terminal.type("\x1b")
        terminal.until(lambda: "Leave mqdash" not in terminal.text(), "help stays")
        terminal.resize(70, 20)
        terminal.shows("too small")
        terminal.resize(120, 40)
        terminal.shows("1 Producers")
        terminal.type("q")
        assert terminal.ends() == 0
        assert terminal.left_behind() == []


def test_fault_47_remote_text_never_reaches_the_terminal_raw() -> None:
    with started() as terminal:
        terminal.type(":")
        terminal.type("kill \x1b[200~\x9b2Jx\x1b[201~\r")
        terminal.shows("there is no worker")
        terminal.type("q")
        assert terminal.ends() == 0
        assert b"\xc2\x9b" not in terminal.output
