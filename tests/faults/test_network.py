"""Networks that go silent, reset, crawl and lie, between mqdash and each of the three brokers."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from mqdash.brokers.base import Broker, CanBrowse, TellsSilence
from mqdash.brokers.kafka.way import Way, stop
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.config import Config
from mqdash.errors import BrokerError, MqdashError
from mqdash.model.broker import LinkState
from mqdash.model.delivery import Ack, Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from mqdash.runtime import Target, attach_targets, lab_target
from tests.conformance.proxy import Proxy, advertised
from tests.faults.dashboards import Board, board
from tests.harness import require_target
from tests.support import until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

BROKERS = ("rabbitmq-4", "redis-8", "kafka-4")


@asynccontextmanager
async def through(name: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A way to the shared broker `name`, and the URL that leads along it."""
    target = require_target(name)
    login, _, address = target.url.partition("://")[2].rpartition("@")
    port = int(address.partition("/")[0].rpartition(":")[2])
    async with Proxy("127.0.0.1", port) as way:
        url = f"{target.family}://127.0.0.1:{way.port}"
        if target.family == "kafka":
            way.rewrite = advertised(port, way.port)
        elif target.family == "rabbitmq":
            assert target.management_url is not None
            management = target.management_url.rpartition("/")[2]
            url = f"amqp://{login}@127.0.0.1:{way.port}/?management={management}"
        yield way, url


@asynccontextmanager
async def life_on(url: str) -> AsyncIterator[Broker]:
    life = await connector_for(parse_url(url), clock=SystemClock()).connect()
    try:
        yield life
    finally:
        await life.close()


def attach(url: str) -> Target:
    [target] = attach_targets([url], Config(), {}, write=False)
    return target


async def goes_on(shown: Board, name: str) -> None:
    """The connection that is open now is answered."""
    await until(lambda: _answered(shown, name), what=f"{name} answers", every_s=0.05)


async def _answered(shown: Board, name: str) -> bool:
    with contextlib.suppress(MqdashError):
        return bool((await shown.attachment(name).life.catalog(limit=1)).source)
    return False


@pytest.mark.parametrize("name", BROKERS[1:])
async def test_5_a_broker_behind_a_way_that_forwards_nothing_is_stale_then_gone(name: str, tmp_path: Path) -> None:
    async with through(name) as (way, url), board([attach(url)], tmp_path) as shown:
        await until(lambda: shown.beside.state is LinkState.UP)
        assert isinstance(shown.attachment(shown.beside.name).life, TellsSilence)
        way.silence()
        await until(lambda: shown.beside.state is LinkState.STALE, 6)
        await shown.shows("◐", "silent", timeout_s=2)
        await shown.tells("does not answer", "no answer for")
        await shown.tells("is gone: ", "trying again")
        way.speak()
        await until(lambda: shown.beside.state is LinkState.UP, 25)
        await shown.tells("is back after")


@pytest.mark.parametrize("name", BROKERS)
async def test_20_a_connection_reset_on_the_way_is_opened_again_and_is_one_line_in_the_log(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mqdash")

    def logged() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("mqdash")]

    async with through(name) as (way, url), board([attach(url)], tmp_path) as shown:
        await goes_on(shown, shown.beside.name)
        caplog.clear()
        opened = way.opened
        way.reset()
        await until(lambda: way.opened > opened and shown.beside.state is LinkState.UP and bool(logged()))
        await goes_on(shown, shown.beside.name)
        if not name.startswith("kafka"):  # its client opens another connection within the same life
            await shown.tells("is gone: ", "trying again")
            await shown.tells("is back after")
        [line] = logged()
        assert "connection" in line
        assert any(word in line for word in ("lost", "dropped")), line


@dataclass
class Frames:
    """What the screen did while somebody looked: its best half second as a rate, and the longest time between two ticks.

    Other tests share this machine: the mean would tell of them, too. A screen that waits for a network of 2 s stands longer.
    """

    best_per_s: float
    longest_s: float


async def frames(shown: Board, for_s: float) -> Frames:
    """Look at the screen's tick for so long."""
    begun_s = last_s = time.monotonic()
    count = shown.app._ticks
    longest_s = 0.0
    halves: Counter[int] = Counter()
    while (now_s := time.monotonic()) - begun_s < for_s:
        if shown.app._ticks != count:
            halves[int((now_s - begun_s) / 0.5)] += shown.app._ticks - count
            count, longest_s, last_s = shown.app._ticks, max(longest_s, now_s - last_s), now_s
        await asyncio.sleep(0.005)
    return Frames(max(halves.values(), default=0) / 0.5, max(longest_s, time.monotonic() - last_s))


async def test_22_a_slow_network_slows_the_brokers_and_never_the_screen(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        ways, targets = [], []
        for name, scenario in zip(BROKERS, ("orders", "alerts", "clicks"), strict=True):
            way, url = await stack.enter_async_context(through(name))
            ways.append(way)
            run = f"slow-{uuid.uuid4().hex[:8]}"
            targets.append(await asyncio.to_thread(lab_target, scenario, url, Config(), {}, run=run, seed=7))
        shown = await stack.enter_async_context(board(targets, tmp_path))
        names = [target.name for target in targets]

        async def all_confirm(timeout_s: float) -> None:
            before = {name: shown.confirmed(name) for name in names}
            slowest = partial(min, names, key=lambda name: shown.confirmed(name) - before[name])
            try:
                await until(lambda: shown.confirmed(slowest()) > before[slowest()] + 5, timeout_s)
            except AssertionError:
                raise AssertionError(f"{slowest()} confirms nothing:\n{shown.story}") from None

        await all_confirm(30)
        for way in ways:
            way.delay_s = 2.0
        slow, _ = await asyncio.gather(frames(shown, 3), all_confirm(30))
        for way in ways:
            way.delay_s, way.bytes_per_s = 0.0, 10_000
        narrow, _ = await asyncio.gather(frames(shown, 3), all_confirm(30))
        for way in ways:
            way.bytes_per_s = 0
        await all_confirm(30)
        for found in (slow, narrow):
            assert found.best_per_s >= 20, (slow, narrow)
            assert found.longest_s < 1.5, (slow, narrow)


def damaging(at: int, honest: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A rewrite that damages byte `at` of the next answer, once."""
    done = False

    def damaged(data: bytes) -> bytes:
        nonlocal done
        found = bytearray(honest(data))
        if not done and -len(found) <= at < len(found):
            done = True
            found[at] ^= 0x55
        return bytes(found)

    return damaged


@pytest.mark.parametrize(
    ("name", "places"),
    [
        pytest.param("rabbitmq-4", (0, 7, 9, -1), id="rabbitmq-4"),  # the frame's kind, its method, its end
        pytest.param("redis-8", (0, 1, 2), id="redis-8"),  # the kind of a reply, its length
        pytest.param("kafka-4", (4, 7), id="kafka-4"),  # the number of the question
    ],
)
async def test_23_damaged_answers_are_a_protocol_error_and_a_new_connection_works(
    name: str, places: tuple[int, ...]
) -> None:
    async def damaged_at(at: int) -> str:
        """The first words about it: of the question that met it, or of the end of the connection."""
        async with through(name) as (way, url), life_on(url) as life:
            honest = way.rewrite
            assert (await life.catalog(limit=1)).source
            way.rewrite = damaging(at, honest)
            lost = asyncio.create_task(life.lost())
            told = ""
            while not told:
                with contextlib.suppress(TimeoutError):
                    told = await asyncio.wait_for(asyncio.shield(lost), 0.1)
                try:
                    await life.catalog(limit=1)
                except BrokerError as error:
                    told = error.text
            lost.cancel()
            way.rewrite = honest
            async with life_on(url) as again:
                assert (await again.catalog(limit=1)).source
            return told

    told = await asyncio.wait_for(asyncio.gather(*(damaged_at(at) for at in places)), 10)
    assert all("protocol error" in words for words in told), told


async def test_23_damaged_answers_never_end_the_screen(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        ways, targets = [], []
        for name in BROKERS:
            way, url = await stack.enter_async_context(through(name))
            ways.append((way, way.rewrite))
            targets.append(attach(url))
        shown = await stack.enter_async_context(board(targets, tmp_path))
        names = [target.name for target in targets]
        await until(lambda: all(shown.state(name) is LinkState.UP for name in names))
        for name, (way, honest) in zip(BROKERS, ways, strict=True):
            way.rewrite = damaging(4 if name.startswith("kafka") else 0, honest)
        await shown.tells("rabbitmq at", "is gone: protocol error: what came is no AMQP")
        await shown.tells("redis at", "is gone: protocol error: the answer is not what Redis speaks")
        await until(lambda: all(shown.state(name) is LinkState.UP for name in names))
        for name in names:
            await goes_on(shown, name)
        assert shown.app.failures == []


async def test_23_a_damaged_kafka_record_is_named_what_stands_before_it_is_read_and_it_can_be_skipped() -> None:
    topic = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    ref = QueueRef(topic, f"{topic}-group")
    topology = Topology(
        destinations=(Destination(name=topic, kind="topic", family=Family.KAFKA),),
        queues=(Queue(ref=ref, kind="group", family=Family.KAFKA),),
    )
    async with through("kafka-4") as (way, url), life_on(url) as life:
        await life.declare(topology)
        async with life.publisher(name="p") as publisher:
            for body in (b"first", b"second", b"bad one", b"behind"):  # a batch each
                batch = [Outgoing(Route(topic), compose(Draft(body=body), Family.KAFKA))]
                assert [receipt.sent for receipt in await publisher.send(batch)] == [Sent.CONFIRMED]
        honest = way.rewrite
        way.rewrite = lambda data: honest(data).replace(b"bad one", b"bad own")
        read: list[bytes] = []
        told: list[str] = []

        async def work() -> None:
            """Take and settle until a member ends."""
            async with life.consume(ref, name="w", prefetch=10, session_timeout_s=0.5) as worker:
                try:
                    while len(read) < 3:
                        taken = await asyncio.wait_for(worker.take(10), 10)
                        await worker.settle([(one, Ack()) for one in taken])
                        read.extend(one.message.body for one in taken)
                except BrokerError as error:
                    told.append(error.text)

        await work()
        await work()
        assert read == [b"first", b"second"]
        assert f"topic {topic!r} partition 0: record 2 is damaged (CRC)" in told[1]
        command = f"kafka-consumer-groups --bootstrap-server <host:port> --group {ref.group} --topic {topic}:0"
        assert f"{command} --reset-offsets --to-offset 3 --execute" in told[1]
        assert isinstance(life, CanBrowse)
        with pytest.raises(BrokerError, match=r"record 2 is damaged \(CRC\)"):
            await life.browse(ref, newest=10)
        await commit(url, ref, 3)
        await work()
        assert read == [b"first", b"second", b"behind"]
        async with life.publisher(name="p") as publisher:
            await publisher.send([Outgoing(Route(topic), compose(Draft(body=b"more"), Family.KAFKA))] * 4)
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=0.5) as worker:
            assert len(await asyncio.wait_for(worker.take(10), 10)) == 4  # no more one by one
        await life.remove(topology)


async def commit(url: str, ref: QueueRef, offset: int) -> None:
    """What the command of the message does: the group goes on at `offset`."""
    way = await Way.find(parse_url(url))
    committer = await way.committer(ref.group)
    place = TopicPartition(ref.name, 0)
    committer.assign([place])
    await committer.commit({place: offset})
    await stop(committer)
