"""Processes and the ports they own, as Linux tells it in /proc. Everything is stopped by pid, never by name."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.harness.settings import HOST

_LISTEN = "0A"


class HarnessError(Exception):
    """A broker could not be installed, started or recognised; the text says which, why and where to look."""


def spawn(command: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Start `command` in a session of its own, output to `log`, and return its pid."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    _CHILDREN[child.pid] = child
    _raise_file_limit(child.pid)
    return child.pid


# Kept so that a dead child is reaped (a zombie still looks alive) and never warned about as "still running".
_CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}


def _raise_file_limit(pid: int) -> None:
    """A thousand connections need more than the usual 1,024 files."""
    with contextlib.suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        soft = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def forget_children() -> None:
    """Let the started processes outlive this one without a ResourceWarning."""
    for child in _CHILDREN.values():
        child.returncode = child.returncode or 0
    _CHILDREN.clear()


def birth(pid: int) -> str | None:
    """Start time of `pid` in clock ticks since boot, or None when it is gone: a pid alone may have been reused."""
    child = _CHILDREN.get(pid)
    if child is not None and child.poll() is not None:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def owns_port(pid: int, port: int) -> bool:
    """Whether `pid` itself listens on `port`, the proof that the server which answers there is ours."""
    inodes = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    if not inodes:
        return False
    with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(handle.readlink()) in inodes:
                    return True
    return False


def port_owner(port: int) -> int | None:
    """Pid of the process that listens on `port`, None when nobody (or nobody we may look at) does."""
    if not listening_inodes(port):
        return None
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return next((pid for pid in pids if owns_port(pid, port)), None)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def stop(pid: int, *, born: str | None, timeout_s: float) -> None:
    """SIGTERM, then SIGKILL after `timeout_s`; returns when the process is gone. Does nothing to a reused pid."""
    if born is None or birth(pid) != born:
        return
    _signal(pid, signal.SIGTERM)
    if not wait_until(lambda: birth(pid) != born, timeout_s):
        kill9(pid, born=born)


def kill9(pid: int, *, born: str | None) -> None:
    """SIGKILL; returns when the process is gone. Does nothing to a reused pid."""
    if born is None or birth(pid) != born:
        return
    _signal(pid, signal.SIGKILL)
    if not wait_until(lambda: birth(pid) != born, 10):
        raise HarnessError(f"process {pid} survived SIGKILL for 10 s")


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.02) -> bool:
    """Poll `condition`; False when `timeout_s` went by without it."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, for the text of an error."""
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"
