"""TLS and users, a Sentinel with a failover, a cluster of three: on real servers started here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mqdash.brokers.base import Broker, CanBrowse, CanSubscribe, HoldsDeadLetters, MovesInOne
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import AccessRefused, BrokerUnavailable, LoginRefused, NotFound, TlsFailed, WrongProtocol
from mqdash.model.delivery import Ack, DeadLetter, Delivery, Outgoing, Retry, Sent, Settled, Verdict
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from tests.brokers.redis.places import Server, cluster, secured, sentinel
from tests.conformance.helpers import take
from tests.faults.ports import make_certificate
from tests.support import until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120)]


@contextlib.asynccontextmanager
async def life(url: str) -> AsyncIterator[Broker]:
    broker = await connector_for(parse_url(url), clock=SystemClock()).connect()
    try:
        yield broker
    finally:
        await broker.close()


def entry(body: bytes = b"x") -> Outgoing:
    return Outgoing(Route("jobs"), compose(Draft(body=body), Family.REDIS_STREAMS))


def topology(*streams: str) -> Topology:
    return Topology(
        destinations=tuple(Destination(name=name, kind="stream", family=Family.REDIS_STREAMS) for name in streams),
        queues=tuple(Queue(ref=QueueRef(name, "g"), kind="group", family=Family.REDIS_STREAMS) for name in streams),
    )


async def test_fault_16_fault_37_tls_users_and_rights(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    with secured(tmp_path, made.path, made.key) as server:
        place = f"localhost:{server.port}?ca={made.path}"
        async with life(f"rediss://:geheim@{place}") as broker:
            await broker.declare(topology("jobs"))
            async with broker.publisher(name="p") as publisher:
                assert (await publisher.send([entry()]))[0].sent is Sent.CONFIRMED
        refused = [
            (f"rediss://{place}", LoginRefused, "wants a password"),
            (f"rediss://:falsch@{place}", LoginRefused, "login refused for user 'default'"),
            (f"rediss://nobody:falsch@{place}", LoginRefused, "login refused for user 'nobody'"),
            (f"rediss://:geheim@localhost:{server.port}", TlsFailed, "certificate"),
            (f"rediss://:geheim@127.0.0.1:{server.port}?ca={made.path}", TlsFailed, "certificate"),
            (f"redis://:geheim@localhost:{server.port}", WrongProtocol, "use rediss://"),
        ]
        for url, kind, words in refused:
            with pytest.raises(kind) as failure:
                await connector_for(parse_url(url), clock=SystemClock()).connect()
            assert words in failure.value.text
            assert "geheim" not in str(failure.value)
            assert "falsch" not in str(failure.value)
        watcher = connector_for(parse_url(f"rediss://looker:schau@{place}"), clock=SystemClock())
        looks = await watcher.observe()
        assert [one.waiting for one in await looks.measure([QueueRef("jobs", "g")])] == [1]
        await looks.close()
        async with life(f"rediss://looker:schau@{place}") as broker, broker.publisher(name="p") as publisher:
            [receipt] = await publisher.send([entry()])
            assert (receipt.sent, receipt.detail) == (Sent.REFUSED, "a right is missing (NOPERM)")
            with pytest.raises(AccessRefused, match="right is missing"):
                await broker.declare(topology("more"))


async def test_fault_34_a_sentinel_names_the_new_master_after_a_failover(tmp_path: Path) -> None:
    with sentinel(tmp_path) as (url, master, replica):
        with pytest.raises(NotFound, match="knows no service 'till'; it knows shop"):
            await connector_for(parse_url(url.replace("/shop", "/till")), clock=SystemClock()).connect()
        connector = connector_for(parse_url(url), clock=SystemClock())
        first = await connector.connect()
        await first.declare(topology("jobs"))
        async with first.publisher(name="p") as publisher:
            assert (await publisher.send([entry(b"before")]))[0].sent is Sent.CONFIRMED
        assert await until(lambda: "jobs" in replica.cli("KEYS", "*"), what="the replica has it")
        await asyncio.to_thread(master.kill9)
        assert await asyncio.wait_for(first.lost(), 10)
        await first.close()

        async def again() -> Broker | None:
            try:
                return await connector.connect()
            except BrokerUnavailable:
                return None

        second = await until(again, 30, every_s=0.3, what="the Sentinel names the new master")
        assert second is not None
        async with second.publisher(name="p") as publisher:
            assert (await publisher.send([entry(b"after")]))[0].sent is Sent.CONFIRMED
        assert isinstance(second, CanBrowse)
        assert [one.message.body for one in await second.browse(QueueRef("jobs"), newest=9)] == [b"before", b"after"]
        # Demoted under our hands, as by a failover to the old master that came back: this life is over.
        await asyncio.to_thread(replica.cli, "REPLICAOF", "127.0.0.1", "1")
        cause = await asyncio.wait_for(second.lost(), 10)
        assert "replica" in cause or "closed the connection" in cause
        await second.close()


async def test_a_cluster_of_three_nodes_works_as_one_broker(tmp_path: Path) -> None:
    streams = ("jobs", "mails", "bills", "logs")  # on all three nodes
    with cluster(tmp_path) as (url, servers):
        async with life(url) as broker:
            await broker.declare(topology(*streams))
            assert sum(int(server.cli("DBSIZE")) > 0 for server in servers) == 3
            async with broker.publisher(name="p") as publisher:
                batch = [Outgoing(Route(name), entry(b"%d" % at).message) for at in range(5) for name in streams]
                receipts = await publisher.send(batch)
                assert {receipt.sent for receipt in receipts} == {Sent.CONFIRMED}
            measured = await broker.measure([QueueRef(name, "g") for name in streams])
            assert [one.waiting for one in measured] == [5, 5, 5, 5]
            page = await broker.catalog()
            assert {one.name for one in page.entities if isinstance(one, Destination)} >= set(streams)
            for name in streams:
                await _worked_off(broker, name)
            await _replayed(broker, "jobs")
            await _heard(broker)
            await broker.remove(topology(*streams))
            assert [server.cli("DBSIZE").strip() for server in servers] == ["0", "0", "0"]


async def _worked_off(broker: Broker, name: str) -> None:
    """Acknowledged, retried and dead-lettered by scripts on one node."""
    async with broker.consume(QueueRef(name, "g"), name="w", prefetch=10) as consumer:
        taken = await take(consumer, 5)
        verdicts: list[tuple[Delivery, Verdict]] = [
            (taken[0], DeadLetter("E")),
            (taken[1], Retry(0.05)),
            *((one, Ack()) for one in taken[2:]),
        ]
        assert {outcome.settled for outcome in await consumer.settle(verdicts)} == {Settled.SETTLED}
        again = await take(consumer, 1)
        assert (again[0].message.body, again[0].message.attempt) == (b"1", 2)
        assert [one.settled for one in await consumer.settle([(again[0], Ack())])] == [Settled.SETTLED]


async def _replayed(broker: Broker, name: str) -> None:
    """To its own stream in one step; to one in another slot that is not possible."""
    assert isinstance(broker, HoldsDeadLetters)
    async with broker.lease(QueueRef(f"{{{name}}}:dlq")) as lease:
        assert isinstance(lease, MovesInOne)
        [letter] = lease.letters
        assert await lease.move([letter], [Outgoing(Route("mails"), letter.message)]) is None
        moved = await lease.move([letter], [Outgoing(Route(name), letter.message)])
        assert moved is not None
        assert [one.settled for one in moved] == [Settled.SETTLED]


async def _heard(broker: Broker) -> None:
    assert isinstance(broker, CanSubscribe)
    async with broker.subscribe(["ops.*"], name="s") as heard, broker.publisher(name="p") as publisher:
        message = compose(Draft(body=b"hello"), Family.REDIS_PUBSUB)
        await publisher.send([Outgoing(Route("ops.deploy"), message)])
        [delivery] = await asyncio.wait_for(heard.take(1), 5)
        assert delivery.message.body == b"hello"


async def test_a_moved_slot_is_followed_and_nothing_is_written_twice(tmp_path: Path) -> None:
    with cluster(tmp_path) as (url, servers):
        async with life(url) as broker, broker.publisher(name="p") as publisher:
            await publisher.send([entry(b"0")])
            await asyncio.to_thread(_move_slot, servers, "jobs")
            receipts = await publisher.send([entry(b"1"), entry(b"2")])
            assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED, Sent.CONFIRMED]
            assert isinstance(broker, CanBrowse)
            found = await broker.browse(QueueRef("jobs"), newest=9)
            assert [one.message.body for one in found] == [b"0", b"1", b"2"]


def _move_slot(servers: list[Server], key: str) -> None:
    """Give the key's slot, with the key, to another master."""
    slot = servers[0].cli("CLUSTER", "KEYSLOT", key).strip()
    ids = [server.cli("CLUSTER", "MYID").strip() for server in servers]
    source = next(at for at, server in enumerate(servers) if int(server.cli("CLUSTER", "COUNTKEYSINSLOT", slot)))
    target = (source + 1) % 3
    servers[target].cli("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    servers[source].cli("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    servers[source].cli("MIGRATE", "127.0.0.1", str(servers[target].port), key, "0", "5000")
    for server in (servers[target], servers[source], servers[(source + 2) % 3]):
        server.cli("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
