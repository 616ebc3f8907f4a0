"""What happens at the limits of a Redis: on servers of the tests' own, because limits are everybody's."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
import redis

from mqdash.brokers.base import CanSubscribe
from mqdash.brokers.redis import subscription
from mqdash.errors import ConnectionLost
from mqdash.model.delivery import DeadLetter, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Route
from tests.conformance.helpers import ack, publish, take
from tests.conformance.streams import MODEL, RealStreams, real_redis
from tests.conformance.subjects import REDIS, Subject, make_subject
from tests.harness import start_or_skip


@pytest.fixture(scope="module")
def owned() -> Iterator[Callable[[str], Subject]]:
    """One of each, started when first asked for."""
    with ExitStack() as until_the_end:

        def start(name: str) -> Subject:
            if name == MODEL:
                return make_subject(name)
            return Subject(name, Family.REDIS_STREAMS, REDIS, until_the_end.enter_context(start_or_skip(name)).url)

        yield cache(start)


@pytest.fixture
def own(request: pytest.FixtureRequest, owned: Callable[[str], Subject]) -> Subject:
    return owned(request.param)


@pytest.fixture
def server(own: Subject) -> Iterator[RealStreams]:
    """Bare commands to it, and its settings; a full memory is made room in at the end."""
    streams = RealStreams(own.url)
    yield streams
    streams.ask("CONFIG", "SET", "maxmemory", "0")
    streams.end()


everywhere = pytest.mark.parametrize("own", [MODEL, *real_redis()], indirect=True)
really = pytest.mark.parametrize("own", real_redis(), indirect=True)


@really
def test_S20_out_of_memory_adding_is_refused_and_the_rest_works(own: Subject, server: RealStreams) -> None:
    ids = [server.add(b"%d" % number) for number in range(4)]
    server.read("w", 3)
    server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        server.add()
    assert server.ack(ids[0]) == 1
    assert server.delete(ids[0]) == 1
    assert server.claim("other", ids[1]) == [ids[1]]
    assert server.read("w") == [(ids[3], b"3")]
    pipe = server.client.pipeline(transaction=True)
    pipe.execute_command("XACK", server.key, "g", ids[2])
    pipe.execute_command("XADD", server.key, "*", "body", "x")
    with pytest.raises(redis.exceptions.OutOfMemoryError):  # refused when queued: nothing of it happens
        pipe.execute()
    assert set(server.pending()) == {*ids[1:]}


@really
async def test_S20_out_of_memory_a_move_fails_whole_and_settling_goes_on(own: Subject, server: RealStreams) -> None:
    work = own.work()
    async with own.life() as broker:
        await broker.declare(work.topology)
        await publish(broker, work, [own.message(b"0"), own.message(b"1")])
        async with broker.consume(work.queue, name="w", prefetch=10) as consumer:
            taken = await take(consumer, 2)
            server.ask("CONFIG", "SET", "maxmemory", "1")
            async with broker.publisher(name="p") as publisher:
                [receipt] = await publisher.send([Outgoing(work.route, own.message(b"x"))])
            assert (receipt.sent, "(OOM)" in receipt.detail) == (Sent.REFUSED, True)
            [moved] = await consumer.settle([(taken[0], DeadLetter("E"))])
            assert (moved.settled, "(OOM)" in moved.detail) == (Settled.FAILED, True)
            await ack(consumer, taken)


@everywhere
async def test_P5_a_slow_subscriber_is_cut_off_and_its_publisher_is_not_slowed(
    own: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not own.embedded:  # as small as they come: a buffer of 1 MiB there, of 5 messages here
        monkeypatch.setattr(subscription, "BUFFERED", 5)
        with redis.Redis.from_url(own.url) as settings:
            settings.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 1")
    channel = f"mqdash-test-{uuid.uuid4().hex[:12]}.news"
    message = compose(Draft(body=b"x" * 500_000), Family.REDIS_PUBSUB)
    async with own.life() as broker:
        assert isinstance(broker, CanSubscribe)
        async with broker.subscribe([channel], name="slow") as slow, broker.publisher(name="p") as publisher:
            receivers = 1
            async with asyncio.timeout(20):
                while receivers:
                    [receipt] = await publisher.send([Outgoing(Route(channel), message)])
                    assert receipt.sent is Sent.CONFIRMED
                    receivers = int(receipt.position or "0")

            async def read() -> None:
                while True:
                    await slow.take(10)

            with pytest.raises(ConnectionLost, match=r"too slow"):
                await asyncio.wait_for(read(), 10)
