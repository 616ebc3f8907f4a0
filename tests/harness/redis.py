"""Redis 7 (Debian 12 package) and Redis 8 (from the Debian 13 folder)."""

import re

from tests.harness import installs
from tests.harness.installs import Unavailable
from tests.harness.instance import Instance, await_ready, exchange
from tests.harness.process import spawn, stop
from tests.harness.settings import HOST

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0


def install(name: str) -> str:
    """Make `name` startable here and return its version. Raises Unavailable."""
    if name == "redis-8":
        root = installs.debian_13()
        status = (root / "var/lib/dpkg/status").read_text()
        found = re.search(r"^Package: redis-server\n(?:.+\n)*?Version: (?:\d+:)?([\d.]+)", status, re.MULTILINE)
        return found.group(1) if found else "8"
    installs.debian_packages("redis-server")
    version = installs.package_version("redis-server") or "none"
    if not version.startswith("7."):
        raise Unavailable(f"needs Debian 12's redis-server 7; this machine has {version}")
    return version


def launch(instance: Instance) -> Instance:
    """Start the server on its data folder and wait until it answers with our pid."""
    folder = instance.folder
    folder.mkdir(parents=True, exist_ok=True)
    durability = ("--appendonly", "yes", "--appendfsync", "always") if instance.durable else ("--appendonly", "no")
    command = ["/usr/bin/redis-server", "--port", str(instance.port), "--bind", HOST, "--save", "", *durability]
    # DEBUG SLEEP lets a test hang the server for a moment.
    command += ["--daemonize", "no", "--enable-debug-command", "local", "--dir", str(folder)]
    pid = spawn(installs.in_debian_13(command, folder) if instance.name == "redis-8" else command, instance.log)
    return await_ready(instance.running_as(pid), ready, timeout_s=_START_TIMEOUT_S)


def ready(instance: Instance) -> bool:
    """The server that answers has loaded its data and is our process (`process_id` of INFO)."""
    answer = exchange(instance.port, b"PING\r\nINFO server\r\n", at_least=200)
    return answer.startswith(b"+PONG") and f"process_id:{instance.pid}\r\n".encode() in answer


def halt(instance: Instance) -> None:
    stop(instance.pid, born=instance.born, timeout_s=_STOP_TIMEOUT_S)
