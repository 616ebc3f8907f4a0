"""mqdash as a person starts it: another process, its own home, and everything it printed or wrote."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CANARY = "hunter2-canary"
CONNECT_LIMIT_S = 8.0
START_S = 3.0
"""What starting Python may take on a busy machine, on top of the time to connect."""


@dataclass(frozen=True)
class Ended:
    """What came of one run; `written` is all files below its home."""

    code: int
    out: str
    err: str
    took_s: float
    written: str

    @property
    def everything(self) -> str:
        return f"{self.out}\n{self.err}\n{self.written}"


async def run(
    *arguments: str, home: Path, env: Mapping[str, str] | None = None, tty: bool = False, timeout_s: float = 30.0
) -> Ended:
    """Run `mqdash ARGUMENTS` to its end. `tty`: input and output are a terminal, errors stay a pipe."""
    started_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        end = asyncio.subprocess.PIPE
        if tty:
            ours, end = os.openpty()
            stack.callback(os.close, ours)
            stack.callback(os.close, end)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "mqdash", *arguments),
            stdin=end,
            stdout=end,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(home) | dict(env or {}),
            cwd=home,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"mqdash {' '.join(arguments)} did not end within {timeout_s:g} s") from None
    assert process.returncode is not None
    took_s = time.monotonic() - started_s
    return Ended(process.returncode, (out or b"").decode(), err.decode(), took_s, written_below(home))


def written_below(home: Path) -> str:
    """The text of all files mqdash wrote: logs, state, crash reports."""
    files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.suffix not in {".toml", ".pem"}]
    return "\n".join(f"{path.name}: {path.read_bytes().decode(errors='replace')}" for path in files)


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "VIRTUAL_ENV"}}
    root = Path(__file__).resolve().parents[2]
    return kept | {"HOME": str(home), "TERM": "xterm-256color", "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}


def assert_refused(ended: Ended, *says: str) -> None:
    """One clear sentence on stderr with all of `says`, exit code 2, in time, and no secret anywhere."""
    assert ended.code == 2, ended.everything
    assert ended.out == ""
    assert ended.err.startswith("mqdash: ")
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.everything
    assert "\x1b" not in ended.err
    for words in says:
        assert words in ended.err
    assert CANARY not in ended.everything
    assert ended.took_s < CONNECT_LIMIT_S + START_S
