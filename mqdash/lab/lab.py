"""A scenario at work on one broker: its producers, its worker pools, its steps, and the ledger of it all.

The lab knows one broker by its port and nothing of links or screens: it is given an iterator of connection lives and a
function that takes events. Every actor re-opens by itself on the next life.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mqdash.errors import MqdashError
from mqdash.lab.crew import Crew
from mqdash.lab.ledger import Ledger
from mqdash.lab.lives import Lives
from mqdash.lab.members import Members
from mqdash.lab.pools import Pool
from mqdash.lab.producers import Producer
from mqdash.lab.scenario import POOL_LIMIT
from mqdash.lab.steps import Steps
from mqdash.model.actors import WorkerState
from mqdash.model.events import Failure, LedgerCounted, Noted, WorkerGone
from mqdash.model.message import Family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from mqdash.brokers.base import Broker
    from mqdash.clock import Clock
    from mqdash.lab.scenario import Scenario
    from mqdash.lab.steps import Faults
    from mqdash.lab.workers import Worker
    from mqdash.model.events import Event
    from mqdash.model.topology import Topology

log = logging.getLogger(__name__)

FLUSH_S: Final = 0.1
LEDGER_S: Final = 1.0
OPEN_LIMIT_S: Final = 5.0
DRAIN_LIMIT_S: Final = 4.0
LINGER_S: Final = 10.0
"""How long a worker that left stays on the list, so that one sees that it did."""


class Lab:
    """One scenario on one broker.

    Raises:
        InputError: the scenario has no topology for this broker's family.
    """

    def __init__(
        self,
        scenario: Scenario,
        lives: Callable[[], AsyncIterator[Broker]],
        *,
        broker: str,
        family: Family,
        clock: Clock,
        emit: Callable[[Event], None],
        seed: int = 0,
        only: Family | None = None,
        instance: str = "",
        shared: bool = False,
        keep: bool = False,
        faults: Faults | None = None,
    ) -> None:
        """Hire everybody; nothing runs before `start`.

        `broker` is its display name, `only` one of the two Redis families, `instance` keeps ids apart (see `Crew`).
        `shared`: other processes may work on the same run (a real broker), so it registers as a member, and whoever
        stops last removes the topology unless `keep`. `faults`: what the embedded broker can be made to do.
        """
        families = scenario.check_runs_on(family, only=only)
        self.scenario = scenario
        self.broker = broker
        self.clock = clock
        self.topology: Topology = scenario.topology_on(families)
        names = {event.name for pool in scenario.workers for event in pool.on_success}
        self.ledger = Ledger(self.topology, names)
        self.producers: dict[str, Producer] = {}
        self.workers: dict[str, Worker] = {}
        self.pools: dict[str, Pool] = {}
        self._emit = emit
        self._remove_after = shared and not keep
        self._lives = Lives(lives, self._prepare, self._tell_trouble)
        self._members = Members(instance or "lab") if shared else None
        self.crew = Crew(
            broker,
            clock=clock,
            emit=emit,
            ledger=self.ledger,
            lives=self._lives,
            seed=seed,
            instance=instance,
            workers=self.workers,
        )
        self._hire()
        self._steps = Steps(self, scenario.at, faults=faults, emit=emit)
        self._tasks: set[asyncio.Task[None]] = set()
        self._producing: list[asyncio.Task[None]] = []
        self._began = asyncio.Event()

    # --- what a person may do -------------------------------------------------------------------------------------

    def scale(self, pool: str, count: int) -> None:
        """Have `count` living workers in this pool: new ones get the next number, the last ones drain and leave.

        Raises:
            MqdashError: no such pool, or more than it may have.
        """
        found = self._pool(pool)
        if count > POOL_LIMIT:
            raise MqdashError(
                f"{pool} can have at most {POOL_LIMIT} living workers, not {count:,}: nothing was changed"
            )
        living = [worker for worker in found.workers if worker.living]
        for worker in found.add(max(0, count - len(living))):
            self.workers[worker.name] = worker
            self._spawn_worker(worker)
        for worker in living[count:] if count < len(living) else []:
            worker.finish()

    def living(self, pool: str) -> int:
        """How many workers of this pool live.

        Raises:
            MqdashError: no such pool.
        """
        return sum(worker.living for worker in self._pool(pool).workers)

    # --- its life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin; returns at once, work begins with the first connection life. Starting twice does nothing."""
        if self._tasks:
            return
        self._lives.start()
        for producer in self.producers.values():
            producer.flush()
        self._spawn(self._begin(), "lab begins")
        self._spawn(self._flush_forever(), "lab tells levels")

    async def ready(self) -> Broker:
        """The broker, once everything is declared and all actors have begun.

        Raises:
            MqdashError: what the scenario needs could not be declared.
        """
        broker = await self._lives.ready()
        await self._began.wait()
        return broker

    async def stop_producers(self) -> None:
        """No more messages by themselves; returns when every open publish has its end (at most 15 s)."""
        stopping = [producer.stopped() for producer in self.producers.values()]
        try:
            async with asyncio.timeout(15.0):
                await asyncio.gather(*stopping)
        except TimeoutError:
            log.warning("%s: some publishes had no answer in time", self.broker)

    async def stop_workers(self) -> None:
        """Workers finish what they hold and leave; whoever has not after 4 s is let go with what it holds."""
        living = [worker for worker in self.workers.values() if worker.living]
        for worker in living:
            if worker.state is not WorkerState.HUNG:
                worker.finish()
        waiting = [asyncio.create_task(worker.ended()) for worker in living if not worker.living]
        if waiting:
            await asyncio.wait(waiting, timeout=DRAIN_LIMIT_S)
        await self._cancel(waiting)

    async def stop(self) -> None:
        """End everything within about 5 s: producers stop, workers drain, the last one out removes what was declared.

        Stopping twice does nothing.
        """
        if not self._tasks:
            return
        for producer in self.producers.values():
            producer.stop()
        if self._began.is_set() and self._lives.broker is not None:
            await self.stop_workers()
        await self._cancel([*self._producing, *self._tasks])
        self._tasks.clear()
        await self._lives.stop()
        broker = self._lives.broker
        last = True
        if self._members is not None and broker is not None:
            last = await self._members.leave()
        if self._remove_after and last and broker is not None:
            await self._remove(broker)

    async def _remove(self, broker: Broker) -> None:
        try:
            await broker.remove(self.topology)
        except MqdashError as error:
            self._tell_trouble(error)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _hire(self) -> None:
        queues = {queue.ref: queue for queue in self.topology.queues}
        families = {found.name: found.family for found in self.topology.destinations}
        for spec in self.scenario.workers:
            if spec.ref in queues:
                timeout_s = self.scenario.session_timeout_s
                pool = Pool(spec, queues[spec.ref], families=families, session_timeout_s=timeout_s, crew=self.crew)
                self.pools[spec.pool] = pool
                self.workers |= {worker.name: worker for worker in pool.add(spec.count)}
        for made in self.scenario.producers:
            family = self._family_of(made.to, families)
            if family is not None:
                self.producers[made.name] = Producer(made, family, self.crew)

    def _family_of(self, to: str, families: dict[str, Family]) -> Family | None:
        """The family a producer publishes to; None when this run has no such destination."""
        if to in families:
            return families[to]
        if to == "":
            return Family.RABBITMQ if Family.RABBITMQ in {queue.family for queue in self.topology.queues} else None
        start = to.split("$", maxsplit=1)[0]
        return next((family for name, family in families.items() if "${" in to and name.startswith(start)), None)

    def _pool(self, name: str) -> Pool:
        if name not in self.pools:
            known = ", ".join(self.pools) or "none"
            raise MqdashError(f"no pool called {name} in {self.scenario.name}; there are {known}")
        return self.pools[name]

    async def _prepare(self, broker: Broker) -> None:
        await broker.declare(self.topology)
        if self._members is not None:
            await self._members.join(broker)

    async def _begin(self) -> None:
        """Workers first, so that nothing is published before somebody listens; then producers, then the steps."""
        await self._lives.current()
        for worker in list(self.workers.values()):
            self._spawn_worker(worker)
        opening = [asyncio.create_task(worker.has_opened()) for worker in self.workers.values()]
        if opening:
            await asyncio.wait(opening, timeout=OPEN_LIMIT_S)
            await self._cancel(opening)
        for producer in self.producers.values():
            task = asyncio.create_task(producer.run(), name=f"producer {producer.name}")
            self._watch(task)
            self._producing.append(task)
        self._began.set()
        await self._steps.run()

    def _spawn_worker(self, worker: Worker) -> None:
        if not self._tasks:
            return  # not started: `_begin` starts all
        task = worker.start()
        self._watch(task)
        task.add_done_callback(lambda _: self._after(worker))

    def _after(self, worker: Worker) -> None:
        """A worker that left stays listed for a while, then goes; a dead one stays."""
        if worker.state is WorkerState.GONE and self._tasks:
            self._spawn(self._forget(worker), f"forget {worker.name}")

    async def _forget(self, worker: Worker) -> None:
        await self.clock.sleep(LINGER_S)
        self.workers.pop(worker.name, None)
        self.pools[worker.spec.pool].workers.remove(worker)
        self._emit(WorkerGone(broker=self.broker, at_s=self.clock.now(), name=worker.name))

    async def _flush_forever(self) -> None:
        told_s = self.clock.monotonic()
        while True:
            await self.clock.sleep(FLUSH_S)
            for worker in self.workers.values():
                worker.flush()
            for producer in self.producers.values():
                producer.flush()
            if self.clock.monotonic() - told_s >= LEDGER_S:
                told_s = self.clock.monotonic()
                self._count()

    def _count(self) -> None:
        self.ledger.not_kept = self.crew.channels.not_kept()
        total = self.ledger.total()
        self._emit(
            LedgerCounted(
                broker=self.broker,
                at_s=self.clock.now(),
                published=total.published,
                done=total.done,
                lost=self.ledger.lost,
                not_kept=self.ledger.not_kept,
                duplicates=total.duplicates,
            )
        )

    def _spawn(self, job: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(job, name=name)
        self._watch(task)

    def _watch(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        log.error("%s failed", task.get_name(), exc_info=error)
        where, text = task.get_name(), f"{type(error).__name__}: {error}"
        self._emit(Failure(broker=self.broker, at_s=self.clock.now(), where=where, text=text))

    def _tell_trouble(self, error: MqdashError) -> None:
        text = f"{self.scenario.name}: {error}"
        self._emit(Noted(broker=self.broker, at_s=self.clock.now(), text=text, level="broken"))

    @staticmethod
    async def _cancel(futures: list[asyncio.Task[None]]) -> None:
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
