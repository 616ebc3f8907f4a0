"""Dead letters and delayed retries: moves with a reason, copied first and removed second (semantics §2.1)."""

import time

from mqdash.brokers.base import Broker, HoldsDeadLetters
from mqdash.dead_letters.dialects import read_letter
from mqdash.model.delivery import DeadLetter, Retry, Settled
from mqdash.model.topology import Queue, QueueRef, Route, Topology
from tests.conformance.helpers import ack, bodies, level, publish, settle, take, waiting
from tests.conformance.subjects import Subject, Work, conformance


@conformance("dead_letters")
async def test_a_dead_letter_is_a_copy_with_its_reason(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"poison", id="m-1")])
    async with broker.consume(work.queue, name="worker-7", prefetch=10) as consumer:
        taken = await take(consumer, 1)
        await settle(consumer, [(taken[0], DeadLetter("ValueError", "no such customer"))])
        await waiting(broker, work.dead, 1)
    await waiting(broker, work.queue, 0)
    async with broker.consume(work.dead, name="reader", prefetch=10) as reader:
        [letter] = await take(reader, 1)
        message = letter.message
        assert message.body == b"poison"
        assert message.id == "m-1"
        assert message.header_text("x-mqdash-error") == "ValueError"
        assert message.header_text("x-mqdash-error-text") == "no such customer"
        assert message.header_text("x-mqdash-worker") == "worker-7"
        assert message.header_text("x-mqdash-attempt") == "1"
        told = read_letter(0, letter).died_at_s
        assert told is not None
        assert abs(told - time.time()) < 60
        assert message.header_text("x-mqdash-queue") == work.queue.name
        await ack(reader, [letter])


@conformance("dead_letters")
async def test_a_whole_batch_moves_with_an_outcome_each(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(20)])
    async with broker.consume(work.queue, name="w", prefetch=50) as consumer:
        taken = await take(consumer, 20)
        await settle(consumer, [(delivery, DeadLetter("E")) for delivery in taken])
    await waiting(broker, work.dead, 20)
    await waiting(broker, work.queue, 0)


@conformance("dead_letters", "exchanges")
async def test_no_dead_letter_route_is_a_failure_and_the_delivery_stays_ours(
    subject: Subject, broker: Broker, work: Work
) -> None:
    ref = QueueRef(f"{work.queue.name}.plain")
    plain = Topology(queues=(Queue(ref=ref),))
    await broker.declare(plain)
    try:
        place = Work(Route("", ref.name), ref, ref, plain)
        await publish(broker, place, [subject.message(b"kept")])
        async with broker.consume(ref, name="w", prefetch=1) as consumer:
            taken = await take(consumer, 1)
            [outcome] = await consumer.settle([(taken[0], DeadLetter("E"))])
            assert outcome.settled is Settled.FAILED
            assert "dead-letter" in outcome.detail
            await ack(consumer, taken)
        await waiting(broker, ref, 0)
    finally:
        await broker.remove(plain)


@conformance("dead_letters", "exchanges")
async def test_a_dead_letter_that_nobody_takes_is_a_failure(subject: Subject, broker: Broker, work: Work) -> None:
    nowhere = Route(work.route.destination, "nobody-bound-this")
    await publish(broker, work, [subject.message(b"kept")])
    async with broker.consume(work.queue, name="w", prefetch=1, dead_letter=nowhere) as consumer:
        taken = await take(consumer, 1)
        [outcome] = await consumer.settle([(taken[0], DeadLetter("E"))])
        assert outcome.settled is Settled.FAILED
    await waiting(broker, work.queue, 1)


@conformance("retry")
async def test_a_delayed_retry_comes_back_and_counts_its_attempt(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"again", id="m-1")])
    async with broker.consume(work.queue, name="w", prefetch=10) as consumer:
        taken = await take(consumer, 1)
        assert taken[0].message.attempt == 1
        await settle(consumer, [(taken[0], Retry(0.1, "Timeout", "the till did not answer"))])
        [again] = await take(consumer, 1)
        assert again.message.body == b"again"
        assert again.message.id == "m-1"
        assert again.message.attempt == 2
        await settle(consumer, [(again, Retry(0.05, "Timeout"))])
        [third] = await take(consumer, 1)
        assert third.message.attempt == 3
        await ack(consumer, [third])
    await waiting(broker, work.queue, 0)


@conformance("retry", "measures")
async def test_what_waits_for_its_retry_is_delayed_not_lost(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"later")])
    async with broker.consume(work.queue, name="w", prefetch=10) as consumer:
        taken = await take(consumer, 1)
        await settle(consumer, [(taken[0], Retry(4.0))])
        measured = await level(broker, work.queue)
        assert (measured.waiting, measured.delayed) == (0, 1)


@conformance("lease")
async def test_a_lease_gives_back_in_place_what_it_did_not_remove(subject: Subject, broker: Broker, work: Work) -> None:
    assert isinstance(broker, HoldsDeadLetters)
    dead = Work(Route("", work.dead.name), work.dead, work.dead, work.topology)
    await publish(broker, dead, [subject.message(b"%d" % number) for number in range(5)])
    async with broker.lease(work.dead, limit=4) as lease:
        assert lease.info.total == 5
        assert lease.info.order == "oldest"
        assert bodies(lease.letters) == [b"0", b"1", b"2", b"3"]
        await waiting(broker, work.dead, 1)
        outcomes = await lease.remove([lease.letters[1]])
        assert [outcome.settled for outcome in outcomes] == [Settled.SETTLED]
    await waiting(broker, work.dead, 4)
    async with broker.consume(work.dead, name="w", prefetch=10) as consumer:
        left = await take(consumer, 4)
        assert bodies(left) == [b"0", b"2", b"3", b"4"]
        await ack(consumer, left)
