"""What happens to a whole RabbitMQ, and what only its settings show: on a broker of the tests' own (R13-R15, R29, R43)."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import msgspec
import pytest

from mqdash.brokers.base import Broker
from mqdash.errors import BrokerUnavailable
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Amqp as Properties
from mqdash.model.message import Message
from mqdash.model.topology import Queue, QueueRef, Route, Topology
from tests.conformance.amqp import MODELS, Amqp, real_names
from tests.conformance.amqp_pika import PikaAmqp
from tests.conformance.helpers import ack, bodies, take, waiting
from tests.conformance.own import OwnRabbit, own_rabbit
from tests.support import until

pytestmark = [pytest.mark.timeout(120)]

_SLOW = [pytest.param(*one.values, marks=[*one.marks, pytest.mark.slow]) for one in real_names()]
everywhere = pytest.mark.parametrize("own", [*MODELS, *_SLOW], indirect=True)
really = pytest.mark.parametrize("own", _SLOW, indirect=True)


@pytest.fixture(scope="module")
def owned() -> Iterator[Callable[[str], OwnRabbit]]:
    """One of each, started when first asked for."""
    with ExitStack() as until_the_end:
        yield cache(lambda name: until_the_end.enter_context(own_rabbit(name)))


@pytest.fixture
def own(request: pytest.FixtureRequest, owned: Callable[[str], OwnRabbit]) -> OwnRabbit:
    return owned(request.param)


async def _again(own: OwnRabbit) -> Broker:
    async def opened() -> Broker | None:
        try:
            return await own.subject.connector.connect()
        except BrokerUnavailable:
            return None

    found = await until(opened, 30, every_s=0.1)
    assert found is not None
    return found


def _transient(message: Message) -> Message:
    assert isinstance(message.native, Properties)
    return msgspec.structs.replace(message, native=msgspec.structs.replace(message.native, delivery_mode=1))


@everywhere
async def test_R15_an_alarm_blocks_who_publishes_and_nobody_else(own: OwnRabbit) -> None:
    ref = QueueRef("alarmed")
    batch = [Outgoing(Route("", ref.name), own.subject.message(b"%d" % number)) for number in range(3)]
    async with own.subject.life() as broker:
        await broker.declare(Topology(queues=(Queue(ref=ref),)))
        async with (
            broker.publisher(name="busy") as busy,
            broker.publisher(name="idle") as idle,
            broker.consume(ref, name="w", prefetch=1) as consumer,
        ):
            assert {receipt.sent for receipt in await busy.send(batch)} == {Sent.CONFIRMED}
            await own.alarm(on=True)
            try:
                sending = asyncio.ensure_future(busy.send(batch[:1]))
                await until(lambda: "memory" in busy.blocked)
                for number in range(3):  # one after the other: the broker goes on delivering
                    taken = await take(consumer, 1)
                    assert bodies(taken) == [b"%d" % number]
                    await ack(consumer, taken)
                assert not sending.done()
                assert idle.blocked == ""
            finally:
                await own.alarm(on=False)
            [receipt] = await sending
            assert receipt.sent in {Sent.CONFIRMED, Sent.UNKNOWN}, "never 'not sent' (F7)"
            await until(lambda: not busy.blocked, 20)
            assert [receipt.sent for receipt in await busy.send(batch[1:2])] == [Sent.CONFIRMED]
            for body in (b"0", b"1"):
                taken = await take(consumer, 1)
                assert bodies(taken) == [body]
                await ack(consumer, taken)


@everywhere
async def test_R13_R14_after_a_kill_what_was_confirmed_and_persistent_is_there(own: OwnRabbit) -> None:
    classic, quorum, gone = QueueRef("classic"), QueueRef("quorum"), QueueRef("gone")
    topology = Topology(queues=(Queue(ref=classic), Queue(ref=quorum, kind="quorum"), Queue(ref=gone, durable=False)))
    broker = await own.subject.connector.connect()
    await broker.declare(topology)
    async with broker.publisher(name="p") as publisher:
        for ref in (classic, quorum, gone):
            sent = [own.subject.message(b"%d" % number) for number in range(100)]
            batch = [*sent, _transient(own.subject.message(b"transient"))]
            receipts = await publisher.send([Outgoing(Route("", ref.name), message) for message in batch])
            assert {receipt.sent for receipt in receipts} == {Sent.CONFIRMED}
    await own.remembers(quorum.name)
    await own.kill()
    assert await asyncio.wait_for(broker.lost(), 10)
    await broker.close()
    await own.restart()
    broker = await _again(own)
    try:
        measured = await broker.measure([classic, quorum, gone])
        assert [one.queue for one in measured] == [classic, quorum]
        for ref, transient in ((classic, []), (quorum, [b"transient"])):
            async with broker.consume(ref, name="w", prefetch=1000) as consumer:
                taken = await take(consumer, 100 + len(transient), 20)
                assert bodies(taken) == [*(b"%d" % number for number in range(100)), *transient]
                await ack(consumer, taken)
            await waiting(broker, ref, 0)
    finally:
        await broker.remove(topology)
        await broker.close()


def _hold_for_too_long(amqp: Amqp, queue: str) -> None:
    amqp.fill(queue, "m")
    channel = amqp.channel()
    tap = channel.consume(queue)
    amqp.until(lambda: tap.got)
    amqp.until(lambda: channel.closed)
    assert channel.closed == 406
    amqp.holds(queue, 1)
    assert amqp.take(queue).redelivered


@really
def test_R29_a_consumer_that_never_acks_loses_its_channel(own: OwnRabbit) -> None:
    own.control("eval", "[application:set_env(rabbit, K, 300) || K <- [consumer_timeout, channel_tick_interval]].")
    amqp = PikaAmqp(own.subject.url)
    try:
        for kind in ("classic", "quorum"):
            _hold_for_too_long(amqp, amqp.queue(kind, kind=kind))
    finally:
        amqp.clean_up()
        amqp.end()
        own.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")


@really
def test_R43_at_least_once_keeps_a_dead_letter_until_somebody_took_it(own: OwnRabbit) -> None:
    own.control("eval", "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 500).")
    amqp = PikaAmqp(own.subject.url)
    try:
        dlx = amqp.exchange("dlx", "fanout")
        kept = amqp.queue(
            kind="quorum", dlx=dlx, overflow="reject-publish", more={"x-dead-letter-strategy": "at-least-once"}
        )
        lost = amqp.queue("lost", kind="quorum", dlx=dlx, overflow="reject-publish")
        channel = amqp.channel()
        for queue in (lost, kept):
            amqp.fill(queue, queue)
            got = channel.get(queue)
            assert got is not None
            channel.reject(got.tag, requeue=False)
        dead = amqp.queue("dead")
        amqp.bind(dlx, dead)
        assert amqp.drain(dead, 1) == [kept]
    finally:
        amqp.clean_up()
        amqp.end()
