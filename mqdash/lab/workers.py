"""A worker of the lab: what a person may do to it, how it stands, and its life over the broker's connection lives."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from mqdash.brokers.base import CanRequest, CanSubscribe
from mqdash.errors import BrokerError, ConsumerCancelled, ConsumerStalled, MqdashError, Unsupported
from mqdash.lab.backoff import Backoff
from mqdash.lab.handovers import id_of
from mqdash.lab.sessions import ConsumerSession, Crashed, Stuck, SubscriberSession, Unproven
from mqdash.lab.work import Tools, Work
from mqdash.model.actors import WorkerRecord, WorkerState
from mqdash.model.events import Cancelled, Gap, Noted, WorkerChanged, WorkerDied
from mqdash.model.message import Family

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker, Consumer, Subscription
    from mqdash.lab.crew import Crew
    from mqdash.lab.scenario import PoolSpec
    from mqdash.model.delivery import Delivery
    from mqdash.model.topology import Queue

IDS_TOLD: Final = 16
FLIP_S: Final = 0.1
"""Idle and busy are told at most this often; every other change at once."""
UNLIMITED_TAKE: Final = 500
CONTROLS: Final = frozenset({"kill", "hang", "crash", "finish", "pause", "prefetch", "work"})


class Worker:
    """One worker. What a person may do acts at once and never waits; the effect shows in `record`."""

    def __init__(
        self,
        spec: PoolSpec,
        number: int,
        *,
        queue: Queue,
        families: dict[str, Family],
        session_timeout_s: float,
        crew: Crew,
    ) -> None:
        self.name = f"{spec.pool}{number}"
        self.number = number
        self.spec = spec
        self.queue = queue.ref
        self.grave = queue.dead_letter
        self.crew = crew
        self.session_timeout_s = session_timeout_s
        self.prefetch = spec.prefetch
        self.wake = asyncio.Event()
        self.opened = asyncio.Event()
        self.crash_on_next = False
        self._declared = queue
        self._work = Work(spec, self.name, queue.family, families, crew.rng(f"worker {self.name}"), crew)
        self._session: ConsumerSession | SubscriberSession | None = None
        self._link: Consumer | Subscription | None = None
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = self._hung = self._draining = self._reopen = False
        self._end: WorkerState | None = None
        self._connected = False
        self._note = ""
        self._held_at_death: list[str] = []
        self._came_back = 0
        self._since_s: float | None = None
        self._expected_s: float | None = None
        self._away_since_s: float | None = None
        self._opened_s: float | None = None
        self._backoff = Backoff(crew.clock, crew.lives)
        self._told: WorkerRecord | None = None
        self._told_s = float("-inf")
        self._unhung = asyncio.Event()
        self._unhung.set()

    # --- what a person may do -------------------------------------------------------------------------------------

    # Each raises MqdashError when the worker is dead or gone: nothing is told as done that was not.

    def kill(self) -> None:
        """Drop the socket: no goodbye, nothing acknowledged, no group left."""
        self._check_there()
        self._die(WorkerState.KILLED)

    def hang(self) -> None:
        """Hold what it has and finish nothing; the connection stays alive. `resume` wakes it."""
        self._check_there()
        self._hung = True
        self._unhung.clear()
        self._changed()

    def crash_next(self) -> None:
        """Raise on the next message it begins."""
        self._check_there()
        self.crash_on_next = True
        self._changed()

    def finish(self) -> None:
        """Finish what it holds, settle it, and leave."""
        self._check_there()
        self._draining = True
        self._go_on()
        if self._consumer is not None:
            self._consumer.pause()
        self._changed()

    def pause(self) -> None:
        """Take nothing more; what is in work is finished, what is held stays held. One that is leaving is not stopped."""
        self._check_there()
        if self._draining:
            raise MqdashError(f"{self.name} is finishing what it holds and leaves: there is nothing to pause")
        self._paused = True
        if self._consumer is not None:
            self._consumer.pause()
        self._changed()

    def resume(self) -> None:
        """End a pause or a hang; a stuck worker tries again."""
        self._check_there()
        self._go_on()
        if self._consumer is not None:
            self._consumer.resume()
        self._changed()

    def set_prefetch(self, prefetch: int) -> None:
        """Hold up to this many messages (0 = no limit), from a new subscription on, opened when it holds nothing."""
        self._check_there()
        self.prefetch = max(0, prefetch)
        self._reopen = True
        self._changed()

    def set_work(self, *, time_s: float | None = None, failure_rate: float | None = None) -> None:
        """Work about `time_s` seconds on each message (give or take a quarter), fail on this share of them."""
        self._check_there()
        if time_s is not None:
            self._work.time_s = (max(0.0, time_s) * 0.75, max(0.0, time_s) * 1.25)
        if failure_rate is not None:
            self._work.failure_rate = min(1.0, max(0.0, failure_rate))
        self._changed()

    def _check_there(self) -> None:
        if self._end is not None:
            raise MqdashError(f"{self.name} is {self._end}: it can do nothing any more; + in Workers adds another one")

    # --- how it stands --------------------------------------------------------------------------------------------

    @property
    def living(self) -> bool:
        """Neither dead nor gone nor about to go."""
        return self._end is None and not self._draining

    @property
    def leaving(self) -> bool:
        """It is to end its session: to go, or to open a new one with other settings."""
        return self._draining or self._reopen

    @property
    def held_back(self) -> bool:
        """It begins nothing new now."""
        return self._paused and not self._draining

    @property
    def away(self) -> bool:
        """It has no connection now."""
        return not self._connected

    @property
    def take_limit(self) -> int:
        """How many deliveries to ask for."""
        return self.prefetch or UNLIMITED_TAKE

    @property
    def held_ids(self) -> list[str]:
        """Ids of the messages it holds."""
        return [] if self._session is None else [id_of(delivery) for delivery in self._session.held]

    @property
    def state(self) -> WorkerState:
        """Its state; what a person did goes before what it does by itself."""
        if self._end is not None:
            return self._end
        if not self._connected:
            return WorkerState.STUCK if self._note else WorkerState.STARTING
        flags = (
            (self._hung, WorkerState.HUNG),
            (self._note, WorkerState.STUCK),
            (self._draining, WorkerState.DRAINING),
        )
        for flag, state in flags:
            if flag:
                return state
        busy = self._session is not None and self._session.current is not None
        if self._paused:
            return WorkerState.BUSY if busy else WorkerState.PAUSED
        return WorkerState.BUSY if busy else WorkerState.IDLE

    @property
    def record(self) -> WorkerRecord:
        """How it stands, with what it holds."""
        session = self._session
        held = self._held_at_death if session is None else self.held_ids
        current = None if session is None else session.current
        return WorkerRecord(
            name=self.name,
            broker=self.crew.broker,
            queue=self.queue,
            pool=self.spec.pool,
            state=self.state,
            prefetch=self.prefetch,
            in_flight=len(held),
            in_flight_ids=tuple(held[:IDS_TOLD]),
            current_id="" if current is None else id_of(current),
            current_attempt=1 if current is None else _attempt(current),
            busy_since_s=None if current is None else self._since_s,
            expected_s=None if current is None else self._expected_s,
            came_back=self._came_back,
            subscriber=self._declared.family is Family.REDIS_PUBSUB,
            controls=CONTROLS if self._end is None else frozenset(),
            note=self._note or ("will crash on its next message" if self.crash_on_next and self._end is None else ""),
        )

    def show(self) -> None:
        """Tell the record when it changed; flips between idle and busy wait for their turn (`flush`)."""
        now_s = self.crew.clock.monotonic()
        if now_s - self._told_s >= FLIP_S or self._told is None or self._told.state != self.state not in _FLIPS:
            self.flush()

    def flush(self) -> None:
        """Tell the record when it changed."""
        record = self.record
        if record != self._told:
            self._told, self._told_s = record, self.crew.clock.monotonic()
            self.crew.emit(WorkerChanged(broker=self.crew.broker, at_s=self.crew.clock.now(), worker=record))

    def back(self, n: int) -> None:
        """`n` of the messages it held when it went were given to somebody."""
        self._came_back += n
        self.flush()

    # --- its life -------------------------------------------------------------------------------------------------

    def start(self) -> asyncio.Task[None]:
        """Begin to work, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=f"worker {self.name}")
        self.flush()
        return self._task

    async def ended(self) -> None:
        """Wait until it is over."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def has_opened(self) -> None:
        """Wait until it first takes from its queue."""
        await self.opened.wait()

    def begin(self, work_s: float, n: int) -> None:
        """The session begins `n` messages that take `work_s` together."""
        self._since_s, self._expected_s = self.crew.clock.now(), work_s / n
        self.show()

    async def not_hung(self) -> None:
        """Wait while it hangs."""
        if self._hung:
            await self._unhung.wait()

    async def _run(self) -> None:
        try:
            while self._end is None:
                await self._one_life(await self.crew.lives.current())
                if self._draining:
                    self._leave()
                    return
                await self._settled_down()
        finally:
            self._connected = False

    async def _one_life(self, broker: Broker) -> None:
        self._reopen = False
        try:
            async with AsyncExitStack() as stack:
                session = await self._open(broker, stack)
                try:
                    await session.run()
                except Crashed:
                    self._die(WorkerState.CRASHED)
                except Stuck as error:
                    await self._stuck(session, str(error))
                except Unproven as error:
                    self._start_over(str(error))
                finally:
                    self._lose(session)
        except ConsumerCancelled as error:
            self._note = error.text
            now_s = self.crew.clock.now()
            self.crew.emit(
                Cancelled(broker=self.crew.broker, at_s=now_s, queue=self.queue, by=self.name, detail=error.text)
            )
        except ConsumerStalled as error:
            self._note = error.text
            text = f"{self.name} starts over: {error.text}"
            self.crew.emit(Noted(broker=self.crew.broker, at_s=self.crew.clock.now(), text=text, level="look"))
        except BrokerError as error:
            self._note = error.text
        self.flush()

    async def _open(self, broker: Broker, stack: AsyncExitStack) -> ConsumerSession | SubscriberSession:
        if self._declared.family is Family.REDIS_PUBSUB:
            return await self._subscribe(broker, stack)
        consumer = await stack.enter_async_context(
            broker.consume(
                self.queue,
                name=self.name,
                prefetch=self.prefetch,
                dead_letter=self._declared.dead_letter,
                session_timeout_s=self.session_timeout_s,
            )
        )
        publisher = requester = None
        if self._work.needs_publisher:
            publisher = await stack.enter_async_context(broker.publisher(name=self.name))
        if self._work.needs_requester:
            if not isinstance(broker, CanRequest):
                raise Unsupported(self.crew.broker, "request/reply is not possible here")
            requester = await stack.enter_async_context(broker.requester(name=self.name))
        self._opened(consumer)
        self._consumer = consumer
        if self.held_back:
            consumer.pause()
        self._session = ConsumerSession(self, consumer, self._work, Tools(publisher, requester))
        self.flush()
        return self._session

    async def _subscribe(self, broker: Broker, stack: AsyncExitStack) -> SubscriberSession:
        if not isinstance(broker, CanSubscribe):
            raise Unsupported(self.crew.broker, "channels are not possible here")
        subscription = await stack.enter_async_context(broker.subscribe([self.queue.name], name=self.name))
        self.crew.channels.joined(self.name, self.queue)
        if self._away_since_s is not None:
            away_s = self.crew.clock.monotonic() - self._away_since_s
            now_s = self.crew.clock.now()
            self.crew.emit(
                Gap(broker=self.crew.broker, at_s=now_s, channels=(self.queue.name,), by=self.name, duration_s=away_s)
            )
        self._opened(subscription)
        self._session = SubscriberSession(self, subscription, self._work)
        self.flush()
        return self._session

    def _opened(self, link: Consumer | Subscription) -> None:
        self._link, self._note, self._away_since_s = link, "", None
        self._opened_s = self.crew.clock.monotonic()
        self._connected = True
        self.opened.set()

    def _lose(self, session: ConsumerSession | SubscriberSession) -> None:
        """The session is over: what it still held will come to somebody else."""
        held = [id_of(delivery) for delivery in session.held]
        if held and self._end is None:
            self.crew.handovers.went(self.name, self.queue, held)
        self._session = self._link = self._consumer = None
        self._connected = False
        self._away_since_s = self.crew.clock.monotonic()

    async def _stuck(self, session: ConsumerSession | SubscriberSession, why: str) -> None:
        """Hold everything and take nothing until somebody says go on; then what is held goes back (no loop).

        Raises:
            BrokerError: the connection or the subscription ended: it holds nothing any more.
        """
        self._note = why
        self.flush()
        assert isinstance(session, ConsumerSession)  # a subscriber settles nothing
        holding = asyncio.create_task(session.hold(), name=f"{self.name} is stuck")
        holding.add_done_callback(lambda _: self.wake.set())
        try:
            while self._note and not self._draining and self._end is None and not holding.done():
                await self.wake.wait()
                self.wake.clear()
            if holding.done():
                holding.result()
        finally:
            holding.cancel()

    def _start_over(self, what: str) -> None:
        """Drop the connection, so that the broker gives back whatever it still counts as held."""
        if self._link is not None:
            self._link.crash()
        self._note = what
        text = f"{what}; {self.name} starts over, it may come twice"
        self.crew.emit(Noted(broker=self.crew.broker, at_s=self.crew.clock.now(), text=text, level="look"))

    async def _settled_down(self) -> None:
        if self._reopen:
            return
        opened_s, self._opened_s = self._opened_s, None
        lasted_s = 0.0 if opened_s is None else self.crew.clock.monotonic() - opened_s
        await self._backoff.wait(lasted_s=lasted_s, wake=self.wake)

    def _leave(self) -> None:
        self._end = WorkerState.GONE
        self.crew.channels.left(self.name)
        self.flush()

    def _die(self, how: WorkerState) -> None:
        """Gone without a goodbye."""
        if self._end is not None:
            return
        held = self._held_at_death = self.held_ids
        if self._link is not None:
            self._link.crash()
        self._end = how
        self.crew.handovers.went(self.name, self.queue, held)
        self.crew.emit(
            WorkerDied(
                broker=self.crew.broker,
                at_s=self.crew.clock.now(),
                worker=self.name,
                queue=self.queue,
                how=how.value,
                held=len(held),
                held_ids=tuple(held[:IDS_TOLD]),
            )
        )
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self.flush()

    def _go_on(self) -> None:
        self._paused = self._hung = False
        if self._connected:
            self._note = ""
        self._unhung.set()
        self.wake.set()

    def _changed(self) -> None:
        self.wake.set()
        self.flush()


_FLIPS = frozenset({WorkerState.IDLE, WorkerState.BUSY})


def _attempt(delivery: Delivery) -> int:
    return max(delivery.message.attempt, delivery.delivery_count or 1)
