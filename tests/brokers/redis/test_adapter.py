"""The Redis adapter where only a real server can tell: causes in words, lost replies, dead connections."""

import asyncio
import uuid

import pytest
from redis.exceptions import ResponseError

from mqdash.brokers.redis import scripts
from mqdash.brokers.redis.entries import packed, unpacked
from mqdash.brokers.redis.session import Lost, Session
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import (
    BrokerError,
    BrokerUnavailable,
    Conflict,
    ConnectionLost,
    LoginRefused,
    NotFound,
    WrongProtocol,
)
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Draft, Entry, Family, Message, compose
from mqdash.model.topology import Destination, Route, Topology
from tests.conformance.proxy import Proxy
from tests.harness import Target, broker_targets, target


def test_S2_packed_fields_keep_order_repeats_and_bytes() -> None:
    fields = ((b"a", b"\x00\xff"), (b"b", b""), (b"a", b"2"))
    message = Message(content=fields, native=Entry())
    assert unpacked(packed(message)).content == fields
    assert unpacked(b"not ours").field("body") == b"not ours"


@broker_targets("redis")
async def test_F4_a_cut_connection_is_unknown_and_nothing_is_sent_again(target: Target) -> None:
    url = parse_url(target.url)
    key = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    host, port = url.hosts[0]
    direct = await Session.open(url, "direct")
    try:
        async with Proxy(host, port) as proxy:
            life = await connector_for(
                parse_url(target.url.replace(f":{port}", f":{proxy.port}", 1)), clock=SystemClock()
            ).connect()
            async with life.publisher(name="p") as publisher:
                batch = [Outgoing(Route(key), compose(Draft(body=b"x"), Family.REDIS_STREAMS))]
                assert (await publisher.send(batch))[0].sent is Sent.CONFIRMED
                proxy.cut()
                assert (await publisher.send(batch))[0].sent is Sent.UNKNOWN
            await life.close()
        assert await direct.call("XLEN", key) == 1
    finally:
        await direct.call("DEL", key)
        await direct.close()


@broker_targets("redis")
async def test_a_cancelled_command_does_not_shift_the_replies_of_the_next(target: Target) -> None:
    session = await Session.open(parse_url(target.url), "test")
    try:
        blocked = asyncio.create_task(session.call("BLPOP", f"mqdash-test-{uuid.uuid4().hex}", 0.2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        blocked.cancel()
        assert await session.call("ECHO", "mine") == b"mine"
    finally:
        await session.close()


@broker_targets("redis")
async def test_text_that_cannot_be_written_is_refused_and_the_session_lives(target: Target) -> None:
    session = await Session.open(parse_url(target.url), "test")
    try:
        with pytest.raises(BrokerError, match=r"not sent: '\\udc80' in it cannot be written"):
            await session.call("XLEN", "a\udc80")
        for large in (b"", b"x" * 40_000):  # packed in two ways
            first, bad, last = await session.run([("ECHO", "1"), ("SET", "a\udc80", large), ("ECHO", "2")])
            assert (first, type(bad), last) == (b"1", ResponseError, b"2")
        assert session.cause is None
    finally:
        await session.close()


@broker_targets("redis")
async def test_F8_silence_ends_the_session_with_a_cause(target: Target) -> None:
    session = await Session.open(parse_url(target.url), "test")
    causes: list[str] = []
    session.ended = causes.append
    [result] = await session.run([("BLPOP", f"mqdash-test-{uuid.uuid4().hex}", 5)], limit_s=0.05)
    assert isinstance(result, Lost)
    assert causes == ["no answer in time"]
    with pytest.raises(ConnectionLost):
        await session.call("PING")
    await session.close()


@broker_targets("redis")
async def test_F6_a_dead_letter_that_cannot_be_copied_leaves_the_entry_pending(target: Target) -> None:
    session = await Session.open(parse_url(target.url), "test")
    stream, other = (f"mqdash-test-{uuid.uuid4().hex[:12]}" for _ in range(2))
    try:
        await session.call("XGROUP", "CREATE", stream, "g", "0", "MKSTREAM")
        entry_id = await session.call("XADD", stream, "*", "body", "x")
        await session.call("XREADGROUP", "GROUP", "g", "w", "STREAMS", stream, ">")
        await session.call("SET", other, "a string")
        [result] = await session.scripts(scripts.BURY, [((stream, other), ("g", "w", entry_id, "body", "x"))])
        assert "WRONGTYPE" in str(result)
        assert (await session.call("XPENDING", stream, "g"))[0] == 1
    finally:
        await session.call("DEL", stream, other)
        await session.close()


@broker_targets("redis")
async def test_a_key_of_another_kind_is_a_conflict(target: Target) -> None:
    session = await Session.open(parse_url(target.url), "test")
    key = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    await session.call("SET", key, "a string")
    life = await connector_for(parse_url(target.url), clock=SystemClock()).connect()
    try:
        with pytest.raises(Conflict) as conflict:
            await life.declare(Topology(destinations=(Destination(name=key, kind="stream"),)))
        assert key in str(conflict.value)
        assert await life.measure([]) == []
    finally:
        await life.close()
        await session.call("DEL", key)
        await session.close()


@pytest.mark.broker
@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("redis://127.0.0.1:1", BrokerUnavailable, "refused"),
        ("redis://no-such-host.invalid", BrokerUnavailable, "does not resolve"),
        ("redis://user:geheim@{kafka-4}", WrongProtocol, "check the port"),
        ("redis://user:geheim@{redis-7}", LoginRefused, "login refused for user 'user'"),
        ("redis://:geheim@{redis-8}", LoginRefused, "login refused"),
        ("redis://{redis-7}/99", NotFound, "no database '99'"),
    ],
)
async def test_fault_17_a_failed_connect_says_why(url: str, kind: type[BrokerError], words: str) -> None:
    if "{" in url:
        name = url[url.index("{") + 1 : url.index("}")]
        found = target(name)
        if not found.available:
            pytest.skip(f"{name}: {found.reason}")
        address = parse_url(found.url).hosts[0]
        url = url.replace("{" + name + "}", f"{address[0]}:{address[1]}")
    with pytest.raises(kind) as failure:
        async with asyncio.timeout(8):
            await connector_for(parse_url(url), clock=SystemClock()).connect()
    assert words in failure.value.text
    assert "geheim" not in str(failure.value)
