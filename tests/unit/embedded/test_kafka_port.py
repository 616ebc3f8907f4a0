"""The embedded Kafka through the port, with a clock that a test moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from mqdash.brokers.base import CanBrowse, CanRequest, HoldsDeadLetters, TellsMoves
from mqdash.brokers.embedded import connector
from mqdash.brokers.embedded.kafka import KafkaBroker, KafkaConnector
from mqdash.brokers.url import parse_url
from mqdash.clock import ManualClock
from mqdash.errors import BrokerUnavailable, Conflict, ConnectionLost, ConsumerCancelled, NotFound, Unsupported
from mqdash.model.delivery import Ack, Answer, DeadLetter, Delivery, Outgoing, Receipt, Retry, Sent, Settled, Verdict
from mqdash.model.message import Draft, Family, Message, compose
from mqdash.model.topology import Attendant, Binding, Destination, Queue, QueueRef, Route, Topology

CLICKS = QueueRef("clicks", "app")
DLQ = QueueRef("clicks.dlq")


def topology(partitions: int = 3) -> Topology:
    return Topology(
        destinations=(Destination(name="clicks", kind="topic", family=Family.KAFKA, partitions=partitions),),
        queues=(Queue(ref=CLICKS, kind="group", family=Family.KAFKA),),
        bindings=(Binding(source="clicks", queue=CLICKS),),
    )


def new(clock: ManualClock, *, seed: int = 0, bounded: bool = True) -> KafkaConnector:
    return cast("KafkaConnector", connector(parse_url("embedded://kafka"), clock=clock, seed=seed, bounded=bounded))


@asynccontextmanager
async def opened(clock: ManualClock, *, partitions: int = 3, **options: Any) -> AsyncIterator[KafkaBroker]:
    broker = cast("KafkaBroker", await new(clock, **options).connect())
    async with broker:
        await broker.declare(topology(partitions))
        yield broker


async def publish(broker: KafkaBroker, *bodies: str, partition: int | None = 0, key: str = "") -> list[Receipt]:
    async with broker.publisher(name="shop") as publisher:
        drafts = [compose(Draft(body=body.encode(), key=key, id=body), Family.KAFKA) for body in bodies]
        return list(await publisher.send([Outgoing(Route("clicks", "", partition), draft) for draft in drafts]))


def bodies(deliveries: Any) -> list[str]:
    return [delivery.message.body.decode() for delivery in deliveries]


def each(deliveries: Any, verdict: Verdict) -> list[tuple[Delivery, Verdict]]:
    return [(delivery, verdict) for delivery in deliveries]


async def test_receipts_name_partition_and_offset_and_say_why_not() -> None:
    async with opened(ManualClock()) as broker:
        assert await publish(broker, "a", "b") == [
            Receipt(Sent.CONFIRMED, position="0/0"),
            Receipt(Sent.CONFIRMED, position="0/1"),
        ]
        async with broker.publisher(name="p") as publisher:
            big = Message(content=b"x" * 2_000_000)
            outs = [Outgoing(Route("clicks"), big), Outgoing(Route("nope"), Message(content=b"")), *_three()]
            receipts = await publisher.send(outs)
        assert [receipt.sent for receipt in receipts] == [Sent.REFUSED, Sent.REFUSED, *[Sent.CONFIRMED] * 3]
        assert "larger" in receipts[0].detail
        assert "no topic 'nope'" in receipts[1].detail


def _three() -> list[Outgoing]:
    return [Outgoing(Route("clicks"), Message(content=b"m"))] * 3


async def test_K9_settle_out_of_order_is_held_until_the_prefix_is_done() -> None:
    async with opened(ManualClock()) as broker, broker.consume(CLICKS, name="C1", prefetch=10) as consumer:
        await publish(broker, "a", "b", "c")
        first, second, third = await consumer.take(10)
        assert [outcome.settled for outcome in await consumer.settle([(third, Ack())])] == [Settled.HELD]
        outcomes = await consumer.settle([(second, Ack()), (first, Ack())])
        assert [outcome.settled for outcome in outcomes] == [Settled.SETTLED, Settled.SETTLED]
        assert [outcome.settled for outcome in await consumer.settle([(first, Ack())])] == [Settled.STALE]
        measured = (await broker.measure([CLICKS]))[0]
        assert measured.partitions[0].committed == 3


async def test_K11_a_new_group_starts_at_the_earliest_record() -> None:
    async with opened(ManualClock()) as broker:
        await publish(broker, "a", "b")
        async with broker.consume(CLICKS, name="C1", prefetch=10) as consumer:
            assert bodies(await consumer.take(10)) == ["a", "b"]


async def test_K12_E4_a_crash_gives_the_records_to_another_member_after_the_session_timeout() -> None:
    clock = ManualClock()
    async with opened(clock, partitions=2) as broker:
        async with (
            broker.consume(CLICKS, name="C1", prefetch=10, session_timeout_s=6.0) as first,
            broker.consume(CLICKS, name="C2", prefetch=10) as second,
        ):
            await publish(broker, "a", "b", partition=0)
            held = await first.take(10)
            await first.settle(each(held[:1], Ack()))
            first.moved(), second.moved()
            first.crash()
            with pytest.raises(ConnectionLost):
                await first.take(1)
            assert [outcome.settled for outcome in await first.settle(each(held[1:], Ack()))] == [Settled.STALE]
            waiting = asyncio.ensure_future(second.take(10))
            await clock.advance(5.99)
            assert not waiting.done()
            await clock.advance(0.02)
            assert bodies(await waiting) == ["b"]
            assert isinstance(second, TellsMoves)
            moves = [(move.partition, move.from_member, move.to_member) for move in second.moved()]
            assert moves == [(0, "C1", "C2")]
            assert second.moved() == []
        measured = (await broker.measure([CLICKS]))[0]
        assert (measured.redelivered_total, measured.consumers) == (1, 0)


async def test_K17_leaving_politely_hands_over_at_once() -> None:
    clock = ManualClock()
    async with opened(clock, partitions=1) as broker, broker.consume(CLICKS, name="C2", prefetch=1) as second:
        async with broker.consume(CLICKS, name="C1", prefetch=1) as first:
            await publish(broker, "a")
            assert bodies(await first.take(1)) == ["a"]
        assert bodies(await second.take(1)) == ["a"]
        assert clock.monotonic() == 0.0


async def test_K13_a_delivery_of_an_assignment_that_ended_is_stale() -> None:
    async with opened(ManualClock(), partitions=1) as broker, broker.consume(CLICKS, name="C1", prefetch=1) as first:
        await publish(broker, "a")
        held = await first.take(1)
        async with broker.consume(CLICKS, name="C2", prefetch=1):
            for verdict in (Ack(), DeadLetter("Boom"), Retry(1.0)):
                assert [outcome.settled for outcome in await first.settle(each(held, verdict))] == [Settled.STALE]
        assert (await broker.measure([DLQ]))[0].waiting == 0  # a stale dead letter is not copied
        assert bodies(await first.take(1)) == ["a"]


async def test_prefetch_bounds_what_is_open_and_pause_takes_nothing() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.consume(CLICKS, name="C1", prefetch=2) as consumer:
        await publish(broker, "a", "b", "c", "d")
        held = await consumer.take(10)
        assert bodies(held) == ["a", "b"]
        consumer.pause()
        await consumer.settle(each(held, Ack()))
        waiting = asyncio.ensure_future(consumer.take(10))
        await clock.advance(60.0)
        assert not waiting.done()  # and the membership is kept
        consumer.resume()
        assert bodies(await waiting) == ["c", "d"]


async def test_dead_letter_is_a_copy_with_a_reason_then_a_commit() -> None:
    async with opened(ManualClock()) as broker, broker.consume(CLICKS, name="C1", prefetch=2) as consumer:
        await publish(broker, "a", partition=2, key="k")
        verdicts = each(await consumer.take(1), DeadLetter("PaymentDeclined", "card 4242"))
        assert [outcome.settled for outcome in await consumer.settle(verdicts)] == [Settled.SETTLED]
        letters = await broker.browse(DLQ, newest=10)
        message = letters[0].message
        assert (message.body, message.key, message.id) == (b"a", "k", "a")
        assert letters[0].route == Route("clicks.dlq", "", 2)
        assert message.header_text("x-mqdash-error") == "PaymentDeclined"
        assert message.header_text("x-mqdash-error-text") == "card 4242"
        assert message.header_text("x-mqdash-worker") == "C1"
        assert message.header_text("x-mqdash-queue") == "clicks"
        assert message.header_text("x-mqdash-group") == "app"
        measured = (await broker.measure([CLICKS]))[0]
        assert (measured.waiting, measured.in_flight, measured.out_total) == (0, 0, 1)


async def test_a_refused_dead_letter_copy_fails_and_nothing_is_removed() -> None:
    async with opened(ManualClock()) as broker:
        wrong = Route("clicks.dlq", "", 9)
        async with broker.consume(CLICKS, name="C1", prefetch=2, dead_letter=wrong) as consumer:
            await publish(broker, "a")
            held = await consumer.take(1)
            outcomes = await consumer.settle(each(held, DeadLetter("Boom")))
            assert [(outcome.settled, "partition 9" in outcome.detail) for outcome in outcomes] == [
                (Settled.FAILED, True)
            ]
            assert (await broker.measure([CLICKS]))[0].in_flight == 1
            assert [outcome.settled for outcome in await consumer.settle(each(held, Ack()))] == [Settled.SETTLED]


async def test_a_delayed_retry_comes_back_to_the_group_when_due_with_its_attempt() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.consume(CLICKS, name="C1", prefetch=2) as consumer:
        await publish(broker, "a")
        held = await consumer.take(1)
        assert held[0].message.attempt == 1
        assert [outcome.settled for outcome in await consumer.settle(each(held, Retry(0.5, "Busy")))] == [
            Settled.SETTLED
        ]
        measured = (await broker.measure([CLICKS]))[0]
        assert (measured.waiting, measured.in_flight, measured.delayed) == (0, 0, 1)
        waiting = asyncio.ensure_future(consumer.take(1))
        await clock.advance(0.99)
        assert not waiting.done()
        await clock.advance(0.02)
        again = await waiting
        assert (bodies(again), again[0].message.attempt, again[0].queue) == (["a"], 2, CLICKS)
        assert again[0].route.destination == "clicks.app.retry.1s"
        await consumer.settle(each(again, DeadLetter("Busy")))
        letters = await broker.browse(DLQ, newest=1)
        assert letters[0].message.header_text("x-mqdash-attempt") == "2"
        measured = (await broker.measure([CLICKS]))[0]
        assert (measured.delayed, measured.in_flight) == (0, 0)


async def test_an_immediate_retry_comes_back_at_once() -> None:
    async with opened(ManualClock()) as broker, broker.consume(CLICKS, name="C1", prefetch=2) as consumer:
        await publish(broker, "a")
        await consumer.settle(each(await consumer.take(1), Retry()))
        again = await consumer.take(1)
        assert (bodies(again), again[0].message.attempt) == (["a"], 2)


async def test_a_due_retry_of_a_crashed_member_is_served_by_the_next_one() -> None:
    clock = ManualClock()
    async with opened(clock) as broker:
        async with broker.consume(CLICKS, name="C1", prefetch=2, session_timeout_s=3.0) as first:
            await publish(broker, "a")
            await first.settle(each(await first.take(1), Retry(5.0)))
            first.crash()
        async with broker.consume(CLICKS, name="C2", prefetch=2) as second:
            waiting = asyncio.ensure_future(second.take(1))
            await clock.advance(4.9)
            assert not waiting.done()
            await clock.advance(0.2)
            assert bodies(await waiting) == ["a"]


async def test_K24_lag_per_partition_and_what_retention_took() -> None:
    async with opened(ManualClock(), partitions=1) as broker:
        async with broker.consume(CLICKS, name="C1", prefetch=1) as consumer:
            await publish(broker, "a")
            assert (await broker.measure([CLICKS]))[0].partitions[0].waiting is None  # no commit: no offset, not lag 0
            await consumer.settle(each(await consumer.take(1), Ack()))
        await publish(broker, *(str(number) for number in range(10_005)))
        measured = (await broker.measure([CLICKS]))[0]
        partition = measured.partitions[0]
        assert (partition.end, partition.committed, partition.lost, partition.owner) == (10_006, 1, 5, "")
        assert (measured.waiting, measured.dropped_total) == (10_000, 5)
        total = (measured.out_total or 0) + (measured.waiting or 0) + (measured.dropped_total or 0)
        assert measured.in_total == total == 10_006  # E2


async def test_waiting_age_is_of_the_first_record_nobody_holds() -> None:
    clock = ManualClock()
    async with opened(clock, partitions=1) as broker, broker.consume(CLICKS, name="C1", prefetch=1) as consumer:
        await publish(broker, "a")
        await clock.advance(2.0)
        await publish(broker, "b")
        await clock.advance(1.0)
        assert (await broker.measure([CLICKS]))[0].oldest_age_s == pytest.approx(3.0)
        await consumer.take(1)
        measured = (await broker.measure([CLICKS]))[0]
        assert (measured.waiting, measured.in_flight) == (1, 1)
        assert measured.oldest_age_s == pytest.approx(1.0)


async def test_K23_removed_dead_letters_are_not_listed_again() -> None:
    async with opened(ManualClock()) as broker, broker.consume(CLICKS, name="C1", prefetch=9) as consumer:
        await publish(broker, "a", "b", "c")
        await consumer.settle(each(await consumer.take(9), DeadLetter("Boom")))
        assert isinstance(broker, HoldsDeadLetters)
        async with broker.lease(DLQ, limit=2) as lease:
            assert (bodies(lease.letters), lease.info.order, lease.info.held) == (["c", "b"], "newest", False)
            assert lease.info.total == 3
            removed = await lease.remove([lease.letters[1], lease.letters[1]])
            assert [outcome.settled for outcome in removed] == [Settled.SETTLED, Settled.SETTLED]
            assert removed[1].detail
        async with broker.lease(DLQ) as lease:
            assert bodies(lease.letters) == ["c", "a"]
        assert (await broker.measure([DLQ]))[0].waiting == 2


async def test_browse_reads_the_newest_oldest_first_and_moves_nothing() -> None:
    clock = ManualClock()
    async with opened(clock) as broker:
        for number in range(6):
            await publish(broker, str(number), partition=number % 3)
            await clock.advance(0.1)
        assert isinstance(broker, CanBrowse)
        assert bodies(await broker.browse(CLICKS, newest=4)) == ["2", "3", "4", "5"]
        assert (await broker.measure([CLICKS]))[0].waiting == 6


async def test_C1_C5_request_and_reply_by_topics() -> None:
    clock = ManualClock()
    async with opened(clock) as broker:
        assert isinstance(broker, CanRequest)
        async with (
            broker.requester(name="asker") as requester,
            broker.consume(CLICKS, name="R1", prefetch=1) as consumer,
            broker.publisher(name="R1") as publisher,
        ):
            asked = asyncio.ensure_future(
                requester.request(Route("clicks"), Message(content=b"how many?"), timeout_s=1.0)
            )
            request = (await consumer.take(1))[0]
            answer = compose(Draft(body=b"42"), Family.KAFKA)
            assert (await publisher.reply(request.message, answer)).sent is Sent.CONFIRMED
            reply = await asked
            assert reply.answer is Answer.ANSWERED
            assert reply.message is not None
            assert reply.message.body == b"42"

            asked = asyncio.ensure_future(requester.request(Route("clicks"), Message(content=b"again?"), timeout_s=1.0))
            await clock.settle()
            await clock.advance(1.0)
            assert (await asked).answer is Answer.TIMEOUT
            await consumer.settle([(request, Ack())])
            await publisher.reply((await consumer.take(1))[0].message, answer)
            await publisher.reply(request.message, answer)
            assert (requester.late, requester.unmatched) == (1, 1)
            refused = await requester.request(Route("nope"), Message(content=b""), timeout_s=1.0)
            assert refused.answer is Answer.RETURNED


async def test_C4_a_request_open_when_the_connection_goes_is_unknown() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.requester(name="asker") as requester:
        asked = asyncio.ensure_future(requester.request(Route("clicks"), Message(content=b"?"), timeout_s=9.0))
        await clock.settle()
        broker.server.cut("asker")
        assert (await asked).answer is Answer.UNKNOWN


async def test_a_restart_ends_the_life_and_keeps_what_was_confirmed() -> None:
    clock = ManualClock()
    way = new(clock)
    broker = await way.connect()
    await broker.declare(topology(1))
    async with (
        broker.publisher(name="shop") as publisher,
        broker.consume(CLICKS, name="C1", prefetch=1, session_timeout_s=2.0) as consumer,
    ):
        await publisher.send(_three())
        held = await consumer.take(1)
        way.server.stop("killed")
        assert await broker.lost() == "killed"
        with pytest.raises(ConnectionLost):
            await consumer.take(1)
        assert [outcome.settled for outcome in await consumer.settle(each(held, Ack()))] == [Settled.STALE]
        assert {receipt.sent for receipt in await publisher.send(_three())} == {Sent.UNKNOWN}
        with pytest.raises(BrokerUnavailable):
            await way.connect()
    way.server.start()
    async with cast("KafkaBroker", await way.connect()) as again:
        assert (await again.measure([CLICKS]))[0].in_total == 3
        async with again.consume(CLICKS, name="C1b", prefetch=9) as consumer:
            await clock.advance(2.0)
            assert len(await consumer.take(9)) == 3


async def test_E5_declare_refuses_what_kafka_cannot_and_changes_nothing_on_conflict() -> None:
    async with opened(ManualClock(), partitions=2) as broker:
        with pytest.raises(Conflict, match="2 partitions, not 3"):
            await broker.declare(Topology(destinations=(Destination(name="new", kind="topic"), *_three_partitions())))
        assert "new" not in broker.cluster.topics
        with pytest.raises(Unsupported, match="fanout"):
            await broker.declare(Topology(destinations=(Destination(name="x", kind="fanout"),)))
        with pytest.raises(Unsupported, match="expiry"):
            await broker.declare(Topology(queues=(Queue(ref=CLICKS, ttl_s=1.0),)))
        with pytest.raises(NotFound, match="does not exist"):
            await broker.declare(Topology(queues=(Queue(ref=QueueRef("nope", "g")),)))
        with pytest.raises(NotFound):
            async with broker.consume(QueueRef("nope", "g"), name="C", prefetch=1):
                pass
        with pytest.raises(Unsupported, match="nothing is routed"):
            await broker.declare(Topology(bindings=(Binding(source="clicks", destination="other"),)))
        with pytest.raises(Unsupported, match="needs a group"):
            async with broker.consume(QueueRef("clicks"), name="C", prefetch=1):
                pass
        await broker.declare(topology(2))  # equal: fine


def _three_partitions() -> tuple[Destination, ...]:
    return topology(3).destinations


async def test_remove_takes_topics_groups_and_side_topics_and_cancels_consumers() -> None:
    async with opened(ManualClock()) as broker, broker.consume(CLICKS, name="C1", prefetch=2) as consumer:
        await publish(broker, "a", "b")
        dead, again = await consumer.take(2)
        await consumer.settle([(dead, DeadLetter("Boom")), (again, Retry(5.0))])
        waiting = asyncio.ensure_future(consumer.take(1))
        await ManualClock.settle()
        await broker.remove(topology())
        with pytest.raises(ConsumerCancelled):
            await waiting
        assert broker.cluster.topics == {}
        assert list(await broker.measure([CLICKS])) == []
        assert (await broker.catalog()).entities == ()
        await broker.remove(topology())  # nothing there is fine


async def test_catalog_shows_topics_groups_members_and_dead_letters_in_pages() -> None:
    async with opened(ManualClock()) as broker, broker.consume(CLICKS, name="C1", prefetch=2):
        page = await broker.catalog(limit=1)
        assert (page.after, page.source) == ("clicks", "embedded")
        kinds = [type(entity).__name__ for entity in page.entities]
        assert kinds == ["Destination", "Queue", "Binding", "Attendant"]
        attendant = page.entities[-1]
        assert isinstance(attendant, Attendant)
        assert (attendant.name, attendant.prefetch, attendant.in_flight) == ("C1", 2, 0)
        rest = await broker.catalog(after=page.after)
        graves = [entity.ref for entity in rest.entities if isinstance(entity, Queue) and entity.holds_dead_letters]
        assert (graves, rest.after) == ([DLQ], None)


async def test_an_observer_has_no_writing_method() -> None:
    clock = ManualClock()
    observer = await new(clock).observe()
    assert not observer.info.writable
    for name in ("declare", "remove", "publisher", "consume", "lease", "requester"):
        assert not hasattr(observer, name)
    await observer.close()
    await observer.close()


async def test_E1_equal_seeds_give_byte_identical_logs_through_the_port() -> None:
    assert await _story(3) == await _story(3)
    assert await _story(3) != await _story(4)


async def _story(seed: int) -> list[str]:
    told: list[str] = []
    clock = ManualClock()
    async with opened(clock, seed=seed) as broker:
        async with broker.consume(CLICKS, name="C1", prefetch=5) as consumer:
            for number in range(20):
                told += [repr(receipt) for receipt in await publish(broker, str(number), partition=None)]
                for delivery in await consumer.take(5):
                    verdict: Verdict = (
                        DeadLetter("Boom") if number % 5 == 0 else Retry(1.0) if number % 3 == 0 else Ack()
                    )
                    told += [repr(delivery), repr(await consumer.settle([(delivery, verdict)]))]
                await clock.advance(0.3)
        told.append(repr(await broker.measure([CLICKS, DLQ])))
    return told
