"""Taking and settling: one outcome per delivery, nothing is lost when a consumer goes."""

import asyncio

import pytest

from mqdash.brokers.base import Broker
from mqdash.errors import ConnectionLost, ConsumerCancelled
from mqdash.model.delivery import Ack, Retry, Settled
from mqdash.model.topology import Topology
from tests.conformance.helpers import DONE, ack, bodies, level, publish, settle, take, waiting
from tests.conformance.subjects import Subject, Work, conformance
from tests.support import until


@conformance("settle")
@pytest.mark.parametrize("prefetch", [10, 200])
async def test_settled_out_of_order_and_none_comes_again(
    subject: Subject, broker: Broker, work: Work, prefetch: int
) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(10)])
    async with broker.consume(work.queue, name="w", prefetch=prefetch) as consumer:
        taken = await take(consumer, 10)
        for index in (7, 2, 9, 0, 4, 1, 8, 3, 6, 5):
            await ack(consumer, [taken[index]])
    async with broker.consume(work.queue, name="w2", prefetch=prefetch) as consumer:
        await publish(broker, work, [subject.message(b"sentinel")])
        again = await take(consumer, 1)
        assert bodies(again) == [b"sentinel"]
        await ack(consumer, again)


@conformance("settle")
async def test_a_delivery_is_settled_once(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message()])
    async with broker.consume(work.queue, name="w", prefetch=10) as consumer:
        taken = await take(consumer, 1)
        first = await consumer.settle([(taken[0], Ack())])
        second = await consumer.settle([(taken[0], Ack())])
        assert first[0].settled in DONE
        assert second[0].settled is Settled.STALE


@conformance("crash", "requeue")
@pytest.mark.parametrize("prefetch", [10, 200])
async def test_R24_R25_a_crash_gives_back_in_order_and_marked(
    subject: Subject, broker: Broker, work: Work, prefetch: int
) -> None:
    sent = [b"%d" % number for number in range(8)]
    await publish(broker, work, [subject.message(body) for body in sent])
    async with broker.consume(work.queue, name="w", prefetch=prefetch) as consumer:
        taken = await take(consumer, 5)
        assert [delivery.redelivered for delivery in taken] == [False] * 5
        await ack(consumer, taken[:2])
        consumer.crash()
        with pytest.raises(ConnectionLost):
            await consumer.take(1)
        outcomes = await consumer.settle([(delivery, Ack()) for delivery in taken[2:]])
        assert {outcome.settled for outcome in outcomes} == {Settled.STALE}

    async def given_back() -> int:
        count = (await level(broker, work.queue)).waiting or 0
        return count if count >= 6 else 0

    count = await until(given_back)
    async with broker.consume(work.queue, name="w2", prefetch=prefetch) as consumer:
        again = await take(consumer, count)
        # An ack has no answer: one that was under way when the socket dropped may be lost, and its message comes again.
        assert bodies(again) == sent[8 - count :]
        assert [delivery.redelivered for delivery in again[: count - 3]] == [True] * (count - 3)
        await ack(consumer, again)


@conformance("crash", "requeue")
async def test_R20_a_claim_of_an_older_life_is_stale(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message()])
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        old = await take(consumer, 1)
        consumer.crash()
    async with broker.consume(work.queue, name="w2", prefetch=1) as consumer:
        again = await take(consumer, 1)
        [outcome] = await consumer.settle([(old[0], Ack())])
        assert outcome.settled is Settled.STALE
        await ack(consumer, again)
    await waiting(broker, work.queue, 0)


@conformance("settle", "requeue")
async def test_leaving_politely_gives_back_what_was_not_settled(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(6)])
    async with broker.consume(work.queue, name="w", prefetch=200) as consumer:
        taken = await take(consumer, 4)
        await ack(consumer, taken[1:3])
    await waiting(broker, work.queue, 4)


@conformance("requeue")
async def test_retry_at_once_gives_back_in_place(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"first"), subject.message(b"second")])
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        taken = await take(consumer, 1)
        await settle(consumer, [(taken[0], Retry())])
        again = await take(consumer, 1)
        assert bodies(again) == [b"first"]
        assert again[0].redelivered is True
        await ack(consumer, again)


@conformance("prefetch")
async def test_R17_prefetch_bounds_what_one_consumer_holds(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(10)])
    async with broker.consume(work.queue, name="w", prefetch=3) as consumer:
        taken = await take(consumer, 3)
        await waiting(broker, work.queue, 7)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await consumer.take(1)
        await ack(consumer, taken[:1])
        assert bodies(await take(consumer, 1)) == [b"3"]
        await waiting(broker, work.queue, 6)


@conformance("prefetch", "shares")
async def test_R22_two_consumers_share_fairly(subject: Subject, broker: Broker, work: Work) -> None:
    async with (
        broker.consume(work.queue, name="w1", prefetch=1) as one,
        broker.consume(work.queue, name="w2", prefetch=1) as two,
    ):
        await publish(broker, work, [subject.message(b"%d" % number) for number in range(2)])
        taken = [*await take(one, 1), *await take(two, 1)]
        assert sorted(bodies(taken)) == [b"0", b"1"]


@conformance("cancels")
async def test_R27_deleting_the_queue_ends_the_subscription(subject: Subject, broker: Broker, work: Work) -> None:
    async with broker.consume(work.queue, name="w", prefetch=10) as consumer:
        taking = asyncio.ensure_future(consumer.take(1))
        await broker.remove(Topology(queues=work.topology.queues))
        with pytest.raises(ConsumerCancelled) as ended:
            await asyncio.wait_for(taking, 5)
        assert work.queue.name in str(ended.value)


@conformance("pause")
async def test_a_paused_consumer_takes_nothing_and_keeps_what_it_holds(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message(b"held")])
    async with broker.consume(work.queue, name="w", prefetch=10) as consumer:
        held = await take(consumer, 1)
        consumer.pause()
        later = 0

        async def left_alone() -> bool:
            """A pause takes effect on the broker a moment later: publish until one message stays where it is."""
            nonlocal later
            await publish(broker, work, [subject.message(b"later")])
            later += 1
            return bool((await level(broker, work.queue)).waiting)

        await until(left_alone, every_s=0.05)
        await ack(consumer, held)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await consumer.take(1)
        consumer.resume()
        taken = await take(consumer, later)
        assert bodies(taken) == [b"later"] * later
        await ack(consumer, taken)
