"""The port, counted: wraps a broker once, so that adapters know no bus and nobody counts twice (design §4, data flow)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from mqdash.brokers.base import (
    CanBrowse,
    CanClaim,
    CanRequest,
    CanSubscribe,
    HoldsDeadLetters,
    KeepsMembers,
    MovesInOne,
    TellsGone,
    TellsMoves,
    TellsSilence,
)
from mqdash.brokers.meter import Meter, head_of
from mqdash.brokers.powers import with_powers
from mqdash.brokers.wrapped import (
    Browses,
    Claims,
    Enrolls,
    Gone,
    Moves,
    Probes,
    WrappedBroker,
    WrappedConsumer,
    WrappedLease,
    WrappedPublisher,
    WrappedRequester,
    WrappedSubscription,
)
from mqdash.model.delivery import Ack, Answer, DeadLetter, Receipt, Retry, Sent, Settled
from mqdash.model.events import Died, Finished, Published, Requested, Retried, Unroutable
from mqdash.model.message import Family
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from mqdash.brokers.base import Broker, Consumer, Lease, Publisher, Requester, Subscription
    from mqdash.clock import Clock
    from mqdash.model.delivery import Delivery, Outcome, Outgoing, Reply, Verdict
    from mqdash.model.events import Event
    from mqdash.model.message import Message
    from mqdash.model.topology import QueueRef, Topology

PREVIEW_BYTES = 2048
_DONE = {Settled.SETTLED: True, Settled.WRITTEN: True, Settled.HELD: True}


def metered(broker: Broker, name: str, *, clock: Clock, emit: Callable[[Event], None]) -> Broker:
    """The same broker, with everything that passes told as events of the broker called `name`."""
    kind = with_powers(
        MeteredBroker,
        broker,
        {
            CanSubscribe: _Subscribes,
            CanRequest: _Requests,
            HoldsDeadLetters: _Leases,
            CanBrowse: Browses,
            KeepsMembers: Enrolls,
            TellsSilence: Probes,
        },
    )
    return kind(broker, Meter(name, clock=clock, emit=emit))


class MeteredBroker(WrappedBroker):
    """A broker whose publishers and consumers are counted."""

    def __init__(self, inner: Broker, meter: Meter) -> None:
        self._inner: Any = inner
        self._meter = meter
        self._graves: dict[QueueRef, Route] = {}
        self._publishers: set[Publisher] = set()

    async def close(self) -> None:
        self._meter.flush()
        await super().close()

    async def declare(self, topology: Topology) -> None:
        await super().declare(topology)
        self._graves |= {queue.ref: queue.dead_letter for queue in topology.queues if queue.dead_letter}

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[Publisher]:
        async with self._inner.publisher(name=name, window=window) as publisher:
            self._publishers.add(publisher)
            try:
                yield MeteredPublisher(publisher, name, self._meter)
            finally:
                self._publishers.discard(publisher)

    @property
    def blocked(self) -> str:
        return next((publisher.blocked for publisher in self._publishers if publisher.blocked), "")

    @asynccontextmanager
    async def consume(
        self,
        queue: QueueRef,
        *,
        name: str,
        prefetch: int,
        dead_letter: Route | None = None,
        session_timeout_s: float = 6.0,
    ) -> AsyncIterator[Consumer]:
        grave = dead_letter or self._graves.get(queue) or _default_grave(queue, self.info.family)
        async with self._inner.consume(
            queue, name=name, prefetch=prefetch, dead_letter=dead_letter, session_timeout_s=session_timeout_s
        ) as consumer:
            kind = with_powers(MeteredConsumer, consumer, {CanClaim: Claims, TellsGone: Gone, TellsMoves: Moves})
            yield kind(consumer, name, grave, self._meter)


def _default_grave(queue: QueueRef, family: Family) -> Route:
    if family is Family.KAFKA:
        return Route(f"{queue.name}.dlq")
    return Route(f"{{{queue.name}}}:dlq") if family is Family.REDIS_STREAMS else Route("")


class _Subscribes:
    """Power: CanSubscribe."""

    _inner: Any
    _meter: Meter

    @asynccontextmanager
    async def subscribe(self, channels: Sequence[str], *, name: str) -> AsyncIterator[Subscription]:
        async with self._inner.subscribe(channels, name=name) as subscription:
            yield MeteredSubscription(subscription, name, self._meter)


class _Requests:
    """Power: CanRequest."""

    _inner: Any
    _meter: Meter

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[Requester]:
        async with self._inner.requester(name=name, direct=direct) as requester:
            yield MeteredRequester(requester, name, self._meter)


class _Leases:
    """Power: HoldsDeadLetters; looking is not traffic, copies are."""

    _inner: Any
    _meter: Meter

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[Lease]:
        async with self._inner.lease(queue, limit=limit) as lease:
            yield _MeteredLease(lease, self._meter) if isinstance(lease, MovesInOne) else lease


class _MeteredLease(WrappedLease):
    """A lease that moves in one step: what it publishes is counted as published."""

    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        started_s = self._meter.clock.monotonic()
        outcomes: Sequence[Outcome] | None = await self._inner.move(letters, copies)
        took_s = self._meter.clock.monotonic() - started_s
        for copy, outcome in zip(copies, outcomes or (), strict=False):
            if outcome.settled is Settled.SETTLED:
                count_sent(self._meter, "replay", copy, Receipt(Sent.CONFIRMED), took_s)
        return outcomes


class MeteredPublisher(WrappedPublisher):
    """Counts receipts per route."""

    def __init__(self, inner: Publisher, name: str, meter: Meter) -> None:
        self._inner = inner
        self._name = name
        self._meter = meter

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        started_s = self._meter.clock.monotonic()
        receipts = await self._inner.send(batch)
        took_s = self._meter.clock.monotonic() - started_s
        for outgoing, receipt in zip(batch, receipts, strict=True):
            count_sent(self._meter, self._name, outgoing, receipt, took_s)
        return receipts


def count_sent(meter: Meter, name: str, outgoing: Outgoing, receipt: Receipt, took_s: float) -> None:
    """Add one receipt of the publisher `name` to its route's sums; a return is a moment of its own."""
    route, message = outgoing.route, outgoing.message
    sums = meter.sums(Published, by=name, route=route)
    sums.add(receipt.sent.value, 1)
    sums.add("size_bytes", message.size_bytes)
    sums.took(took_s)
    if receipt.sent is Sent.CONFIRMED and meter.wants_head("publish", name, route.destination):
        sums.heads.append(head_of(message, key=route.key))
    elif receipt.sent is Sent.RETURNED:
        meter.emit(
            Unroutable(
                broker=meter.broker,
                at_s=meter.clock.now(),
                by=name,
                route=route,
                id=message.id or "",
                detail=receipt.detail,
            )
        )


class MeteredConsumer(WrappedConsumer):
    """Counts deliveries and verdicts, and tells each death with its cause."""

    def __init__(self, inner: Consumer, name: str, grave: Route, meter: Meter) -> None:
        self._inner: Any = inner
        self._name = name
        self._grave = grave
        self._meter = meter
        self._since: dict[object, float] = {}

    def _taken(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        if deliveries:
            now = self._meter.clock.monotonic()
            self._since |= {delivery.claim: now for delivery in deliveries}
            self._meter.delivered(self._name, deliveries)
        return deliveries

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        outcomes: Sequence[Outcome] = await self._inner.settle(verdicts)
        now = self._meter.clock.monotonic()
        for (delivery, verdict), outcome in zip(verdicts, outcomes, strict=True):
            self._count(delivery, verdict, outcome, now)
        return outcomes

    def _count(self, delivery: Delivery, verdict: Verdict, outcome: Outcome, now: float) -> None:
        sums = self._meter.sums(Finished, by=self._name, queue=delivery.queue)
        since = (
            self._since.get(delivery.claim, now)
            if outcome.settled is Settled.FAILED
            else self._since.pop(delivery.claim, now)
        )
        sums.took(now - since)
        if outcome.settled not in _DONE:
            sums.add(outcome.settled.value, 1)
            return
        match verdict:
            case Ack():
                sums.add("acked", 1)
            case Retry():
                sums.add("retried", 1)
                self._retried(delivery, verdict)
            case DeadLetter():
                sums.add("dead", 1)
                self._died(delivery, verdict)

    def _retried(self, delivery: Delivery, verdict: Retry) -> None:
        if self._meter.wants_head("retry", delivery.queue):
            self._meter.emit(
                Retried(
                    broker=self._meter.broker,
                    at_s=self._meter.clock.now(),
                    queue=delivery.queue,
                    by=self._name,
                    id=delivery.message.id or "",
                    error=verdict.error,
                    after_s=verdict.after_s,
                    attempt=delivery.message.attempt,
                )
            )

    def _died(self, delivery: Delivery, verdict: DeadLetter) -> None:
        message = delivery.message
        self._meter.died(
            Died(
                broker=self._meter.broker,
                at_s=self._meter.clock.now(),
                queue=delivery.queue,
                by=self._name,
                error=verdict.error,
                error_text=verdict.error_text,
                to=self._grave,
                id=message.id or "",
                key=delivery.key,
                attempt=message.attempt,
                size_bytes=message.size_bytes,
                preview=message.body[:PREVIEW_BYTES],
            )
        )

    def crash(self) -> None:
        self._since.clear()
        super().crash()


class MeteredSubscription(WrappedSubscription):
    """Counts what a subscriber got; it is finished by being got."""

    def __init__(self, inner: Subscription, name: str, meter: Meter) -> None:
        self._inner = inner
        self._name = name
        self._meter = meter

    async def take(self, limit: int) -> Sequence[Delivery]:
        deliveries = await self._inner.take(limit)
        if deliveries:
            self._meter.delivered(self._name, deliveries)
            self._meter.sums(Finished, by=self._name, queue=deliveries[0].queue).add("acked", len(deliveries))
        return deliveries


class MeteredRequester(WrappedRequester):
    """Counts requests by their end."""

    _COUNTS: ClassVar = {
        Answer.ANSWERED: "answered",
        Answer.TIMEOUT: "timed_out",
        Answer.RETURNED: "returned",
        Answer.UNKNOWN: "unknown",
    }

    def __init__(self, inner: Requester, name: str, meter: Meter) -> None:
        self._inner = inner
        self._name = name
        self._meter = meter
        self._late_told = inner.late

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        reply = await self._inner.request(route, message, timeout_s=timeout_s)
        sums = self._meter.sums(Requested, by=self._name, route=route)
        sums.add(self._COUNTS[reply.answer], 1)
        late, self._late_told = self._inner.late - self._late_told, self._inner.late  # many requests are open at once
        sums.add("late", late)
        if reply.answer is Answer.ANSWERED:
            sums.took(reply.elapsed_s)
        return reply
