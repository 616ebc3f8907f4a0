"""How a test asks for a real broker. What is not there is a skip, and skips are listed (see tests/conftest.py)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.harness.brokers import RunningBroker, start
from tests.harness.installs import Unavailable
from tests.harness.targets import Target, target, target_names

_Test = TypeVar("_Test", bound=Callable[..., Any])


def target_params(*families: str) -> list[Any]:
    """Parameters for a fixture: the names of the real targets of `families`, each marked `broker`."""
    return [pytest.param(name, marks=pytest.mark.broker) for name in target_names(*families)]


def broker_targets(*families: str) -> Callable[[_Test], _Test]:
    """Mark a test `broker` and run it once per real target of `families`; it receives `target: Target`."""

    def decorate(test: _Test) -> _Test:
        parametrized = pytest.mark.parametrize("target", target_names(*families), indirect=True)(test)
        marked: _Test = pytest.mark.broker(parametrized)
        return marked

    return decorate


def require_target(name: str) -> Target:
    """The running target `name`; skips the test, with the reason, when it is not available."""
    found = target(name)
    if not found.available:
        pytest.skip(f"{name}: {found.reason}")
    return found


def start_or_skip(
    name: str, *, data_dir: Path | None = None, durable: bool = False, secure: bool = False, port: int | None = None
) -> RunningBroker:
    """`start()`, but a broker that cannot be had on this machine skips the test, with the reason."""
    try:
        return start(name, data_dir=data_dir, durable=durable, secure=secure, port=port)
    except Unavailable as reason:
        pytest.skip(f"{name}: {reason}")
