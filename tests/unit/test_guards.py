"""The guards of tests/conftest.py do guard."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockingError

import mqdash


def _as_mqdash_code(source: str) -> Callable[[], Any]:
    """A function that counts as mqdash's own: its code says it comes from the package folder."""
    names: dict[str, Any] = {"time": time}
    exec(compile(source, str(Path(mqdash.__file__).parent / "example.py"), "exec"), names)
    function: Callable[[], Any] = names["act"]
    return function


async def test_a_blocking_call_of_mqdash_on_the_loop_fails_the_test() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        _as_mqdash_code("def act(): time.sleep(0)")()


async def test_an_import_on_the_loop_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    _as_mqdash_code("def act(): import wave")()
    assert "wave" in sys.modules


@pytest.fixture(scope="module")
def _settings_of_a_user() -> Any:
    os.environ["MQDASH_THEME"] = "loud"
    os.environ["MQDASH_TEST_NOTE"] = "kept"
    yield
    for name in ("MQDASH_THEME", "MQDASH_TEST_NOTE"):
        os.environ.pop(name, None)


@pytest.mark.usefixtures("_settings_of_a_user")
def test_the_users_settings_do_not_reach_a_test() -> None:
    assert "MQDASH_THEME" not in os.environ
    assert os.environ["MQDASH_TEST_NOTE"] == "kept"
