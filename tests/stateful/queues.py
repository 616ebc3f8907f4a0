"""RabbitMQ: queues of every kind with consumers that come, crash and go; what dies is kept and told."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mqdash.errors import BrokerError
from mqdash.model.delivery import Ack, DeadLetter, Delivery, Outgoing, Retry, Sent, Settled, Verdict
from mqdash.model.message import Family, Wire
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from tests.stateful.crew import Worker
from tests.stateful.machine import Machine
from tests.stateful.worlds import Seen, World

if TYPE_CHECKING:
    from mqdash.brokers.base import Consumer, Publisher

TTL_S = 0.06
"""Of messages and queues that expire: a step that publishes one waits until that is past."""
DETECTION_S = 5.0
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"max_length": 3},
    {"max_length": 3, "overflow": "reject-publish"},
    {"max_length": 2, "overflow": "reject-publish-dlx"},
    {"max_priority": 3},
    {"ttl_s": TTL_S},
    # No single active consumer: 4.0.5 was seen to serve the next one before what the last one held was back, 3.10.8 not.
    {"kind": "quorum"},
    {"kind": "quorum", "delivery_limit": 2},
    {"kind": "quorum", "max_length": 3, "delivery_limit": 1},
)
VERDICTS: tuple[Verdict, ...] = (Ack(), Ack(), Retry(), DeadLetter("E", "bad"))
PICKS = st.lists(st.integers(0, 3), min_size=1, max_size=3)
SETTLED = frozenset({Settled.SETTLED, Settled.WRITTEN})


class QueueWorld(World):
    """Queue `a` of the drawn shape, a plain queue `b`, both behind one direct exchange, and the queue of their dead."""

    family = Family.RABBITMQ

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.workers: dict[str, Worker] = {}
        self.held: dict[str, list[Delivery]] = {}
        self.stale: list[Delivery] = []
        self.publisher: Publisher
        self.shape: dict[str, Any] = {}

    # --- steps ---

    def topology(self, **more: Any) -> Topology:
        name, dead = self.prefix, Route(f"{self.prefix}.dlx")
        return Topology(
            destinations=(
                Destination(name=f"{name}.direct", kind="direct"),
                Destination(name=dead.destination, kind="fanout"),
            ),
            queues=(
                Queue(ref=self.queue("a"), dead_letter=dead, **{**self.shape, **more}),
                Queue(ref=self.queue("b"), dead_letter=dead),
                Queue(ref=self.queue("dead"), holds_dead_letters=True),
            ),
            bindings=(
                *(
                    Binding(source=f"{name}.direct", queue=self.queue(queue), key=key)
                    for queue, key in (("a", "a"), ("b", "b"), ("a", "both"), ("b", "both"))
                ),
                Binding(source=dead.destination, queue=self.queue("dead")),
            ),
        )

    def queue(self, name: str) -> QueueRef:
        return QueueRef(f"{self.prefix}.{name}")

    async def open(self, shape: dict[str, Any]) -> None:
        self.shape = shape
        await self.broker.declare(self.topology())
        self.publisher = await self.stack.enter_async_context(self.broker.publisher(name="p"))

    async def declare(self, more: dict[str, Any]) -> str:
        try:
            await self.broker.declare(self.topology(**more))
        except BrokerError as error:
            return type(error).__name__
        return "declared"

    async def publish(self, names: list[str], key: str, **draft: Any) -> list[Sent]:
        batch = [Outgoing(Route(f"{self.prefix}.direct", key), self.message(name, **draft)) for name in names]
        queues = {"both": ("a", "b"), "nowhere": ()}.get(key, (key,))
        for name in names:  # a delivery may be faster than the receipt
            self.ledger.publish([(queue, name) for queue in queues])
        receipts = [receipt.sent for receipt in await self.publisher.send(batch)]
        for name, sent in zip(names, receipts, strict=True):
            if sent is not Sent.CONFIRMED:
                self.ledger.withdraw([(queue, name) for queue in queues])
                # Refused, and a copy of it is among the dead letters (R35).
                self.ledger.moved += sent is Sent.REFUSED and self.shape.get("overflow") == "reject-publish-dlx"
        if draft.get("ttl_s") or "ttl_s" in self.shape:
            await self.pass_time(TTL_S * 2)
        return receipts

    async def attend(self, name: str, queue: str, prefetch: int) -> None:
        context = AsyncExitStack()
        consumer = await context.enter_async_context(
            self.broker.consume(
                self.queue(queue), name=name, prefetch=prefetch, dead_letter=Route(f"{self.prefix}.dlx")
            )
        )
        self.held[name] = []
        self.workers[name] = Worker(name, consumer, context, self._arrived)

    def _arrived(self, worker: str, delivery: Delivery) -> None:
        if delivery.queue != self.queue("dead"):  # there one message may lie twice, once for each queue it died in
            self.ledger.deliver(self._copy(delivery), worker)
        self.held[worker].append(delivery)

    def _copy(self, delivery: Delivery) -> tuple[str, str]:
        assert delivery.message.id is not None
        return self.plain(delivery.queue.name)[1:], delivery.message.id

    async def end(self, name: str, *, crash: bool) -> None:
        """What it holds is nobody's from now on: the broker may hand it to others before we hear of the end."""
        worker = self.workers.pop(name)
        for copy in self.ledger.held_by(name):
            self.ledger.release(copy)
        self.stale += self.held.pop(name)
        await (worker.crash() if crash else worker.leave())
        await self.pass_time(DETECTION_S if self.embedded and crash else 0)

    async def settle_held(self, name: str, picks: list[tuple[int, Verdict]]) -> list[bool]:
        held = self.held[name]
        chosen: list[tuple[Delivery, Verdict]] = []
        for pick, verdict in picks:
            if held:
                chosen.append((held.pop(pick % len(held)), verdict))
        for delivery, verdict in chosen:
            if isinstance(verdict, Retry):
                self.ledger.release(self._copy(delivery))
            elif isinstance(verdict, DeadLetter):
                self.ledger.move(self._copy(delivery))
            else:
                self.ledger.finish(self._copy(delivery))
        consumer: Consumer = self.workers[name].source  # type: ignore[assignment]
        return [outcome.settled in SETTLED for outcome in await consumer.settle(chosen)]

    async def settle_late(self, name: str, pick: int) -> list[Settled]:
        """A claim of a connection that is gone."""
        consumer: Consumer = self.workers[name].source  # type: ignore[assignment]
        return [outcome.settled for outcome in await consumer.settle([(self.stale[pick % len(self.stale)], Ack())])]

    # --- what shows ---

    async def seen(self) -> Seen:
        queues = [self.queue(name) for name in ("a", "b", "dead")]
        measured = await self.broker.measure(queues)
        seen: Seen = {self.plain(one.queue.name): (one.waiting, one.consumers) for one in measured}
        seen["unacked"] = [
            (name, *self._copy(one), one.redelivered, one.delivery_count, *self._reasons(one))
            for name, held in sorted(self.held.items())
            for one in held
        ]
        for worker in self.workers.values():
            worker.check()
        return seen

    def _reasons(self, delivery: Delivery) -> list[Any]:
        """Why it is dead: what the broker wrote (R44, R45), what a worker said."""
        message = delivery.message
        deaths = [
            (
                self.plain(str(death["queue"])),
                death["reason"],
                _number(death["count"]),
                _number(death.get("original-expiration")),
            )
            for death in message.header("x-death") or ()
        ]
        first = [self.plain(str(message.header(f"x-first-death-{what}"))) for what in ("queue", "reason", "exchange")]
        last = [self.plain(str(message.header(f"x-last-death-{what}"))) for what in ("queue", "reason", "exchange")]
        return [deaths, first, last, message.ttl_s, message.header("x-mqdash-error")]

    async def check(self) -> None:
        measured = await self.broker.measure([self.queue(name) for name in ("a", "b", "dead")])
        waiting = sum(one.waiting or 0 for one in measured)
        held = sum(map(len, self.held.values()))
        assert waiting + held == self.ledger.open, f"{waiting} wait, {held} held, {self.ledger.open} confirmed and open"
        if self.embedded:
            self._check_counts()

    def _check_counts(self) -> None:
        for queue in self.connector.server.model.queues.values():  # type: ignore[attr-defined]
            counts = queue.counts
            gone = counts.acked + counts.dead.total() + counts.dropped.total() + counts.expired
            assert counts.published == queue.ready + queue.unacked + gone, queue.name
            assert not counts.dropped, f"{queue.name} dropped {counts.dropped} though its dead letters have a place"

    async def remove(self) -> None:
        for worker in self.workers.values():
            await worker.leave()
        self.workers.clear()
        await self.broker.remove(self.topology())


def _number(value: Any) -> Any:
    return value.value if isinstance(value, Wire) else value


class QueueMachine(Machine[QueueWorld]):
    """The steps on queues."""

    def __init__(self) -> None:
        super().__init__(QueueWorld)
        self._messages = 0
        self._consumers = 0

    @initialize(shape=st.sampled_from(SHAPES))
    def open(self, shape: dict[str, Any]) -> None:
        self.step(lambda world: world.open(shape))

    @precondition(lambda self: self.declares_left)
    @rule(more=st.sampled_from(({}, {"max_length": 7}, {"kind": "quorum"}, {"max_priority": 5})))
    def declare(self, more: dict[str, Any]) -> None:
        self.declares_left -= 1
        self.step(lambda world: world.declare(more))

    @rule(key=st.sampled_from("aaabo-"), count=st.integers(1, 4), priority=st.sampled_from((None, None, 1, 9)))
    def publish(self, key: str, count: int, priority: int | None) -> None:
        self._publish(key, count, priority=priority)

    @rule(key=st.sampled_from("ab"), count=st.integers(1, 3))
    def expire(self, key: str, count: int) -> None:
        self._publish(key, count, ttl_s=TTL_S)

    def _publish(self, key: str, count: int, **draft: Any) -> None:
        # A queue that refuses would make one answer for two queues: what the other one took could not be told.
        both = "a" if self.model.shape.get("overflow") else "both"
        names = [f"m{number}" for number in range(self._messages, self._messages + count)]
        self._messages += count
        self.step(lambda world: world.publish(names, {"o": both, "-": "nowhere"}.get(key, key), **draft))

    @precondition(lambda self: len(self.model.workers) < 4)
    @rule(queue=st.sampled_from("aab"), prefetch=st.sampled_from((1, 1, 2, 3, 0)))
    def attend(self, queue: str, prefetch: int) -> None:
        self._consumers += 1
        name = f"c{self._consumers}"
        self.step(lambda world: world.attend(name, queue, prefetch))

    @precondition(lambda self: self.model.workers)
    @rule(who=st.integers(0, 3), crash=st.booleans())
    def end(self, who: int, crash: bool) -> None:
        name = self._worker(who)
        self.step(lambda world: world.end(name, crash=crash))

    @precondition(lambda self: any(self.model.held.values()))
    @rule(who=st.integers(0, 3), picks=PICKS, verdict=st.sampled_from(VERDICTS))
    def settle(self, who: int, picks: list[int], verdict: Verdict) -> None:
        self._settle(who, picks, verdict)

    @precondition(lambda self: any(self.model.held.values()))
    @rule(who=st.integers(0, 3), picks=PICKS)
    def give_back(self, who: int, picks: list[int]) -> None:
        self._settle(who, picks, Retry())

    def _settle(self, who: int, picks: list[int], verdict: Verdict) -> None:
        # One kind at a time: what a worker and the broker move to the dead letters together has no order.
        busy = sorted(name for name, held in self.model.held.items() if held)
        name = busy[who % len(busy)]
        assert all(self.step(lambda world: world.settle_held(name, [(pick, verdict) for pick in picks])))

    @precondition(lambda self: self.model.stale and self.model.workers)
    @rule(who=st.integers(0, 3), pick=st.integers(0, 9))
    def settle_late(self, who: int, pick: int) -> None:
        name = self._worker(who)
        assert self.step(lambda world: world.settle_late(name, pick)) == [Settled.STALE]

    def _worker(self, pick: int) -> str:
        names = sorted(self.model.workers)
        return names[pick % len(names)]

    def finish(self) -> None:
        for name in list(self.model.workers):
            self._end(name)
        for queue in ("a", "b"):
            self._empty(queue)
        self.step(lambda world: world.attend("last dead", "dead", 0))
        assert len(self.model.held["last dead"]) == self.model.ledger.open

    def _end(self, name: str) -> None:
        self.step(lambda world: world.end(name, crash=False))

    def _empty(self, queue: str) -> None:
        name = f"last {queue}"
        self.step(lambda world: world.attend(name, queue, 0))
        rest: list[tuple[int, Verdict]] = [(0, Ack())] * len(self.model.held[name])
        self.step(lambda world: world.settle_held(name, rest))
