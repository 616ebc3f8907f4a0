"""A pseudo-terminal with a program in it, watched from outside: raw bytes and the moment each of them came.

Nothing is emulated while it is timed. What a terminal must answer is answered at once: the cursor's place (`ESC[6n`) and
synchronised output (`ESC[?2026$p`).
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

ANSWERS = {b"\x1b[6n": b"\x1b[1;1R", b"\x1b[?2026$p": b"\x1b[?2026;2$y"}
FRAME = b"\x1b[?2026h"
"""Textual begins each paint with it once the terminal has said that it knows synchronised output."""
_LONGEST = max(map(len, ANSWERS))
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Ended(Exception):
    """The program ended, or did not show in time what was waited for."""


class Terminal:
    """Runs `argv` in a terminal of `width` x `height` until the end of the context; `home` keeps its files."""

    def __init__(self, argv: Sequence[str], *, width: int, height: int, home: Path) -> None:
        self.output = bytearray()
        self.started_s = 0.0
        self.read_s = 0.0
        """When the newest bytes came."""
        self.arrivals: list[tuple[float, int]] = []
        """When bytes came, and how many there were then."""
        self._argv = list(argv)
        self._size = (width, height)
        self._environment = environment(home)
        self._fd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = 0

    def __enter__(self) -> Self:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", self._size[1], self._size[0], 0, 0))
        self.started_s = time.perf_counter()
        self._process = subprocess.Popen(
            self._argv, stdin=theirs, stdout=theirs, stderr=theirs, env=self._environment,
            start_new_session=True, preexec_fn=_take_terminal,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        os.close(theirs)
        return self

    def __exit__(self, *exc: object) -> None:
        """SIGTERM, then after 8 s SIGKILL to its session; what it still writes is thrown away."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + 8
        while self._process.poll() is None and time.monotonic() < deadline_s:
            with contextlib.suppress(Ended):
                self.read_for(0.05)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._fd)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def leave(self, key: str, *, timeout_s: float = 10.0) -> None:
        """Press the key that ends the program and wait for its end: it removes what it made on a broker."""
        self.type(key)
        with contextlib.suppress(Ended):
            self.read_for(timeout_s)

    def read_for(self, duration_s: float) -> None:
        """Read whatever comes."""
        end_s = time.perf_counter() + duration_s
        while (left_s := end_s - time.perf_counter()) > 0:
            self._read(left_s)

    def read_until(self, condition: Callable[[], bool], what: str, *, timeout_s: float = 15.0) -> float:
        """Read until it is true; the moment (perf_counter) of the bytes that made it so.

        Raises:
            Ended: it did not become true in time, or the program ended.
        """
        end_s = time.perf_counter() + timeout_s
        while not condition():
            if time.perf_counter() > end_s:
                raise Ended(f"{self._argv[0]}: waited {timeout_s:g} s for {what}; last bytes: {self.output[-300:]!r}")
            self._read(0.2)
        return self.read_s

    def shows(self, text: str, since: int = 0) -> Callable[[], bool]:
        """A condition: `text` is among the bytes from `since` on."""
        wanted = text.encode()
        return lambda: self.output.find(wanted, since) >= 0

    def cpu_s(self) -> float:
        """CPU seconds of the program and its children so far."""
        assert self._process is not None
        return sum(map(_cpu_s, _family(self._process.pid)))

    def _read(self, timeout_s: float) -> None:
        ready, _, _ = select.select([self._fd], [], [], timeout_s)
        if not ready:
            return
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        if not data:
            raise Ended(f"{self._argv[0]} ended; last bytes: {self.output[-500:]!r}")
        self.read_s = time.perf_counter()
        self.output += data
        self.arrivals.append((self.read_s, len(self.output)))
        self._answer()

    def _answer(self) -> None:
        for question, answer in ANSWERS.items():
            start = self._answered
            while (at := self.output.find(question, start)) >= 0:
                os.write(self._fd, answer)
                start = at + len(question)
                if start > len(self.output) - _LONGEST:
                    self._answered = start
        self._answered = max(self._answered, len(self.output) - _LONGEST + 1)


def environment(home: Path) -> dict[str, str]:
    """A terminal with true colours and nothing of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "LC_ALL", "VIRTUAL_ENV"}}
    return {
        "LANG": "C.UTF-8",
        **kept,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "HOME": str(home),
    }


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _family(pid: int) -> list[int]:
    """The process and all its descendants."""
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                pids += _family(int(child))
    return pids


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return 0.0
