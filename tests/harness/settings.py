"""Where the harness keeps its things and which ports it uses.

Nothing lies in the checkout: installs, data and state are below ``$XDG_CACHE_HOME/mqdash-brokers`` (default
``~/.cache/mqdash-brokers``).
Ports stay below 32768, where outgoing connections begin; ``MQDASH_BROKER_PORTS`` moves the first one (default 25600).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"
PORTS_PER_BROKER = 10
_FIRST_PORT_DEFAULT = 25600
_LAST_PORT = 32767


def _first_port() -> int:
    port = int(os.environ.get("MQDASH_BROKER_PORTS", str(_FIRST_PORT_DEFAULT)))
    if not 1024 <= port <= _LAST_PORT - 1100:
        raise SystemExit(f"MQDASH_BROKER_PORTS={port}: give a first port from 1024 to {_LAST_PORT - 1100}")
    return port


# Read once at import: the test session clears MQDASH_* for every test.
FIRST_PORT = _first_port()
# Shared brokers take the first blocks, throw-away ones the thousand ports behind.
PRIVATE_PORTS = range(FIRST_PORT + 100, FIRST_PORT + 1100, PORTS_PER_BROKER)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "mqdash-brokers"
INSTALLED = CACHE / "installed"
# Two checkouts with different ports may run side by side: the state of a set of brokers hangs on its first port.
SHARED = CACHE / "run" / str(FIRST_PORT)
PRIVATE = CACHE / "private"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` against other processes and threads; waits as long as it takes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
