"""Faults of semantics §3 on a Redis of the test's own; the number of each is in its test's name."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mqdash.brokers.base import Broker, CanBrowse, CanSubscribe, Consumer, HoldsDeadLetters, MovesInOne
from mqdash.brokers.redis import scripts, subscription
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.config import Config
from mqdash.errors import BrokerUnavailable, ConnectionLost, ConsumerCancelled
from mqdash.model.broker import LinkState
from mqdash.model.delivery import Ack, DeadLetter, Outgoing, Receipt, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from mqdash.runtime import lab_target
from tests.brokers.redis.places import Server, ended, free_ports
from tests.conformance.helpers import settle, take
from tests.conformance.proxy import Proxy
from tests.faults.dashboards import board
from tests.support import until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(60)]

JOBS = QueueRef("jobs", "g")
DEAD = QueueRef("{jobs}:dlq")
TOPOLOGY = Topology(
    destinations=(Destination(name="jobs", kind="stream", family=Family.REDIS_STREAMS),),
    queues=(Queue(ref=JOBS, kind="group", family=Family.REDIS_STREAMS),),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    [port] = free_ports(1)
    loading = ("--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024")
    own = Server(tmp_path / "redis", port, "--port", str(port), "--enable-debug-command", "local", *loading)
    with ended([own]):
        yield own


@contextlib.asynccontextmanager
async def life(port: int) -> AsyncIterator[Broker]:
    broker = await connector_for(parse_url(f"redis://127.0.0.1:{port}"), clock=SystemClock()).connect()
    try:
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def working(server: Server) -> AsyncIterator[tuple[Broker, Consumer]]:
    """A life with the stream `jobs`, and a consumer of its group."""
    async with life(server.port) as broker:
        await broker.declare(TOPOLOGY)
        async with broker.consume(JOBS, name="w", prefetch=10) as consumer:
            yield broker, consumer


async def send(broker: Broker, *bodies: bytes) -> list[Receipt]:
    async with broker.publisher(name="p") as publisher:
        batch = [Outgoing(Route("jobs"), compose(Draft(body=body), Family.REDIS_STREAMS)) for body in bodies]
        return list(await publisher.send(batch))


async def cli(server: Server, *words: str) -> str:
    return await asyncio.to_thread(server.cli, *words)


async def test_8_a_disk_that_cannot_be_written_is_said_in_the_brokers_words(server: Server) -> None:
    async with life(server.port) as broker:
        await broker.declare(TOPOLOGY)
        await cli(server, "CONFIG", "SET", "save", "3600 100000")
        (server.folder / "dump.rdb").mkdir()
        await cli(server, "BGSAVE")
        await until(lambda: "rdb_last_bgsave_status:err" in server.cli("INFO", "persistence"), every_s=0.05)
        [receipt] = await send(broker, b"x")
        assert receipt.sent is Sent.REFUSED
        assert receipt.detail.startswith(
            "the broker cannot save to disk and refuses writes (MISCONF): MISCONF Redis is"
        )


async def test_21_a_lost_reply_is_unknown_and_the_entry_is_written_once(server: Server) -> None:
    async with (
        Proxy("127.0.0.1", server.port) as way,
        life(way.port) as broker,
        broker.publisher(name="p") as publisher,
    ):
        batch = [Outgoing(Route("jobs"), compose(Draft(body=b"once"), Family.REDIS_STREAMS))]
        way.mute()
        sending = asyncio.ensure_future(publisher.send(batch))
        await until(lambda: way.muted > 0, what="the reply is swallowed")
        way.cut()
        [receipt] = await sending
        assert receipt.sent is Sent.UNKNOWN
        assert await asyncio.wait_for(broker.lost(), 5)
    assert await cli(server, "XLEN", "jobs") == "1\n"


async def test_21_a_replay_whose_reply_is_lost_is_unknown_and_its_repeat_makes_no_duplicate(server: Server) -> None:
    async with working(server) as (broker, consumer):
        await send(broker, b"poison")
        [taken] = await take(consumer, 1)
        await settle(consumer, [(taken, DeadLetter("E"))])
    async with Proxy("127.0.0.1", server.port) as way, life(way.port) as broker:
        assert isinstance(broker, HoldsDeadLetters)
        async with broker.lease(DEAD) as lease:
            assert isinstance(lease, MovesInOne)
            copies = [Outgoing(Route("jobs"), lease.letters[0].message)]
            await cli(server, "SCRIPT", "LOAD", scripts.MOVE.text)  # else the lost reply is "no such script"
            way.mute()
            moving = asyncio.ensure_future(lease.move(lease.letters, copies))
            await until(lambda: int(server.cli("XLEN", "jobs")) == 2, what="the script has run")
            way.cut()
            outcomes = await moving
            assert outcomes is not None
            assert outcomes[0].settled is Settled.UNKNOWN
            assert "cannot make a duplicate" in outcomes[0].detail
            letters = lease.letters
    async with life(server.port) as broker:
        assert isinstance(broker, HoldsDeadLetters)
        async with broker.lease(DEAD) as lease:
            assert isinstance(lease, MovesInOne)
            assert lease.letters == []
            again = await lease.move(letters, copies)
            assert again is not None
            assert again[0].settled is Settled.STALE
    assert await cli(server, "XLEN", "jobs") == "2\n"


async def test_34_a_node_that_became_a_replica_refuses_and_keeps_everything(server: Server) -> None:
    async with working(server) as (broker, consumer):
        await send(broker, b"held")
        [taken] = await take(consumer, 1)
        await cli(server, "REPLICAOF", "127.0.0.1", "1")
        [receipt] = await send(broker, b"x")
        assert (receipt.sent, receipt.detail) == (
            Sent.REFUSED,
            "the node is a replica and refuses writes (READONLY)",
        )
        [outcome] = await consumer.settle([(taken, DeadLetter("E"))])
        assert outcome.settled is Settled.FAILED
        assert "READONLY" in outcome.detail
        await cli(server, "REPLICAOF", "NO", "ONE")
        await settle(consumer, [(taken, Ack())])


async def test_35_a_broker_that_loads_its_data_says_how_far_and_is_tried_again(server: Server) -> None:
    await cli(server, "DEBUG", "POPULATE", "6000")
    await cli(server, "SAVE")
    server.kill9()
    await asyncio.to_thread(server.start)

    async def loading() -> bool:  # on a busy machine it may say nothing at all at first
        with pytest.raises(BrokerUnavailable) as failure:
            async with life(server.port):
                pass
        assert failure.value.retryable
        return re.search(r"loading its dataset, \d+ %", failure.value.text) is not None

    await until(loading, 20)
    await until(lambda: "\nloading:0" in server.cli("INFO", "persistence"), 20, every_s=0.1)
    async with life(server.port) as broker:
        assert [receipt.sent for receipt in await send(broker, b"x")] == [Sent.CONFIRMED]


async def test_36_S20_out_of_memory_refuses_what_adds_and_still_settles(server: Server) -> None:
    async with working(server) as (broker, consumer):
        await send(broker, b"0", b"1")
        taken = await take(consumer, 2)
        await cli(server, "CONFIG", "SET", "maxmemory", "1")
        [receipt] = await send(broker, b"x")
        assert (receipt.sent, "(OOM)" in receipt.detail) == (Sent.REFUSED, True)
        [moved] = await consumer.settle([(taken[0], DeadLetter("E"))])
        assert (moved.settled, "(OOM)" in moved.detail) == (Settled.FAILED, True)
        await settle(consumer, [(taken[0], Ack()), (taken[1], Ack())])


async def test_37_a_right_taken_away_in_the_middle_is_refused_by_name(server: Server) -> None:
    await cli(server, "ACL", "SETUSER", "shop", "on", ">geheim", "~*", "&*", "+@all")
    connector = connector_for(parse_url(f"redis://shop:geheim@127.0.0.1:{server.port}"), clock=SystemClock())
    broker = await connector.connect()
    assert [receipt.sent for receipt in await send(broker, b"x")] == [Sent.CONFIRMED]
    await cli(server, "ACL", "SETUSER", "shop", "-xadd")
    [receipt] = await send(broker, b"x")
    assert (receipt.sent, receipt.detail) == (Sent.REFUSED, "a right is missing (NOPERM)")
    assert await broker.measure([QueueRef("jobs")])
    await broker.close()


@pytest.mark.parametrize(
    "deed", [("DEL", "jobs"), ("XGROUP", "DESTROY", "jobs", "g"), ("SET", "jobs", "something else")]
)
async def test_38_S14_S15_a_key_that_goes_under_a_blocked_reader_ends_it_in_words(
    server: Server, deed: tuple[str, ...]
) -> None:
    async with working(server) as (broker, consumer):
        waiting = asyncio.ensure_future(consumer.take(1))
        await until(lambda: "cmd=xreadgroup" in server.cli("CLIENT", "LIST"))
        await cli(server, *deed)
        with pytest.raises(ConsumerCancelled, match=r"was deleted|holds something else"):
            await asyncio.wait_for(waiting, 5)
        held = {"DEL": "none\n", "XGROUP": "stream\n", "SET": "string\n"}
        assert await cli(server, "TYPE", "jobs") == held[deed[0]]  # nothing is made again by itself
        assert await broker.measure([JOBS]) == []


async def test_39_P5_P6_a_slow_subscriber_is_cut_off_and_told_why(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "BUFFERED", 5)
    await cli(server, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    async with life(server.port) as broker:
        assert isinstance(broker, CanSubscribe)
        async with broker.subscribe(["news"], name="slow") as slow, broker.publisher(name="p") as publisher:
            message = compose(Draft(body=b"x" * 100_000), Family.REDIS_PUBSUB)
            receivers = 1
            while receivers:
                [receipt] = await publisher.send([Outgoing(Route("news"), message)])
                assert receipt.sent is Sent.CONFIRMED  # the publisher is not slowed
                receivers = int(receipt.position or "0")

            async def read() -> None:
                while True:
                    await slow.take(10)

            with pytest.raises(ConnectionLost, match="read too slowly for client-output-buffer-limit"):
                await asyncio.wait_for(read(), 10)


async def test_39_P6_a_subscriber_that_was_cut_off_shows_its_gap(server: Server, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{server.port}"
    target = await asyncio.to_thread(lab_target, "alerts", url, Config(), {}, run="gap", seed=7)
    async with board([target], tmp_path) as shown:
        await until(lambda: server.cli("CLIENT", "LIST", "TYPE", "pubsub").count("name=O") == 2, every_s=0.1)
        await cli(server, "CLIENT", "KILL", "TYPE", "pubsub")
        await shown.tells("was away for", "ops.*", "is not kept")
        await until(lambda: server.cli("CLIENT", "LIST", "TYPE", "pubsub").count("name=O") == 2, every_s=0.1)


async def test_40_F5_a_reader_waits_longer_than_any_socket_timeout(server: Server) -> None:
    async with working(server) as (broker, consumer):
        waiting = asyncio.ensure_future(consumer.take(1))
        done, _ = await asyncio.wait({waiting}, timeout=5.5)  # redis-py's own gives up after 5.0 s
        assert not done
        await send(broker, b"late")
        assert [one.message.body for one in await asyncio.wait_for(waiting, 5)] == [b"late"]


async def test_41_a_script_that_never_ends_is_said_and_survived(server: Server) -> None:
    await cli(server, "CONFIG", "SET", "busy-reply-threshold", "100")
    async with life(server.port) as broker, broker.publisher(name="p") as publisher:
        spinning = asyncio.create_task(asyncio.to_thread(_spin, server))
        await until(lambda: _busy(server), every_s=0.1)
        batch = [Outgoing(Route("jobs"), compose(Draft(body=b"x"), Family.REDIS_STREAMS))]
        receipts = await publisher.send(batch)
        assert [receipt.sent for receipt in receipts] == [Sent.REFUSED]
        with pytest.raises(BrokerUnavailable, match="BUSY"):
            async with life(server.port):
                pass
        assert "(BUSY)" in receipts[0].detail
        assert "a script runs on the broker" in await asyncio.wait_for(broker.lost(), 10)
        await cli(server, "SCRIPT", "KILL")
        await spinning
    async with life(server.port) as broker:
        assert isinstance(broker, CanBrowse)
        assert [receipt.sent for receipt in await send(broker, b"y")] == [Sent.CONFIRMED]
        assert [one.message.body for one in await broker.browse(QueueRef("jobs"), newest=9)] == [b"y"]


def _spin(server: Server) -> None:
    assert "killed" in server.cli("EVAL", "while true do end", "0")


def _busy(server: Server) -> bool:
    return "BUSY" in server.cli("PING")


async def test_14_37_rights_that_go_in_the_middle_are_told_with_their_reason(server: Server, tmp_path: Path) -> None:
    await cli(server, "ACL", "SETUSER", "shop", "on", ">geheim", "~*", "&*", "+@all")
    url = f"redis://shop:geheim@127.0.0.1:{server.port}"
    target = await asyncio.to_thread(lab_target, "alerts", url, Config(), {}, run="rights", seed=7)
    async with board([target], tmp_path) as shown:
        await until(lambda: shown.confirmed("alerts") > 20, 20)
        await cli(server, "ACL", "SETUSER", "shop", "-xadd")
        await shown.tells("cannot publish: a right is missing (NOPERM)")
        await cli(server, "ACL", "SETUSER", "shop", "-xreadgroup")
        await shown.tells("takes nothing: logged in, but a right is missing (NOPERM)")
        assert shown.state("alerts") is LinkState.UP
        before = shown.confirmed("alerts")
        await cli(server, "ACL", "SETUSER", "shop", "+@all")
        await until(lambda: shown.confirmed("alerts") > before + 20, 20)
        assert shown.app.failures == []
