"""Why a broker's port cannot be used, in words: asked by ourselves where a client library hides the cause."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

from mqdash.errors import BrokerError, BrokerUnavailable, TlsFailed, WrongProtocol

if TYPE_CHECKING:
    from mqdash.brokers.url import BrokerUrl

STEP_LIMIT_S: Final = 2.0
ASK_LIMIT_S: Final = 1.0
_CORRELATION: Final = b"mqda"
_HELLOS: Final = (
    b"PING\r\n\r\n",  # Redis answers, HTTP complains, SSH greets anyway
    b"AMQP\x00\x00\x09\x01",
    b"\x00\x00\x00\x0a\x00\x12\x00\x00" + _CORRELATION + b"\xff\xff",  # Kafka: ApiVersions v0, no client id
)
_TLS_HANDSHAKE: Final = 0x16
_TLS_RECORDS = {0x15, _TLS_HANDSHAKE}
_NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_EOF_WHILE_READING"}


def tls_context(url: BrokerUrl) -> ssl.SSLContext | None:
    """The verifying context of a TLS URL (its `ca`, `cert`, `key` options), None for plain text. Reads files: blocking.

    Raises:
        TlsFailed: a file of the options cannot be read or is no certificate.
    """
    if not url.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=url.option("ca") or None)
        if url.option("cert"):
            context.load_cert_chain(url.option("cert"), url.option("key") or None)
    except (OSError, ssl.SSLError) as error:
        # An OSError names no file here: the options do.
        files = ", ".join(file for file in map(url.option, ("ca", "cert", "key")) if file)
        reason = "not a certificate or key" if isinstance(error, ssl.SSLError) else error.strerror
        raise TlsFailed(url.safe, f"cannot use {files or 'the certificates of this system'}: {reason}") from None
    return context


async def greet(url: BrokerUrl, context: ssl.SSLContext | None, hello: bytes, speaks: str) -> bytes:
    """Say `hello` to the first host that takes a connection, by TLS when there is a context; returns the first octets back.

    `speaks` is the protocol the caller wants ("Kafka"). Takes at most 2 s for each of: TCP, TLS, answer.

    Raises:
        BrokerUnavailable, TlsFailed, WrongProtocol: what the first host did, in words.
    """
    failures: list[BrokerError] = []
    for host, port in url.hosts:
        try:
            return await _greet(url, host, port, context, hello, speaks)
        except BrokerError as error:
            failures.append(error)
    raise failures[0]


async def _greet(
    url: BrokerUrl, host: str, port: int, context: ssl.SSLContext | None, hello: bytes, speaks: str
) -> bytes:
    where = f"{host}:{port}"
    try:
        octets = await _exchange(host, port, None, b"" if context else hello)
    except (OSError, TimeoutError) as error:
        raise BrokerUnavailable(url.safe, _socket_cause(error, host, where)) from None
    if context is not None:
        try:
            octets = await _exchange(host, port, context, hello)
        except (OSError, TimeoutError) as error:
            # Who waits for the rest of a plain-text line says nothing to TLS, like one who stands still.
            if isinstance(error, TimeoutError) and not await spoken_on(host, port):
                raise BrokerUnavailable(url.safe, f"{where} took the connection and said nothing") from None
            raise TlsFailed(url.safe, _tls_cause(error, url, where)) from None
    spoken = protocol_name(octets) or (await spoken_on(host, port) if not octets and context is None else "")
    if spoken == "TLS":
        raise WrongProtocol(url.safe, f"{where} speaks TLS; use {url.scheme}s://")
    if spoken and spoken != speaks:
        raise WrongProtocol(url.safe, f"{where} speaks {spoken}, not {speaks}; check the port")
    if not octets:
        # Silence proves nothing: a broker that stands still answers later, so this is tried again.
        raise BrokerUnavailable(
            url.safe,
            f"{where} took the connection, but does not answer as {speaks} does; check the port, or whether it is busy",
        )
    return octets


async def spoken_on(host: str, port: int) -> str:
    """What a port speaks that did not answer as it should: asked in each protocol at once; "" when none was understood.

    Takes at most 1 s. For the sentence only: nothing is logged in to, and no certificate is trusted.
    """
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    asked = [_answer(host, port, hello) for hello in _HELLOS]
    answers = await asyncio.gather(*asked, _answer(host, port, b"", anybody))
    return next((name for name in map(protocol_name, answers) if name), "")


async def _answer(host: str, port: int, hello: bytes, context: ssl.SSLContext | None = None) -> bytes:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ASK_LIMIT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                if context is not None:
                    return bytes((_TLS_HANDSHAKE,))
                writer.write(hello)
                return await reader.read(64)
            finally:
                writer.close()
    return b""


def protocol_name(octets: bytes) -> str:
    """What speaks like this, "" when the first bytes tell nothing."""
    if octets.startswith((b"HTTP/", b"<!DOCTYPE", b"<html")):
        return "HTTP"
    if octets.startswith((b"AMQP", b"\x01\x00\x00")):
        return "AMQP"
    if octets[4:8] == _CORRELATION:
        return "Kafka"
    if octets.startswith(b"SSH-"):
        return "SSH"
    if octets[:1] in {b"+", b"-", b"$", b"%", b"*"}:
        return "Redis"
    return "TLS" if octets[:1] and octets[0] in _TLS_RECORDS else ""


async def _exchange(host: str, port: int, context: ssl.SSLContext | None, hello: bytes) -> bytes:
    async with asyncio.timeout(STEP_LIMIT_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        if not hello:
            return b""
        writer.write(hello)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(STEP_LIMIT_S):
                return await reader.read(65536)
        return b""
    finally:
        writer.close()


def _socket_cause(error: BaseException, host: str, where: str) -> str:
    if isinstance(error, TimeoutError):
        return f"{where} does not answer (no connection within {STEP_LIMIT_S:g} s)"
    if isinstance(error, socket.gaierror):
        return f"host name {host!r} does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {where}: nothing listens there"
    return f"{where}: {getattr(error, 'strerror', None) or type(error).__name__}"


def _tls_cause(error: BaseException, url: BrokerUrl, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} does not pass: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason not in _NOT_TLS:
        return f"TLS with {where} failed: {error.reason or 'no reason given'}"
    return f"{where} does not speak TLS; for plain text use {url.scheme[:-1]}://"
