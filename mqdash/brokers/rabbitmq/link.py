"""One AMQP connection and its channels as futures.

Every call is raced with the channel's close, after which pika would never call back, and every end is told once, with
its cause in words.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from typing import TYPE_CHECKING, Any, Final

import pika
from pika import spec

from mqdash.brokers.rabbitmq import errors
from mqdash.brokers.rabbitmq.wire import WireConnection
from mqdash.errors import BrokerError, BrokerUnavailable, ConnectionLost, TlsFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.brokers.rabbitmq.wire import Sink
    from mqdash.brokers.url import BrokerUrl

STACK_TIMEOUT_S: Final = 5.0
"""TCP, TLS and AMQP handshake together. With the probes of what else speaks there a failed connect stays below 8 s."""
SOCKET_TIMEOUT_S: Final = 4.0
CLOSE_TIMEOUT_S: Final = 1.5
RPC_TIMEOUT_S: Final = 10.0
HEARTBEAT_S: Final = 10
PRODUCT: Final = "mqdash"

_numbers = itertools.count(1)


async def open_link(url: BrokerUrl, *, name: str, on_end: Callable[[Link, str], None]) -> Link:
    """Connect. `on_end` is called once when the open connection has ended, however it did.

    Raises:
        BrokerUnavailable, LoginRefused, AccessRefused, NotFound, WrongProtocol, TlsFailed: with the cause in words.
    """
    link = Link(url, name, on_end)
    try:
        await link.opened
    except asyncio.CancelledError:
        link.abandon()
        raise
    except BrokerError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever pika hands over is told in words
        raise await errors.connect_error(url, error, link.wire.first_octets) from None
    return link


class Link:
    """An AMQP connection. `number` is unique in this process: the epoch of its deliveries' claims."""

    def __init__(self, url: BrokerUrl, name: str, on_end: Callable[[Link, str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.url = url
        self.name = name
        self.number = next(_numbers)
        self.error: ConnectionLost | None = None
        self.wanted = False  # we ended it ourselves
        self.blocked = ""
        self.on_blocked: Callable[[], None] | None = None
        self.opened: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._on_end = on_end
        self._abandoned = False
        self.wire = WireConnection(
            _parameters(url, name),
            loop=loop,
            on_open=self._was_opened,
            on_open_error=self._was_refused,
            on_close=self._was_closed,
        )

    @property
    def version(self) -> str:
        """The broker's version as it told at connect."""
        properties = self.wire.server_properties or {}
        return str(properties.get("version", "unknown"))

    async def channel(self, sink: Sink | None = None) -> Channel:
        """Open a channel; its content goes to `sink`.

        Raises:
            ConnectionLost: the connection is down.
        """
        if self.error is not None or not self.wire.is_open:
            raise self.error or ConnectionLost(self.url.safe, "the connection is closed")
        return await Channel(self, sink).open()

    async def close(self) -> None:
        """Say goodbye, wait for the answer at most 1.5 s, then drop the socket."""
        self.wanted = True
        if self.error is None and self.wire.is_open:
            self.wire.close()
        if not self._closed.done() and not self.wire.is_closed:
            await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT_S)
        self.kill("closed")

    def kill(self, cause: str = "killed", *, wanted: bool = True) -> None:
        """Drop the socket without a goodbye: the broker gives back what was not settled (R24)."""
        self.wanted = self.wanted or wanted
        self.wire.cut(cause)

    def abandon(self) -> None:
        """Nobody waits for this connection any more, whether it opens or not."""
        self._abandoned = self.wanted = True
        if not self.wire.is_closed and not self.wire.is_closing:
            self.wire.close()

    def _was_opened(self, _wire: object) -> None:
        self.wire.add_on_connection_blocked_callback(self._was_blocked)
        self.wire.add_on_connection_unblocked_callback(self._was_unblocked)
        if not self.opened.done():
            self.opened.set_result(None)
        elif self._abandoned:
            self.kill()

    def _was_refused(self, _wire: object, error: BaseException | str) -> None:
        if not self.opened.done():
            self.opened.set_exception(
                error if isinstance(error, Exception) else BrokerUnavailable(self.url.safe, str(error))
            )

    def _was_closed(self, _wire: object, error: BaseException) -> None:
        self.error = errors.connection_lost(self.url.safe, error)
        if not self._closed.done():
            self._closed.set_result(None)
        self._on_end(self, self.error.text)

    def _was_blocked(self, _wire: object, method: Any) -> None:
        self._tell_blocked(str(method.method.reason) or "blocked by the broker")

    def _was_unblocked(self, _wire: object, _method: object) -> None:
        self._tell_blocked("")

    def _tell_blocked(self, reason: str) -> None:
        self.blocked = reason
        if self.on_blocked is not None:
            self.on_blocked()


class Channel:
    """A channel whose calls are awaited. `error` is set when it has ended; `on_end` is called then."""

    def __init__(self, link: Link, sink: Sink | None) -> None:
        self.link = link
        self.error: BrokerError | None = None
        self.on_end: Callable[[BrokerError], None] | None = None
        self._sink = sink
        self._waiting: set[asyncio.Future[Any]] = set()

    @property
    def number(self) -> int:
        """Its number on its connection."""
        return int(self._pika.channel_number)

    @property
    def is_open(self) -> bool:
        """Whether it can be written to."""
        return self.error is None and bool(self._pika.is_open)

    async def open(self) -> Channel:
        """Open it; called once."""
        answer = self._answer()
        self._pika = self.link.wire.channel(on_open_callback=lambda channel: _set(answer, channel))
        self._pika.add_on_close_callback(self._was_closed)
        if self._sink is not None:
            self.link.wire.sinks[self.number] = self._sink
        await self._wait(answer, "opening a channel", RPC_TIMEOUT_S)
        return self

    async def call(self, method: str, *args: Any, timeout_s: float = RPC_TIMEOUT_S, **kwargs: Any) -> Any:
        """Call a method of pika's channel that takes a `callback`, and return the broker's answer (a pika spec object).

        Raises:
            NotFound, Conflict, AccessRefused, BrokerError: the broker closed the channel over it.
            ConnectionLost: the connection dropped.
            BrokerUnavailable: no answer within `timeout_s`; the channel is of no use any more.
        """
        if self.error is not None:
            raise self.error
        answer = self._answer()
        getattr(self._pika, method)(*args, callback=lambda frame: _set(answer, frame.method), **kwargs)
        return await self._wait(answer, method.replace("_", " "), timeout_s)

    async def confirm_select(self) -> None:
        """Confirm mode; the confirms themselves go to the sink."""
        answer = self._answer()
        self._pika.confirm_delivery(_ignore, callback=lambda frame: _set(answer, frame.method))
        await self._wait(answer, "confirm mode", RPC_TIMEOUT_S)

    async def consume(self, queue: str, *, tag: str, auto_ack: bool = False) -> None:
        """Subscribe; deliveries go to the sink."""
        await self.call("basic_consume", queue, _ignore, consumer_tag=tag, auto_ack=auto_ack)

    def cancel(self, tag: str) -> None:
        """End a subscription without waiting for the answer."""
        if self.is_open:
            self._pika.basic_cancel(tag)

    def when_cancelled(self, told: Callable[[], None]) -> None:
        """Call `told` when the broker ends a subscription (R27)."""
        self._pika.add_on_cancel_callback(lambda _method: told())

    def when_get_is_empty(self, told: Callable[[], None]) -> None:
        """Call `told` whenever a basic.get found its queue empty; pika itself stays silent."""
        self._pika.add_callback(lambda _frame: told(), [spec.Basic.GetEmpty], one_shot=False)

    async def close(self) -> None:
        """Close it politely; what it held unsettled goes back (R24)."""
        if not self.is_open:
            return
        answer = self._answer()
        self._pika.close()
        await asyncio.wait({answer}, timeout=CLOSE_TIMEOUT_S)
        if answer.done():
            answer.exception()

    def drop(self) -> None:
        """Close it without waiting."""
        if self.is_open:
            self._pika.close()

    def _answer(self) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        return answer

    async def _wait(self, answer: asyncio.Future[Any], what: str, timeout_s: float) -> Any:
        # Not wait_for: after a stalled loop the answer and the timer come due together, and the answer counts.
        try:
            await asyncio.wait({answer}, timeout=timeout_s)
        finally:
            self._waiting.discard(answer)
        if answer.done():
            return answer.result()
        raise BrokerUnavailable(self.link.url.safe, f"{what}: no answer from the broker within {timeout_s:g} s")

    def _was_closed(self, _channel: object, reason: BaseException) -> None:
        self.error = errors.channel_error(self.link.url.safe, reason)
        self.link.wire.forget(self.number)
        waiting, self._waiting = self._waiting, set()
        for answer in waiting:
            if not answer.done():
                answer.set_exception(self.error)
                answer.exception()  # read here too: nobody may be waiting any more
        if self.on_end is not None:
            self.on_end(self.error)


def _set(answer: asyncio.Future[Any], value: Any) -> None:
    if not answer.done():
        answer.set_result(value)


def _ignore(*_args: object) -> None:
    """Content goes to the sink, not to pika's callbacks."""


def _parameters(url: BrokerUrl, name: str) -> pika.ConnectionParameters:
    host, port = url.hosts[0]
    return pika.ConnectionParameters(
        host=host,
        port=port,
        virtual_host=url.path or "/",
        credentials=pika.PlainCredentials(url.user or "guest", url.password.reveal() if url.user else "guest"),
        heartbeat=_heartbeat_s(url),
        # pika would drop a connection that is blocked for long, and with it the whole life, consumers included, that an
        # alarm leaves alone. The publisher gives its receipts up by itself and waits for the end of the alarm.
        blocked_connection_timeout=None,
        stack_timeout=STACK_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        connection_attempts=1,
        ssl_options=_tls_options(url, host) if url.tls else None,
        client_properties={"connection_name": f"{PRODUCT} {name}", "product": PRODUCT},
    )


def _heartbeat_s(url: BrokerUrl) -> int:
    given = url.option("heartbeat")
    return int(given) if given.isascii() and given.isdecimal() and int(given) < 65536 else HEARTBEAT_S


def _tls_options(url: BrokerUrl, host: str) -> pika.SSLOptions:
    """Chain and host name are always verified.

    Raises:
        TlsFailed: a certificate or key file cannot be used.
    """
    ca, certificate, key = url.option("ca"), url.option("cert"), url.option("key")
    try:
        context = ssl.create_default_context(cafile=ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(name for name in (ca, certificate, key) if name)
        raise TlsFailed(url.safe, f"cannot use {files}: {error.strerror or error}") from None
    return pika.SSLOptions(context, host)
