"""Sums of what passed, per edge, told as one event each 20 ms: exact totals, bounded cost (design §4.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from mqdash.model.events import DURATION_BUCKETS_MS, Delivered, Died, Finished, Head, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.clock import Clock
    from mqdash.model.delivery import Delivery
    from mqdash.model.events import Event
    from mqdash.model.message import Message

SLICE_S: Final = 0.02
HEADS_PER_S: Final = 20.0
DEATHS_PER_S: Final = 50.0
KEYS_PER_SLICE: Final = 64
_BUCKETS: Final = len(DURATION_BUCKETS_MS) + 1


class Bucket:
    """A token bucket: `take` says whether one more fits into `rate_per_s` (a second's worth may come at once)."""

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        self._rate = rate_per_s
        self._tokens = rate_per_s
        self._clock = clock
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take a token if there is one."""
        now = self._clock.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Sums:
    """The counts of one edge in the current slice."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.durations: list[int] | None = None
        self.heads: list[Head] = []

    def add(self, name: str, n: int) -> None:
        """Add `n` to a count."""
        if n:
            self.counts[name] = self.counts.get(name, 0) + n

    def took(self, seconds: float) -> None:
        """Add a duration."""
        if self.durations is None:
            self.durations = [0] * _BUCKETS
        self.durations[min(int(seconds * 1000).bit_length(), _BUCKETS - 1)] += 1


def head_of(message: Message, *, key: str = "", redelivered: bool = False) -> Head:
    """What is kept of a message to draw and name it."""
    return Head(
        id=message.id or "",
        key=message.key or key,
        size_bytes=message.size_bytes,
        redelivered=redelivered,
        attempt=message.attempt,
    )


class Meter:
    """Collects sums per edge of one broker and emits them once a slice; emits moments at once."""

    def __init__(self, broker: str, *, clock: Clock, emit: Callable[[Event], None]) -> None:
        self.broker = broker
        self.clock = clock
        self.emit = emit
        self._sums: dict[tuple[type[Event], Any], Sums] = {}
        self._identity: dict[tuple[type[Event], Any], dict[str, Any]] = {}
        self._heads: dict[Any, Bucket] = {}
        self._deaths = Bucket(DEATHS_PER_S, clock)
        self._buried: dict[Any, Died] = {}
        self._timer: asyncio.TimerHandle | None = None

    def sums(self, kind: type[Event], **identity: Any) -> Sums:
        """The current slice's sums of one edge."""
        edge = (kind, tuple(identity.values()))
        found = self._sums.get(edge)
        if found is None:
            found = self._sums[edge] = Sums()
            self._identity[edge] = identity
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(SLICE_S, self.flush)
        return found

    def wants_head(self, *edge: object) -> bool:
        """Whether the next message of an edge is to be shown: all of them below 20/s, a sample above."""
        bucket = self._heads.get(edge)
        if bucket is None:
            if len(self._heads) > 4096:
                self._heads.clear()
            bucket = self._heads[edge] = Bucket(HEADS_PER_S, self.clock)
        return bucket.take()

    def died(self, event: Died) -> None:
        """Tell a death: singly up to 50/s, above that as one event per cause and slice."""
        if self._deaths.take():
            self.emit(event)
            return
        self.sums(Finished, by=event.by, queue=event.queue)  # makes sure a flush is due
        edge = (event.queue, event.by, event.error)
        earlier = self._buried.get(edge)
        self._buried[edge] = event if earlier is None else _summed(event, earlier.n)

    def flush(self) -> None:
        """Emit what was summed; called by the timer, and once more before closing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sums, self._sums = self._sums, {}
        identities, self._identity = self._identity, {}
        buried, self._buried = self._buried, {}
        at_s = self.clock.now()
        for edge, found in sums.items():
            if found.counts:
                more: dict[str, Any] = {"heads": tuple(found.heads)} if edge[0] in _WITH_HEADS else {}
                if found.durations is not None:
                    more["durations"] = tuple(found.durations)
                self.emit(edge[0](broker=self.broker, at_s=at_s, **identities[edge], **found.counts, **more))
        for death in buried.values():
            self.emit(death)

    def delivered(self, by: str, deliveries: Sequence[Delivery]) -> None:
        """Count a batch a consumer was given."""
        queue = deliveries[0].queue
        sums = self.sums(Delivered, by=by, queue=queue)
        sums.add("n", len(deliveries))
        sums.add("redelivered", sum(delivery.redelivered is True for delivery in deliveries))
        sums.add("size_bytes", sum(delivery.message.size_bytes for delivery in deliveries))
        for delivery in deliveries:
            if not self.wants_head("deliver", queue):
                break
            sums.heads.append(
                head_of(delivery.message, key=delivery.route.key, redelivered=delivery.redelivered is True)
            )


_WITH_HEADS = (Published, Delivered, Finished)


def _summed(event: Died, n: int) -> Died:
    return Died(**{name: getattr(event, name) for name in event.__struct_fields__ if name != "n"}, n=event.n + n)
