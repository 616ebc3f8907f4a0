"""A RabbitMQ of a test's own, to be killed, restarted and put under an alarm; the embedded one or a real one."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from mqdash.model.message import Family
from tests.conformance.amqp import MODELS
from tests.conformance.subjects import RABBITMQ, Subject, make_subject
from tests.harness import RunningBroker, installs, start_or_skip
from tests.support import until

_CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
_ALARM_WORDS = ("set_vm_memory_high_watermark", "absolute", "1")
_CALM_WORDS = ("set_vm_memory_high_watermark", "0.4")


class OwnRabbit:
    """`subject` leads to it."""

    def __init__(self, subject: Subject, process: RunningBroker | None) -> None:
        self.subject = subject
        self.process = process

    async def kill(self) -> None:
        """As by kill -9."""
        if self.process is None:
            self.subject.connector.server.stop()  # type: ignore[attr-defined]
        else:
            await asyncio.to_thread(self.process.kill9)

    async def restart(self) -> None:
        """On the same data."""
        if self.process is None:
            self.subject.connector.server.start()  # type: ignore[attr-defined]
        else:
            await asyncio.to_thread(self.process.restart)

    async def alarm(self, on: bool) -> None:
        """Short of memory, or no longer."""
        if self.process is None:
            self.subject.connector.server.alarm("low on memory" if on else None)  # type: ignore[attr-defined]
        else:
            await asyncio.to_thread(self.control, *(_ALARM_WORDS if on else _CALM_WORDS))

    async def remembers(self, quorum_queue: str) -> None:
        """Wait until a kill cannot take the queue's name.

        Measured on 3.10.8 and 4.0.5: for about a second after its declaration the name of a quorum queue is only in
        memory; killed before that, the broker comes back with the queue and without its messages, and consuming hangs.
        """
        if self.process is not None:
            data = self.process.data_dir / "data"
            name = f"_{quorum_queue}".encode()
            await until(lambda: any(name in file.read_bytes() for file in data.glob("*/quorum/*/names.dets")), 20)

    def control(self, *words: str) -> None:
        """rabbitmqctl on the real one."""
        process = self.process
        assert process is not None
        environment = (
            f"HOME={process.data_dir}/home",
            f"PATH={os.environ['PATH']}",
            "LANG=C.UTF-8",
            f"ERL_EPMD_PORT={process.port + 5}",
        )
        command = ["/usr/bin/env", "-i", *environment, _CONTROL, "-n", f"mqdash{process.port}@localhost", *words]
        if process.name == "rabbitmq-4":
            command = installs.in_debian_13(command, process.data_dir)
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def own_rabbit(name: str) -> Iterator[OwnRabbit]:
    """One of its own, stopped and deleted at the end; skips when that broker cannot be had."""
    if name in MODELS:
        yield OwnRabbit(make_subject(name), None)
        return
    with start_or_skip(name) as process:
        yield OwnRabbit(Subject(name, Family.RABBITMQ, RABBITMQ, process.url), process)
