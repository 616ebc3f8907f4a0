"""The terminal is given back whatever happens: signals, a stalled loop, a crash, a killed process (semantics, appendix A).

`supervise()` forks before anything heavy is imported: the child is the UI, the parent waits and restores the terminal when
the child could not (SIGKILL, SIGSEGV, out of memory). `Guard` lives in the child and restores on signals.
Imports nothing but the standard library, so that the waiting parent stays small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import time
from typing import IO, TYPE_CHECKING, Final, NoReturn, Self

from mqdash.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

MODES_OFF: Final = (
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[<u"
    b"\x1b[?25h\x1b[?7h"
)
# Some terminals keep mouse modes per screen: off before the alternate screen is left, and once more after.
RESET: Final = MODES_OFF + b"\x1b[?1049l" + MODES_OFF + b"\x1b[0m\r\n"
DEADLY: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
LEAVE_S: Final = 3.5
"""A signal leaves as `q` does: so long it may take to give back what is held and to remove what was declared."""
ANSWER_S: Final = 1.0
"""An event loop that has not begun to leave after this long is stalled: it will not."""

ONE_SIGNAL_S: Final = 0.5
"""A terminal that closes signals the whole group and its parent passes it on: within this it is the same signal."""


def check_terminal(stdin: IO[str] | None, stdout: IO[str] | None, environ: Mapping[str, str]) -> None:
    """Refuse to draw where nothing can be drawn.

    Raises:
        InputError: no terminal, or TERM=dumb; the text says what to use instead.
    """
    instead = "use `mqdash lab SCENARIO --for 10s` for a run without a screen"
    for name, stream in (("input", stdin), ("output", stdout)):
        if stream is None or stream.closed or not stream.isatty():
            raise InputError(f"mqdash needs a terminal, and its standard {name} is not one; {instead}")
    if environ.get("TERM", "") in {"", "dumb"}:
        term = environ.get("TERM", "")
        raise InputError(f"mqdash cannot draw on TERM={term!r}; set TERM to what your terminal is, or {instead}")


class Guard:
    """Restores the terminal on a deadly signal and ends the process: as `q` does when it can, else at once.

    One per process, made before the app runs and kept until everything behind the screen is closed.
    """

    def __init__(self) -> None:
        self.signal = 0
        """The signal that ends this process, 0 without one; a second one does not wait for the first."""
        self._since_s = 0.0
        self._leave: Callable[[Callable[[], None]], None] | None = None
        self._answered = threading.Event()
        self._stdin = _fileno(sys.__stdin__)
        self._saved = _attributes(self._stdin)
        self._tty = _open_tty()
        drawn = (_fileno(sys.__stdout__), _fileno(sys.__stderr__))
        self._screens = [number for number in drawn if number is not None and os.isatty(number)]
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        """Take over the signals. `signal.signal` and not the loop's handlers: those do not run while the loop is stalled."""
        for name in DEADLY:
            self._before[name] = signal.signal(name, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back to whoever had them."""
        for name, before in self._before.items():
            signal.signal(name, before if before is not None else signal.SIG_DFL)
        self._before.clear()

    def leaves_by(self, leave: Callable[[Callable[[], None]], None]) -> None:
        """From now on a signal calls `leave(begun)`, from a handler: it must return at once, and have `begun` called."""
        self._leave = leave

    def code(self, code: int) -> int:
        """The exit code: 128 + n when signal n ended the process, else as given."""
        return 128 + self.signal if self.signal else code

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and time.monotonic() - self._since_s < ONE_SIGNAL_S:
            return
        again, self.signal, self._since_s = bool(self.signal), number, time.monotonic()
        restore(self._tty, self._stdin, self._saved)
        if again or self._leave is None:
            os._exit(128 + number)
        _silence(self._screens)
        threading.Thread(target=self._end_in_time, args=(number,), daemon=True).start()
        self._leave(self._answered.set)

    def _end_in_time(self, number: int) -> None:
        if self._answered.wait(ANSWER_S):
            time.sleep(LEAVE_S)
        os._exit(128 + number)


def _silence(screens: Sequence[int]) -> None:
    """What is still drawn goes nowhere: the terminal is restored already, and one that is gone would block the app."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in screens:
        os.dup2(nowhere, number)
    os.close(nowhere)


def supervise(run: Callable[[], int]) -> int:
    """Run `run` in a child process and return its exit code (128 + n for a signal), with the terminal as it was before.

    To be called before threads, an event loop or the app exist.
    """
    stdin = _fileno(sys.__stdin__)
    saved, tty = _attributes(stdin), _open_tty()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_the_child(run)
    for name in DEADLY:
        signal.signal(name, lambda number, _frame: _forward(child, number))
    code = _wait(child)
    if code >= 128:
        restore(tty, stdin, saved)
    elif code:
        _set_attributes(stdin, saved)
    for name in DEADLY:
        signal.signal(name, signal.SIG_DFL)
    return code


def _be_the_child(run: Callable[[], int]) -> NoReturn:
    code = 1
    try:
        code = run()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - nothing may leave the child but an exit code
        sys.stderr.write(f"mqdash: {type(error).__name__}: {error}\n")
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _forward(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _wait(child: int) -> int:
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            # The UI suspended itself: the shell must see this process stop too, and both go on together.
            os.kill(os.getpid(), signal.SIGSTOP)
            _forward(child, signal.SIGCONT)
            continue
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def restore(tty: int | None, stdin: int | None, saved: list[object] | None) -> None:
    """Leave the alternate screen, all mouse and paste modes and raw mode; never raises."""
    if tty is not None:
        with contextlib.suppress(OSError):
            os.write(tty, RESET)
    _set_attributes(stdin, saved)


def _set_attributes(stdin: int | None, saved: list[object] | None) -> None:
    if stdin is not None and saved is not None:
        # A process in the background is stopped when it touches the terminal's modes; it must not be, at its end.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(stdin, termios.TCSANOW, saved)  # type: ignore[arg-type]
        signal.signal(signal.SIGTTOU, before if before is not None else signal.SIG_DFL)


def _attributes(stdin: int | None) -> list[object] | None:
    if stdin is None:
        return None
    try:
        return list(termios.tcgetattr(stdin))
    except (termios.error, OSError):
        return None


def _fileno(stream: IO[str] | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _open_tty() -> int | None:
    try:
        return os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        return _fileno(sys.__stdout__) if sys.__stdout__ is not None and sys.__stdout__.isatty() else None
