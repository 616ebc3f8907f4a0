"""Apache Kafka as three nodes, for leader election and `min.insync.replicas`: `python -m tests.harness.kafka3 up|down`.

Every topic has three replicas, of which two must be in sync. A test starts a cluster of its own (`start3_or_skip`).
"""

import argparse
import contextlib
import json
import sys
import time
from types import TracebackType
from typing import Self

import pytest

from tests.harness import kafka
from tests.harness.brokers import NAMES, RunningBroker, launch_all, start_nodes
from tests.harness.installs import Unavailable
from tests.harness.instance import Instance
from tests.harness.process import forget_children, kill9
from tests.harness.settings import FIRST_PORT, PORTS_PER_BROKER, SHARED, locked

NAME = "kafka-4"
NODES = 3
_KEPT = SHARED / "kafka3.json"


class Cluster:
    """Three running nodes, each to be killed and restarted on its own. Also a context manager."""

    def __init__(self, nodes: list[RunningBroker]) -> None:
        self.nodes = nodes

    @property
    def name(self) -> str:
        """The target it stands for in the table of rules."""
        return NAME

    @property
    def url(self) -> str:
        return _url([node.port for node in self.nodes])

    def node_at(self, port: int) -> RunningBroker:
        return next(node for node in self.nodes if node.port == port)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def start3_or_skip() -> Cluster:
    """A throw-away cluster; skips the test when this machine cannot have one."""
    try:
        return Cluster(start_nodes(NAME, NODES))
    except Unavailable as reason:
        pytest.skip(f"{NAME} with {NODES} nodes: {reason}")


def _url(ports: list[int]) -> str:
    return "kafka://" + ",".join(f"127.0.0.1:{port}" for port in ports)


def _up() -> list[Instance]:
    with locked(f"shared-{FIRST_PORT}-kafka3"):
        with contextlib.suppress(FileNotFoundError):
            kept = [Instance.from_json(text) for text in json.loads(_KEPT.read_text())]
            if all(one.alive and kafka.ready(one) for one in kept):
                return kept
        _down()
        version = kafka.install(NAME)
        ports = tuple(FIRST_PORT + (len(NAMES) + number) * PORTS_PER_BROKER for number in range(NODES))
        planned = [
            Instance(
                name=NAME,
                family="kafka",
                version=version,
                port=port,
                data_dir=str(SHARED / f"kafka3-{port}"),
                peers=ports,
            )
            for port in ports
        ]
        SHARED.mkdir(parents=True, exist_ok=True)
        running = launch_all(planned)
        _KEPT.write_text(json.dumps([one.to_json() for one in running]))
        return running


def _down() -> None:
    """End all nodes. At once: two of three that are asked to go wait 20 s for the third, and their data is not kept."""
    with contextlib.suppress(FileNotFoundError):
        for text in json.loads(_KEPT.read_text()):
            instance = Instance.from_json(text)
            kill9(instance.pid, born=instance.born)
            kafka.halt(instance)
        _KEPT.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.kafka3", description=__doc__)
    parser.add_argument("action", choices=("up", "down"))
    if parser.parse_args().action == "down":
        _down()
        return 0
    started_s = time.monotonic()
    print("kafka3", _url([one.port for one in _up()]))
    forget_children()
    print(f"took {time.monotonic() - started_s:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
