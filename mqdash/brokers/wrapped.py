"""What a wrapper of the port hands on untouched: `metered` and `scoped` derive from these and change what is theirs."""

# ruff: noqa: D102 - the port documents these methods
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.base import Consumer, Membership, Publisher, Requester, Subscription
    from mqdash.model.broker import BrokerInfo, LeaseInfo
    from mqdash.model.delivery import Delivery, Measurement, Outcome, PartitionMove, Receipt, RecordsGone
    from mqdash.model.message import Message
    from mqdash.model.topology import Page, QueueRef, Topology


class WrappedBroker:
    """A broker behind another one; see `mqdash.brokers.base.Broker`."""

    _inner: Any

    @property
    def info(self) -> BrokerInfo:
        return self._inner.info  # type: ignore[no-any-return]

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        return await self._inner.catalog(prefix=prefix, after=after, limit=limit)  # type: ignore[no-any-return]

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        return await self._inner.measure(queues)  # type: ignore[no-any-return]

    async def lost(self) -> str:
        return await self._inner.lost()  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self._inner.close()

    async def declare(self, topology: Topology) -> None:
        await self._inner.declare(topology)

    async def remove(self, topology: Topology) -> None:
        await self._inner.remove(topology)


class Probes:
    """Power: TellsSilence."""

    _inner: Any

    @property
    def silent_s(self) -> float:
        return self._inner.silent_s  # type: ignore[no-any-return]


class Browses:
    """Power: CanBrowse."""

    _inner: Any

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        return await self._inner.browse(queue, newest=newest)  # type: ignore[no-any-return]


class Enrolls:
    """Power: KeepsMembers."""

    _inner: Any

    async def enroll(self, roster: str, *, name: str) -> Membership:
        return await self._inner.enroll(roster, name=name)  # type: ignore[no-any-return]


class WrappedPublisher:
    """See `mqdash.brokers.base.Publisher`; `send` is the wrapper's."""

    _inner: Publisher

    @property
    def blocked(self) -> str:
        return self._inner.blocked

    async def reply(self, request: Message, reply: Message) -> Receipt:
        return await self._inner.reply(request, reply)


class WrappedConsumer:
    """See `mqdash.brokers.base.Consumer`; `_taken` sees what comes in, `settle` is the wrapper's."""

    _inner: Consumer

    async def take(self, limit: int) -> Sequence[Delivery]:
        return self._taken(await self._inner.take(limit))

    def _taken(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        return deliveries

    def crash(self) -> None:
        self._inner.crash()

    def pause(self) -> None:
        self._inner.pause()

    def resume(self) -> None:
        self._inner.resume()


class Claims:
    """Power of a consumer: CanClaim; what is claimed is taken."""

    _inner: Any

    async def claim(self, *, min_idle_s: float, limit: int) -> Sequence[Delivery]:
        claimed = await self._inner.claim(min_idle_s=min_idle_s, limit=limit)
        return self._taken(claimed)  # type: ignore[attr-defined,no-any-return]


class Moves:
    """Power of a consumer: TellsMoves."""

    _inner: Any

    def moved(self) -> Sequence[PartitionMove]:
        return self._inner.moved()  # type: ignore[no-any-return]


class Gone:
    """Power of a consumer: TellsGone."""

    _inner: Any

    def gone(self) -> Sequence[RecordsGone]:
        return self._inner.gone()  # type: ignore[no-any-return]


class WrappedSubscription:
    """See `mqdash.brokers.base.Subscription`; `take` is the wrapper's."""

    _inner: Subscription

    def crash(self) -> None:
        self._inner.crash()


class WrappedRequester:
    """See `mqdash.brokers.base.Requester`; `request` is the wrapper's."""

    _inner: Requester

    @property
    def late(self) -> int:
        return self._inner.late

    @property
    def unmatched(self) -> int:
        return self._inner.unmatched


class WrappedLease:
    """See `mqdash.brokers.base.Lease`."""

    _inner: Any

    @property
    def info(self) -> LeaseInfo:
        return self._inner.info  # type: ignore[no-any-return]

    @property
    def letters(self) -> Sequence[Delivery]:
        return self._inner.letters  # type: ignore[no-any-return]

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        return await self._inner.remove(letters)  # type: ignore[no-any-return]
