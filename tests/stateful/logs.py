"""Kafka: a topic and a group whose members join, leave and die; what was not committed comes again."""

from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mqdash.brokers.base import CanBrowse, Consumer, Publisher
from mqdash.errors import BrokerError
from mqdash.model.delivery import Ack, DeadLetter, Delivery, Outgoing, RecordClaim, Retry, Sent, Settled, Verdict
from mqdash.model.message import Family
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from tests.stateful.crew import Worker
from tests.stateful.machine import Machine
from tests.stateful.worlds import Seen, World

PARTITIONS = 3
MEMBERS = 3
"""Never more than partitions: then each change of the group moves a partition, and shows when it is over."""
SESSION_S = 1.5  # a shorter one runs out by itself when the machine is busy
RETRY_S = 0.1
KEYS = tuple(f"k{number}" for number in range(6))
VERDICTS: tuple[Verdict, ...] = (Ack(), Ack(), Ack(), Retry(), Retry(RETRY_S), DeadLetter("E", "bad"))
Log = tuple[str, int]
"""A partition: (suffix of the topic's name, number). Records of it that were given out wait in a window."""


class Given:
    """A record in hand. `done`: settled behind an open one, so not committed."""

    def __init__(self, member: str, delivery: Delivery) -> None:
        self.member = member
        self.delivery = delivery
        self.done = False

    @property
    def claim(self) -> RecordClaim:
        assert isinstance(self.delivery.claim, RecordClaim)
        return self.delivery.claim


class LogWorld(World):
    """Members take all there is at once, so `windows` hold whatever is not committed, in order of offsets."""

    family = Family.KAFKA

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ref = QueueRef(self.prefix, f"{self.prefix}-workers")
        self.dead = QueueRef(f"{self.prefix}.dlq")
        self.members: dict[str, Worker] = {}
        self.windows: dict[Log, dict[int, Given]] = defaultdict(dict)
        self.committed: dict[Log, int] = defaultdict(int)
        self.stale: list[Given] = []
        self.written = self.finished = self.buried = 0
        self.publisher: Publisher

    # --- steps ---

    def topology(self, partitions: int = PARTITIONS, kind: str = "topic") -> Topology:
        return Topology(
            destinations=(Destination(name=self.prefix, kind=kind, family=self.family, partitions=partitions),),
            queues=(Queue(ref=self.ref, kind="group", family=self.family),),
            bindings=(Binding(source=self.prefix, queue=self.ref),),
        )

    async def open(self) -> None:
        await self.broker.declare(self.topology())
        self.publisher = await self.stack.enter_async_context(self.broker.publisher(name="p"))

    async def declare(self, partitions: int, kind: str) -> str:
        try:
            await self.broker.declare(self.topology(partitions, kind))
        except BrokerError as error:
            return type(error).__name__
        return "declared"

    async def publish(self, names: list[str], key: str) -> list[tuple[Sent, str]]:
        batch = [Outgoing(Route(self.prefix), self.message(name, key=key)) for name in names]
        receipts = await self.publisher.send(batch)
        self.written += sum(receipt.sent is Sent.CONFIRMED for receipt in receipts)
        return [(receipt.sent, receipt.position) for receipt in receipts]

    async def join(self, name: str) -> None:
        self._end_assignment()
        context = AsyncExitStack()
        consumer = await context.enter_async_context(
            self.broker.consume(self.ref, name=name, prefetch=1000, session_timeout_s=SESSION_S)
        )
        self.members[name] = Worker(name, consumer, context, self._arrived)

    async def end(self, name: str, *, crash: bool) -> None:
        worker = self.members.pop(name)
        self._end_assignment()
        await (worker.crash() if crash else worker.leave())
        if crash and self.embedded:
            await self.pass_time(SESSION_S)

    def _end_assignment(self) -> None:
        """Every claim is stale from now on (K13, K14)."""
        for window in self.windows.values():
            self.stale += window.values()
        self.windows.clear()

    def _arrived(self, member: str, delivery: Delivery) -> None:
        given = Given(member, delivery)
        log, offset = (self.plain(delivery.route.destination), given.claim.partition), given.claim.offset
        assert offset >= self.committed[log], f"{log} {offset} was committed and is delivered again to {member}"
        window = self.windows[log]
        if offset in window:  # the group was rebalanced twice
            before = window.pop(offset)
            assert before.claim.assignment != given.claim.assignment, f"{log} {offset} was delivered twice"
        of_this = [at for at, one in window.items() if one.claim.assignment == given.claim.assignment]
        assert offset > max(of_this, default=-1), f"{log} {offset} came after {max(of_this)}"
        window[offset] = given

    async def settle_held(self, log: Log, picks: list[int], verdict: Verdict) -> list[Settled]:
        opened = [given for _, given in sorted(self.windows[log].items()) if not given.done]
        chosen = [opened.pop(pick % len(opened)) for pick in picks if opened]
        member = chosen[0].member
        consumer: Consumer = self.members[member].source  # type: ignore[assignment]
        outcomes = await consumer.settle([(given.delivery, verdict) for given in chosen])
        for given in chosen:
            given.done = True
        self.written += len(chosen) if isinstance(verdict, Retry) else 0
        self.buried += len(chosen) if isinstance(verdict, DeadLetter) else 0
        window = self.windows[log]
        while window and window[min(window)].done:
            first = min(window)
            del window[first]
            self.committed[log] = first + 1
            self.finished += 1
        if isinstance(verdict, Retry):
            await self.pass_time(verdict.after_s)
        return [outcome.settled for outcome in outcomes]

    async def settle_late(self, name: str, pick: int) -> Settled:
        consumer: Consumer = self.members[name].source  # type: ignore[assignment]
        [outcome] = await consumer.settle([(self.stale[pick % len(self.stale)].delivery, Ack())])
        return outcome.settled

    # --- what shows ---

    async def seen(self) -> Seen:
        group = await self.measure(self.ref)
        for worker in self.members.values():
            worker.check()
        return {
            "partitions": [(one.partition, one.end, one.committed, one.lost, one.owner) for one in group.partitions],
            "members": group.consumers,
            "in flight": group.in_flight or 0,
            "dead": (await self.measure(self.dead)).waiting,
            **{str(log): self._shown(log) for log, window in self.windows.items() if window},
        }

    def _shown(self, log: Log) -> list[Any]:
        """Kafka balances partitions of retry topics by themselves: who has those is not the embedded one's choice."""
        return [
            (offset, given.delivery.message.id, given.delivery.message.attempt, log[0] or given.member, given.done)
            for offset, given in sorted(self.windows[log].items())
        ]

    async def letters(self) -> dict[int | None, list[Any]]:
        """By partition; equal times have no order between partitions (K3)."""
        assert isinstance(self.broker, CanBrowse)
        headers = ("x-mqdash-error", "x-mqdash-error-text", "x-mqdash-attempt", "x-mqdash-queue")
        found = defaultdict(list)
        for letter in await self.broker.browse(self.dead, newest=1000):
            texts = [self.plain(letter.message.header_text(name) or "") for name in headers]
            found[letter.route.partition].append((letter.message.id, *texts))
        return dict(sorted(found.items()))

    async def check(self) -> None:
        """E2 where somebody reads: all that was written and not committed is in somebody's hands."""
        held = sum(map(len, self.windows.values()))
        if self.members:
            assert held == self.written - self.finished, f"{held} held of {self.written} less {self.finished} finished"
        assert (await self.measure(self.dead)).waiting == self.buried

    async def remove(self) -> None:
        for worker in self.members.values():
            await worker.leave()
        self.members.clear()
        await self.broker.remove(self.topology())


class LogMachine(Machine[LogWorld]):
    """The steps on a log with a group."""

    def __init__(self) -> None:
        super().__init__(LogWorld)
        self._messages = 0
        self._members = 0

    @initialize()
    def open(self) -> None:
        self.step(lambda world: world.open())

    @precondition(lambda self: self.declares_left)
    @rule(how=st.sampled_from(((PARTITIONS, "topic"), (PARTITIONS + 1, "topic"), (PARTITIONS, "queue"))))
    def declare(self, how: tuple[int, str]) -> None:
        self.declares_left -= 1
        self.step(lambda world: world.declare(*how))

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 4))
    def publish(self, key: str, count: int) -> None:
        names = [f"m{number}" for number in range(self._messages, self._messages + count)]
        self._messages += count
        self.step(lambda world: world.publish(names, key))

    @precondition(lambda self: len(self.model.members) < MEMBERS)
    @rule()
    def join(self) -> None:
        self._join()

    def _join(self) -> None:
        self._members += 1
        name = f"c{self._members}"
        self.step(lambda world: world.join(name))

    @precondition(lambda self: self.model.members)
    @rule(who=st.integers(0, 2), crash=st.booleans())
    def end(self, who: int, crash: bool) -> None:
        name = self._member(who)
        self.step(lambda world: world.end(name, crash=crash))

    @precondition(lambda self: self._busy())
    @rule(
        which=st.integers(0, 5),
        picks=st.lists(st.integers(0, 3), min_size=1, max_size=3),
        verdict=st.sampled_from(VERDICTS),
    )
    def settle(self, which: int, picks: list[int], verdict: Verdict) -> None:
        self._settle(which, picks, verdict)

    @precondition(lambda self: self._busy())
    @rule(which=st.integers(0, 5), count=st.integers(1, 4))
    def finish_first(self, which: int, count: int) -> None:
        self._settle(which, [0] * count, Ack())

    def _settle(self, which: int, picks: list[int], verdict: Verdict) -> None:
        logs = self._busy()
        log = logs[which % len(logs)]
        outcomes = self.step(lambda world: world.settle_held(log, picks, verdict))
        assert set(outcomes) <= {Settled.SETTLED, Settled.HELD}

    @precondition(lambda self: self.model.stale and self.model.members)
    @rule(who=st.integers(0, 2), pick=st.integers(0, 9))
    def settle_late(self, who: int, pick: int) -> None:
        name = self._member(who)
        assert self.step(lambda world: world.settle_late(name, pick)) is Settled.STALE

    def _busy(self) -> list[Log]:
        windows = self.model.windows.items()
        return sorted(log for log, window in windows if not all(given.done for given in window.values()))

    def _member(self, pick: int) -> str:
        names = sorted(self.model.members)
        return names[pick % len(names)]

    def finish(self) -> None:
        if not self.model.members:
            self._join()
        while self._busy():
            self._settle(0, [0] * 100, Ack())
        assert self.model.written == self.model.finished
        self.step(lambda world: world.letters())
