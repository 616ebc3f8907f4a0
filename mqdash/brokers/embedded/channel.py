"""Connections, channels and consumers as the embedded RabbitMQ sees them: plain state, no time, no I/O."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.brokers.embedded.queue import Entry, ReadyQueue
    from mqdash.model.message import Message

DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"

NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
ACCESS_REFUSED: Final = 403
PRECONDITION_FAILED: Final = 406
NOT_IMPLEMENTED: Final = 540


class Confirm(enum.Enum):
    """How the broker answered a publish. RETURNED: and acked after it (R7); NACK: some queue refused it (R35)."""

    ACK = "ack"
    NACK = "nack"
    RETURNED = "returned"


class ChannelClosed(Exception):
    """The broker closed the channel (R9, R10, R20); everything unacked on it went back."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class Connection:
    """One client connection; its exclusive queues go with it (C7)."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.channels: dict[int, Channel] = {}
        self.closed = False


class Channel:
    """One channel: delivery tags from 1 (R20), what is out on it, its consumers."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self.connection = connection
        self.closed = ""
        self.last_tag = 0
        self.unacked: dict[int, Held] = {}
        self.subscribers: dict[str, Subscriber] = {}
        self.reply_token: str | None = None
        self.replies: deque[Message] = deque()
        self.wake: Callable[[], None] = _nobody

    def check(self) -> None:
        """Raise ChannelClosed when it is no longer open."""
        if self.closed:
            raise ChannelClosed(PRECONDITION_FAILED, f"channel is closed: {self.closed}")


class Subscriber:
    """One consumer of a queue; `outbox` is its socket buffer: (tag, entry, redelivered) of what was handed to it.

    `prefetch` 0 = unlimited. `cancelled`: the broker ended it, and why (R27). `extra`: what it is given beyond its prefetch.
    """

    __slots__ = (
        "active",
        "cancelled",
        "channel",
        "exclusive",
        "extra",
        "no_ack",
        "outbox",
        "paused",
        "prefetch",
        "priority",
        "queue",
        "tag",
        "unacked",
        "wake",
    )

    def __init__(self, tag: str, channel: Channel, queue: ReadyQueue, *, prefetch: int, no_ack: bool) -> None:
        self.tag = tag
        self.channel = channel
        self.queue = queue
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.exclusive = False
        self.priority = 0
        self.outbox: deque[tuple[int, Entry, bool]] = deque()
        self.unacked = 0
        self.extra = 0
        self.active = False
        self.paused = False
        self.cancelled = ""
        self.wake: Callable[[], None] = _nobody

    @property
    def attends(self) -> bool:
        """Whether it is still a consumer: not cancelled, its channel open."""
        return self.channel.subscribers.get(self.tag) is self

    @property
    def has_room(self) -> bool:
        """Whether its prefetch lets it take one more (R17)."""
        return not self.paused and (self.no_ack or self.prefetch == 0 or self.unacked < self.prefetch + self.extra)


Held = tuple["Entry", "ReadyQueue", "Subscriber | None"]
"""An unacked message, its queue and the consumer that has it (None: basic.get)."""


def _nobody() -> None:
    """Nobody is waiting to be woken: the model is driven directly."""
