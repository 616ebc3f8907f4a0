"""A worker on one connection life: takes, works, settles; or, on channels, listens. The worker's own flags steer it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from mqdash.brokers.base import CanClaim, TellsGone, TellsMoves
from mqdash.errors import BrokerError
from mqdash.lab.handovers import id_of
from mqdash.model.actors import WorkerState
from mqdash.model.delivery import DeadLetter, Retry, Settled
from mqdash.model.events import Claimed, SettleFailed
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from mqdash.brokers.base import Consumer, Subscription
    from mqdash.lab.work import Tools, Work
    from mqdash.lab.workers import Worker
    from mqdash.model.delivery import Delivery, Outcome, Verdict

BATCH_FROM: Final = 50
"""From this prefetch on a worker works and settles in batches; below, message by message."""
BATCH_WORK_S: Final = 0.05
BATCH_LIMIT: Final = 500
CLAIM_EVERY_S: Final = 0.5
MOVES_EVERY_S: Final = 0.2


class Crashed(Exception):
    """The worker's code raised on a message, as it was told to."""


class Stuck(Exception):
    """A settle FAILED: nothing was removed, and doing it again would fail again."""


class Unproven(Exception):
    """A settle is UNKNOWN: the delivery may still be held for this worker, who no longer knows of it."""


class ConsumerSession:
    """Deliveries of one consumer, from being taken to being settled."""

    def __init__(self, worker: Worker, consumer: Consumer, work: Work, tools: Tools) -> None:
        self._worker = worker
        self._consumer = consumer
        self._work = work
        self._tools = tools
        self._ledger = worker.crew.ledger.queue(worker.queue)
        self._pending: deque[Delivery] = deque()
        self._current: list[Delivery] = []
        self._taking: asyncio.Task[Sequence[Delivery]] | None = None

    @property
    def held(self) -> list[Delivery]:
        """What it holds: in work first, then waiting for it, then just arrived."""
        taking = self._taking
        arrived = taking is not None and taking.done() and not taking.cancelled() and taking.exception() is None
        return [*self._current, *self._pending, *(taking.result() if taking is not None and arrived else ())]

    @property
    def current(self) -> Delivery | None:
        """The message in work, or the last of a batch."""
        return self._current[-1] if self._current else None

    async def run(self) -> None:
        """Work until told to leave; what is held then has been finished.

        Raises:
            BrokerError: the connection or the subscription ended.
            Crashed, Stuck, Unproven: see there.
        """
        helpers = [asyncio.create_task(_until_lost(job)) for job in self._jobs()]
        try:
            while await self._next():
                await self._handle()
        finally:
            for task in (*helpers, self._taking):
                if task is not None:
                    task.cancel()

    async def hold(self) -> None:
        """Keep what it holds and take nothing more; ends only with the connection.

        Raises:
            BrokerError: it ended.
        """
        self._consumer.pause()
        while True:
            self._took(await self._consumer.take(1))  # what had come before the pause is held as well

    def _jobs(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        jobs: list[Callable[[], Coroutine[None, None, None]]] = []
        if isinstance(self._consumer, CanClaim):
            jobs.append(partial(self._claim, self._consumer))
        if isinstance(self._consumer, TellsMoves):
            jobs.append(partial(self._watch_moves, self._consumer))
        if isinstance(self._consumer, TellsGone):
            jobs.append(partial(self._watch_gone, self._consumer))
        return jobs

    async def _next(self) -> bool:
        """Wait until there is something to work on; False when it is time to leave."""
        worker = self._worker
        while True:
            if self._taking is not None and self._taking.done():
                taken, self._taking = self._taking.result(), None
                self._took(taken)
            if worker.leaving and not self._pending:
                return False
            self._top_up()
            if self._pending and not worker.held_back:
                return True
            worker.show()
            await worker.wake.wait()
            worker.wake.clear()

    def _top_up(self) -> None:
        """Ask for as many as there is room for; large prefetches only when half of it is free, so that batches stay large."""
        worker = self._worker
        room = worker.take_limit - len(self._pending)
        enough = 1 if worker.take_limit < BATCH_FROM else worker.take_limit // 2
        if self._taking is None and room >= enough and not worker.held_back and not worker.leaving:
            self._taking = asyncio.create_task(self._consumer.take(room), name=f"{worker.name} takes")
            self._taking.add_done_callback(lambda _: worker.wake.set())

    def _took(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._ledger.delivered(id_of(delivery), redelivered=_came_before(delivery))
        self._worker.crew.handovers.came(self._worker.name, self._worker.queue, deliveries)
        self._pending.extend(deliveries)

    async def _handle(self) -> None:
        worker = self._worker
        if worker.crash_on_next:
            raise Crashed
        work_s = self._start_batch()
        worker.begin(work_s, len(self._current))
        if work_s > 0:
            await worker.crew.clock.sleep(work_s)
        await worker.not_hung()
        verdicts = await self._work.judge(self._current, self._tools)
        await worker.not_hung()
        await self._settle(verdicts)
        worker.show()

    def _start_batch(self) -> float:
        """Move what is worked on next from pending to current; returns how long it takes."""
        self._current = [self._pending.popleft()]
        work_s = self._work.draw_s()
        if 0 < self._worker.prefetch < BATCH_FROM:
            return work_s
        while self._pending and work_s < BATCH_WORK_S and len(self._current) < BATCH_LIMIT:
            self._current.append(self._pending.popleft())
            work_s += self._work.draw_s()
        return work_s

    async def _settle(self, verdicts: Sequence[Verdict]) -> None:
        batch = list(zip(self._current, verdicts, strict=True))
        outcomes = await self._consumer.settle(batch)
        failed: tuple[Delivery, Outcome] | None = None
        unproven: list[Delivery] = []
        for (delivery, verdict), outcome in zip(batch, outcomes, strict=True):
            if outcome.settled in {Settled.SETTLED, Settled.WRITTEN, Settled.HELD}:
                self._book(delivery, verdict)
            elif outcome.settled is Settled.FAILED:
                failed = (delivery, outcome)
            elif outcome.settled is Settled.UNKNOWN:
                unproven.append(delivery)
                self._book_unproven(delivery, verdict)
        if unproven:
            self._current = unproven
            raise Unproven(_no_proof([id_of(delivery) for delivery in unproven]))
        if failed is not None:
            delivery, outcome = failed
            self._tell_failed(delivery, outcome)
            raise Stuck(outcome.detail or "the copy of a dead letter was refused")
        self._current = []

    def _book(self, delivery: Delivery, verdict: Verdict) -> None:
        message_id = id_of(delivery)
        if isinstance(verdict, DeadLetter):
            self._ledger.died(message_id)
            grave = self._worker.grave
            if grave is not None:
                route = Route(grave.destination, grave.key or delivery.route.key)
                self._worker.crew.ledger.confirmed(route, message_id)
        elif not isinstance(verdict, Retry):
            self._ledger.processed(message_id)

    def _book_unproven(self, delivery: Delivery, verdict: Verdict) -> None:
        """What it is if it never comes again."""
        if not isinstance(verdict, Retry):
            self._ledger.unproven(id_of(delivery), dead=isinstance(verdict, DeadLetter))

    def _tell_failed(self, delivery: Delivery, outcome: Outcome) -> None:
        worker = self._worker
        worker.crew.emit(
            SettleFailed(
                broker=worker.crew.broker,
                at_s=worker.crew.clock.now(),
                queue=worker.queue,
                by=worker.name,
                id=id_of(delivery),
                detail=outcome.detail,
            )
        )

    async def _claim(self, consumer: CanClaim) -> None:
        """Take over entries that somebody holds and does not work on (S8); never more than it holds by itself.

        Also while new entries wait: under a steady load the old ones would otherwise stay with their dead owner for ever.
        """
        worker = self._worker
        min_idle_s = worker.session_timeout_s
        while True:
            await worker.crew.clock.sleep(CLAIM_EVERY_S)
            hung = worker.state is WorkerState.HUNG
            if hung or worker.held_back or worker.leaving or len(self._pending) > worker.take_limit:
                continue
            claimed = await consumer.claim(min_idle_s=min_idle_s, limit=worker.take_limit)
            if claimed:
                self._tell_claimed(claimed, min_idle_s)
                self._took(claimed)
                worker.wake.set()

    def _tell_claimed(self, claimed: Sequence[Delivery], min_idle_s: float) -> None:
        worker = self._worker
        by_holder: dict[str, list[Delivery]] = {}
        for delivery in claimed:
            by_holder.setdefault(worker.crew.holder(worker.queue, id_of(delivery)), []).append(delivery)
        for holder, found in by_holder.items():
            worker.crew.emit(
                Claimed(
                    broker=worker.crew.broker,
                    at_s=worker.crew.clock.now(),
                    queue=worker.queue,
                    ids=tuple(id_of(delivery) for delivery in found[:16]),
                    from_worker=holder,
                    to_worker=worker.name,
                    idle_s=max((one.idle_s for one in found if one.idle_s is not None), default=min_idle_s),
                )
            )

    async def _watch_moves(self, consumer: TellsMoves) -> None:
        """Hand on which partitions came to this member."""
        while True:
            await self._worker.crew.clock.sleep(MOVES_EVERY_S)
            moves = consumer.moved()
            if moves:
                self._worker.crew.moved(self._worker.queue, moves)

    async def _watch_gone(self, consumer: TellsGone) -> None:
        """Hand on what this member could not read any more, also what came to light at the very end."""
        try:
            while True:
                await self._worker.crew.clock.sleep(MOVES_EVERY_S)
                self._worker.crew.gone(self._worker.queue, consumer.gone())
        finally:
            self._worker.crew.gone(self._worker.queue, consumer.gone())


class SubscriberSession:
    """A subscriber: nothing to settle, missed is missed (P1)."""

    def __init__(self, worker: Worker, subscription: Subscription, work: Work) -> None:
        self._worker = worker
        self._subscription = subscription
        self._work = work
        self.held: list[Delivery] = []

    @property
    def current(self) -> Delivery | None:
        """The message in work."""
        return self.held[0] if self.held else None

    async def run(self) -> None:
        """Listen until told to leave.

        Raises:
            ConnectionLost: whatever comes until it listens again is lost.
            Crashed: it was told to.
        """
        worker = self._worker
        while not worker.leaving:
            while worker.held_back:
                worker.show()
                await worker.wake.wait()
                worker.wake.clear()
            taking = asyncio.create_task(self._subscription.take(worker.take_limit))
            taking.add_done_callback(lambda _: worker.wake.set())
            try:
                while not taking.done() and not worker.leaving:
                    worker.show()
                    await worker.wake.wait()
                    worker.wake.clear()
                if taking.done():
                    await self._handle(list(taking.result()))
            finally:
                taking.cancel()

    async def _handle(self, deliveries: list[Delivery]) -> None:
        worker = self._worker
        worker.crew.channels.received(worker.name, len(deliveries))
        self.held = deliveries
        while self.held:
            if worker.crash_on_next:
                raise Crashed
            work_s = self._work.draw_s()
            worker.begin(work_s, 1)
            await worker.crew.clock.sleep(work_s)
            await worker.not_hung()
            self.held.pop(0)
        worker.show()


def _came_before(delivery: Delivery) -> bool | None:
    """Whether the broker says it was given out before; None where it cannot tell."""
    if delivery.redelivered is None and delivery.delivery_count is not None:
        return delivery.delivery_count > 1
    return delivery.redelivered


def _no_proof(ids: Sequence[str]) -> str:
    named = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
    what = named if len(ids) == 1 else f"{len(ids):,} messages ({named})"
    return f"no proof that {what} {'was' if len(ids) == 1 else 'were'} moved"


async def _until_lost(job: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run beside the main loop, which is told of a lost connection by its own call."""
    with contextlib.suppress(BrokerError):
        await job()
