"""Time to live, length and priority (R31-R37)."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mqdash.brokers.base import Broker
from mqdash.model.delivery import Outgoing, Sent
from tests.conformance.helpers import ack, bodies, publish, take, waiting
from tests.conformance.subjects import Subject, Work, conformance


@contextlib.asynccontextmanager
async def _limited(subject: Subject, broker: Broker, **limits: Any) -> AsyncIterator[Work]:
    place = subject.work(**limits)
    await broker.declare(place.topology)
    try:
        yield place
    finally:
        await broker.remove(place.topology)


@conformance("ttl")
async def test_R31_R40_the_smaller_ttl_counts_and_what_expires_is_a_dead_letter(
    subject: Subject, broker: Broker
) -> None:
    async with _limited(subject, broker, ttl_s=0.3) as place:
        await publish(broker, place, [subject.message(b"queue", ttl_s=60), subject.message(b"message", ttl_s=0.1)])
        await waiting(broker, place.dead, 2)
        await waiting(broker, place.queue, 0)
        async with broker.consume(place.dead, name="w", prefetch=5) as consumer:
            taken = await take(consumer, 2)
            assert bodies(taken) == [b"queue", b"message"]
            for delivery in taken:  # R44-R46
                [death] = delivery.message.header("x-death")
                assert death["reason"] == "expired"
                assert death["queue"] == place.queue.name
                assert delivery.message.header_text("x-first-death-queue") == place.queue.name
                assert delivery.message.ttl_s is None
                assert "original-expiration" in death
            await ack(consumer, taken)


@conformance("ttl")
async def test_R32_a_short_ttl_waits_behind_a_longer_one(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"long", ttl_s=0.6), subject.message(b"short", ttl_s=0.05)])
    await waiting(broker, work.queue, 2)
    await waiting(broker, work.dead, 2)
    async with broker.consume(work.dead, name="w", prefetch=5) as consumer:
        taken = await take(consumer, 2)
        assert bodies(taken) == [b"long", b"short"]
        await ack(consumer, taken)


@conformance("ttl")
async def test_R33_what_expires_while_it_is_held_is_gone_when_given_back(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message(b"brief", ttl_s=0.2)])
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        await take(consumer, 1)
        other = subject.work(ttl_s=0.4)  # a second clock of the broker itself: its message goes later
        await broker.declare(other.topology)
        await publish(broker, other, [subject.message()])
        await waiting(broker, other.dead, 1)
        await broker.remove(other.topology)
    await waiting(broker, work.dead, 1)
    await waiting(broker, work.queue, 0)


@conformance("max_length")
async def test_R35_a_full_queue_drops_its_head_and_confirms(subject: Subject, broker: Broker) -> None:
    async with _limited(subject, broker, max_length=3) as place:
        await publish(broker, place, [subject.message(b"%d" % number) for number in range(5)])
        await waiting(broker, place.queue, 3)
        await waiting(broker, place.dead, 2)
        async with broker.consume(place.queue, name="w", prefetch=5) as consumer:
            taken = await take(consumer, 3)
            assert bodies(taken) == [b"2", b"3", b"4"]
            await ack(consumer, taken)


@conformance("max_length")
async def test_R35_reject_publish_refuses_and_the_queue_keeps_what_it_has(subject: Subject, broker: Broker) -> None:
    async with _limited(subject, broker, max_length=3, overflow="reject-publish") as place:
        async with broker.publisher(name="p") as publisher:
            receipts = [
                (await publisher.send([Outgoing(place.route, subject.message(b"%d" % number))]))[0]
                for number in range(5)
            ]
        assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED] * 3 + [Sent.REFUSED] * 2
        await waiting(broker, place.queue, 3)
        await waiting(broker, place.dead, 0)


@conformance("priority")
async def test_R37_higher_priorities_first_and_in_order_within(subject: Subject, broker: Broker) -> None:
    async with _limited(subject, broker, max_priority=5) as place:
        plan = [(b"none", None), (b"1a", 1), (b"high", 9), (b"5", 5), (b"1b", 1)]
        await publish(broker, place, [subject.message(body, priority=priority) for body, priority in plan])
        async with broker.consume(place.queue, name="w", prefetch=5) as consumer:
            taken = await take(consumer, 5)
            assert bodies(taken) == [b"high", b"5", b"1a", b"1b", b"none"]
            await ack(consumer, taken)
