"""What holds for every test: a clean environment, no blocking calls, and no silent skips.

- ``MQDASH_*`` is cleared, except ``MQDASH_TEST_*``.
- A blocking call made by mqdash code on the event loop raises `blockbuster.BlockingError`.
- ``target`` is the real broker a test marked with ``@broker_targets(...)`` runs against (tests/harness/__init__.py).
- Everything skipped is listed at the end as "could not run"; with ``CI=true`` that fails the session. ``--carry FILE``
  lists what an earlier run of the same ``make test`` left there too, and leaves this run's for the next.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from tests.harness import Target, require_target

_could_not_run: list[str] = []

# Where mqdash may block its loop: file name ending, functions, why. Every entry is a decision; keep it short.
_MAY_BLOCK = (
    ("<frozen importlib._bootstrap>", ("_find_and_load",)),  # clients are imported when their broker is first used
    ("logging/__init__.py", ("callHandlers",)),  # one buffered line into a local file
    ("mqdash/dead_letters/files.py", ("open",)),  # once per operation; its writes are in a thread
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MQDASH_") and not name.startswith("MQDASH_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx(scanned_modules=["mqdash"]) as guard:
        for function in guard.functions.values():
            for file_name, functions in _MAY_BLOCK:
                function.can_block_in(file_name, functions)
        yield


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """The real broker of a test marked with `@broker_targets(...)`."""
    return require_target(request.param)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--carry", metavar="FILE", type=Path, help="list what FILE says could not run, too; add this run's"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _note(report)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    _could_not_run.append(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return  # one of several processes: the one that started them hears of every skip
    carry: Path | None = session.config.getoption("--carry")
    if carry is not None:
        earlier = carry.read_text().splitlines() if carry.exists() else []
        _could_not_run[:0] = earlier
        carry.write_text("".join(f"{line}\n" for line in _could_not_run))
    if _could_not_run and os.environ.get("CI") == "true" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _could_not_run:
        return
    terminalreporter.section("could not run", red=True)
    for line in _could_not_run:
        terminalreporter.write_line(line)
    if os.environ.get("CI") == "true":
        terminalreporter.write_line(f"CI=true: {len(_could_not_run)} that could not run fail the session", red=True)
