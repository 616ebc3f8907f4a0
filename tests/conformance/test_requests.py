"""Request/reply (C1-C7); C2, C3 and C7 by a bare client are in test_amqp_replies.py."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from mqdash.brokers.base import Broker, CanClaim, CanRequest, Consumer, Requester
from mqdash.model.delivery import Ack, Answer, Delivery
from mqdash.model.message import Message
from mqdash.model.topology import Route
from tests.conformance.helpers import take
from tests.conformance.subjects import Subject, Work, conformance
from tests.support import until

KINDS = [pytest.param(True, id="direct"), pytest.param(False, id="exclusive-queue")]


@contextlib.asynccontextmanager
async def _server(broker: Broker, work: Work, answer: Callable[[Delivery], Message | None]) -> AsyncIterator[None]:
    """Answers each request with what `answer` makes of it (None: no reply)."""
    async with (
        broker.consume(work.queue, name="server", prefetch=10) as consumer,
        broker.publisher(name="server replies") as publisher,
    ):

        async def serve() -> None:
            while True:
                for delivery in await consumer.take(10):
                    reply = answer(delivery)
                    if reply is not None:
                        await publisher.reply(delivery.message, reply)
                    await consumer.settle([(delivery, Ack())])

        serving = asyncio.create_task(serve())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@conformance("requests", "reply_queues")
@pytest.mark.parametrize("direct", KINDS)
async def test_C1_C2_C7_each_request_gets_its_own_reply(
    subject: Subject, broker: Broker, work: Work, direct: bool
) -> None:
    assert isinstance(broker, CanRequest)
    async with (
        _server(broker, work, lambda delivery: subject.message(b"re: " + delivery.message.body)),
        broker.requester(name="asker", direct=direct) as requester,
    ):
        asked = [subject.message(b"%d" % number) for number in range(20)]
        replies = await asyncio.gather(*(requester.request(work.route, one, timeout_s=10) for one in asked))
        assert [reply.answer for reply in replies] == [Answer.ANSWERED] * 20
        assert [reply.message.body for reply in replies if reply.message] == [b"re: %d" % n for n in range(20)]
        assert requester.unmatched == 0


async def _late(subject: Subject, broker: Broker, work: Work, requester: Requester) -> None:
    """A reply after its request's time, then one in time."""
    async with (
        broker.consume(work.queue, name="server", prefetch=1) as consumer,
        broker.publisher(name="replies") as publisher,
    ):
        reply = await requester.request(work.route, subject.message(b"slow"), timeout_s=0.2)
        assert reply.answer is Answer.TIMEOUT
        newer = asyncio.ensure_future(requester.request(work.route, subject.message(b"newer"), timeout_s=20))
        for expected in (b"slow", b"newer"):
            [delivery] = await consumer.take(1)  # C4: what timed out is executed all the same
            assert delivery.message.body == expected
            await publisher.reply(delivery.message, subject.message(b"re: " + expected))
            await consumer.settle([(delivery, Ack())])
        answered = await newer
        assert answered.message is not None
        assert answered.message.body == b"re: newer"
        await until(lambda: requester.late == 1)


@conformance("requests", "reply_queues")
@pytest.mark.parametrize("direct", KINDS)
async def test_C4_C5_a_late_reply_is_counted_and_never_given_to_a_newer_request(
    subject: Subject, broker: Broker, work: Work, direct: bool
) -> None:
    assert isinstance(broker, CanRequest)
    async with broker.requester(name="asker", direct=direct) as requester:
        await _late(subject, broker, work, requester)


@conformance("requests")
async def test_C4_C5_a_late_reply_by_each_familys_own_way(subject: Subject, broker: Broker, work: Work) -> None:
    assert isinstance(broker, CanRequest)
    async with broker.requester(name="asker") as requester:
        await _late(subject, broker, work, requester)


@conformance("requests")
async def test_C1_a_reply_nobody_asked_for_is_counted(subject: Subject, broker: Broker, work: Work) -> None:
    assert isinstance(broker, CanRequest)
    async with (
        broker.consume(work.queue, name="server", prefetch=1) as consumer,
        broker.publisher(name="replies") as publisher,
        broker.requester(name="asker") as requester,
    ):
        asking = asyncio.ensure_future(requester.request(work.route, subject.message(), timeout_s=10))
        [delivery] = await consumer.take(1)
        for text in (b"the reply", b"the same again"):
            await publisher.reply(delivery.message, subject.message(text))
        reply = await asking
        assert reply.message is not None
        assert reply.message.body == b"the reply"
        await until(lambda: requester.unmatched == 1)
        await consumer.settle([(delivery, Ack())])


@conformance("requests", "returns")
async def test_a_request_that_nobody_takes_is_returned(subject: Subject, broker: Broker, work: Work) -> None:
    assert isinstance(broker, CanRequest)
    async with broker.requester(name="asker") as requester:
        nowhere = Route(work.route.destination, "nobody-bound-this")
        reply = await requester.request(nowhere, subject.message(), timeout_s=10)
        assert reply.answer is Answer.RETURNED


@conformance("requests", "refuses")
async def test_C3_a_reply_to_a_vanished_asker_ends_nothing(subject: Subject, broker: Broker, work: Work) -> None:
    assert isinstance(broker, CanRequest)
    async with (
        broker.consume(work.queue, name="server", prefetch=1) as consumer,
        broker.publisher(name="replies") as publisher,
    ):
        async with broker.requester(name="asker") as requester:
            asking = asyncio.ensure_future(requester.request(work.route, subject.message(), timeout_s=10))
            [delivery] = await consumer.take(1)
            asking.cancel()
        await publisher.reply(delivery.message, subject.message(b"too late"))
        await consumer.settle([(delivery, Ack())])
        await publisher.reply(delivery.message, subject.message(b"and again"))


async def _again(consumer: Consumer) -> Delivery:
    """What a dead consumer held: it comes by itself, or is claimed."""
    if isinstance(consumer, CanClaim):
        [claimed] = await consumer.claim(min_idle_s=0, limit=1)
        return claimed
    [delivery] = await take(consumer, 1, 20)
    return delivery


@conformance("requests", "crash")
async def test_C6_a_server_that_dies_before_its_reply_leaves_the_request_to_another_one(
    subject: Subject, broker: Broker, work: Work
) -> None:
    assert isinstance(broker, CanRequest)
    executed: list[bytes] = []
    async with broker.requester(name="asker") as requester:
        asking = asyncio.ensure_future(requester.request(work.route, subject.message(b"pay"), timeout_s=30))
        async with broker.consume(work.queue, name="first", prefetch=1) as first:
            [delivery] = await first.take(1)
            executed.append(delivery.message.body)
            first.crash()
        async with (
            broker.consume(work.queue, name="second", prefetch=1) as second,
            broker.publisher(name="replies") as publisher,
        ):
            delivery = await _again(second)
            assert delivery.redelivered is not False, "marked, where the broker can tell"
            executed.append(delivery.message.body)
            await publisher.reply(delivery.message, subject.message(b"paid"))
            await second.settle([(delivery, Ack())])
            reply = await asking
    assert executed == [b"pay", b"pay"]
    assert reply.message is not None
    assert reply.message.body == b"paid"
