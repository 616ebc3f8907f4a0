"""What the store is fed with: events recorded from the live lab, and a broker larger than any screen, made by hand."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from mqdash.config import Config
from mqdash.model.actors import WorkerRecord, WorkerState
from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.delivery import Measurement, Source
from mqdash.model.events import AnyEvent, Delivered, Event, Finished, LinkChanged, Measured, TopologySeen, WorkerChanged
from mqdash.model.message import Family
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Topology
from mqdash.runtime import Runtime, lab_targets

BROKER = "large"
START_S = 1_700_000_000.0


class SceneClock:
    """Stands where the events are; nobody sleeps on it."""

    def __init__(self) -> None:
        self.at_s = START_S

    def now(self) -> float:
        return self.at_s

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, delay_s: float) -> None:
        raise NotImplementedError(f"nothing waits {delay_s} s here")


def config(folder: Path) -> Config:
    """Everything mqdash writes goes there."""
    return Config(state_dir=str(folder), log_file=str(folder / "mqdash.log"))


async def recorded(length_s: float, folder: Path) -> list[Event]:
    """All events of the three labs of plain `mqdash` within that time."""
    async with Runtime(lab_targets(seed=7), config(folder)) as runtime:
        events = runtime.bus.subscribe(limit=1_000_000)
        await asyncio.sleep(length_s)
        return events.taken()


class Large:
    """A broker of `queues` queues on one exchange, `workers` of them served by a worker each."""

    def __init__(self, queues: int = 1000, workers: int = 64) -> None:
        self.refs = [QueueRef(f"queue.{at:04}") for at in range(queues)]
        self.workers = [(f"W{at}", self.refs[at * queues // workers]) for at in range(workers)]
        self._rng = random.Random(1)
        self._totals = itertools.count(1000, 50)

    def opening(self, at_s: float) -> Iterator[AnyEvent]:
        """The link, all there is, and the workers."""
        info = BrokerInfo(family=Family.RABBITMQ, version="4.0", url="embedded://rabbitmq", embedded=True)
        yield LinkChanged(broker=BROKER, at_s=at_s, state=LinkState.UP, family=Family.RABBITMQ, url=info.url, info=info)
        topology = Topology(
            destinations=(Destination(name="work", kind="topic"),),
            queues=tuple(Queue(ref=ref) for ref in self.refs),
            bindings=tuple(Binding(source="work", queue=ref, key=ref.name) for ref in self.refs),
        )
        yield TopologySeen(broker=BROKER, at_s=at_s, topology=topology)
        for name, queue in self.workers:
            record = WorkerRecord(name=name, broker=BROKER, queue=queue, pool="W", state=WorkerState.BUSY, prefetch=10)
            yield WorkerChanged(broker=BROKER, at_s=at_s, worker=record)
        yield self.measured(at_s)

    def measured(self, at_s: float) -> Measured:
        """Levels of all queues, each a little different from before."""
        total = next(self._totals)
        return Measured(
            broker=BROKER,
            at_s=at_s,
            measurements=tuple(
                Measurement(
                    queue=ref, at_s=at_s, source=Source.TOLD, waiting=self._rng.randrange(1000), in_flight=3,
                    consumers=1, in_total=total + at, out_total=total,
                )
                for at, ref in enumerate(self.refs)
            ),
        )  # fmt: skip

    def traffic(self, at_s: float) -> Iterator[AnyEvent]:
        """What one frame brings: five messages through each worker."""
        for name, queue in self.workers:
            yield Delivered(broker=BROKER, at_s=at_s, by=name, queue=queue, n=5, size_bytes=1000)
            durations = (0, 0, 5, *[0] * 13)
            yield Finished(broker=BROKER, at_s=at_s, by=name, queue=queue, acked=5, durations=durations)
