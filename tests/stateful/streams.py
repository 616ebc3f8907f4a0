"""Redis Streams: a group whose consumers read, claim, postpone and bury; entries of the dead stay theirs until claimed."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mqdash.brokers.base import CanBrowse, CanClaim, Consumer, Publisher
from mqdash.brokers.embedded.keyspace import DETECTION_S
from mqdash.errors import BrokerError
from mqdash.model.delivery import Ack, DeadLetter, Delivery, Outgoing, Retry, Sent, Settled, Verdict
from mqdash.model.message import Family
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from tests.stateful.machine import Machine
from tests.stateful.worlds import Seen, World

SESSION_S = 0.3
LOOK_S = 0.26
"""Within this a consumer notices a retry that another one postponed."""
NAMES = ("w1", "w2", "w3")
VERDICTS: tuple[Verdict, ...] = (Ack(), Ack(), Retry(), Retry(0.05), DeadLetter("E", "bad"))


class StreamWorld(World):
    """One stream with one group. `stale`: what a consumer believes to hold and somebody else has claimed."""

    family = Family.REDIS_STREAMS

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ref = QueueRef(self.prefix, "workers")
        self.dead = QueueRef(f"{{{self.prefix}}}:dlq")
        self.consumers: dict[str, tuple[Consumer, AsyncExitStack]] = {}
        self.held: dict[str, list[Delivery]] = {}
        self.stale: dict[str, list[Delivery]] = {}
        self.publisher: Publisher

    # --- steps ---

    def topology(self, kind: str = "stream") -> Topology:
        return Topology(
            destinations=(Destination(name=self.prefix, kind=kind, family=self.family),),
            queues=(Queue(ref=self.ref, kind="group", family=self.family),),
            bindings=(Binding(source=self.prefix, queue=self.ref),),
        )

    async def open(self) -> None:
        await self.broker.declare(self.topology())
        self.publisher = await self.stack.enter_async_context(self.broker.publisher(name="p"))

    async def declare(self, kind: str) -> str:
        try:
            await self.broker.declare(self.topology(kind))
        except BrokerError as error:
            return type(error).__name__
        return "declared"

    async def publish(self, names: list[str]) -> list[Sent]:
        self.ledger.publish([("s", name) for name in names])
        receipts = await self.publisher.send([Outgoing(Route(self.prefix), self.message(name)) for name in names])
        return [receipt.sent for receipt in receipts]

    async def attend(self, name: str, prefetch: int) -> None:
        context = AsyncExitStack()
        consumer = await context.enter_async_context(
            self.broker.consume(self.ref, name=name, prefetch=prefetch, session_timeout_s=SESSION_S)
        )
        self.consumers[name] = consumer, context
        self.held[name], self.stale[name] = [], []

    async def deliver(self, name: str, limit: int, count: int | None) -> list[Any]:
        """Take what is there, up to `limit`; the real one is asked for the `count` the embedded one gave."""
        consumer = self.consumers[name][0]
        if (await self.measure(self.ref)).delayed:
            await self.pass_time(LOOK_S)
        taken: list[Delivery] = []
        if count is None:
            taking = asyncio.ensure_future(consumer.take(limit))
            await self.settle()
            if taking.done():
                taken += taking.result()
            taking.cancel()
        else:
            async with asyncio.timeout(10):
                while len(taken) < count:
                    taken += await consumer.take(count - len(taken))
        return self._keep(name, taken)

    async def claim(self, name: str, limit: int, min_idle_s: float) -> list[Any]:
        consumer = self.consumers[name][0]
        assert isinstance(consumer, CanClaim)
        claimed = await consumer.claim(min_idle_s=min_idle_s, limit=limit)
        for copy in [_copy(delivery) for delivery in claimed]:
            former = self.ledger.holder.get(copy)
            if former is None:
                continue
            self.ledger.release(copy)
            [gone] = [delivery for delivery in self.held[former] if _copy(delivery) == copy]
            self.held[former].remove(gone)
            self.stale[former].append(gone)
        return self._keep(name, claimed)

    def _keep(self, name: str, deliveries: Any) -> list[Any]:
        for delivery in deliveries:
            self.ledger.deliver(_copy(delivery), name)
            self.stale[name] = [old for old in self.stale[name] if _copy(old) != _copy(delivery)]
        self.held[name] += deliveries
        return [self._shown(delivery) for delivery in deliveries]

    async def settle_held(self, name: str, picks: list[int], verdict: Verdict) -> list[Settled]:
        held = self.held[name]
        chosen = [held.pop(pick % len(held)) for pick in picks if held]
        for copy in map(_copy, chosen):
            if isinstance(verdict, Retry):
                self.ledger.release(copy)
            elif isinstance(verdict, DeadLetter):
                self.ledger.move(copy)
            else:
                self.ledger.finish(copy)
        outcomes = await self.consumers[name][0].settle([(delivery, verdict) for delivery in chosen])
        if isinstance(verdict, Retry):  # until it is due, and never two in one millisecond
            await self.pass_time(verdict.after_s + 0.003)
        return [outcome.settled for outcome in outcomes]

    async def settle_late(self, name: str, verdict: Verdict) -> list[Settled]:
        stale, self.stale[name] = self.stale[name], []
        outcomes = await self.consumers[name][0].settle([(delivery, verdict) for delivery in stale])
        return [outcome.settled for outcome in outcomes]

    async def end(self, name: str, *, crash: bool) -> None:
        consumer, context = self.consumers.pop(name)
        retries = [one for one in self.held[name] if one.route.destination != self.prefix]
        if len(retries) > 1:
            await self.pass_time(SESSION_S / 2)  # all leases were renewed together, so they run out together
        for copy in self.ledger.held_by(name):
            self.ledger.release(copy)
        del self.held[name], self.stale[name]
        if crash:
            consumer.crash()
        await context.aclose()
        if crash:
            await self.pass_time(SESSION_S + 0.1 if retries else 2 * DETECTION_S)

    # --- what shows ---

    def _shown(self, delivery: Delivery) -> Any:
        retried = delivery.route.destination != self.prefix
        return delivery.message.id, retried, delivery.redelivered, delivery.delivery_count, delivery.message.attempt

    async def seen(self) -> Seen:
        group = await self.measure(self.ref)
        return {
            # A real Redis shows the lease of a dead consumer, when it has run out, as in flight until somebody takes it.
            "group": (group.waiting, (group.in_flight or 0) + (group.delayed or 0)),
            "dead": (await self.measure(self.dead)).waiting,
            **{name: [self._shown(one) for one in held] for name, held in self.held.items()},
        }

    async def letters(self) -> list[Any]:
        assert isinstance(self.broker, CanBrowse)
        headers = ("x-mqdash-error", "x-mqdash-error-text", "x-mqdash-attempt", "x-mqdash-worker", "x-mqdash-group")
        return [
            [letter.message.id, *map(letter.message.header_text, headers)]
            for letter in await self.broker.browse(self.dead, newest=1000)
        ]

    async def check(self) -> None:
        group, dead = await self.broker.measure([self.ref, self.dead])
        levels = (group.waiting, group.in_flight, group.delayed, dead.waiting)
        assert sum(level or 0 for level in levels) == self.ledger.open, f"{levels}, {self.ledger.open} open"

    async def remove(self) -> None:
        for _, context in self.consumers.values():
            await context.aclose()
        self.consumers.clear()
        await self.broker.remove(self.topology())


def _copy(delivery: Delivery) -> tuple[str, str]:
    assert delivery.message.id is not None
    return "s", delivery.message.id


class StreamMachine(Machine[StreamWorld]):
    """The steps on a stream."""

    def __init__(self) -> None:
        super().__init__(StreamWorld)
        self._messages = 0

    @initialize()
    def open(self) -> None:
        self.step(lambda world: world.open())

    @precondition(lambda self: self.declares_left)
    @rule(kind=st.sampled_from(("stream", "channel", "topic")))
    def declare(self, kind: str) -> None:
        self.declares_left -= 1
        self.step(lambda world: world.declare(kind))

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        names = [f"m{number}" for number in range(self._messages, self._messages + count)]
        self._messages += count
        self.step(lambda world: world.publish(names))

    @precondition(lambda self: len(self.model.consumers) < len(NAMES))
    @rule(who=st.integers(0, 2), prefetch=st.sampled_from((1, 2, 0)))
    def attend(self, who: int, prefetch: int) -> None:
        free = [name for name in NAMES if name not in self.model.consumers]
        self.step(lambda world: world.attend(free[who % len(free)], prefetch))

    @precondition(lambda self: self.model.consumers)
    @rule(who=st.integers(0, 2), limit=st.integers(1, 4))
    def deliver(self, who: int, limit: int) -> None:
        self._deliver(self._consumer(who), limit)

    def _deliver(self, name: str, limit: int) -> int:
        count: list[int | None] = [None]

        async def act(world: StreamWorld) -> list[Any]:
            shown = await world.deliver(name, limit, count[0])
            count[0] = len(shown)
            return shown

        return len(self.step(act))

    @precondition(lambda self: self.model.consumers)
    @rule(who=st.integers(0, 2), limit=st.integers(1, 5), min_idle_s=st.sampled_from((0.0, 0.0, 0.0, 60.0)))
    def claim(self, who: int, limit: int, min_idle_s: float) -> None:
        name = self._consumer(who)
        self.step(lambda world: world.claim(name, limit, min_idle_s))

    @precondition(lambda self: any(self.model.held.values()))
    @rule(
        who=st.integers(0, 2),
        picks=st.lists(st.integers(0, 3), min_size=1, max_size=3),
        verdict=st.sampled_from(VERDICTS),
    )
    def settle(self, who: int, picks: list[int], verdict: Verdict) -> None:
        busy = sorted(name for name, held in self.model.held.items() if held)
        name = busy[who % len(busy)]
        picks = picks[:1] if isinstance(verdict, Retry) else picks
        assert set(self.step(lambda world: world.settle_held(name, picks, verdict))) == {Settled.SETTLED}

    @precondition(lambda self: any(self.model.stale.values()))
    @rule(who=st.integers(0, 2), verdict=st.sampled_from(VERDICTS))
    def settle_late(self, who: int, verdict: Verdict) -> None:
        names = sorted(name for name, stale in self.model.stale.items() if stale)
        name = names[who % len(names)]
        assert set(self.step(lambda world: world.settle_late(name, verdict))) == {Settled.STALE}

    @precondition(lambda self: self.model.consumers)
    @rule(who=st.integers(0, 2), crash=st.booleans())
    def end(self, who: int, crash: bool) -> None:
        name = self._consumer(who)
        self.step(lambda world: world.end(name, crash=crash))

    def _consumer(self, pick: int) -> str:
        names = sorted(self.model.consumers)
        return names[pick % len(names)]

    def _end(self, name: str) -> None:
        self.step(lambda world: world.end(name, crash=False))

    def finish(self) -> None:
        for name in list(self.model.consumers):
            self._end(name)
        self.step(lambda world: world.attend("last", 0))
        while self._deliver("last", 100):
            pass
        self.step(lambda world: world.claim("last", 1000, 0.0))
        rest = [0] * len(self.model.held["last"])
        self.step(lambda world: world.settle_held("last", rest, Ack()))
        assert len(self.step(lambda world: world.letters())) == self.model.ledger.open
