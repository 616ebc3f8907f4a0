"""pika's errors in words, as mqdash's own: what went wrong, where, and what to do. Never with a password.

`str()` of pika's connection errors is empty: the cause sits in nested exceptions, which are walked here.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorSocketConnectError, AMQPConnectorStackTimeout

from mqdash.brokers.reach import protocol_name, spoken_on
from mqdash.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnavailable,
    Conflict,
    ConnectionLost,
    LoginRefused,
    NotFound,
    TlsFailed,
    WrongProtocol,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mqdash.brokers.url import BrokerUrl

_ACK_TIMEOUT = re.compile(r"delivery acknowledgement .*timed out\.(?:.*?(\d+) ms)?", re.DOTALL)
_LIMIT = re.compile(r"(?:user )?connection limit \(\d+\) is reached")
_OS_ERROR = re.compile(r"\w*(?:OS|Connection|Timeout|BrokenPipe|SSL\w*)Error\b")
_NOT_CAUSES = (exceptions.AMQPConnectionError, exceptions.AMQPChannelError)


def channel_error(broker: str, error: BaseException) -> BrokerError:
    """A channel's end as an error of ours (R9, R10)."""
    if not isinstance(error, exceptions.ChannelClosedByBroker):
        return connection_lost(broker, error)
    code, text = error.reply_code, error.reply_text
    if code == 404:
        return NotFound(broker, text)
    if code == 406 and (late := _ACK_TIMEOUT.search(text)) is not None:
        limit = f": not acknowledged within {late[1]} ms" if late[1] else ""
        return BrokerError(broker, f"returned by broker: ack timeout{limit}")
    if code in {405, 406} or (code == 403 and "exclusive use" in text):
        return Conflict(broker, text)
    if code == 403:
        return AccessRefused(broker, text)
    return BrokerError(broker, f"the broker closed the channel: {code} {text}")


def connection_lost(broker: str, error: BaseException | None) -> ConnectionLost:
    """An open connection's end as an error of ours."""
    return ConnectionLost(broker, cause_of(error))


def cause_of(error: BaseException | None) -> str:
    """Why a connection ended, in a sentence."""
    if isinstance(error, exceptions.ConnectionClosedByBroker):
        return f"the broker closed the connection: {error.reply_code} {error.reply_text}"
    if isinstance(error, exceptions.ConnectionBlockedTimeout):
        return "the broker blocked publishing for too long (memory or disk alarm)"
    if isinstance(error, exceptions.AMQPHeartbeatTimeout):
        return "no heartbeat from the broker"
    if isinstance(error, exceptions.StreamLostError):
        return _stream_lost(str(error.args[0]) if error.args else "")
    return "the connection dropped" if error is None else f"{type(error).__name__}: {error!s}"


def _stream_lost(text: str) -> str:
    """Pika hands over why a socket ended as a text: `Stream connection lost: InvalidFrameError: …`."""
    if "ConnectionResetError" in text:
        return "connection reset by the broker"
    what = text.removeprefix("Stream connection lost: ")
    if what != text and not _OS_ERROR.match(what):
        return f"protocol error: what came is no AMQP ({what[:100]})"
    return "the broker closed the socket" if "EOF" in text else text or "the connection dropped"


async def connect_error(url: BrokerUrl, error: BaseException, first_octets: bytes) -> BrokerError:
    """Why a connection did not open. May ask the port once more (1 s) what it speaks."""
    found = list(_nested(error))
    known = _login(url, found) or _tls(url, found) or _socket(url, found)
    if known is not None:
        return known
    host, port = url.hosts[0]
    spoken = _spoken_in(first_octets) or (await spoken_on(host, port)).replace("AMQP", "")
    if spoken == "TLS":
        return WrongProtocol(url.safe, f"{url.address} speaks TLS; use amqps://")
    if spoken:
        return WrongProtocol(url.safe, f"{url.address} speaks {spoken}, not AMQP; check the port (RabbitMQ: 5672)")
    if any(
        isinstance(one, AMQPConnectorStackTimeout | TimeoutError | exceptions.ConnectionOpenAborted) for one in found
    ):
        return BrokerUnavailable(url.safe, f"{url.address} took the connection and said nothing")
    return BrokerUnavailable(url.safe, f"{url.address} closed the connection during the handshake{_last(found)}")


def _spoken_in(octets: bytes) -> str:
    """What else than AMQP speaks like this, "" when the first bytes tell nothing."""
    name = protocol_name(octets)
    amqp = name == "AMQP" or octets[:1] in {b"", b"\x01", b"\x08"}
    return "" if amqp else name or "something else"


def _nested(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [*getattr(one, "exceptions", ()), getattr(one, "exception", None), one.__cause__, *one.args]
        waiting += [candidate for candidate in inner if isinstance(candidate, BaseException)]


def _login(url: BrokerUrl, found: list[BaseException]) -> BrokerError | None:
    for error in found:
        text = repr(error)
        # pika says "probable" when the broker merely went away in that phase: only the broker's own code counts.
        if isinstance(error, exceptions.ProbableAuthenticationError | exceptions.AuthenticationError) and "403" in text:
            return LoginRefused(url.safe, f"login refused for user {url.user or 'guest'!r}")
        if isinstance(error, exceptions.ProbableAccessDeniedError | exceptions.ConnectionClosedByBroker):
            if "not found" in text:
                return NotFound(url.safe, f"the broker has no vhost {url.path!r}")
            if (limit := _LIMIT.search(text)) is not None:
                return BrokerUnavailable(url.safe, f"{url.address} takes no more connections now: {limit[0]}")
            if "530" in text or "403" in text:
                return AccessRefused(url.safe, f"user {url.user or 'guest'!r} may not use vhost {url.path!r}")
    return None


def _tls(url: BrokerUrl, found: list[BaseException]) -> BrokerError | None:
    for error in found:
        if isinstance(error, ssl.SSLCertVerificationError):
            return TlsFailed(url.safe, f"the certificate of {url.address} does not pass: {error.verify_message}")
        if isinstance(error, ssl.SSLError):
            if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}:
                return TlsFailed(url.safe, f"{url.address} does not speak TLS; for plain text use amqp://")
            return TlsFailed(url.safe, f"TLS with {url.address} failed: {error.reason or error}")
    return None


def _socket(url: BrokerUrl, found: list[BaseException]) -> BrokerError | None:
    host = url.hosts[0][0]
    for error in found:
        if isinstance(error, socket.gaierror):
            return BrokerUnavailable(url.safe, f"host name {host!r} does not resolve")
        if isinstance(error, ConnectionRefusedError):
            return BrokerUnavailable(url.safe, f"connection refused by {url.address}: nothing listens there")
        if isinstance(error, AMQPConnectorSocketConnectError) and isinstance(
            error.exception, AMQPConnectorStackTimeout | TimeoutError
        ):
            return BrokerUnavailable(
                url.safe, f"no answer from {url.address}: the connection could not be made in time"
            )
        if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionResetError) and error.strerror:
            return BrokerUnavailable(url.safe, f"{url.address}: {error.strerror}")
    return None


def _last(found: list[BaseException]) -> str:
    """`: cause`, where it says more than that the socket was closed."""
    causes = [error for error in found if not isinstance(error, _NOT_CAUSES)]
    text = repr(causes[-1] if causes else found[-1])[:200]
    return "" if "indicated EOF" in text or "ConnectionReset" in text else f": {text}"
