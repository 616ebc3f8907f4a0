"""A connection life ends whole, and the next one finds what the broker kept."""

import asyncio

import pytest

from mqdash.errors import BrokerUnavailable, ConnectionLost
from mqdash.model.delivery import Ack, Outgoing, Sent, Settled
from tests.conformance.helpers import ack, bodies, publish, take
from tests.conformance.subjects import Subject, Work, conformance


@conformance("crash", "requeue")
async def test_a_lost_connection_ends_everything_and_the_next_life_works(subject: Subject, work: Work) -> None:
    async with subject.fragile_life() as (broker, cut):
        await publish(broker, work, [subject.message(b"held")])
        async with (
            broker.consume(work.queue, name="w", prefetch=1) as consumer,
            broker.publisher(name="p") as publisher,
        ):
            held = await take(consumer, 1)
            taking = asyncio.ensure_future(consumer.take(1))
            await asyncio.sleep(0)
            cut()
            cause = await asyncio.wait_for(broker.lost(), 10)
            assert cause
            with pytest.raises(ConnectionLost):
                await asyncio.wait_for(taking, 5)
            [outcome] = await consumer.settle([(held[0], Ack())])
            assert outcome.settled is Settled.STALE
            [receipt] = await publisher.send([Outgoing(work.route, subject.message(b"too late"))])
            assert receipt.sent is Sent.UNKNOWN
        with pytest.raises(BrokerUnavailable):
            async with broker.consume(work.queue, name="w", prefetch=1):
                pass
    async with subject.life() as broker, broker.consume(work.queue, name="w2", prefetch=1) as consumer:
        again = await take(consumer, 1)
        assert bodies(again) == [b"held"]
        assert again[0].redelivered is True
        await ack(consumer, again)


@conformance("publish")
async def test_closing_by_ourselves_is_no_loss(subject: Subject) -> None:
    async with subject.life() as broker:
        lost = asyncio.ensure_future(broker.lost())
        await broker.close()
        await broker.close()
        await asyncio.sleep(0.05)
        assert not lost.done()
        lost.cancel()


@conformance("publish")
async def test_an_observer_reads_and_has_no_way_to_write(subject: Subject, work: Work) -> None:
    observer = await subject.connector.observe()
    try:
        assert not observer.info.writable
        assert observer.info.version
        assert [one.queue for one in await observer.measure([work.queue])] == [work.queue]
        for name in ("declare", "remove", "publisher", "consume", "lease", "requester"):
            assert not hasattr(observer, name)
    finally:
        await observer.close()
