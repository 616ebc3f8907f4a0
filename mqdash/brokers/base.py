"""The port: what mqdash asks of any broker, true for queues, logs, streams and channels.

One `Broker` is one connection life: entered once, lost once, closed for good. When it is lost everything opened from it ends
with it (consumers raise ConnectionLost, open publishes are UNKNOWN, open deliveries STALE) and nothing reconnects behind
anybody's back: `supervise.py` opens the next life, owners re-open what they had.

Extra powers are separate small protocols, asked for by type: `isinstance(broker, CanSubscribe)`.
Everything that crosses the port is a plain record of `mqdash.model`, so an adapter could live in another process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from mqdash.brokers.url import BrokerUrl
    from mqdash.model.broker import BrokerInfo, LeaseInfo
    from mqdash.model.delivery import (
        Delivery,
        Measurement,
        Outcome,
        Outgoing,
        PartitionMove,
        Receipt,
        RecordsGone,
        Reply,
        Verdict,
    )
    from mqdash.model.message import Message
    from mqdash.model.topology import Page, QueueRef, Route, Topology


class Observer(Protocol):
    """All that a read-only session gets: no writing method exists on it."""

    @property
    def info(self) -> BrokerInfo:
        """Family, version, safe URL, abilities found at connect."""
        ...

    async def catalog(self, *, prefix: str = "", after: str | None = None, limit: int = 500) -> Page:
        """One page of what exists; names that start with `prefix`, from `after` on. `Page.source` says who told it."""
        ...

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """Levels and totals of these queues, in their order; a queue that does not exist is left out."""
        ...

    async def lost(self) -> str:
        """Return when this connection life has ended, with the cause in words. Never returns on a close of our own."""
        ...

    async def close(self) -> None:
        """End this life and all that was opened from it; waits at most 2 s. Closing twice does nothing."""
        ...


@runtime_checkable
class TellsSilence(Protocol):
    """A life that probes its broker by itself."""

    @property
    def silent_s(self) -> float:
        """How long its probe has been waiting for an answer; 0 when it waits for none."""
        ...


@runtime_checkable
class TellsBlocked(Protocol):
    """A life that knows when its publishers are held back."""

    @property
    def blocked(self) -> str:
        """Empty, or why the broker accepts no publishes now, in its words ("low on memory")."""
        ...


class Publisher(Protocol):
    """Sends messages and reports each one's end. Several sends may be open at once, up to the window."""

    @property
    def blocked(self) -> str:
        """Empty, or why the broker accepts no publishes now, in its words ("low on memory")."""
        ...

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Publish in order and return one receipt each, when all have ended.

        Waits while the window is full. A lost connection or a block beyond the adapter's limit gives UNKNOWN receipts, not an
        exception; cancelling leaves the batch UNKNOWN. A batch of n costs little more than one of 1.
        """
        ...

    async def reply(self, request: Message, reply: Message) -> Receipt:
        """Send `reply` to where `request.reply_to` says, with its correlation id (C1); never mandatory (C3)."""
        ...


class Consumer(Protocol):
    """A connection of its own: a kill is a dropped socket."""

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one delivery and return up to `limit`; a batch costs what one costs.

        Raises:
            ConnectionLost: this life is over.
            ConsumerCancelled: the broker ended the subscription (R27).
            ConsumerStalled: there is something to take and nothing comes; a new consumer may do better.
        """
        ...

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """Settle deliveries, in any order; one outcome each, in the order given. Never raises for a single delivery."""
        ...

    def crash(self) -> None:
        """Gone without a goodbye: nothing is acknowledged, no group is left, the socket just drops."""
        ...

    def pause(self) -> None:
        """Take nothing more from the broker until `resume`; what is held stays held and the membership is kept alive."""
        ...

    def resume(self) -> None:
        """End a pause."""
        ...


class Broker(Observer, Protocol):
    """A writable session."""

    async def declare(self, topology: Topology) -> None:
        """Create what is missing; what exists must be equal.

        Raises:
            Conflict: something exists with other arguments; nothing of it was changed.
            Unsupported: the family has no such thing.
        """
        ...

    async def remove(self, topology: Topology) -> None:
        """Delete these queues and destinations and the side queues made for them; what is not there is fine."""
        ...

    def publisher(self, *, name: str, window: int = 1000) -> AbstractAsyncContextManager[Publisher]:
        """A publishing connection; `name` says who publishes, `window` how many may be unconfirmed."""
        ...

    def consume(
        self,
        queue: QueueRef,
        *,
        name: str,
        prefetch: int,
        dead_letter: Route | None = None,
        session_timeout_s: float = 6.0,
    ) -> AbstractAsyncContextManager[Consumer]:
        """A consumer on its own connection, leaving politely at the end of the context (unless it crashed).

        `dead_letter` is where its DeadLetter verdicts are copied (default: what the family knows: the queue's declared DLX,
        `<topic>.dlq`, `{stream}:dlq`). `session_timeout_s`: after how long of silence the broker gives its partitions away
        (Kafka), or others may claim its entries (Streams). It also serves the due retries of its queue.
        """
        ...


@runtime_checkable
class CanClaim(Protocol):
    """A consumer that can take over entries another one holds and does not work on (Redis Streams)."""

    async def claim(self, *, min_idle_s: float, limit: int) -> Sequence[Delivery]:
        """Entries idle for at least `min_idle_s`, now ours (S8-S10); their delivery count grew by one."""
        ...


@runtime_checkable
class TellsMoves(Protocol):
    """A consumer of a group whose partitions move between members (Kafka)."""

    def moved(self) -> Sequence[PartitionMove]:
        """What came to this consumer since the last call: each move is told once, by the new owner; empty when nothing did."""
        ...


@runtime_checkable
class TellsGone(Protocol):
    """A consumer of a log that never jumps over records in silence (Kafka, fault 29)."""

    def gone(self) -> Sequence[RecordsGone]:
        """What could not be read any more since the last call; empty when nothing was."""
        ...


class Subscription(Protocol):
    """Messages with nothing to settle: missed is missed (P1, P6)."""

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one message.

        Raises:
            ConnectionLost: this life is over; whatever comes until somebody subscribes again is lost.
        """
        ...

    def crash(self) -> None:
        """Drop the socket."""
        ...


@runtime_checkable
class CanSubscribe(Protocol):
    """Pub/Sub: channels and patterns (a name with `*?[` is a pattern)."""

    def subscribe(self, channels: Sequence[str], *, name: str) -> AbstractAsyncContextManager[Subscription]:
        """A subscriber on its own connection."""
        ...


class Requester(Protocol):
    """Asks and waits; owns its channel and reply address."""

    @property
    def late(self) -> int:
        """Replies that came after their request had timed out (C5)."""
        ...

    @property
    def unmatched(self) -> int:
        """Replies whose correlation id nobody knows (C1)."""
        ...

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """Publish and wait for the reply with the same correlation id (made here when the message has none)."""
        ...


@runtime_checkable
class CanRequest(Protocol):
    """Request/reply as the family does it natively."""

    def requester(self, *, name: str, direct: bool = True) -> AbstractAsyncContextManager[Requester]:
        """`direct`: RabbitMQ's direct reply-to (C2), else an exclusive reply queue (C7); other families have one way."""
        ...


@runtime_checkable
class CanBrowse(Protocol):
    """Reading without taking (Kafka, Streams): no side effect at all."""

    async def browse(self, queue: QueueRef, *, newest: int) -> Sequence[Delivery]:
        """The newest messages of the queue's log, oldest first, with claims that only say where they are."""
        ...


class Lease(Protocol):
    """Dead letters in hand. Leaving the context gives back what was not removed, in place."""

    @property
    def info(self) -> LeaseInfo:
        """What this lease holds and costs."""
        ...

    @property
    def letters(self) -> Sequence[Delivery]:
        """The messages, in the order of `info.order`."""
        ...

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """Take them out for good: only ever called after their copies are confirmed (semantics §2)."""
        ...


@runtime_checkable
class MovesInOne(Protocol):
    """A lease whose replays are one step on its broker: copy and removal happen both or not at all (semantics §2.2, §2.3)."""

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        """Publish each copy and remove its letter; `copies` stand beside `letters`, one outcome each.

        SETTLED: both. FAILED: neither, with the reason. STALE: somebody else had moved it, nothing was done. UNKNOWN: no
        answer; the letter is either where it was or moved. None: not possible here (no right, another node): nothing was
        done, take the two steps.
        """
        ...


@runtime_checkable
class HoldsDeadLetters(Protocol):
    """Dead-letter queues can be looked at and emptied message by message."""

    def lease(self, queue: QueueRef, *, limit: int = 200) -> AbstractAsyncContextManager[Lease]:
        """Hold up to `limit` dead letters (RabbitMQ: taken and kept unacked; Kafka, Streams: read freely).

        Raises:
            BrokerError: it cannot be done now, or it would cost messages (F1, F3); the text says which and what to do.
        """
        ...


class Membership(Protocol):
    """A registration on a roster, kept alive by itself; it ends with its connection life or when it is left."""

    async def leave(self) -> bool:
        """Unregister, and tell whether nobody else is there. Not knowing counts as somebody. Twice does no harm."""
        ...


@runtime_checkable
class KeepsMembers(Protocol):
    """Processes that share a run see each other through a roster on the broker (design §4.4).

    A member that dies without leaving is forgotten after a while, told by the family: its session or its lease runs out.
    """

    async def enroll(self, roster: str, *, name: str) -> Membership:
        """Register as `name`, unique among the members; the same name on a later life is the same member."""
        ...


class Connector(Protocol):
    """Knows the way to one broker and opens connection lives on it. The embedded one holds the broker itself."""

    @property
    def url(self) -> BrokerUrl:
        """Where it leads."""
        ...

    async def observe(self) -> Observer:
        """One read-only life, within 8 s.

        Raises:
            BrokerUnavailable, LoginRefused, AccessRefused, WrongProtocol, TlsFailed, NotFound: with the cause in words.
        """
        ...

    async def connect(self) -> Broker:
        """One writable life, within 8 s; raises as `observe` does."""
        ...
