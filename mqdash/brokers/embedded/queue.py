"""One queue of the embedded RabbitMQ: order, expiry, length and counts (R16, R25, R31-R37, E2). Pure."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mqdash.brokers.embedded.channel import Subscriber
    from mqdash.brokers.embedded.deaths import Death
    from mqdash.model.message import Message
    from mqdash.model.topology import Queue

HIGH_PER_NORMAL: Final = 2  # quorum queues of 4.0 give two high priority messages for each normal one (R38)


class Entry:
    """One message in one queue. `position` is its place in the order; it keeps it while it is out (R25).

    `keys`: routing key, then those of CC and BCC. Times are Unix seconds; `expires_s` infinite when it never does.
    """

    __slots__ = (
        "deaths",
        "enqueued_s",
        "exchange",
        "expires_s",
        "keys",
        "lane",
        "message",
        "position",
        "redelivered",
        "returns",
        "size_bytes",
    )

    def __init__(self, message: Message, exchange: str, keys: tuple[str, ...], deaths: tuple[Death, ...]) -> None:
        self.message = message
        self.exchange = exchange
        self.keys = keys
        self.deaths = deaths
        self.size_bytes = message.size_bytes
        self.position = 0
        self.lane = 0
        self.returns = 0
        self.redelivered = False
        self.enqueued_s = 0.0
        self.expires_s = NEVER

    def __lt__(self, other: Entry) -> bool:
        return self.position < other.position


NEVER: Final = float("inf")


class Lane:
    """Ready messages of one priority, in order of position. What comes back goes before what never left."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Entry] = deque()
        self.returned: list[Entry] = []

    def __len__(self) -> int:
        return len(self.fresh) + len(self.returned)

    def head(self) -> Entry | None:
        """The first, or None."""
        if self.returned and (not self.fresh or self.returned[0].position < self.fresh[0].position):
            return self.returned[0]
        return self.fresh[0] if self.fresh else None

    def pop(self) -> Entry:
        """Take the first."""
        if self.returned and (not self.fresh or self.returned[0].position < self.fresh[0].position):
            return heapq.heappop(self.returned)
        return self.fresh.popleft()

    def put_back(self, entry: Entry) -> None:
        """To its original position (R25)."""
        heapq.heappush(self.returned, entry)

    def __iter__(self) -> Iterator[Entry]:
        return heapq.merge(sorted(self.returned), self.fresh)


class Counts:
    """What became of every message a queue took: `published = ready + unacked + acked + dead + dropped + expired` (E2).

    `dead`, `dropped` and `refused` are by reason; `refused` were never taken (the publisher got a nack).
    """

    __slots__ = ("acked", "dead", "delivered", "dropped", "expired", "published", "redelivered", "refused")

    def __init__(self) -> None:
        self.published = 0
        self.delivered = 0
        self.redelivered = 0
        self.acked = 0
        self.expired = 0
        self.dead: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()


class ReadyQueue:
    """The messages of one queue and its consumers. The server decides what a drop means; this keeps order and counts.

    `unacked`: how many are out. `ready`/`ready_bytes`: how many wait. `timer_s`: when the server will look at its head.
    """

    def __init__(self, spec: Queue, *, version: tuple[int, int], delivery_limit: int | None, owner: int | None) -> None:
        self.spec = spec
        self.name = spec.ref.name
        self.owner = owner
        self.delivery_limit = delivery_limit
        self.quorum = spec.kind == "quorum"
        self.ttl_s = spec.ttl_s
        # A quorum queue takes reject-publish-dlx and drops its head all the same (measured on 3.10 and 4.0).
        self.rejects = spec.overflow == "reject-publish" or (spec.overflow == "reject-publish-dlx" and not self.quorum)
        # basic.get of 3.10 tells how often a message came back from its first delivery on (R49); a consumer hears it
        # from the second one on everywhere (measured on 3.10.8 and 4.0.5).
        self.counts_first = self.quorum and version < (4, 0)
        self.ready = 0
        self.ready_bytes = 0
        self.unacked = 0
        self.unacked_bytes = 0
        self.counts = Counts()
        self.timer_s = NEVER
        self.expiring = spec.ttl_s is not None
        self.limited = spec.max_length is not None or spec.max_length_bytes is not None
        self.used_s = 0.0
        self.subscribers: list[Subscriber] = []
        self.active: deque[Subscriber] = deque()
        self.had_subscriber = False
        self.has_priorities = False
        lanes = (spec.max_priority or 0) + 1 if not self.quorum else 1 + (version >= (4, 0))
        self.lanes = [Lane() for _ in range(lanes)]
        # A quorum queue gives out first what came back, whatever its priority, in the order it came back (measured).
        self.returned: deque[Entry] = deque()
        self._last_position = 0
        self._taken = 0

    def lane_of(self, priority: int | None) -> int:
        """Above the maximum is clamped, missing is 0 (R37); quorum queues know normal and high (R38)."""
        if self.quorum:
            return int((priority or 0) > 4 and len(self.lanes) > 1)
        return min(priority or 0, len(self.lanes) - 1)

    def place(self, entry: Entry) -> None:
        """Give it the last position, without making it ready: it may go straight to a consumer."""
        self._last_position += 1
        entry.position = self._last_position

    def append(self, entry: Entry) -> None:
        """Ready, last in its lane."""
        self.ready += 1
        self.ready_bytes += entry.size_bytes
        self.lanes[entry.lane].fresh.append(entry)

    def is_worn(self, entry: Entry) -> bool:
        """Whether it was given back more often than its delivery limit allows (R40, R49)."""
        return self.delivery_limit is not None and entry.returns > self.delivery_limit

    def put_back(self, entry: Entry) -> None:
        """Ready again: where it was, on a quorum queue before all others and behind what came back earlier (R25)."""
        self.ready += 1
        self.ready_bytes += entry.size_bytes
        if self.quorum:
            self.returned.append(entry)
        else:
            self.lanes[entry.lane].put_back(entry)

    def head(self) -> Entry | None:
        """The next to be delivered, or None."""
        if not self.ready:
            return None
        if self.returned:
            return self.returned[0]
        lane = self.lanes[self._next_lane()]
        return lane.head()

    def pop(self) -> Entry:
        """Take the next; there must be one."""
        if self.returned:
            entry = self.returned.popleft()
        else:
            index = self._next_lane()
            self.count_taken()
            entry = self.lanes[index].pop()
        self.ready -= 1
        self.ready_bytes -= entry.size_bytes
        return entry

    def count_taken(self) -> None:
        """One was taken out, or went straight to a consumer: that counts for the mixing of priorities, too (R38)."""
        self._taken = (self._taken + 1) % (HIGH_PER_NORMAL + 1)

    def _next_lane(self) -> int:
        lanes = self.lanes
        if len(lanes) == 1:
            return 0
        if self.quorum:
            return int(not self._normal_is_next(*lanes))
        return next(index for index in range(len(lanes) - 1, -1, -1) if len(lanes[index]))

    def _normal_is_next(self, normal: Lane, high: Lane) -> bool:
        """R38: every third of all messages taken is a normal one, unless the high one came before it (measured)."""
        first, first_high = normal.head(), high.head()
        if first is None or first_high is None:
            return first_high is None
        return self._taken == HIGH_PER_NORMAL and first < first_high

    def refuses(self, size_bytes: int) -> bool:
        """R35: whether one more would be too much; a quorum queue notices one message late (measured)."""
        return self.over_length() if self.quorum else self.over_length(1, size_bytes)

    def over_length(self, more: int = 0, more_bytes: int = 0) -> bool:
        """Whether ready messages (with `more` on top) exceed the declared maximum (R35)."""
        spec = self.spec
        return (spec.max_length is not None and self.ready + more > spec.max_length) or (
            spec.max_length_bytes is not None and self.ready_bytes + more_bytes > spec.max_length_bytes
        )

    def entries(self) -> Iterator[Entry]:
        """All ready messages in order of delivery but for quorum's mixing; for restarts and looking on."""
        return itertools.chain(self.returned, (entry for lane in reversed(self.lanes) for entry in lane))

    def clear(self) -> list[Entry]:
        """Take all ready messages out."""
        entries = list(self.entries())
        self.lanes = [Lane() for _ in self.lanes]
        self.returned.clear()
        self.ready = self.ready_bytes = 0
        return entries

    def reset(self) -> None:
        """The broker restarted: nobody consumes, nothing is out."""
        self.subscribers.clear()
        self.active.clear()
        self.unacked = self.unacked_bytes = 0
        self.timer_s = NEVER
