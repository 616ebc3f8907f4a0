"""The bare client on the embedded RabbitMQ's model: its time is a number that waiting moves forward."""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from mqdash.brokers.embedded.channel import Channel as ModelChannel
from mqdash.brokers.embedded.channel import ChannelClosed, Confirm, Subscriber
from mqdash.brokers.embedded.channel import Connection as ModelConnection
from mqdash.brokers.embedded.kernel import UNBOUNDED
from mqdash.brokers.embedded.queue import Entry, ReadyQueue
from mqdash.brokers.embedded.rabbitmq import RabbitServer
from mqdash.model.message import Amqp as Properties
from mqdash.model.message import Message, Wire
from mqdash.model.topology import Binding, Destination, Queue
from tests.conformance.amqp import Amqp, Channel, Closed, Connection, Got, Tap

_STEP_S = 0.02


class ModelAmqp(Amqp):
    """A server of the test's own."""

    def __init__(self, version: tuple[int, int]) -> None:
        super().__init__(version)
        self.server = RabbitServer(version=version, bounds=UNBOUNDED, rng=random.Random(7))
        self.time_s = 1_700_000_000.0
        self.channels: list[_Channel] = []

    def connect(self) -> Connection:
        return _Connection(self, self.server.open_connection("client"))

    def now_s(self) -> float:
        return self.time_s

    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        deadline_s = self.time_s + timeout_s
        while True:
            for channel in self.channels:
                channel.receive()
            value = condition()
            if value:
                return value
            assert self.time_s < deadline_s, f"not true after {timeout_s:g} s of the model's time"
            self.time_s += _STEP_S
            self.server.advance(self.time_s)

    def end(self) -> None:
        for connection in list(self.server.connections.values()):
            self.server.close_connection(connection, self.time_s)
        assert not self.server.queues, "a test left queues behind"


class _Connection(Connection):
    def __init__(self, amqp: ModelAmqp, connection: ModelConnection) -> None:
        self._amqp = amqp
        self._connection = connection

    def channel(self) -> Channel:
        channel = _Channel(self._amqp, self._amqp.server.open_channel(self._connection))
        self._amqp.channels.append(channel)
        return channel

    def close(self) -> None:
        self._amqp.server.close_connection(self._connection, self._amqp.time_s)

    def drop(self) -> None:
        self._amqp.server.drop_connection(self._connection, self._amqp.time_s)


class _Channel(Channel):
    def __init__(self, amqp: ModelAmqp, channel: ModelChannel) -> None:
        self._amqp = amqp
        self._server = amqp.server
        self._channel = channel
        self._taps: list[tuple[Tap, Subscriber]] = []
        self._replies: Tap | None = None
        self._numbers = itertools.count(1)
        self._code = 0

    @property
    def closed(self) -> int:
        return self._code or (1 if self._channel.closed else 0)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[float]:
        try:
            yield self._amqp.time_s
        except ChannelClosed as error:
            self._code = self._code or error.code
            raise Closed(error.code, error.text) from error
        for channel in self._amqp.channels:
            channel.receive()

    def receive(self) -> None:
        """Read what was handed out."""
        for tap, subscriber in self._taps:
            tap.cancelled = bool(subscriber.cancelled)
            while subscriber.outbox:
                tag, entry, redelivered = subscriber.outbox.popleft()
                tap.got.append(_got(tag, entry, subscriber.queue, redelivered=redelivered))
        while self._replies is not None and self._channel.replies:
            message = self._channel.replies.popleft()
            self._replies.got.append(_message(0, message, redelivered=False, exchange="", key=""))

    def declare_exchange(self, exchange: Destination) -> None:
        with self._asking() as now_s:
            self._server.declare_exchange(self._channel, exchange, now_s)

    def declare_queue(self, queue: Queue, more: dict[str, Any] | None = None) -> None:
        assert not more, f"the model knows no {more}"
        with self._asking() as now_s:
            self._server.declare_queue(self._channel, queue, now_s)

    def ready(self, queue: str) -> int:
        with self._asking() as now_s:
            return self._server.queue_for(self._channel, queue, now_s).ready

    def bind(self, binding: Binding) -> None:
        with self._asking() as now_s:
            self._server.bind(self._channel, binding, now_s)

    def purge(self, queue: str) -> None:
        with self._asking() as now_s:
            self._server.purge(self._channel, queue, now_s)

    def delete_queue(self, queue: str) -> None:
        with self._asking() as now_s:
            self._server.delete_queue(queue, now_s)

    def delete_exchange(self, exchange: str) -> None:
        with self._asking() as now_s:
            self._server.delete_exchange(exchange, now_s)

    def publish(
        self,
        body: str,
        to: str,
        *,
        exchange: str = "",
        mandatory: bool = False,
        headers: dict[str, Any] | None = None,
        **properties: Any,
    ) -> Confirm:
        message = Message(
            content=body.encode(), headers=tuple((headers or {}).items()), native=Properties(**properties)
        )
        with self._asking() as now_s:
            return self._server.publish(self._channel, exchange, to, message, now_s, mandatory=mandatory)

    def get(self, queue: str, *, no_ack: bool = False) -> Got | None:
        with self._asking() as now_s:
            found = self._server.get(self._channel, queue, now_s, no_ack=no_ack)
            owner = self._server.queues[queue]
        return None if found is None else _got(*found, owner, redelivered=found[1].redelivered)

    def consume(
        self, queue: str, *, prefetch: int = 0, no_ack: bool = False, exclusive: bool = False, priority: int = 0
    ) -> Tap:
        tap = Tap(f"tap-{next(self._numbers)}")
        with self._asking() as now_s:
            subscriber = self._server.consume(
                self._channel,
                queue,
                tap.tag,
                now_s,
                prefetch=prefetch,
                no_ack=no_ack,
                exclusive=exclusive,
                priority=priority,
            )
            self._taps.append((tap, subscriber))
        return tap

    def cancel(self, tap: Tap) -> None:
        with self._asking() as now_s:
            self._server.cancel(self._channel.subscribers[tap.tag], now_s)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        with self._asking() as now_s:
            self._server.ack(self._channel, tag, now_s, multiple=multiple)

    def nack(self, tag: int, *, requeue: bool, multiple: bool = False) -> None:
        with self._asking() as now_s:
            self._server.nack(self._channel, tag, now_s, requeue=requeue, multiple=multiple)

    def reject(self, tag: int, *, requeue: bool) -> None:
        self.nack(tag, requeue=requeue)

    def consume_replies(self) -> Tap:
        with self._asking():
            self._server.consume_replies(self._channel)
        self._replies = Tap("replies")
        return self._replies

    def close(self) -> None:
        with self._asking() as now_s:
            self._server.close_channel(self._channel, now_s)


def _got(tag: int, entry: Entry, queue: ReadyQueue, *, redelivered: bool) -> Got:
    found = _message(tag, entry.message, redelivered=redelivered, exchange=entry.exchange, key=entry.keys[0])
    if queue.counts_first or (queue.quorum and entry.returns):
        found.headers["x-delivery-count"] = entry.returns
    return found


def _message(tag: int, message: Message, *, redelivered: bool, exchange: str, key: str) -> Got:
    native = message.native
    assert isinstance(native, Properties)
    return Got(
        tag=tag,
        body=message.body.decode(),
        redelivered=redelivered,
        exchange=exchange,
        key=key,
        headers={name: _plain(value) for name, value in message.headers},
        expiration=native.expiration,
        reply_to=native.reply_to,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Wire):
        return value.value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value
