"""What only logs, streams and channels have: commits, takeovers, claims, listening without settling."""

import asyncio

import pytest

from mqdash.brokers.base import Broker, CanBrowse, CanClaim, CanSubscribe, TellsMoves
from mqdash.errors import BrokerUnavailable, ConnectionLost
from mqdash.model.delivery import Ack, DeadLetter, Delivery, Outgoing, Retry, Sent, Settled
from mqdash.model.message import Draft, Family, PubSub, compose
from mqdash.model.topology import Destination, QueueRef, Route, Topology
from tests.conformance.helpers import ack, bodies, level, publish, settle, take, waiting
from tests.conformance.subjects import Subject, Work, conformance

SESSION_S = 0.4


@conformance("commits")
async def test_K8_what_is_done_behind_an_open_record_is_held(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(4)])
    async with broker.consume(work.queue, name="w", prefetch=10, session_timeout_s=SESSION_S) as consumer:
        taken = await take(consumer, 4)
        outcomes = await consumer.settle([(taken[2], Ack()), (taken[1], Ack())])
        assert [outcome.settled for outcome in outcomes] == [Settled.HELD, Settled.HELD]
        [partition] = (await level(broker, work.queue)).partitions
        assert partition.committed in {None, 0}
        await settle(consumer, [(taken[0], Ack())])
        [partition] = (await level(broker, work.queue)).partitions
        assert (partition.committed, partition.waiting, partition.lost) == (3, 1, 0)
        [again] = await consumer.settle([(taken[0], Ack())])
        assert again.settled is Settled.STALE
        await ack(consumer, taken[3:])
        assert (await level(broker, work.queue)).waiting == 0


@conformance("commits")
async def test_K9_K12_after_a_crash_another_member_goes_on_at_the_committed_offset(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(6)])
    async with broker.consume(work.queue, name="first", prefetch=10, session_timeout_s=SESSION_S) as first:
        taken = await take(first, 6)
        await ack(first, taken[:2])
        assert isinstance(first, TellsMoves)
        assert [(move.from_member, move.to_member) for move in first.moved()] == [("", "first")]
        first.crash()
        with pytest.raises(ConnectionLost):
            await first.take(1)
        outcomes = await first.settle([(delivery, Ack()) for delivery in taken[2:]])
        assert {outcome.settled for outcome in outcomes} == {Settled.STALE}
    async with broker.consume(work.queue, name="second", prefetch=10, session_timeout_s=SESSION_S) as second:
        again = await take(second, 4)
        assert bodies(again) == [b"2", b"3", b"4", b"5"]
        assert isinstance(second, TellsMoves)
        [move] = second.moved()
        assert (move.partition, move.from_member, move.to_member) == (0, "first", "second")
        assert move.gap_s is not None
        assert move.gap_s > 0
        [late] = await second.settle([(taken[2], Ack())])
        assert late.settled is Settled.STALE  # a claim of another member's assignment
        await ack(second, again)


@conformance("commits")
async def test_K13_a_rebalance_makes_what_is_held_stale_and_it_comes_again(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message(b"held")])
    async with broker.consume(work.queue, name="a", prefetch=10, session_timeout_s=SESSION_S) as one:
        held = await take(one, 1)
        async with broker.consume(work.queue, name="b", prefetch=10, session_timeout_s=SESSION_S) as two:
            takes = [asyncio.ensure_future(consumer.take(1)) for consumer in (one, two)]
            done, pending = await asyncio.wait(takes, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1  # one partition: one of them has it
            for task in pending:
                task.cancel()
            again = done.pop().result()
            assert bodies(again) == [b"held"]
            [outcome] = await one.settle([(held[0], Ack())])
            assert outcome.settled is Settled.STALE
            await ack(one if takes[0].done() and not takes[0].cancelled() else two, again)


@conformance("claims")
async def test_S6_S8_what_a_dead_consumer_held_is_claimed(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(3)])
    async with broker.consume(work.queue, name="dead", prefetch=10) as dead:
        taken = await take(dead, 3)
        assert [delivery.delivery_count for delivery in taken] == [1, 1, 1]
        dead.crash()
    async with broker.consume(work.queue, name="heir", prefetch=10) as heir:
        assert isinstance(heir, CanClaim)
        assert await heir.claim(min_idle_s=60, limit=10) == []
        first = await heir.claim(min_idle_s=0, limit=2)
        rest = await heir.claim(min_idle_s=0, limit=10)
        assert bodies([*first, *rest]) == [b"0", b"1", b"2"]
        assert {(one.delivery_count, one.redelivered) for one in (*first, *rest)} == {(2, True)}
        await ack(heir, [*first, *rest])
        assert (await level(broker, work.queue)).in_flight == 0


@conformance("claims")
async def test_S7_S9_the_late_ack_of_a_former_owner_is_stale_and_takes_nothing_away(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message()])
    async with (
        broker.consume(work.queue, name="slow", prefetch=10) as slow,
        broker.consume(work.queue, name="fast", prefetch=10) as fast,
    ):
        held = await take(slow, 1)
        assert isinstance(fast, CanClaim)
        claimed = await fast.claim(min_idle_s=0, limit=10)
        for verdict in (Ack(), Retry(), Retry(1.0), DeadLetter("E")):
            [outcome] = await slow.settle([(held[0], verdict)])
            assert outcome.settled is Settled.STALE
        measured = await level(broker, work.queue)
        assert (measured.in_flight, measured.delayed) == (1, 0)
        await ack(fast, claimed)


@conformance("claims")
async def test_S4_a_consumer_begins_with_what_is_pending_under_its_name(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(3)])
    async with broker.consume(work.queue, name="same", prefetch=2) as before:
        await take(before, 2)
        before.crash()
    async with broker.consume(work.queue, name="same", prefetch=10) as after:
        taken = await take(after, 3)
        assert bodies(taken) == [b"0", b"1", b"2"]
        assert [delivery.redelivered for delivery in taken] == [True, True, False]
        await ack(after, taken)


@conformance("claims", "retry")
async def test_a_leased_retry_of_a_dead_consumer_comes_again_and_is_never_in_the_stream(
    subject: Subject, broker: Broker, work: Work
) -> None:
    await publish(broker, work, [subject.message(b"again")])
    async with broker.consume(work.queue, name="dead", prefetch=10, session_timeout_s=SESSION_S) as dead:
        await settle(dead, [((await take(dead, 1))[0], Retry(0.05, "E"))])
        await take(dead, 1)
        dead.crash()
    async with broker.consume(work.queue, name="heir", prefetch=10, session_timeout_s=SESSION_S) as heir:
        [retry] = await take(heir, 1)
        assert retry.message.body == b"again"
        assert retry.message.attempt == 2
        assert retry.route.destination != work.queue.name
        await settle(heir, [(retry, DeadLetter("E"))])
    await waiting(broker, work.dead, 1)
    measured = await level(broker, work.queue)
    assert (measured.in_total, measured.in_flight, measured.delayed) == (1, 0, 0)


@conformance("channels")
async def test_P1_P2_P3_P4_channels_keep_nothing_and_every_subscription_gets_a_copy(
    subject: Subject, broker: Broker, work: Work
) -> None:
    channel = f"{work.queue.name}.news"
    messages = [compose(Draft(body=b"%d" % number), Family.REDIS_PUBSUB) for number in range(3)]
    news = Topology(
        destinations=(Destination(name=channel, kind="channel", family=Family.REDIS_PUBSUB, durable=False),)
    )
    await broker.declare(news)
    assert isinstance(broker, CanSubscribe)
    async with broker.publisher(name="p") as publisher:
        [gone] = await publisher.send([Outgoing(Route(channel), messages[0])])
        assert gone.sent is Sent.CONFIRMED
        assert "no subscriber" in gone.detail
        async with broker.subscribe([channel, f"{work.queue.name}.*"], name="listener") as listener:
            receipts = await publisher.send([Outgoing(Route(channel), message) for message in messages])
            assert [receipt.position for receipt in receipts] == ["2"] * 3
            taken: list[Delivery] = []
            async with asyncio.timeout(5):
                while len(taken) < 6:
                    taken += await listener.take(10)
            plain = [one for one in taken if one.queue == QueueRef(channel)]
            by_pattern = [one for one in taken if one.queue == QueueRef(f"{work.queue.name}.*")]
            assert bodies(plain) == bodies(by_pattern) == [b"0", b"1", b"2"]
            assert {one.claim for one in taken} == {None}
            assert {one.route for one in taken} == {Route(channel)}
            assert by_pattern[0].message.native == PubSub(pattern=f"{work.queue.name}.*")
            listener.crash()
            with pytest.raises(ConnectionLost):
                await listener.take(1)
    await broker.remove(news)


@conformance("crash", "cuts")
async def test_a_lost_life_ends_whole_and_the_next_one_goes_on(subject: Subject, work: Work) -> None:
    async with subject.fragile_life() as (broker, cut):
        await publish(broker, work, [subject.message(b"held")])
        async with (
            broker.consume(work.queue, name="w", prefetch=1, session_timeout_s=SESSION_S) as consumer,
            broker.publisher(name="p") as publisher,
        ):
            held = await take(consumer, 1)
            cut()
            assert await asyncio.wait_for(broker.lost(), 10)
            with pytest.raises(ConnectionLost):
                await asyncio.wait_for(consumer.take(1), 5)
            [outcome] = await consumer.settle([(held[0], Ack())])
            assert outcome.settled is Settled.STALE
            [receipt] = await publisher.send([Outgoing(work.route, subject.message(b"too late"))])
            assert receipt.sent is Sent.UNKNOWN
        with pytest.raises(BrokerUnavailable):
            async with broker.consume(work.queue, name="w", prefetch=1):
                pass
    async with (
        subject.life() as broker,
        broker.consume(work.queue, name="w", prefetch=1, session_timeout_s=SESSION_S) as consumer,
    ):
        again = await take(consumer, 1)
        assert bodies(again) == [b"held"]
        await ack(consumer, again)


@conformance("commits")
async def test_K4_browsing_changes_nothing(subject: Subject, broker: Broker, work: Work) -> None:
    await _browse(subject, broker, work)


@conformance("claims")
async def test_S18_browsing_changes_nothing(subject: Subject, broker: Broker, work: Work) -> None:
    await _browse(subject, broker, work)


async def _browse(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message(b"%d" % number) for number in range(5)])
    assert isinstance(broker, CanBrowse)
    assert bodies(await broker.browse(work.queue, newest=3)) == [b"2", b"3", b"4"]
    assert (await level(broker, work.queue)).waiting == 5
