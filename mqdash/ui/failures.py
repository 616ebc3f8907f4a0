"""Crashes: nothing fails in silence, and no report shows local variables (they hold passwords, F12).

A failed task or thread is told on screen and in the log and the app goes on; a crash in a handler of the screen ends it.
Both end in exit code 1.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any

from mqdash.errors import MqdashError
from mqdash.safe_text import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    Report = Callable[[str, BaseException], None]

log = logging.getLogger(__name__)

GRACE_S = 0.5
"""An error of a task is its owner's to handle; unasked for this long after its end, it is a failure."""


class Watch:
    """Reports errors of tasks, callbacks and threads that nobody asked for. `report(where, error)` runs on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Report) -> None:
        self._loop = loop
        self._report = report
        self._excepthook = threading.excepthook

    def install(self) -> None:
        """Watch from now on; the task factory holds for tasks made after this."""
        self._loop.set_task_factory(self._make_task)
        self._loop.set_exception_handler(self._on_loop_error)
        threading.excepthook = self._on_thread_error

    def remove(self) -> None:
        """Stop watching."""
        self._loop.set_task_factory(None)
        self._loop.set_exception_handler(None)
        threading.excepthook = self._excepthook

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        if _nobody_asked(task) and not self._loop.is_closed():
            self._loop.call_later(GRACE_S, self._look_again, task)

    def _look_again(self, task: asyncio.Task[Any]) -> None:
        if _nobody_asked(task):
            error = task.exception()
            if error is not None:
                self._report(f"task {task.get_name()}", error)

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self._report(str(context.get("message", "event loop")), error)

    def _on_thread_error(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if error is None or isinstance(error, SystemExit) or self._loop.is_closed():
            return
        where = f"thread {args.thread.name}" if args.thread is not None else "a thread"
        self._loop.call_soon_threadsafe(self._report, where, error)


def _nobody_asked(task: asyncio.Task[Any]) -> bool:
    """True when the task ended in an error that nobody has retrieved: asyncio's own mark for its warning."""
    return not task.cancelled() and bool(getattr(task, "_log_traceback", False))


def frames(error: BaseException) -> list[str]:
    """Where it happened, one line a frame, innermost last, without local variables."""
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def in_words(error: BaseException) -> str:
    """The error for people: the sentence of our own errors, else its class and text; harmless to draw."""
    text = str(error) if isinstance(error, MqdashError) else f"{type(error).__name__}: {error}"
    return str(safe_text(text[:500]))


def write_log(where: str, error: BaseException) -> None:
    """The whole trail to the log file, without locals."""
    log.error("%s: %s\n%s", where, in_words(error), "\n".join(f"  {line}" for line in frames(error)))


def crash_report(where: str, error: BaseException) -> str:
    """What is printed after a crash, once the terminal is restored."""
    trail = "\n".join(f"  {safe_text(line)}" for line in frames(error)[-8:])
    return (
        f"mqdash crashed in {where}: {in_words(error)}\n{trail}\n"
        "This is a fault in mqdash, not in your brokers: whatever was not confirmed stays where it was.\n"
        "The log has the details. Please report it with these lines.\n"
    )
