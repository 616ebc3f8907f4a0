"""A member that gets nothing though there is something for it: the library is stuck and does not say so (F8, fault 27).

aiokafka may stay silent for ever after a restart or a rebalance (its issues #1154, #703). Whether there is something is
asked of the cluster by another client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.kafka.cluster import places_of
from mqdash.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from aiokafka import TopicPartition

    from mqdash.brokers.kafka.cluster import Cluster
    from mqdash.clock import Clock

LIMIT_S: Final = 30.0
"""How long a member may get nothing while there is something to read."""
LOOKS: Final = 6
"""How often it is looked at within that time."""
LOOK_LIMIT_S: Final = 2.0


class Stall:
    """Of one member: since when there is something and nothing came. `unread` counts what is there for it."""

    def __init__(self, clock: Clock, limit_s: float, unread: Callable[[], Coroutine[Any, Any, int]]) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._unread = unread
        self._since_s: float | None = None
        self._look_s = 0.0
        self.moved()

    def moved(self) -> None:
        """Something came, or nothing is asked for now."""
        self._since_s = None
        self._look_s = self._clock.monotonic() + self._limit_s / LOOKS

    async def stuck(self) -> int:
        """How many records have waited for the whole time while nothing came; 0 = all is well, or nobody can tell."""
        if self._clock.monotonic() < self._look_s:
            return 0
        unread = await self._look()
        now_s = self._clock.monotonic()
        self._look_s = now_s + self._limit_s / LOOKS
        if not unread:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        return unread if self._since_s is not None and now_s - self._since_s >= self._limit_s else 0

    async def _look(self) -> int:
        looking = asyncio.ensure_future(self._unread())  # a task: the library swallows cancellations
        try:
            await asyncio.wait({looking}, timeout=LOOK_LIMIT_S)
            return looking.result() if looking.done() else 0
        except BrokerError:
            return 0  # the life's own probe tells of a cluster that does not answer
        finally:
            looking.cancel()
            looking.add_done_callback(lambda done: done.cancelled() or done.exception())


async def unread(
    cluster: Cluster, group: str, member_id: str, topics: frozenset[str], positions: Mapping[TopicPartition, int | None]
) -> int:
    """Records for a member of the group: in its partitions from its positions on (None = from the commit on).

    While the group rebalances there is nothing for anybody. A member without partitions is asked for those that the cluster
    gives it, or that nobody has: its join may be stuck.
    """
    if await cluster.rebalancing(group):
        return 0
    places = list(positions)
    if not places:
        members = await cluster.members(group)
        if members is None:
            return 0
        others = {place for member in members if member.id != member_id for place in member.places}
        everywhere = places_of(await cluster.topics(), *sorted(topics))
        places = [place for place in everywhere if (place.topic, place.partition) not in others]
    ends = await cluster.ends(places)
    committed = await cluster.committed(group)
    total = 0
    for place, bounds in ends.items():
        at = positions.get(place)
        at = committed.get(place, 0) if at is None else at
        total += max(bounds.end - max(at, bounds.start), 0)
    return total
