"""Apache Kafka as one KRaft node, or as one of several: broker on `port`, controller on `port + 1`.

A secure one also has listeners with a certificate of its own making for `localhost` (certificate.pem in its folder): TLS on
`port + 2`, TLS with a login on `port + 3`, a login without TLS on `port + 6`. The user is `alice` with the password
`wonder-land`, by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512. She may do what no ACL forbids; who comes without a login may do
everything.
"""

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.harness import installs
from tests.harness.instance import Instance, await_ready, exchange
from tests.harness.process import HarnessError, owns_port, spawn, stop
from tests.harness.settings import HOST

USER, PASSWORD = "alice", "wonder-land"
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
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
    if instance.secure and not (folder / "key.pem").exists():
        _certify(folder)
    if not (folder / "logs" / "meta.properties").exists():
        _format(instance)
    flags = ["-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    start = [*flags, f"-Dlog4j2.configurationFile={folder}/log4j2.yaml", "-cp", _class_path(), "kafka.Kafka"]
    pid = spawn([_java(), *start, f"{folder}/server.properties"], instance.log, cwd=folder)
    return await_ready(instance.running_as(pid), ready, timeout_s=_START_TIMEOUT_S)


def run_tool(main_class: str, *words: str) -> str:
    """What one of Kafka's own command-line tools prints; each takes about two seconds, all of it Java's start."""
    command = [_java(), "-XX:TieredStopAtLevel=1", "-cp", _class_path(), main_class, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise HarnessError(f"{main_class} failed: {done.stdout}{done.stderr}")
    return done.stdout


def _java() -> str:
    # By its path: a launcher script would be the pid instead of the server.
    return shutil.which("java") or "/usr/bin/java"


def _class_path() -> str:
    return f"{installs.KAFKA_HOME}/libs/*"


def _format(instance: Instance) -> None:
    shutil.rmtree(instance.folder / "logs", ignore_errors=True)
    number = uuid.UUID(int=instance.peers[0]) if instance.peers else uuid.uuid4()  # peers: the same for all of them
    cluster_id = "A" + base64.urlsafe_b64encode(number.bytes).decode()[1:22]  # no leading dash
    tool = [_java(), "-XX:TieredStopAtLevel=1", "-cp", _class_path(), "kafka.tools.StorageTool", "format"]
    command = [*tool, "-t", cluster_id, "-c", f"{instance.folder}/server.properties"]
    if not instance.peers:
        command.append("--standalone")
    if instance.secure:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            command += ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=instance.folder)
    if done.returncode:
        raise HarnessError(f"{instance.name}: formatting its folder failed: {done.stdout}{done.stderr}")


def _certify(folder: Path) -> None:
    """A certificate for `localhost` that signs itself, and the same with its key as Kafka wants them."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"openssl made no certificate: {done.stderr}")
    (folder / "keystore.pem").write_text(key.read_text() + certificate.read_text())


def _listeners(instance: Instance) -> tuple[str, ...]:
    port = instance.port
    served = [f"PLAINTEXT://{HOST}:{port}"]
    if instance.secure:
        served += [f"SSL://localhost:{port + 2}", f"SASL_SSL://localhost:{port + 3}"]
        served += [f"SASL_PLAINTEXT://localhost:{port + 6}"]
    lines = (
        f"listeners={','.join(served)},CONTROLLER://{HOST}:{port + 1}",
        f"advertised.listeners={','.join(served)}",
        "controller.listener.names=CONTROLLER",
    )
    return (*lines, *_security(instance)) if instance.secure else lines


def _security(instance: Instance) -> tuple[str, ...]:
    login = "org.apache.kafka.common.security"
    lines = [
        "listener.security.protocol.map=" + ",".join(f"{name}:{name}" for name in _PROTOCOLS) + ",CONTROLLER:PLAINTEXT",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={instance.folder}/keystore.pem",
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:ANONYMOUS",
        "allow.everyone.if.no.acl.found=true",
    ]
    for listener in ("sasl_ssl", "sasl_plaintext"):
        start = f"listener.name.{listener}"
        lines.append(
            f'{start}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        )
        lines += [
            f"{start}.{mechanism}.sasl.jaas.config={login}.scram.ScramLoginModule required;"
            for mechanism in ("scram-sha-256", "scram-sha-512")
        ]
    return tuple(lines)


def _quorum(instance: Instance) -> tuple[str, ...]:
    """One node, or the voters by their numbers; several nodes keep what they are given three times."""
    if not instance.peers:
        return (
            "node.id=1",
            f"controller.quorum.bootstrap.servers={HOST}:{instance.port + 1}",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
        )
    voters = ",".join(f"{number}@{HOST}:{port + 1}" for number, port in enumerate(instance.peers, 1))
    return (
        f"node.id={instance.peers.index(instance.port) + 1}",
        f"controller.quorum.voters={voters}",
        "offsets.topic.replication.factor=3",
        "transaction.state.log.replication.factor=3",
        "transaction.state.log.min.isr=2",
        "default.replication.factor=3",
        "min.insync.replicas=2",
        "replica.lag.time.max.ms=3000",
    )


def _properties(instance: Instance) -> str:
    lines = (
        "process.roles=broker,controller",
        *_quorum(instance),
        *_listeners(instance),
        f"log.dirs={instance.folder}/logs",
        "auto.create.topics.enable=false",
        "group.initial.rebalance.delay.ms=0",
        # A session of 300 ms: a killed member is noticed at once, tests need not wait 6 s.
        "group.min.session.timeout.ms=200",
        # After kill -9 the controller lets the broker in again when its old session is over (default 9 s).
        "broker.session.timeout.ms=3000",
        "broker.heartbeat.interval.ms=500",
        "offsets.topic.num.partitions=4",
        "share.coordinator.state.topic.replication.factor=1",
        "share.coordinator.state.topic.min.isr=1",
        "log.cleaner.dedupe.buffer.size=2097152",
        # Retention and compaction are seen at once (defaults: looked for every 5 minutes and every 15 s, first after 30 s).
        "log.retention.check.interval.ms=250",
        "log.initial.task.delay.ms=0",
        "log.cleaner.backoff.ms=250",
    )
    return "\n".join(lines) + "\n"


def ready(instance: Instance) -> bool:
    """The broker answers ApiVersions, and the process that listens is ours."""
    answer = exchange(instance.port, _API_VERSIONS, at_least=10)
    return answer[4:8] == b"mqda" and owns_port(instance.pid, instance.port)


def halt(instance: Instance) -> None:
    stop(instance.pid, born=instance.born, timeout_s=_STOP_TIMEOUT_S)
