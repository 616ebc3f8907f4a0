"""Redis set up in ways the shared ones are not: with TLS and users, a Sentinel, a cluster. All processes end with the test."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.harness.process import birth, is_free, kill9, spawn, wait_until
from tests.harness.settings import FIRST_PORT, HOST

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
"""Two test processes look for free ports at the same moment: each has a range of its own."""
PORTS = range(FIRST_PORT + 1110 + 145 * _WORKER, FIRST_PORT + 1255 + 145 * _WORKER)
CLUSTER_PORTS = range(21_100 + 800 * _WORKER, 21_900 + 800 * _WORKER)
"""A node also listens 10,000 higher: below 32,768, where the system gives no port to a connection that goes out."""


class Server:
    """One redis-server process. `folder` holds its data, log and configuration."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.folder = folder
        self.port = port
        self._options = options
        self.start()

    @property
    def name(self) -> str:
        """The target it stands for in the table of rules: `redis-7`."""
        told = subprocess.run([redis_server(), "--version"], check=True, capture_output=True, text=True).stdout
        return f"redis-{told.partition('v=')[2].partition('.')[0]}"

    def start(self) -> None:
        """Start and wait until it answers anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        base = ["--bind", HOST, "--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        self.pid = spawn([redis_server(), *(self._options or ()), *base], self.folder / "output.log")
        self.born = birth(self.pid) or ""
        assert wait_until(lambda: _listens(self.port), 10, every_s=0.05), (self.folder / "output.log").read_text()

    def cli(self, *words: str) -> str:
        """One command by redis-cli."""
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def kill9(self) -> None:
        """SIGKILL, once."""
        kill9(self.pid, born=self.born)


def redis_server() -> str:
    """The server's program; skips the test where there is none."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed here")
    return found


def free_ports(count: int, *, cluster: bool = False) -> list[int]:
    """Ports nobody listens on, their cluster bus ports included for `cluster`."""
    free = (
        port
        for port in (CLUSTER_PORTS if cluster else PORTS)
        if is_free(port) and (not cluster or is_free(port + 10_000))
    )
    found = list(itertools.islice(free, count))
    assert len(found) == count
    return found


@contextlib.contextmanager
def ended(servers: Sequence[Server]) -> Iterator[None]:
    """Kill them all at the end."""
    try:
        yield
    finally:
        for server in servers:
            server.kill9()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def sentinel(folder: Path) -> Iterator[tuple[str, Server, Server]]:
    """A Sentinel for the service `shop`, its master and a replica: the URL, then both."""
    one, two, watch = free_ports(3)
    servers: list[Server] = []
    with ended(servers):
        servers.append(Server(folder / "one", one, "--port", str(one)))
        servers.append(Server(folder / "two", two, "--port", str(two), "--replicaof", f"{HOST} {one}"))
        assert wait_until(lambda: "state=online" in servers[0].cli("INFO", "replication"), 20, every_s=0.1)
        (folder / "watch").mkdir()
        settings = folder / "watch" / "sentinel.conf"
        lines = (
            f"port {watch}",
            f"sentinel monitor shop {HOST} {one} 1",
            "sentinel down-after-milliseconds shop 800",
            "sentinel failover-timeout shop 4000",
        )
        settings.write_text("\n".join(lines) + "\n")
        servers.append(_Sentinel(folder / "watch", watch, str(settings), "--sentinel"))
        assert wait_until(lambda: "slaves=1" in servers[2].cli("INFO", "sentinel"), 30, every_s=0.2)
        yield f"redis+sentinel://{HOST}:{watch}/shop", servers[0], servers[1]


class _Sentinel(Server):
    """It writes its configuration itself and takes no data options."""

    def start(self) -> None:
        self.pid = spawn([redis_server(), *self._options], self.folder / "output.log")
        self.born = birth(self.pid) or ""
        assert wait_until(lambda: _listens(self.port), 10, every_s=0.05), (self.folder / "output.log").read_text()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[Server]]]:
    """Three masters: a URL that names two of them, and all three."""
    ports = free_ports(3, cluster=True)
    servers: list[Server] = []
    with ended(servers):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        servers += [Server(folder / str(port), port, "--port", str(port), *options) for port in ports]
        nodes = [f"{HOST}:{port}" for port in ports]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"], check=True, capture_output=True, timeout=60
        )
        agreed = "cluster_state:ok"
        assert wait_until(lambda: all(agreed in one.cli("CLUSTER", "INFO") for one in servers), 30, every_s=0.2)
        yield f"redis+cluster://{nodes[0]},{nodes[1]}", servers


@contextlib.contextmanager
def secured(folder: Path, certificate: Path, key: Path) -> Iterator[Server]:
    """A server that speaks TLS only, wants a password, and knows the user `looker`, who may only look."""
    [port] = free_ports(1)
    options = [*f"--port 0 --tls-port {port} --tls-auth-clients no --tls-cert-file {certificate}".split()]
    options += [*f"--tls-key-file {key} --requirepass geheim --user looker on >schau ~* &*".split()]
    options += [*["+@read", "+@connection", "+info", "+xinfo", "-keys"]]
    server = Server(folder / "secured", port, *options)
    with ended([server]):
        yield server
