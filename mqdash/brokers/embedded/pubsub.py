"""Redis Pub/Sub: channels, patterns, subscribers with an output buffer (P1-P6). Pure: time comes in from outside."""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.model.message import Message, PubSub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HARD_LIMIT_BYTES: Final = 32 * 2**20
SOFT_LIMIT_BYTES: Final = 8 * 2**20
SOFT_LIMIT_S: Final = 60.0
"""`client-output-buffer-limit pubsub 32mb 8mb 60` (P5)."""
FRAME_BYTES: Final = 40
"""About what the protocol adds to a message in the buffer."""
COUNTED_NAMES: Final = 10_000
"""Of so many channels the counts are kept; the oldest name is forgotten first."""
SLOW: Final = "closed by the broker: the subscriber was too slow, its output buffer was full"


def is_pattern(name: str) -> bool:
    """A name with `*`, `?` or `[` is a pattern."""
    return any(sign in name for sign in "*?[")


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    r"""Redis's glob as a regular expression: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, `\` takes the next sign literally."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "*":
            parts.append(".*")
        elif sign == "?":
            parts.append(".")
        elif sign == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        elif sign == "[":
            end = pattern.find("]", at + 1)
            end = len(pattern) if end < 0 else end
            parts.append(_one_of(pattern[at + 1 : end]))
            at = end
        else:
            parts.append(re.escape(sign))
        at += 1
    return re.compile("".join(parts), re.DOTALL)


def _one_of(signs: str) -> str:
    negated = signs.startswith("^")
    signs = signs[1:] if negated else signs
    if not signs:
        return "." if negated else "(?!)"
    parts: list[str] = []
    at = 0
    while at < len(signs):
        if signs[at + 1 : at + 2] == "-" and at + 2 < len(signs):
            low, high = sorted((signs[at], signs[at + 2]))
            parts.append(f"{re.escape(low)}-{re.escape(high)}")
            at += 3
        else:
            parts.append(re.escape(signs[at]))
            at += 1
    return f"[{'^' if negated else ''}{''.join(parts)}]"


class Arrived(msgspec.Struct, frozen=True):
    """A message in a subscriber's buffer: by which name it was asked for, on which channel it came."""

    asked: str
    channel: str
    message: Message


class Subscriber:
    """One subscribed connection. `wake`: something arrived; `kill`: the broker closes it, with the cause."""

    def __init__(
        self, name: str, names: Sequence[str], *, wake: Callable[[], None], kill: Callable[[str], None]
    ) -> None:
        self.name = name
        self.channels = frozenset(name for name in names if not is_pattern(name))
        self.patterns = tuple(dict.fromkeys(name for name in names if is_pattern(name)))
        self.wake = wake
        self.kill = kill
        self.buffer: deque[Arrived] = deque()
        self.buffered_bytes = 0
        self.over_since_s: float | None = None

    def taken(self, limit: int) -> list[Arrived]:
        """The oldest messages of the buffer."""
        buffer = self.buffer
        found = [buffer.popleft() for _ in range(min(limit, len(buffer)))]
        self.buffered_bytes -= sum(_weight(arrived) for arrived in found)
        if self.buffered_bytes <= SOFT_LIMIT_BYTES:
            self.over_since_s = None
        return found


class Counts:
    """What passed under one channel or pattern: published messages, delivered copies, copies that reached nobody."""

    __slots__ = ("delivered", "gone", "published")

    def __init__(self) -> None:
        self.published = self.delivered = self.gone = 0


class Channels:
    """All subscribers. Nothing is stored: a message reaches who is subscribed now, or nobody (P1)."""

    def __init__(self) -> None:
        self.subscribers: list[Subscriber] = []
        self.counts: dict[str, Counts] = {}

    def subscribe(self, subscriber: Subscriber) -> None:
        """From now on it gets what is published."""
        self.subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """It gets nothing more; what is in its buffer is lost (P6)."""
        if subscriber in self.subscribers:
            self.subscribers.remove(subscriber)
            for arrived in subscriber.buffer:
                counts = self.count(arrived.asked)
                counts.gone += 1
                counts.delivered -= 1
            subscriber.buffer.clear()
            subscriber.buffered_bytes = 0

    def publish(self, channel: str, message: Message, now_s: float) -> int:
        """Give a copy to each subscription that matches, channel and pattern each one (P4); returns how many (P2)."""
        receivers = copies = 0
        for subscriber in list(self.subscribers):
            if channel in subscriber.channels:
                copies += 1
                receivers += self._push(subscriber, Arrived(channel, channel, message), now_s)
            for pattern in subscriber.patterns:
                if self.matches(pattern, channel):
                    copy = Message(content=message.content, headers=message.headers, native=PubSub(pattern=pattern))
                    copies += 1
                    self.count(pattern).published += 1
                    receivers += self._push(subscriber, Arrived(pattern, channel, copy), now_s)
        counts = self.count(channel)
        counts.published += 1
        if not copies:
            counts.gone += 1
        return receivers

    @staticmethod
    def matches(pattern: str, channel: str) -> bool:
        """Whether a pattern covers a channel."""
        return compiled(pattern).fullmatch(channel) is not None

    def listeners(self, name: str) -> int:
        """How many subscribed to exactly this channel or pattern."""
        return sum(name in subscriber.channels or name in subscriber.patterns for subscriber in self.subscribers)

    def count(self, name: str) -> Counts:
        """The counts of a channel or pattern."""
        counts = self.counts.get(name)
        if counts is None:
            counts = self.counts[name] = Counts()
            if len(self.counts) > COUNTED_NAMES:
                del self.counts[next(iter(self.counts))]
        return counts

    def next_due_s(self) -> float | None:
        """When a subscriber has been over the soft limit for too long."""
        over = [subscriber.over_since_s for subscriber in self.subscribers if subscriber.over_since_s is not None]
        return min(over) + SOFT_LIMIT_S if over else None

    def advance(self, now_s: float) -> None:
        """Close subscribers that were over the soft limit for too long."""
        for subscriber in list(self.subscribers):
            if subscriber.over_since_s is not None and now_s - subscriber.over_since_s >= SOFT_LIMIT_S:
                self._close(subscriber)

    def _push(self, subscriber: Subscriber, arrived: Arrived, now_s: float) -> int:
        subscriber.buffer.append(arrived)
        subscriber.buffered_bytes += _weight(arrived)
        self.count(arrived.asked).delivered += 1
        if subscriber.buffered_bytes > SOFT_LIMIT_BYTES:
            if subscriber.over_since_s is None:
                subscriber.over_since_s = now_s
            if subscriber.buffered_bytes > HARD_LIMIT_BYTES or now_s - subscriber.over_since_s >= SOFT_LIMIT_S:
                self._close(subscriber)
                return 0
        subscriber.wake()
        return 1

    def _close(self, subscriber: Subscriber) -> None:
        self.unsubscribe(subscriber)
        subscriber.kill(SLOW)


def _weight(arrived: Arrived) -> int:
    return arrived.message.size_bytes + len(arrived.channel) + FRAME_BYTES
