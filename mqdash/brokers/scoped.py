"""A scenario's names on a real broker: `orders` there is `mqdash.<run>.orders`, while everybody above sees `orders` (design §4.4).

Only names are translated; messages pass untouched. A name that already has the prefix is left alone, so evidence written on
the broker (`x-mqdash-queue`) can be used as it is.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

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
from mqdash.brokers.powers import with_powers
from mqdash.brokers.wrapped import (
    Claims,
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
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.base import Broker, Consumer, Lease, Membership, Publisher, Requester, Subscription
    from mqdash.model.delivery import (
        Claim,
        Delivery,
        Measurement,
        Outcome,
        Outgoing,
        Receipt,
        Reply,
        Verdict,
    )
    from mqdash.model.message import Message
    from mqdash.model.topology import Page

replace = msgspec.structs.replace


class Scope:
    """The translation of names for one run."""

    def __init__(self, run: str) -> None:
        self.prefix = f"mqdash.{run}."

    def real(self, name: str) -> str:
        """The broker's name. `{name}:dlq` keeps its braces outside; the default exchange and `amq.` names are nobody's."""
        if name.startswith("{"):
            return "{" + self.real(name[1:])
        return name if not name or name.startswith((self.prefix, "amq.")) else self.prefix + name

    def shown(self, name: str) -> str:
        """The scenario's name, of ours; any other name as it is."""
        if name.startswith("{"):
            return "{" + self.shown(name[1:])
        return name.removeprefix(self.prefix)

    def real_queue(self, queue: QueueRef) -> QueueRef:
        """A queue as the broker names it; its group is prefixed as well."""
        return QueueRef(self.real(queue.name), self.real(queue.group))

    def shown_queue(self, queue: QueueRef) -> QueueRef:
        """A queue as the scenario names it."""
        return QueueRef(self.shown(queue.name), self.shown(queue.group))

    def real_route(self, route: Route) -> Route:
        """Through the default exchange the key is a queue's name; other keys are data."""
        if not route.destination:
            return replace(route, key=self.real(route.key))
        return replace(route, destination=self.real(route.destination))

    def shown_route(self, route: Route) -> Route:
        """The reverse of `real_route`."""
        if not route.destination:
            return replace(route, key=self.shown(route.key))
        return replace(route, destination=self.shown(route.destination))

    def real_topology(self, topology: Topology) -> Topology:
        """All names of a topology as the broker has them."""
        return Topology(
            destinations=tuple(
                replace(found, name=self.real(found.name), alternate=found.alternate and self.real(found.alternate))
                for found in topology.destinations
            ),
            queues=tuple(
                replace(
                    queue,
                    ref=self.real_queue(queue.ref),
                    dead_letter=queue.dead_letter and self.real_route(queue.dead_letter),
                )
                for queue in topology.queues
            ),
            bindings=tuple(
                replace(
                    binding,
                    source=self.real(binding.source),
                    queue=binding.queue and self.real_queue(binding.queue),
                    destination=binding.destination and self.real(binding.destination),
                )
                for binding in topology.bindings
            ),
        )

    def shown_entity(self, entity: Entity) -> Entity:
        """One catalogue entry as the scenario names it."""
        match entity:
            case Destination():
                return replace(
                    entity, name=self.shown(entity.name), alternate=entity.alternate and self.shown(entity.alternate)
                )
            case Queue():
                dead_letter = entity.dead_letter and self.shown_route(entity.dead_letter)
                return replace(entity, ref=self.shown_queue(entity.ref), dead_letter=dead_letter)
            case Binding():
                return replace(
                    entity,
                    source=self.shown(entity.source),
                    queue=entity.queue and self.shown_queue(entity.queue),
                    destination=entity.destination and self.shown(entity.destination),
                )
            case Attendant():
                return replace(entity, queue=self.shown_queue(entity.queue))

    def shown_delivery(self, delivery: Delivery) -> Delivery:
        """A delivery as the scenario names its queue and route."""
        return replace(delivery, queue=self.shown_queue(delivery.queue), route=self.shown_route(delivery.route))


def scoped(broker: Broker, scope: Scope) -> Broker:
    """The same broker under the scenario's names."""
    powers = {
        CanSubscribe: _Subscribes,
        CanRequest: _Requests,
        HoldsDeadLetters: _Leases,
        CanBrowse: _Browses,
        KeepsMembers: _Enrolls,
        TellsSilence: Probes,
    }
    return with_powers(ScopedBroker, broker, powers)(broker, scope)


class ScopedBroker(WrappedBroker):
    """A broker of which only the run's own things are seen."""

    def __init__(self, inner: Broker, scope: Scope) -> None:
        self._inner: Any = inner
        self._scope = scope

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        page: Page = await self._inner.catalog(prefix=self._scope.prefix + prefix, after=after, limit=limit)
        return replace(page, entities=tuple(self._scope.shown_entity(entity) for entity in page.entities))

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        measured: Sequence[Measurement] = await self._inner.measure([self._scope.real_queue(queue) for queue in queues])
        return [replace(found, queue=self._scope.shown_queue(found.queue)) for found in measured]

    async def declare(self, topology: Topology) -> None:
        await self._inner.declare(self._scope.real_topology(topology))

    async def remove(self, topology: Topology) -> None:
        await self._inner.remove(self._scope.real_topology(topology))

    @asynccontextmanager
    async def publisher(self, *, name: str, window: int = 1000) -> AsyncIterator[Publisher]:
        async with self._inner.publisher(name=name, window=window) as publisher:
            yield _ScopedPublisher(publisher, self._scope)

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
        async with self._inner.consume(
            self._scope.real_queue(queue),
            name=name,
            prefetch=prefetch,
            dead_letter=dead_letter and self._scope.real_route(dead_letter),
            session_timeout_s=session_timeout_s,
        ) as consumer:
            kind = with_powers(_ScopedConsumer, consumer, {CanClaim: Claims, TellsGone: Gone, TellsMoves: Moves})
            yield kind(consumer, self._scope)


class _Subscribes:
    _inner: Any
    _scope: Scope

    @asynccontextmanager
    async def subscribe(self, channels: Sequence[str], *, name: str) -> AsyncIterator[Subscription]:
        real = [self._scope.real(channel) for channel in channels]
        async with self._inner.subscribe(real, name=name) as subscription:
            yield _ScopedSubscription(subscription, self._scope)


class _Requests:
    _inner: Any
    _scope: Scope

    @asynccontextmanager
    async def requester(self, *, name: str, direct: bool = True) -> AsyncIterator[Requester]:
        async with self._inner.requester(name=name, direct=direct) as requester:
            yield _ScopedRequester(requester, self._scope)


class _Browses:
    _inner: Any
    _scope: Scope

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        found = await self._inner.browse(self._scope.real_queue(queue), newest=newest)
        return [self._scope.shown_delivery(delivery) for delivery in found]


class _Enrolls:
    _inner: Any
    _scope: Scope

    async def enroll(self, roster: str, *, name: str) -> Membership:
        return await self._inner.enroll(self._scope.real(roster), name=name)  # type: ignore[no-any-return]


class _Leases:
    _inner: Any
    _scope: Scope

    @asynccontextmanager
    async def lease(self, queue: QueueRef, *, limit: int = 200) -> AsyncIterator[Lease]:
        async with self._inner.lease(self._scope.real_queue(queue), limit=limit) as lease:
            yield with_powers(_ScopedLease, lease, {MovesInOne: _ScopedMoves})(lease, self._scope)


class _ScopedLease(WrappedLease):
    def __init__(self, inner: Lease, scope: Scope) -> None:
        self._inner = inner
        self._scope = scope
        self._real = {delivery.claim: delivery for delivery in inner.letters}
        self._letters = tuple(scope.shown_delivery(delivery) for delivery in inner.letters)

    @property
    def letters(self) -> Sequence[Delivery]:
        return self._letters

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        return await self._inner.remove([self._real[letter.claim] for letter in letters])  # type: ignore[no-any-return]


class _ScopedMoves:
    _inner: Any
    _scope: Scope
    _real: dict[Claim | None, Delivery]

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        real = [replace(copy, route=self._scope.real_route(copy.route)) for copy in copies]
        return await self._inner.move([self._real[letter.claim] for letter in letters], real)  # type: ignore[no-any-return]


class _ScopedPublisher(WrappedPublisher):
    def __init__(self, inner: Publisher, scope: Scope) -> None:
        self._inner = inner
        self._scope = scope

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        return await self._inner.send(
            [replace(outgoing, route=self._scope.real_route(outgoing.route)) for outgoing in batch]
        )


class _ScopedConsumer(WrappedConsumer):
    def __init__(self, inner: Consumer, scope: Scope) -> None:
        self._inner: Any = inner
        self._scope = scope
        self._real: dict[Claim | None, Delivery] = {}

    def _taken(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self._real |= {delivery.claim: delivery for delivery in deliveries}
        return [self._scope.shown_delivery(delivery) for delivery in deliveries]

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        real = [(self._real.get(delivery.claim, delivery), verdict) for delivery, verdict in verdicts]
        outcomes: Sequence[Outcome] = await self._inner.settle(real)
        for (delivery, _), outcome in zip(verdicts, outcomes, strict=True):
            if outcome.settled not in {"failed", "unknown"}:  # these may be settled once more
                self._real.pop(delivery.claim, None)
        return outcomes


class _ScopedSubscription(WrappedSubscription):
    def __init__(self, inner: Subscription, scope: Scope) -> None:
        self._inner = inner
        self._scope = scope

    async def take(self, limit: int) -> Sequence[Delivery]:
        return [self._scope.shown_delivery(delivery) for delivery in await self._inner.take(limit)]


class _ScopedRequester(WrappedRequester):
    def __init__(self, inner: Requester, scope: Scope) -> None:
        self._inner = inner
        self._scope = scope

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        return await self._inner.request(self._scope.real_route(route), message, timeout_s=timeout_s)
