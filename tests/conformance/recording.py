"""What each test says about rules, written to a file: ``pytest -p tests.conformance.recording --rules FILE``.

A test tells its rules by its name (``test_R24_R25_close_requeues``; faults and findings may stand between) and its
targets by its parameters; a broker of its own among its fixtures, a property ``target`` (``record_property``) or the
module of an embedded model's own tests stands in for a parameter. Tests without both are left out of such a run.
"""

import json
import re
import subprocess
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.rules import RULES, TARGETS

_ID = re.compile(r"[A-Z]?\d+[a-z]?")
_MODELS = {
    "test_rabbitmq": "embedded-rabbitmq-4",  # what its tests use when they name no version
    "test_kafka": "embedded-kafka",
    "test_stream": "embedded-redis",
    "test_pubsub": "embedded-redis",
}
_MODEL_OF = {  # a run of random steps is named by the real broker; what it shows is about the model
    "rabbitmq-3.10": "embedded-rabbitmq-3.10",
    "rabbitmq-4": "embedded-rabbitmq-4",
    "kafka-4": "embedded-kafka",
    "redis-7": "embedded-redis",
    "redis-8": "embedded-redis",
}
_RANK = ("passed", "skipped", "failed")


def rules_of(name: str) -> list[str]:
    """The ids a test's name begins with."""
    found = []
    for word in name.removeprefix("test_").partition("[")[0].split("_"):
        if not _ID.fullmatch(word):
            break
        if word in RULES:
            found.append(word)
    return found


def target_of(item: pytest.Item) -> str:
    """The target a test runs on, or ""."""
    callspec = getattr(item, "callspec", None)
    values = list(callspec.params.values()) if callspec is not None else []
    values += [value for name, value in item.user_properties if name == "target"]
    values += [getattr(value, "name", "") for value in getattr(item, "funcargs", {}).values()]  # a broker of its own
    for value in values:
        if isinstance(value, str) and value in TARGETS:
            return _MODEL_OF[value] if "stateful/" in item.nodeid else value
    if "unit/embedded/" in item.nodeid:
        return next((target for prefix, target in _MODELS.items() if item.path.name.startswith(prefix)), "")
    return ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rules", metavar="FILE", type=Path, help="run what tells of rules and write the outcomes to FILE"
    )


class _Recorder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._commit = _git("rev-parse", "--short", "HEAD")
        self._changed = bool(_git("status", "--porcelain", "--", "mqdash", "tests"))

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if rules_of(item.name)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(wanted)])
        items[:] = wanted

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        target = target_of(item)
        if target and (report.when == "call" or not report.passed):
            known = self._outcomes.setdefault(
                item.nodeid, {"rules": rules_of(item.name), "target": target, "outcome": "passed"}
            )
            known["outcome"] = max(known["outcome"], report.outcome, key=_RANK.index)
        return report

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": self._commit,
            "changed": self._changed,
            "tests": self._outcomes,
        }
        self._path.write_text(json.dumps(told, indent=1))


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def pytest_configure(config: pytest.Config) -> None:
    path: Path | None = config.getoption("--rules")
    if path is not None:
        config.pluginmanager.register(_Recorder(path), "rules-recorder")
