"""The bare client on a real RabbitMQ: pika as it comes, beside mqdash's own adapter."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pika
from pika import exceptions

from mqdash.brokers.embedded.channel import DIRECT_REPLY_TO, Confirm
from mqdash.brokers.rabbitmq.declare import exchange_arguments, queue_arguments
from mqdash.model.topology import Binding, Destination, Queue
from tests.conformance.amqp import Amqp, Channel, Closed, Connection, Got, Tap


class PikaAmqp(Amqp):
    """Names of the test's own on a broker that others use, too."""

    def __init__(self, url: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._connections: list[_Connection] = []
        connection = _Connection(self._parameters)
        told = connection.pika._impl.server_properties
        assert told is not None
        super().__init__(_version(told["version"]))
        self._connections.append(connection)
        self._own_connection = connection

    def connect(self) -> Connection:
        connection = _Connection(self._parameters)
        self._connections.append(connection)
        return connection

    def now_s(self) -> float:
        return time.time()

    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            for connection in self._connections:
                connection.receive()
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"not true after {timeout_s:g} s"
            time.sleep(0.005)

    def end(self) -> None:
        for connection in self._connections:
            connection.close()


def _version(text: str | bytes) -> tuple[int, int]:
    major, minor = (text.decode() if isinstance(text, bytes) else text).split(".")[:2]
    return int(major), int(minor)


class _Connection(Connection):
    def __init__(self, parameters: pika.URLParameters) -> None:
        self.pika = pika.BlockingConnection(parameters)

    def receive(self) -> None:
        if self.pika.is_open:
            self.pika.process_data_events(0)

    def channel(self) -> Channel:
        return PikaChannel(self.pika.channel())

    def close(self) -> None:
        if self.pika.is_open:
            self.pika.close()

    def drop(self) -> None:
        transport: Any = self.pika._impl._transport
        transport._sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(exceptions.AMQPConnectionError):
            while self.pika.is_open:
                self.pika.process_data_events(0)


class PikaChannel(Channel):
    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._code = 0
        self._confirms = False
        self._taps: dict[str, Tap] = {}
        channel._impl.add_on_close_callback(self._on_close)
        channel.add_on_cancel_callback(self._on_cancel)

    def _on_close(self, _channel: Any, reason: Exception) -> None:
        if isinstance(reason, exceptions.ChannelClosedByBroker | exceptions.ConnectionClosedByBroker):
            self._code = reason.reply_code

    def _on_cancel(self, frame: Any) -> None:
        self._taps[frame.method.consumer_tag].cancelled = True

    @property
    def closed(self) -> int:
        return self._code or (0 if self._channel.is_open else 1)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        try:
            yield self._channel
        except (exceptions.ChannelClosedByBroker, exceptions.ConnectionClosedByBroker) as error:
            raise Closed(error.reply_code, error.reply_text) from error
        except (exceptions.ChannelWrongStateError, exceptions.ChannelClosed) as error:
            raise Closed(self._code or 1, str(error)) from error

    def _settled(self, channel: Any) -> None:
        """An ack has no answer: ask for something that has one, then it has been read."""
        channel.exchange_declare("amq.direct", passive=True)

    def declare_exchange(self, exchange: Destination) -> None:
        with self._asking() as channel:
            channel.exchange_declare(exchange.name, **exchange_arguments(exchange))

    def declare_queue(self, queue: Queue, more: dict[str, Any] | None = None) -> None:
        arguments = queue_arguments(queue)
        arguments["arguments"] |= more or {}
        with self._asking() as channel:
            channel.queue_declare(queue.ref.name, **arguments)

    def ready(self, queue: str) -> int:
        with self._asking() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    def bind(self, binding: Binding) -> None:
        assert binding.queue is not None or binding.destination is not None
        with self._asking() as channel:
            if binding.queue is not None:
                channel.queue_bind(
                    binding.queue.name, binding.source, binding.key, arguments=dict(binding.headers) or None
                )
            else:
                channel.exchange_bind(binding.destination, binding.source, binding.key)

    def purge(self, queue: str) -> None:
        with self._asking() as channel:
            channel.queue_purge(queue)

    def delete_queue(self, queue: str) -> None:
        with self._asking() as channel:
            channel.queue_delete(queue)

    def delete_exchange(self, exchange: str) -> None:
        with self._asking() as channel:
            channel.exchange_delete(exchange)

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
        sent = pika.BasicProperties(headers=headers, **properties)
        with self._asking() as channel:
            if not self._confirms:
                channel.confirm_delivery()
                self._confirms = True
            try:
                channel.basic_publish(exchange, to, body.encode(), sent, mandatory=mandatory)
            except exceptions.UnroutableError:
                return Confirm.RETURNED
            except exceptions.NackError:
                return Confirm.NACK
        return Confirm.ACK

    def get(self, queue: str, *, no_ack: bool = False) -> Got | None:
        with self._asking() as channel:
            method, properties, body = channel.basic_get(queue, auto_ack=no_ack)
        return None if method is None else _got(method, properties, body)

    def consume(
        self, queue: str, *, prefetch: int = 0, no_ack: bool = False, exclusive: bool = False, priority: int = 0
    ) -> Tap:
        arguments = {"x-priority": priority} if priority else None
        with self._asking() as channel:
            channel.basic_qos(prefetch_count=prefetch)
            return self._tap(channel, queue, auto_ack=no_ack, exclusive=exclusive, arguments=arguments)

    def _tap(self, channel: Any, queue: str, **options: Any) -> Tap:
        tap = Tap("")

        def deliver(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            tap.got.append(_got(method, properties, body))

        tap.tag = channel.basic_consume(queue, deliver, **options)
        self._taps[tap.tag] = tap
        return tap

    def consume_limited(self, queue: str, *, count: int, each: int, all_together: int) -> list[Tap]:
        """Consumers under two limits (R18). The channel's comes second: a later one for each lifts it (measured)."""
        with self._asking() as channel:
            channel.basic_qos(prefetch_count=each)
            channel.basic_qos(prefetch_count=all_together, global_qos=True)
            return [self._tap(channel, queue) for _ in range(count)]

    def cancel(self, tap: Tap) -> None:
        with self._asking() as channel:
            channel.basic_cancel(tap.tag)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        with self._asking() as channel:
            channel.basic_ack(tag, multiple=multiple)
            self._settled(channel)

    def nack(self, tag: int, *, requeue: bool, multiple: bool = False) -> None:
        with self._asking() as channel:
            channel.basic_nack(tag, multiple=multiple, requeue=requeue)
            self._settled(channel)

    def reject(self, tag: int, *, requeue: bool) -> None:
        with self._asking() as channel:
            channel.basic_reject(tag, requeue=requeue)
            self._settled(channel)

    def consume_replies(self) -> Tap:
        with self._asking() as channel:
            return self._tap(channel, DIRECT_REPLY_TO, auto_ack=True)

    def close(self) -> None:
        with self._asking() as channel:
            channel.close()


def _got(method: Any, properties: Any, body: bytes) -> Got:
    return Got(
        tag=method.delivery_tag,
        body=body.decode(),
        redelivered=method.redelivered,
        exchange=method.exchange,
        key=method.routing_key,
        headers=_plain(properties.headers or {}),
        expiration=properties.expiration,
        reply_to=properties.reply_to,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value
