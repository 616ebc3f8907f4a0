"""In-process fan-out that never slows the publisher.

Sinks (the store) are called inline and lossless, so they must be O(1). Subscriptions are bounded: full, they forget their
oldest event and count it in `dropped`, which their reader must show.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from mqdash.model.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable


class Subscription:
    """A bounded view on the moments of some kinds; close it when done."""

    def __init__(self, bus: EventBus, kinds: tuple[type[Event], ...], limit: int) -> None:
        self.kinds = kinds
        self.dropped = 0
        self._bus = bus
        self._events: deque[Event] = deque(maxlen=limit)
        self._ready = asyncio.Event()

    def offer(self, event: Event) -> None:
        """Keep the event; the oldest goes when full, and is counted."""
        if len(self._events) == self._events.maxlen:
            self.dropped += 1
        self._events.append(event)
        self._ready.set()

    def taken(self) -> list[Event]:
        """All kept events, oldest first; they are forgotten here."""
        events = list(self._events)
        self._events.clear()
        self._ready.clear()
        return events

    async def wait(self) -> list[Event]:
        """At least one event, as `taken` gives them."""
        await self._ready.wait()
        return self.taken()

    def close(self) -> None:
        """Take no more events; closing twice does nothing."""
        self._bus.forget(self)


class EventBus:
    """Publish is synchronous and O(sinks + subscriptions)."""

    def __init__(self, *sinks: Callable[[Event], None]) -> None:
        self._sinks = list(sinks)
        self._subscriptions: list[Subscription] = []

    def publish(self, event: Event) -> None:
        """Hand the event to every sink and to the subscriptions of its kind."""
        for sink in self._sinks:
            sink(event)
        for subscription in self._subscriptions:
            if isinstance(event, subscription.kinds):
                subscription.offer(event)

    def subscribe(self, *kinds: type[Event], limit: int = 1000) -> Subscription:
        """A new subscription on events of these classes (all events when none is named)."""
        subscription = Subscription(self, kinds or (Event,), limit)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """End a subscription."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
