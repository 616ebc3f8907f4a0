"""What subscribers of channels were owed and what reached them: counted, since a channel keeps nothing (P1, P6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.topology import QueueRef

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Subscriber(msgspec.Struct):
    queue: QueueRef
    base: int
    received: int = 0
    until: int | None = None


class Channels:
    """A subscriber is owed every message from when it first listened until it left on purpose, dead or alive."""

    def __init__(self) -> None:
        self._published: dict[QueueRef, int] = {}
        self._subscribers: dict[str, _Subscriber] = {}

    def published(self, queues: Iterable[QueueRef]) -> None:
        """A message went out on a channel that these subscriptions cover."""
        for ref in queues:
            self._published[ref] = self._published.get(ref, 0) + 1

    def joined(self, name: str, queue: QueueRef) -> None:
        """A subscriber listens; again after an absence changes nothing."""
        if name not in self._subscribers:
            self._subscribers[name] = _Subscriber(queue, self._published.get(queue, 0))

    def left(self, name: str) -> None:
        """A subscriber left on purpose: it is owed nothing more."""
        found = self._subscribers.get(name)
        if found is not None and found.until is None:
            found.until = self._published.get(found.queue, 0)

    def received(self, name: str, n: int) -> None:
        """A subscriber got messages."""
        found = self._subscribers.get(name)
        if found is not None:
            found.received += n

    def counts(self, queue: QueueRef) -> tuple[int, int]:
        """Copies owed to the subscribers of this queue, and how many of them did not arrive."""
        owed = missing = 0
        for found in self._subscribers.values():
            if found.queue == queue:
                until = self._published.get(queue, 0) if found.until is None else found.until
                mine = max(until - found.base, found.received)
                owed += mine
                missing += mine - found.received
        return owed, missing

    def not_kept(self) -> int:
        """Copies that did not arrive, over all queues."""
        return sum(self.counts(queue)[1] for queue in {found.queue for found in self._subscribers.values()})
