"""The embedded RabbitMQ: who is connected and who consumes. Pure (E1); `rabbitmq.py` adds the messages."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from mqdash.brokers.embedded.channel import ACCESS_REFUSED, DIRECT_REPLY_TO, Channel, Connection, Subscriber
from mqdash.brokers.embedded.rabbit_topology import TopologyServer
from mqdash.model.message import Amqp

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from mqdash.brokers.embedded.channel import Held
    from mqdash.brokers.embedded.kernel import Bounds
    from mqdash.brokers.embedded.queue import ReadyQueue

DETECTION_S: Final = 0.001
"""How long RabbitMQ takes to notice a dropped socket (measured 0.7-6 ms); silence only its heartbeat notices."""
QUORUM_PREFETCH_CAP: Final = 2000


class ClientServer(TopologyServer):
    """Connections, channels, consumers, and what a restart leaves of it all."""

    def __init__(
        self,
        *,
        version: tuple[int, int],
        bounds: Bounds,
        rng: random.Random,
        detection_s: float = DETECTION_S,
        log: list[str] | None = None,
    ) -> None:
        super().__init__(version=version, bounds=bounds, rng=rng, log=log)
        self.detection_s = detection_s
        self.connections: dict[int, Connection] = {}
        self.askers: dict[str, Channel] = {}
        self._numbers = itertools.count(1)

    @abstractmethod
    def dispatch(self, queue: ReadyQueue, now_s: float) -> None:
        """Hand out what is ready to whoever has room."""

    @abstractmethod
    def give_back(self, taken: Iterable[Held], now_s: float) -> None:
        """A channel is gone: all it held goes back to its place (R24)."""

    @abstractmethod
    def watch_head(self, queue: ReadyQueue) -> None:
        """Set a timer for the message at the head, if it expires."""

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

    def restarted(self, now_s: float) -> None:
        """The broker died and recovered: durable queues with their persistent messages are there, the rest is gone.

        R13, R14; a quorum queue keeps all. What was unacked is ready again, redelivered.
        """
        self.timers.clear()
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
