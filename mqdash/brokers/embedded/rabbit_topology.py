"""The embedded RabbitMQ: what exists and who is connected. Pure (E1); `rabbitmq.py` adds the messages."""

from __future__ import annotations

import heapq
import itertools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn

import msgspec

from mqdash.brokers.embedded.channel import (
    ACCESS_REFUSED,
    DIRECT_REPLY_TO,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    Channel,
    ChannelClosed,
    Connection,
    Subscriber,
)
from mqdash.brokers.embedded.exchange import KINDS, Exchanges
from mqdash.brokers.embedded.queue import ReadyQueue
from mqdash.model.message import Amqp
from mqdash.model.topology import Binding, Destination, Queue, QueueRef

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from typing import Any

    from mqdash.brokers.embedded.channel import Held
    from mqdash.brokers.embedded.kernel import Bounds

DETECTION_S = 0.001
"""How long RabbitMQ takes to notice a dropped socket (measured 0.7-6 ms); silence only its heartbeat notices."""
QUORUM_PREFETCH_CAP = 2000


class TopologyServer(ABC):
    """Exchanges, queues, connections, channels, consumers and timers.

    `log`, when given, gets a line for everything that happens: equal seeds give equal lines. `note` writes one.
    """

    def __init__(
        self,
        *,
        version: tuple[int, int],
        bounds: Bounds,
        rng: random.Random,
        detection_s: float = DETECTION_S,
        log: list[str] | None = None,
    ) -> None:
        self.version = version
        self.bounds = bounds
        self.rng = rng
        self.detection_s = detection_s
        self.log = log
        self.honours_deaths = version < (4, 0)  # R48
        self.max_message_bytes = 128 * 2**20 if version < (4, 0) else 16 * 2**20  # R50
        self.exchanges = Exchanges()
        self.queues: dict[str, ReadyQueue] = {}
        self.connections: dict[int, Connection] = {}
        self.askers: dict[str, Channel] = {}
        self.unroutable = 0
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, Callable[[Any, float], None], Any]] = []
        self._timer_order = itertools.count()

    def note(self, now_s: float, *words: object) -> None:
        """One line of the event log, when somebody keeps one."""
        if self.log is not None:
            self.log.append(f"{now_s:.6f} {' '.join(map(str, words))}")

    @abstractmethod
    def dispatch(self, queue: ReadyQueue, now_s: float) -> None:
        """Hand out what is ready to whoever has room."""

    @abstractmethod
    def give_back(self, taken: Iterable[Held], now_s: float) -> None:
        """A channel is gone: all it held goes back to its place (R24)."""

    @abstractmethod
    def watch_head(self, queue: ReadyQueue) -> None:
        """Set a timer for the message at the head, if it expires."""

    # --- timers

    def at(self, due_s: float, call: Callable[[Any, float], None], subject: object) -> None:
        """Have `call(subject, now)` called when due."""
        heapq.heappush(self._timers, (due_s, next(self._timer_order), call, subject))

    def next_due_s(self) -> float | None:
        """When `advance` wants to be called next."""
        return self._timers[0][0] if self._timers else None

    def advance(self, now_s: float) -> None:
        """Do what is due, in order; each at its own time."""
        while self._timers and self._timers[0][0] <= now_s:
            due_s, _, call, subject = heapq.heappop(self._timers)
            call(subject, due_s)

    # --- exchanges, queues, bindings

    def declare_exchange(self, channel: Channel, wanted: Destination, now_s: float) -> None:
        """Create, or check that it is the same (R10)."""
        channel.check()
        if wanted.kind not in KINDS:
            self.fail(channel, NOT_IMPLEMENTED, f"unknown exchange type '{wanted.kind}'", now_s)
        found = self.exchanges.get(wanted.name)
        if found is None:
            if not wanted.name or wanted.name.startswith("amq."):
                self.fail(channel, ACCESS_REFUSED, f"exchange name '{wanted.name}' is reserved", now_s)
            self.exchanges.add(wanted)
            self.note(now_s, "exchange", wanted.name, wanted.kind)
        elif found != wanted:
            self._fail_unequal(channel, "exchange", found, wanted, now_s)

    def declare_queue(self, channel: Channel, wanted: Queue, now_s: float) -> ReadyQueue:
        """Create, or check that it is the same (R10); an exclusive one belongs to this connection (C7)."""
        channel.check()
        name = wanted.ref.name
        if name in self.queues:
            queue = self.queue_for(channel, name, now_s)
            queue.used_s = now_s
            found = _compared(queue.spec)
            if found != _compared(wanted):
                self._fail_unequal(channel, "queue", found, _compared(wanted), now_s)
            return queue
        self._check_queue(channel, wanted, now_s)
        limit = wanted.delivery_limit
        if limit is None and self.version >= (4, 0):
            limit = 20  # R49
        if wanted.kind != "quorum" or limit == -1:
            limit = None
        owner = channel.connection.number if wanted.exclusive else None
        queue = self.queues[name] = ReadyQueue(wanted, version=self.version, delivery_limit=limit, owner=owner)
        queue.used_s = now_s
        if wanted.expires_s is not None:
            self.at(now_s + wanted.expires_s, self._unused_due, queue)
        self.note(now_s, "queue", name, wanted.kind)
        return queue

    def _check_queue(self, channel: Channel, wanted: Queue, now_s: float) -> None:
        name = wanted.ref.name
        if not name or name.startswith("amq."):
            self.fail(channel, ACCESS_REFUSED, f"queue name '{name}' is reserved", now_s)
        if wanted.kind not in {"classic", "quorum"}:
            self.fail(channel, NOT_IMPLEMENTED, f"queue type '{wanted.kind}' is not modelled", now_s)
        if wanted.kind == "quorum":
            bad = {
                "durable=false": not wanted.durable,
                "exclusive": wanted.exclusive,
                "auto-delete": wanted.auto_delete,
                "x-max-priority": wanted.max_priority is not None,
            }
            wrong = [what for what, asked in bad.items() if asked]
            if wrong:
                self.fail(channel, PRECONDITION_FAILED, f"{', '.join(wrong)} for quorum queue '{name}'", now_s)
        if wanted.overflow not in {None, "drop-head", "reject-publish", "reject-publish-dlx"}:
            self.fail(channel, PRECONDITION_FAILED, f"invalid x-overflow '{wanted.overflow}' for '{name}'", now_s)

    def _fail_unequal(
        self, channel: Channel, what: str, found: msgspec.Struct, wanted: msgspec.Struct, now_s: float
    ) -> None:
        differing = [
            f"{field}: exists with {getattr(found, field)!r}, asked for {getattr(wanted, field)!r}"
            for field in found.__struct_fields__
            if getattr(found, field) != getattr(wanted, field)
        ]
        name = wanted.name if isinstance(wanted, Destination) else str(getattr(wanted, "ref", ""))
        self.fail(channel, PRECONDITION_FAILED, f"inequivalent {what} '{name}': {'; '.join(differing)}", now_s)

    def bind(self, channel: Channel, binding: Binding, now_s: float) -> None:
        """Bind a queue or an exchange; the default exchange cannot be bound (R1)."""
        channel.check()
        if not binding.source or binding.destination == "":
            self.fail(channel, ACCESS_REFUSED, "operation not permitted on the default exchange", now_s)
        if self.exchanges.get(binding.source) is None:
            self.fail(channel, NOT_FOUND, f"no exchange '{binding.source}' in vhost '/'", now_s)
        if binding.queue is not None:
            self.queue_for(channel, binding.queue.name, now_s)
        elif binding.destination is None or self.exchanges.get(binding.destination) is None:
            self.fail(channel, NOT_FOUND, f"no exchange '{binding.destination}' in vhost '/'", now_s)
        self.exchanges.bind(binding)

    def delete_exchange(self, name: str, now_s: float) -> None:
        """Delete it; one that is not there is fine."""
        self.exchanges.delete(name)
        self.note(now_s, "exchange deleted", name)

    def delete_queue(self, name: str, now_s: float) -> None:
        """Delete it with what is in it (never dead-lettered, R30); its consumers are told (R27)."""
        queue = self.queues.pop(name, None)
        if queue is None:
            return
        self.exchanges.unbind_queue(name)
        dropped = len(queue.clear())
        queue.counts.dropped["queue deleted"] += dropped
        self.note(now_s, "queue deleted", name, dropped)
        for subscriber in list(queue.subscribers):
            subscriber.cancelled = f"queue '{name}' was deleted"
            subscriber.channel.subscribers.pop(subscriber.tag, None)
            subscriber.wake()
        queue.subscribers.clear()
        queue.active.clear()

    def purge(self, channel: Channel, name: str, now_s: float) -> int:
        """Drop what is ready (never dead-lettered, R30); how many."""
        queue = self.queue_for(channel, name, now_s)
        dropped = len(queue.clear())
        queue.counts.dropped["purged"] += dropped
        return dropped

    def queue_for(self, channel: Channel, name: str, now_s: float) -> ReadyQueue:
        """The queue, if it exists (R9) and this connection may use it (R10)."""
        queue = self.queues.get(name)
        if queue is None:
            self.fail(channel, NOT_FOUND, f"no queue '{name}' in vhost '/'", now_s)
        if queue.owner is not None and queue.owner != channel.connection.number:
            self.fail(channel, RESOURCE_LOCKED, f"cannot obtain exclusive access to locked queue '{name}'", now_s)
        return queue

    def _unused_due(self, queue: ReadyQueue, now_s: float) -> None:
        """x-expires: used is consumed from, got from or declared again; publishing is not (R30)."""
        if self.queues.get(queue.name) is not queue:
            return
        assert queue.spec.expires_s is not None
        since_s = now_s if queue.subscribers else queue.used_s
        if since_s + queue.spec.expires_s <= now_s:
            self.delete_queue(queue.name, now_s)
        else:
            self.at(since_s + queue.spec.expires_s, self._unused_due, queue)

    # --- connections and channels

    def open_connection(self, name: str) -> Connection:
        """A new connection."""
        connection = Connection(next(self._numbers), name)
        self.connections[connection.number] = connection
        return connection

    def open_channel(self, connection: Connection) -> Channel:
        """A new channel on it."""
        channel = Channel(next(self._numbers), connection)
        connection.channels[channel.number] = channel
        return channel

    def close_channel(self, channel: Channel, now_s: float, why: str = "closed") -> None:
        """Its consumers go, then everything unacked on it goes back (R24)."""
        if channel.closed:
            return
        channel.closed = why
        channel.connection.channels.pop(channel.number, None)
        if channel.reply_token is not None:
            self.askers.pop(channel.reply_token, None)
        queues = [subscriber.queue for subscriber in channel.subscribers.values()]
        for subscriber in list(channel.subscribers.values()):
            self._forget_subscriber(subscriber)
            subscriber.wake()
        taken, channel.unacked = list(channel.unacked.values()), {}
        self.give_back(taken, now_s)
        for queue in queues:
            self._left(queue, now_s)
        channel.wake()
        self.note(now_s, "channel closed", channel.connection.name, why)

    def close_connection(self, connection: Connection, now_s: float) -> None:
        """Polite or noticed: its channels close, its exclusive queues are deleted."""
        if connection.closed:
            return
        connection.closed = True
        del self.connections[connection.number]
        for channel in list(connection.channels.values()):
            self.close_channel(channel, now_s)
        for queue in [queue for queue in self.queues.values() if queue.owner == connection.number]:
            self.delete_queue(queue.name, now_s)

    def drop_connection(self, connection: Connection, now_s: float) -> None:
        """The socket dropped without a goodbye: noticed after the detection delay, and nothing happens before (E4)."""
        self.note(now_s, "dropped", connection.name)
        self.at(now_s + self.detection_s, self.close_connection, connection)

    def fail(self, channel: Channel, code: int, text: str, now_s: float) -> NoReturn:
        """Close the channel with an error; the connection stays open (R9)."""
        self.close_channel(channel, now_s, text)
        raise ChannelClosed(code, text)

    def restarted(self, now_s: float) -> None:
        """The broker died and recovered: durable queues with their persistent messages are there, the rest is gone.

        R13, R14; a quorum queue keeps all. What was unacked is ready again, redelivered.
        """
        self._timers.clear()
        for connection in list(self.connections.values()):
            connection.closed = True
            for channel in connection.channels.values():
                channel.closed = "the broker was stopped"
                for entry, queue, _ in channel.unacked.values():
                    entry.redelivered = True
                    entry.returns += 1
                    queue.put_back(entry)
                channel.unacked = {}
        self.connections.clear()
        self.askers.clear()
        self.exchanges.forget_transient()
        for queue in list(self.queues.values()):
            queue.reset()
            if not queue.spec.durable or queue.owner is not None:
                self.delete_queue(queue.name, now_s)
            else:
                self._recover(queue, now_s)
        self.note(now_s, "restarted")

    def _recover(self, queue: ReadyQueue, now_s: float) -> None:
        for entry in queue.clear():
            native = entry.message.native
            if queue.quorum or (isinstance(native, Amqp) and native.delivery_mode == 2):
                queue.append(entry)
            else:
                queue.counts.dropped["transient, broker restarted"] += 1
        queue.used_s = now_s
        if queue.spec.expires_s is not None:
            self.at(now_s + queue.spec.expires_s, self._unused_due, queue)
        self.watch_head(queue)

    # --- consumers

    def consume(
        self,
        channel: Channel,
        name: str,
        tag: str,
        now_s: float,
        *,
        prefetch: int = 0,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
    ) -> Subscriber:
        """A new consumer (R17: `prefetch` unacked messages, 0 = unlimited but for quorum queues)."""
        channel.check()
        queue = self.queue_for(channel, name, now_s)
        if any(other.exclusive for other in queue.subscribers) or (exclusive and queue.subscribers):
            self.fail(channel, ACCESS_REFUSED, f"queue '{name}' in exclusive use", now_s)
        if queue.quorum and prefetch == 0:
            prefetch = QUORUM_PREFETCH_CAP
        subscriber = Subscriber(tag, channel, queue, prefetch=prefetch, no_ack=no_ack)
        subscriber.exclusive = exclusive
        subscriber.priority = priority
        channel.subscribers[tag] = subscriber
        queue.subscribers.append(subscriber)
        queue.had_subscriber = True
        queue.has_priorities = queue.has_priorities or priority != 0
        self.note(now_s, "consume", name, tag)
        self.activate(subscriber)
        self.dispatch(queue, now_s)
        return subscriber

    def consume_replies(self, channel: Channel) -> str:
        """Consume from the direct reply-to pseudo queue (C2); the opaque address that replies come to."""
        channel.check()
        if channel.reply_token is None:
            channel.reply_token = f"{self.rng.getrandbits(96):024x}"
            self.askers[channel.reply_token] = channel
        return f"{DIRECT_REPLY_TO}.{channel.reply_token}"

    def cancel(self, subscriber: Subscriber, now_s: float) -> None:
        """Nothing new is delivered; what is unacked stays out until the channel closes (R26)."""
        if subscriber.channel.subscribers.get(subscriber.tag) is subscriber:
            self._forget_subscriber(subscriber)
            self._left(subscriber.queue, now_s)

    def pause(self, subscriber: Subscriber) -> None:
        """Hand it nothing more for now; it stays a consumer."""
        subscriber.paused = True
        self._deactivate(subscriber)

    def resume(self, subscriber: Subscriber, now_s: float) -> None:
        """End of a pause."""
        subscriber.paused = False
        self.activate(subscriber)
        self.dispatch(subscriber.queue, now_s)

    def activate(self, subscriber: Subscriber) -> None:
        """Let it be served, if it has room, is still there and (single active consumer) its turn has come (R28)."""
        queue = subscriber.queue
        if subscriber.active or not subscriber.has_room or not subscriber.attends:
            return
        if queue.spec.single_active_consumer and queue.subscribers[0] is not subscriber:
            return
        subscriber.active = True
        queue.active.append(subscriber)

    def _deactivate(self, subscriber: Subscriber) -> None:
        if subscriber.active:
            subscriber.active = False
            subscriber.queue.active.remove(subscriber)

    def _forget_subscriber(self, subscriber: Subscriber) -> None:
        self._deactivate(subscriber)
        subscriber.channel.subscribers.pop(subscriber.tag, None)
        queue = subscriber.queue
        if subscriber in queue.subscribers:
            queue.subscribers.remove(subscriber)

    def _left(self, queue: ReadyQueue, now_s: float) -> None:
        """A consumer has left: auto-delete, or the next single active one (R28, R30)."""
        queue.used_s = now_s
        if queue.subscribers:
            if queue.spec.single_active_consumer:
                self.activate(queue.subscribers[0])
                self.dispatch(queue, now_s)
        elif queue.spec.auto_delete and self.queues.get(queue.name) is queue:
            self.delete_queue(queue.name, now_s)


def _compared(queue: Queue) -> Queue:
    """What must be equal: not what mqdash itself knows or guesses about it."""
    return msgspec.structs.replace(queue, known=True, holds_dead_letters=False, ref=QueueRef(queue.ref.name))
