"""Small helpers that every kind of test may use."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

_T = TypeVar("_T")


@overload
async def until(
    condition: Callable[[], Awaitable[_T]], timeout_s: float = ..., *, what: str = ..., every_s: float = ...
) -> _T: ...
@overload
async def until(
    condition: Callable[[], _T], timeout_s: float = ..., *, what: str = ..., every_s: float = ...
) -> _T: ...
async def until(
    condition: Callable[[], Any], timeout_s: float = 10.0, *, what: str = "", every_s: float = 0.005
) -> Any:
    """Wait until `condition` (plain or async) is true and return its value.

    The deadline is for failures only: a passing test never waits longer than its condition needs. Raises AssertionError
    that says what was waited for and what the last value was; errors of `condition` pass through.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not true after {timeout_s:g} s: {what or _source(condition)} (last value: {value!r})"
            )
        await asyncio.sleep(every_s)


def _source(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # a built-in, or code without a file
        return repr(condition)
