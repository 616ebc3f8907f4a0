"""Every way a connection can fail to open ends within 8 s, with the cause in words and without the password."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mqdash.brokers.base import Connector
from mqdash.brokers.rabbitmq import connector, link
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import BrokerError, BrokerUnavailable, LoginRefused, NotFound, TlsFailed, WrongProtocol
from tests.brokers.rabbitmq import admin
from tests.harness import Target, broker_targets

CANARY = "hunter2-canary"


def _connector(url: str) -> Connector:
    return connector(parse_url(url), clock=SystemClock())


async def _refusal(url: str) -> BrokerError:
    begun_s = time.monotonic()
    with pytest.raises(BrokerError) as refused:
        await _connector(url).connect()
    assert time.monotonic() - begun_s < 8
    seen: BaseException | None = refused.value
    while seen is not None:
        assert CANARY not in f"{seen} {seen!r} {seen.__dict__}"
        seen = seen.__cause__ or seen.__context__
    return refused.value


@contextlib.asynccontextmanager
async def _serving(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_1_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await _refusal(f"amqp://guest:{CANARY}@127.0.0.1:{port}/")
    assert isinstance(error, BrokerUnavailable)
    assert error.retryable
    assert "refused" in error.text
    assert str(port) in error.text


async def test_19_a_name_that_does_not_resolve() -> None:
    error = await _refusal(f"amqp://guest:{CANARY}@no-such-host.invalid/")
    assert isinstance(error, BrokerUnavailable)
    assert "does not resolve" in error.text


async def test_3_a_port_that_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with _serving(silent) as port:
        error = await _refusal(f"amqp://guest:{CANARY}@127.0.0.1:{port}/")
    assert isinstance(error, BrokerUnavailable)
    assert "said nothing" in error.text


async def test_18_a_server_that_hangs_up_in_the_handshake() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    async with _serving(rude) as port:
        error = await _refusal(f"amqp://guest:{CANARY}@127.0.0.1:{port}/")
    assert isinstance(error, BrokerUnavailable)
    assert error.retryable
    assert "handshake" in error.text


@broker_targets("rabbitmq")
async def test_17_http_on_the_port(target: Target) -> None:
    assert target.management_url is not None
    address = target.management_url.rpartition("@")[2]
    error = await _refusal(f"amqp://guest:{CANARY}@{address}/")
    assert isinstance(error, WrongProtocol)
    assert "HTTP" in error.text


@broker_targets("redis")
async def test_17_redis_on_the_port(target: Target) -> None:
    error = await _refusal(target.url.replace("redis://", f"amqp://guest:{CANARY}@").partition("/0")[0] + "/")
    assert isinstance(error, WrongProtocol)
    assert "Redis" in error.text


@broker_targets("rabbitmq")
async def test_13_a_wrong_password_is_refused_and_never_shown(target: Target) -> None:
    error = await _refusal(target.url.replace("guest:guest@", f"guest:{CANARY}@"))
    assert isinstance(error, LoginRefused)
    assert not error.retryable
    assert "guest" in error.text


@broker_targets("rabbitmq")
async def test_15_a_missing_vhost(target: Target) -> None:
    error = await _refusal(target.url.rstrip("/") + "/no-such-vhost")
    assert isinstance(error, NotFound)
    assert "no-such-vhost" in error.text


@broker_targets("rabbitmq")
async def test_a_connection_limit_is_worth_another_try(target: Target) -> None:
    with admin.user(target) as (name, url):
        admin.ask(target, "PUT", f"/user-limits/{name}/max-connections", {"value": 0})
        error = await _refusal(url)
    assert isinstance(error, BrokerUnavailable)
    assert error.retryable
    assert "connection limit (0) is reached" in error.text


@broker_targets("rabbitmq")
async def test_no_connection_stays_open_when_its_first_channel_does_not(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "RPC_TIMEOUT_S", 0.3)
    ended = asyncio.Event()

    async def until_a_channel_is_asked_for(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(target.url)
        assert parts.hostname is not None
        answers, questions = await asyncio.open_connection(parts.hostname, parts.port)
        pumping = asyncio.create_task(_pump(answers, writer))
        while data := await reader.read(65536):
            if b"\x00\x14\x00\x0a" in data:  # channel.open
                continue
            questions.write(data)
        ended.set()
        pumping.cancel()
        questions.close()
        writer.close()

    async with _serving(until_a_channel_is_asked_for) as port:
        error = await _refusal(f"amqp://guest:guest@127.0.0.1:{port}/")
        assert "opening a channel" in error.text
        async with asyncio.timeout(5):
            await ended.wait()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@broker_targets("rabbitmq")
async def test_16_tls_to_a_plain_port(target: Target) -> None:
    error = await _refusal(target.url.replace("amqp://", "amqps://"))
    assert isinstance(error, TlsFailed)
    assert "does not speak TLS" in error.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate for the TLS tests")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(make, check=True, capture_output=True)
    return cert, key


@contextlib.asynccontextmanager
async def _tls_port(certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with _serving(hang_up, context) as port:
        yield port


async def test_16_an_unknown_ca(certificate: tuple[Path, Path]) -> None:
    async with _tls_port(certificate) as port:
        error = await _refusal(f"amqps://guest:{CANARY}@localhost:{port}/")
    assert isinstance(error, TlsFailed)
    assert "certificate" in error.text


async def test_16_a_certificate_for_another_host(certificate: tuple[Path, Path]) -> None:
    async with _tls_port(certificate) as port:
        error = await _refusal(f"amqps://guest:{CANARY}@127.0.0.1:{port}/?ca={certificate[0]}")
    assert isinstance(error, TlsFailed)
    assert "127.0.0.1" in error.text


async def test_16_plain_text_to_a_tls_port(certificate: tuple[Path, Path]) -> None:
    async with _tls_port(certificate) as port:
        error = await _refusal(f"amqp://guest:{CANARY}@127.0.0.1:{port}/")
    assert isinstance(error, WrongProtocol)
    assert "amqps://" in error.text


async def test_16_a_ca_file_that_cannot_be_read() -> None:
    error = await _refusal(f"amqps://guest:{CANARY}@127.0.0.1:1/?ca=/no/such/file.pem")
    assert isinstance(error, TlsFailed)
    assert "/no/such/file.pem" in error.text


@broker_targets("rabbitmq")
async def test_a_cancelled_connect_leaves_nothing_behind(target: Target) -> None:
    connecting = asyncio.ensure_future(_connector(target.url).connect())
    await asyncio.sleep(0.002)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    broker = await _connector(target.url).connect()
    await broker.close()
