"""RabbitMQ 3.10 (Debian 12 package) and 4.0 (from the Debian 13 folder), both with the management plugin.

Ports: AMQP `port`, HTTP API `port + 1`, distribution `port + 4`, EPMD `port + 5`; without an EPMD of its own a
node joins whichever one has the usual port.
"""

import base64
import http.client
import json
from contextlib import suppress
from pathlib import Path

from tests.harness import installs
from tests.harness.installs import Unavailable
from tests.harness.instance import Instance, await_ready, exchange
from tests.harness.process import HarnessError, birth, kill9, port_owner, spawn, stop, tail, wait_until
from tests.harness.settings import HOST

_SERVER = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the inner script: the outer one changes user and drops the environment
)
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
_ERLANG = (
    "-kernel inet_dist_use_interface {127,0,0,1} -rabbit quorum_tick_interval 1000 "
    "+sbwt none +sbwtdcpu none +sbwtdio none"
)


def install(name: str) -> str:
    """Make `name` startable here and return its version. Raises Unavailable."""
    if name == "rabbitmq-4":
        releases = installs.debian_13() / "usr/lib/rabbitmq/lib"
        return next(releases.glob("rabbitmq_server-*")).name.partition("-")[2]
    installs.debian_packages("rabbitmq-server")
    version = installs.package_version("rabbitmq-server") or "none"
    if not version.startswith("3.10."):
        raise Unavailable(f"needs Debian 12's rabbitmq-server 3.10; this machine has {version}")
    return version


def launch(instance: Instance) -> Instance:
    """Start the node on its data folder and wait until AMQP and HTTP answer as ours."""
    folder = instance.folder
    for part in ("data", "log", "home"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    pid_file = folder / "pid"
    pid_file.unlink(missing_ok=True)
    (folder / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_shovel,rabbitmq_shovel_management].\n")
    (folder / "rabbitmq.conf").write_text(_config(instance.port))
    command = ["/usr/bin/env", "-i", *(f"{key}={value}" for key, value in _environment(instance).items()), _SERVER]
    script = spawn(installs.in_debian_13(command, folder) if instance.name == "rabbitmq-4" else command, instance.log)

    def beam() -> int:
        with suppress(FileNotFoundError, ValueError):
            return int(pid_file.read_text())
        return 0

    if not wait_until(lambda: bool(beam()) or birth(script) is None, _START_TIMEOUT_S) or not beam():
        raise HarnessError(f"{instance.name} did not start; log {instance.log}:\n{tail(instance.log)}")
    return await_ready(instance.running_as(beam()), ready, timeout_s=_START_TIMEOUT_S)


def _node(port: int) -> str:
    return f"mqdash{port}@localhost"


def _config(port: int) -> str:
    lines = (
        f"listeners.tcp.1 = {HOST}:{port}",
        f"management.tcp.ip = {HOST}",
        f"management.tcp.port = {port + 1}",
        "log.console = false",
        "log.file.level = warning",
        "disk_free_limit.absolute = 50MB",
    )
    return "\n".join(lines) + "\n"


def _environment(instance: Instance) -> dict[str, str]:
    folder, port = instance.folder, instance.port
    return {
        "HOME": f"{folder}/home",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "RABBITMQ_NODENAME": _node(port),
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(port + 4),
        "ERL_EPMD_PORT": str(port + 5),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
    }


def ready(instance: Instance) -> bool:
    """AMQP answers with a frame, and the HTTP API says it is our node."""
    if exchange(instance.port, _AMQP_HEADER, at_least=1)[:1] != b"\x01":
        return False
    connection = http.client.HTTPConnection(HOST, instance.port + 1, timeout=2)
    try:
        login = base64.b64encode(b"guest:guest").decode()
        connection.request("GET", "/api/overview?columns=node", headers={"Authorization": f"Basic {login}"})
        return bool(json.loads(connection.getresponse().read()).get("node") == _node(instance.port))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def halt(instance: Instance) -> None:
    """Stop the node and its EPMD, which outlives the node so that restarts find it."""
    stop(instance.pid, born=instance.born, timeout_s=_STOP_TIMEOUT_S)
    epmd = port_owner(instance.port + 5)
    if epmd is not None and Path(f"/proc/{epmd}/exe").readlink().name == "epmd":
        kill9(epmd, born=birth(epmd))
