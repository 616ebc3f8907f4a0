"""A terminal for tests: starts a program on a pseudo-terminal of its own, types, reads, and knows what was left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# What a real terminal answers when it is asked: where the cursor is, synchronised output, what it is.
ANSWERS = (
    (b"\x1b[6n", b"\x1b[1;1R"),
    (b"\x1b[?2026$p", b"\x1b[?2026;2$y"),
    (b"\x1b[?2048$p", b"\x1b[?2048;0$y"),
    (b"\x1b[c", b"\x1b[?62;c"),
)
MODE = re.compile(rb"\x1b\[\?(\d+)([hl])")
MUST_BE_OFF = {b"1000", b"1002", b"1003", b"1006", b"1049", b"2004"}


class Terminal:
    """One program on one pseudo-terminal. Use as a context manager: what still runs is killed at its end."""

    def __init__(
        self, command: Sequence[str], *, size: tuple[int, int] = (100, 30), environ: Mapping[str, str] | None = None
    ) -> None:
        width, height = size
        self.master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self._before = termios.tcgetattr(self._slave)
        self.output = b""
        self._answered = 0
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            command,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=env | {"COLORTERM": "truecolor", **(environ or {})},
            start_new_session=True,
            preexec_fn=self._take_terminal,  # noqa: PLW1509 - no threads here
        )

    def _take_terminal(self) -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self._slave)

    def type(self, keys: str) -> None:
        """Send keys as a keyboard would."""
        os.write(self.master, keys.encode())

    def resize(self, width: int, height: int) -> None:
        """Change the size; the kernel tells the program."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.screen.resize(height, width)

    def hang_up(self) -> None:
        """Close the terminal under the program, as a closed window does."""
        for fd in (self.master, self._slave):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, fd)
            os.close(nowhere)

    def read(self, timeout_s: float = 0.05) -> None:
        """Take what the program wrote, and answer what it asks of its terminal."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return
        self.output += data
        self._stream.feed(data)
        for question, answer in ANSWERS:
            for _ in range(data.count(question)):
                os.write(self.master, answer)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Read until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = self.process.poll() is not None
            assert time.monotonic() < deadline, f"{what}\n{self.text()}\n{self.output[-500:]!r}"
            self.read()
            assert not ended or condition(), f"{what}, it has ended\n{self.text()}"

    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self.screen.display)

    def shows(self, words: str) -> None:
        """Wait until the words stand on the screen."""
        self.until(lambda: words in self.text(), f"no {words!r} on the screen")

    def ends(self, timeout_s: float = 15.0) -> int:
        """Wait for the program to end and return its exit code (minus the signal's number when one ended it)."""
        self.until(lambda: self.process.poll() is not None, "still running", timeout_s)
        while True:
            seen = len(self.output)
            self.read(0.1)
            if len(self.output) == seen:
                break
        assert self.process.returncode is not None
        return self.process.returncode

    def left_behind(self) -> list[str]:
        """What the program did not put back: screen and mouse modes, a hidden cursor, raw mode."""
        modes = dict(MODE.findall(self.output))  # the last state of each counts
        left = [f"mode {mode.decode()} on" for mode in sorted(MUST_BE_OFF) if modes.get(mode) == b"h"]
        if modes.get(b"25") == b"l":
            left.append("cursor hidden")
        after = termios.tcgetattr(self._slave)
        if after[3] & (termios.ICANON | termios.ECHO) != self._before[3] & (termios.ICANON | termios.ECHO):
            left.append("raw mode")
        return left
