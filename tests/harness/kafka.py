"""Apache Kafka as one KRaft node: broker on `port`, controller on `port + 1`."""

import base64
import shutil
import subprocess
import uuid

from tests.harness import installs
from tests.harness.instance import Instance, await_ready, exchange
from tests.harness.process import HarnessError, owns_port, spawn, stop
from tests.harness.settings import HOST

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
# ApiVersions v0: length, api key 18, version 0, correlation id, no client id.
_API_VERSIONS = b"\x00\x00\x00\x0a\x00\x12\x00\x00mqda\xff\xff"
_LOG4J = """\
Configuration:
  Appenders:
    Console:
      name: out
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        ref: out
"""


def install(_name: str) -> str:
    """Fetch Kafka's jars and return their version. Raises Unavailable."""
    return installs.kafka()[1]


def launch(instance: Instance) -> Instance:
    """Format the data folder once, start the node and wait until it answers."""
    folder = instance.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.properties").write_text(_properties(instance))
    (folder / "log4j2.yaml").write_text(_LOG4J)
    if not (folder / "logs" / "meta.properties").exists():
        _format(instance)
    flags = ["-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    start = [*flags, f"-Dlog4j2.configurationFile={folder}/log4j2.yaml", "-cp", _class_path(), "kafka.Kafka"]
    pid = spawn([_java(), *start, f"{folder}/server.properties"], instance.log, cwd=folder)
    return await_ready(instance.running_as(pid), ready, timeout_s=_START_TIMEOUT_S)


def _java() -> str:
    # By its path: a launcher script would be the pid instead of the server.
    return shutil.which("java") or "/usr/bin/java"


def _class_path() -> str:
    return f"{installs.KAFKA_HOME}/libs/*"


def _format(instance: Instance) -> None:
    shutil.rmtree(instance.folder / "logs", ignore_errors=True)
    cluster_id = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]  # no leading dash
    tool = [_java(), "-XX:TieredStopAtLevel=1", "-cp", _class_path(), "kafka.tools.StorageTool", "format"]
    command = [*tool, "--standalone", "-t", cluster_id, "-c", f"{instance.folder}/server.properties"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=instance.folder)
    if done.returncode:
        raise HarnessError(f"{instance.name}: formatting its folder failed: {done.stdout}{done.stderr}")


def _properties(instance: Instance) -> str:
    port = instance.port
    lines = (
        "process.roles=broker,controller",
        "node.id=1",
        f"controller.quorum.bootstrap.servers={HOST}:{port + 1}",
        f"listeners=PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{port + 1}",
        f"advertised.listeners=PLAINTEXT://{HOST}:{port}",
        "controller.listener.names=CONTROLLER",
        f"log.dirs={instance.folder}/logs",
        "auto.create.topics.enable=false",
        "group.initial.rebalance.delay.ms=0",
        # A session of 300 ms: a killed member is noticed at once, tests need not wait 6 s.
        "group.min.session.timeout.ms=200",
        # After kill -9 the controller lets the broker in again when its old session is over (default 9 s).
        "broker.session.timeout.ms=3000",
        "broker.heartbeat.interval.ms=500",
        "offsets.topic.replication.factor=1",
        "offsets.topic.num.partitions=4",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "share.coordinator.state.topic.replication.factor=1",
        "share.coordinator.state.topic.min.isr=1",
        "log.cleaner.dedupe.buffer.size=2097152",
    )
    return "\n".join(lines) + "\n"


def ready(instance: Instance) -> bool:
    """The broker answers ApiVersions, and the process that listens is ours."""
    answer = exchange(instance.port, _API_VERSIONS, at_least=10)
    return answer[4:8] == b"mqda" and owns_port(instance.pid, instance.port)


def halt(instance: Instance) -> None:
    stop(instance.pid, born=instance.born, timeout_s=_STOP_TIMEOUT_S)
