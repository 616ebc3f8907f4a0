"""One running broker as a record, and the small steps every family's recipe shares."""

import json
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from tests.harness.process import HarnessError, birth, tail, wait_until
from tests.harness.settings import HOST


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A broker of ours: what it is, where it listens, which process it is.

    `pid` is 0 and `born` empty while it is not running. `born` is the start time of the process in clock ticks, so that
    a reused pid is never taken for ours. `durable` is Redis only: append-only file, synced on every write. Kafka only:
    `secure` adds listeners with TLS and logins (see kafka.py); `peers` are the first ports of all nodes of its cluster.
    """

    name: str
    family: str
    version: str
    port: int
    data_dir: str
    durable: bool = False
    secure: bool = False
    peers: tuple[int, ...] = ()
    pid: int = 0
    born: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    @property
    def url(self) -> str:
        return {
            "rabbitmq": f"amqp://guest:guest@{HOST}:{self.port}/",
            "kafka": f"kafka://{HOST}:{self.port}",
            "redis": f"redis://{HOST}:{self.port}/0",
        }[self.family]

    @property
    def management_url(self) -> str | None:
        """RabbitMQ: the HTTP API, port + 1, with its login."""
        return f"http://guest:guest@{HOST}:{self.port + 1}" if self.family == "rabbitmq" else None

    @property
    def alive(self) -> bool:
        return self.pid != 0 and birth(self.pid) == self.born

    def running_as(self, pid: int) -> Self:
        return replace(self, pid=pid, born=birth(pid) or "")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**{**fields, "peers": tuple(fields.get("peers", ()))})


def await_ready(instance: Instance, ready: Callable[[Instance], bool], *, timeout_s: float) -> Instance:
    """`instance` once it answers as ours. Raises HarnessError, with its log, when it dies or takes too long."""

    def done() -> bool:
        return not instance.alive or ready(instance)

    if wait_until(done, timeout_s, every_s=0.05) and instance.alive:
        return instance
    what = "did not answer in time" if instance.alive else "ended while starting"
    raise HarnessError(f"{instance.name} on port {instance.port} {what}; log {instance.log}:\n{tail(instance.log)}")


def exchange(port: int, request: bytes, *, at_least: int, timeout_s: float = 2.0) -> bytes:
    """Send `request`, read until `at_least` bytes came; what came so far when the peer closes, b"" when it refuses."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s) as connection:
            connection.sendall(request)
            answer = b""
            while len(answer) < at_least and (data := connection.recv(65536)):
                answer += data
            return answer
    except OSError:
        return b""
