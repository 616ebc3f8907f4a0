"""Pub/Sub of the embedded Redis: channels on the model and through the port."""

import asyncio

import pytest

from mqdash.brokers.embedded.keyspace import DETECTION_S
from mqdash.brokers.embedded.pubsub import Channels, Subscriber, compiled
from mqdash.clock import ManualClock
from mqdash.errors import ConnectionLost
from mqdash.model.delivery import Outgoing, Receipt, Sent
from mqdash.model.message import Draft, Family, Message, PubSub, compose
from mqdash.model.topology import Attendant, Binding, QueueRef, Route
from tests.unit.embedded.redis import bodies, opened, shout

MIB = 2**20


class Ears:
    """Channels with one subscriber that reads only when asked."""

    def __init__(self, *names: str) -> None:
        self.channels = Channels()
        self.killed: list[str] = []
        self.subscriber = Subscriber("S", names, wake=lambda: None, kill=self.killed.append)
        self.channels.subscribe(self.subscriber)

    def publish(self, size_bytes: int, now_s: float = 0.0) -> int:
        return self.channels.publish("c", Message(content=b"x" * size_bytes, native=PubSub()), now_s)


@pytest.mark.parametrize(
    ("pattern", "channel", "matches"),
    [
        ("news.*", "news.art.figurative", True),
        ("news.*", "news", False),
        ("h?llo", "hello", True),
        ("h?llo", "hllo", False),
        ("h[ae]llo", "hallo", True),
        ("h[ae]llo", "hillo", False),
        ("h[^e]llo", "hello", False),
        ("h[^e]llo", "hbllo", True),
        ("h[a-c]llo", "hbllo", True),
        ("h[c-a]llo", "hbllo", True),
        ("a.b*", "axb", False),
        ("a\\*b*", "a*bc", True),
        ("a\\*b*", "aXbc", False),
        ("x[", "x[", False),
        ("*", "with\nnewline", True),
    ],
)
def test_P4_patterns_are_redis_globs(pattern: str, channel: str, matches: bool) -> None:
    assert (compiled(pattern).fullmatch(channel) is not None) == matches


def test_P5_the_hard_limit_closes_a_slow_subscriber_and_the_publisher_goes_on() -> None:
    ears = Ears("c")
    receivers = [ears.publish(MIB) for _ in range(40)]
    assert receivers == [1] * 31 + [0] * 9
    assert len(ears.killed) == 1
    assert "too slow" in ears.killed[0]
    counts = ears.channels.count("c")
    assert (counts.published, counts.delivered, counts.gone) == (40, 0, 40)


def test_P5_the_soft_limit_closes_after_a_minute_above_it() -> None:
    ears = Ears("c")
    for _ in range(9):
        ears.publish(MIB)
    assert ears.channels.next_due_s() == 60.0
    ears.channels.advance(59.0)
    assert ears.killed == []
    ears.channels.advance(60.0)
    assert len(ears.killed) == 1


def test_P5_a_subscriber_that_catches_up_is_left_alone() -> None:
    ears = Ears("c")
    for _ in range(9):
        ears.publish(MIB)
    assert len(ears.subscriber.taken(5)) == 5
    assert ears.channels.next_due_s() is None
    ears.channels.advance(100.0)
    assert ears.killed == []


async def test_P1_P2_receivers_are_counted_and_without_one_it_is_gone() -> None:
    async with opened(ManualClock()) as broker:
        gone = await shout(broker, "ops.eu", "a")
        assert gone == [Receipt(Sent.CONFIRMED, "no subscriber: gone", "0")]
        async with broker.subscribe(["ops.eu"], name="S1") as first, broker.subscribe(["ops.eu"], name="S2") as second:
            assert await shout(broker, "ops.eu", "b") == [Receipt(Sent.CONFIRMED, "", "2")]
            assert bodies(await first.take(9)) == bodies(await second.take(9)) == ["b"]
        measured = (await broker.measure([QueueRef("ops.eu")]))[0]
        assert (measured.waiting, measured.in_flight) == (None, None)
        assert (measured.in_total, measured.out_total, measured.dropped_total, measured.consumers) == (2, 2, 1, 0)


async def test_P1_an_undeclared_channel_takes_bodies_and_an_undeclared_stream_takes_fields() -> None:
    async with opened(ManualClock()) as broker:
        assert (await shout(broker, "anything", "a"))[0].position == "0"
        async with broker.publisher(name="p") as publisher:
            fields = compose(Draft(body=b"kept"), Family.REDIS_STREAMS)
            receipt = (await publisher.send([Outgoing(Route("fresh"), fields)]))[0]
        assert receipt.position.endswith("-0")
        assert bodies(await broker.browse(QueueRef("fresh"), newest=9)) == ["kept"]


async def test_P3_order_per_channel_is_kept() -> None:
    async with opened(ManualClock()) as broker, broker.subscribe(["ops.eu"], name="S") as subscription:
        await shout(broker, "ops.eu", *map(str, range(100)))
        first = await subscription.take(30)
        assert bodies([*first, *await subscription.take(100)]) == list(map(str, range(100)))


async def test_P4_channel_and_pattern_give_one_copy_each() -> None:
    async with opened(ManualClock()) as broker, broker.subscribe(["ops.eu", "ops.*"], name="S") as subscription:
        assert (await shout(broker, "ops.eu", "a"))[0].position == "2"
        plain, matched = await subscription.take(9)
        assert (plain.queue, plain.route, plain.claim) == (QueueRef("ops.eu"), Route("ops.eu"), None)
        assert (matched.queue, matched.route) == (QueueRef("ops.*"), Route("ops.eu"))
        assert plain.message.native == PubSub()
        assert matched.message.native == PubSub(pattern="ops.*")


async def test_P6_what_is_published_between_crash_and_subscribing_again_is_lost() -> None:
    clock = ManualClock()
    async with opened(clock) as broker:
        async with broker.subscribe(["ops.eu"], name="S") as subscription:
            await shout(broker, "ops.eu", "unread")
            subscription.crash()
            with pytest.raises(ConnectionLost):
                await subscription.take(1)
        await shout(broker, "ops.eu", "missed")
        await clock.advance(2 * DETECTION_S)
        async with broker.subscribe(["ops.eu"], name="S") as subscription:
            await shout(broker, "ops.eu", "heard")
            assert bodies(await subscription.take(9)) == ["heard"]
        assert (await broker.measure([QueueRef("ops.eu")]))[0].dropped_total == 2


async def test_P5_a_subscriber_too_slow_for_its_buffer_is_told_why() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.subscribe(["ops.eu"], name="S") as subscription:
        async with broker.publisher(name="p") as publisher:
            big = Outgoing(Route("ops.eu"), Message(content=b"x" * MIB, native=PubSub()))
            receipts = await publisher.send([big] * 33)
        assert [receipt.position for receipt in receipts] == ["1"] * 31 + ["0"] * 2
        with pytest.raises(ConnectionLost, match="too slow"):
            await subscription.take(1)


async def test_a_waiting_subscriber_is_woken_and_a_cut_ends_it() -> None:
    async with opened(ManualClock()) as broker, broker.subscribe(["ops.*"], name="S") as subscription:
        waiting = asyncio.ensure_future(subscription.take(9))
        await ManualClock.settle()
        await shout(broker, "ops.eu", "a")
        assert bodies(await waiting) == ["a"]
        waiting = asyncio.ensure_future(subscription.take(9))
        await ManualClock.settle()
        broker.server.cut("S")
        with pytest.raises(ConnectionLost, match="cut"):
            await waiting


async def test_catalog_binds_a_pattern_to_the_channels_it_covers() -> None:
    async with opened(ManualClock()) as broker, broker.subscribe(["ops.*"], name="S"):
        entities = (await broker.catalog(prefix="ops.")).entities
        bindings = [(one.source, one.queue) for one in entities if isinstance(one, Binding)]
        assert ("ops.eu", QueueRef("ops.*")) in bindings
        assert [(one.name, one.queue) for one in entities if isinstance(one, Attendant)] == [("S", QueueRef("ops.*"))]
