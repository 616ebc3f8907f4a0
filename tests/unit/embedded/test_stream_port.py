"""The embedded Redis streams through the port, with a clock that a test moves."""

import asyncio
from typing import cast

import pytest

from mqdash.brokers.base import CanBrowse, CanClaim, CanRequest, CanSubscribe, HoldsDeadLetters
from mqdash.brokers.embedded.keyspace import DETECTION_S
from mqdash.brokers.embedded.redis import RedisBroker
from mqdash.clock import ManualClock
from mqdash.errors import Conflict, ConnectionLost, ConsumerCancelled, NotFound, Unsupported
from mqdash.model.delivery import Ack, Answer, DeadLetter, Outgoing, Retry, Sent, Settled, Verdict
from mqdash.model.message import Draft, Entry, Family, Message, compose
from mqdash.model.topology import Attendant, Binding, Destination, Queue, QueueRef, Route, Topology
from tests.unit.embedded.redis import ALERTS, DLQ, add, bodies, each, new, opened, shout, topology


async def test_S1_receipts_name_the_entry() -> None:
    async with opened(ManualClock()) as broker:
        receipts = await add(broker, "a", "b")
        assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED] * 2
        browsed = await broker.browse(ALERTS, newest=9)
        assert isinstance(broker, CanBrowse)
        assert [delivery.message.native for delivery in browsed] == [
            Entry(entry_id=receipt.position) for receipt in receipts
        ]


async def test_S3_work_is_shared_and_who_waited_longest_is_served_first() -> None:
    async with (
        opened(ManualClock()) as broker,
        broker.consume(ALERTS, name="W1", prefetch=1) as first,
        broker.consume(ALERTS, name="W2", prefetch=1) as second,
    ):
        served = []
        waiting = {"W1": asyncio.ensure_future(first.take(1)), "W2": asyncio.ensure_future(second.take(1))}
        for number in range(4):
            await ManualClock.settle()
            await add(broker, str(number))
            await ManualClock.settle()
            name, consumer = next((n, c) for n, c in (("W1", first), ("W2", second)) if waiting[n].done())
            served.append(name)
            await consumer.settle(each(await waiting[name], Ack()))
            waiting[name] = asyncio.ensure_future(consumer.take(1))
        assert served == ["W1", "W2", "W1", "W2"]
        for task in waiting.values():
            task.cancel()


async def test_S7_settle_out_of_order_is_proof_at_once_and_twice_is_stale() -> None:
    async with opened(ManualClock()) as broker, broker.consume(ALERTS, name="W1", prefetch=9) as consumer:
        await add(broker, "a", "b", "c")
        held = await consumer.take(9)
        for delivery in (held[2], held[0], held[1]):
            assert [outcome.settled for outcome in await consumer.settle([(delivery, Ack())])] == [Settled.SETTLED]
        assert [outcome.settled for outcome in await consumer.settle([(held[0], Ack())])] == [Settled.STALE]
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.waiting, measured.in_flight, measured.in_total, measured.out_total) == (0, 0, 3, 3)


async def test_S6_S8_a_killed_workers_entries_stay_pending_until_they_are_claimed() -> None:
    clock = ManualClock()
    async with opened(clock) as broker:
        async with (
            broker.consume(ALERTS, name="W1", prefetch=9) as first,
            broker.consume(ALERTS, name="W2", prefetch=9) as second,
        ):
            await add(broker, "a", "b")
            held = await first.take(9)
            first.crash()
            with pytest.raises(ConnectionLost):
                await first.take(1)
            await clock.advance(4.0)
            assert isinstance(second, CanClaim)
            assert await second.claim(min_idle_s=5.0, limit=9) == []
            assert (await broker.measure([ALERTS]))[0].in_flight == 2
            await clock.advance(1.0)
            claimed = await second.claim(min_idle_s=5.0, limit=9)
            assert [(delivery.delivery_count, delivery.redelivered) for delivery in claimed] == [(2, True)] * 2
            assert bodies(claimed) == ["a", "b"]
            assert [outcome.settled for outcome in await first.settle(each(held, Ack()))] == [Settled.STALE] * 2
            assert [outcome.settled for outcome in await second.settle(each(claimed, Ack()))] == [Settled.SETTLED] * 2
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.in_flight, measured.redelivered_total, measured.out_total) == (0, 2, 2)


async def test_S7_the_late_ack_of_a_hung_worker_does_not_take_the_entry_from_its_new_owner() -> None:
    clock = ManualClock()
    async with (
        opened(clock) as broker,
        broker.consume(ALERTS, name="W1", prefetch=9) as hung,
        broker.consume(ALERTS, name="W2", prefetch=9) as second,
    ):
        await add(broker, "a")
        held = await hung.take(9)
        await clock.advance(10.0)
        claimed = await second.claim(min_idle_s=5.0, limit=9)
        verdicts: tuple[Verdict, ...] = (Ack(), Retry(), DeadLetter("Boom"))
        for verdict in verdicts:
            assert [outcome.settled for outcome in await hung.settle(each(held, verdict))] == [Settled.STALE]
        assert (await broker.measure([DLQ]))[0].waiting == 0
        assert [outcome.settled for outcome in await second.settle(each(claimed, Ack()))] == [Settled.SETTLED]


async def test_S10_a_claimed_entry_whose_fields_are_gone_is_dropped() -> None:
    clock = ManualClock()
    async with (
        opened(clock) as broker,
        broker.consume(ALERTS, name="W1", prefetch=9) as first,
        broker.consume(ALERTS, name="W2", prefetch=9) as second,
    ):
        await add(broker, "a", "b")
        await first.take(9)
        first.crash()
        broker.keys.streams["alerts"].trim_to(1)
        await clock.advance(5.0)
        assert bodies(await second.claim(min_idle_s=5.0, limit=9)) == ["b"]
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.in_flight, measured.dropped_total) == (1, 1)


async def test_S4_E3_what_was_claimed_before_the_first_take_is_given_once_and_hides_nothing() -> None:
    async with opened(ManualClock()) as broker:
        async with broker.consume(ALERTS, name="W1", prefetch=2) as first:
            await add(broker, "a", "b", "c")
            await first.take(1)
            first.crash()
        async with (
            broker.consume(ALERTS, name="W2", prefetch=9) as other,
            broker.consume(ALERTS, name="W1", prefetch=9) as again,
        ):
            assert bodies(await other.take(1)) == ["b"]
            assert bodies(await again.claim(min_idle_s=0, limit=9)) == ["b"]
            assert bodies(await again.take(9)) == ["a"], "its own of before, not what it holds already"
            assert bodies(await again.take(9)) == ["c"]


async def test_S4_a_consumer_that_comes_back_under_its_name_begins_with_what_it_held() -> None:
    async with opened(ManualClock()) as broker:
        async with broker.consume(ALERTS, name="W1", prefetch=2) as first:
            await add(broker, "a", "b", "c")
            await first.take(2)
            first.crash()
        async with broker.consume(ALERTS, name="W1", prefetch=9) as again:
            given = await again.take(1)
            given = [*given, *await again.take(1), *await again.take(9)]
            assert [(delivery.message.id, delivery.delivery_count) for delivery in given] == [
                ("a", 2),
                ("b", 2),
                ("c", 1),
            ]


async def test_prefetch_bounds_what_is_held_and_pause_takes_nothing() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.consume(ALERTS, name="W1", prefetch=2) as consumer:
        await add(broker, "a", "b", "c")
        held = await consumer.take(9)
        assert bodies(held) == ["a", "b"]
        waiting = asyncio.ensure_future(consumer.take(9))
        await clock.settle()
        assert not waiting.done()
        consumer.pause()
        await consumer.settle(each(held, Ack()))
        await clock.settle()
        assert not waiting.done()
        consumer.resume()
        assert bodies(await waiting) == ["c"]


async def test_dead_letter_is_one_script_copy_first() -> None:
    async with opened(ManualClock()) as broker, broker.consume(ALERTS, name="W1", prefetch=9) as consumer:
        await add(broker, "a")
        verdicts = each(await consumer.take(9), DeadLetter("BadJson", "line 1"))
        assert [outcome.settled for outcome in await consumer.settle(verdicts)] == [Settled.SETTLED]
        assert isinstance(broker, HoldsDeadLetters)
        async with broker.lease(DLQ) as lease:
            message = lease.letters[0].message
            assert (message.body, message.id, message.key) == (b"a", "a", "k")
            assert message.header_text("x-mqdash-error") == "BadJson"
            assert message.header_text("x-mqdash-error-text") == "line 1"
            assert message.header_text("x-mqdash-queue") == "alerts"
            assert message.header_text("x-mqdash-group") == "pager"
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.in_flight, measured.out_total) == (0, 1)


async def test_a_dead_letter_to_a_channel_fails_and_nothing_is_removed() -> None:
    channel = Route("ops.eu")
    async with (
        opened(ManualClock()) as broker,
        broker.consume(ALERTS, name="W1", prefetch=9, dead_letter=channel) as consumer,
    ):
        await add(broker, "a")
        held = await consumer.take(9)
        outcomes = await consumer.settle(each(held, DeadLetter("Boom")))
        assert outcomes[0].settled is Settled.FAILED
        assert "keeps nothing" in outcomes[0].detail
        assert [outcome.settled for outcome in await consumer.settle(each(held, Ack()))] == [Settled.SETTLED]


async def test_lease_is_free_reading_newest_first_and_removing_is_xdel() -> None:
    async with opened(ManualClock()) as broker, broker.consume(ALERTS, name="W1", prefetch=9) as consumer:
        await add(broker, "a", "b", "c")
        await consumer.settle(each(await consumer.take(9), DeadLetter("Boom")))
        async with broker.lease(DLQ, limit=2) as lease:
            assert (bodies(lease.letters), lease.info.order, lease.info.held) == (["c", "b"], "newest", False)
            removed = await lease.remove([lease.letters[0], lease.letters[0]])
            assert [outcome.settled for outcome in removed] == [Settled.SETTLED] * 2
            assert removed[1].detail
        assert (await broker.measure([DLQ]))[0].waiting == 2
        with pytest.raises(NotFound):
            async with broker.lease(QueueRef("nope")):
                pass


async def test_a_delayed_retry_is_leased_when_due_and_never_added_again() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.consume(ALERTS, name="W1", prefetch=9) as consumer:
        await add(broker, "a")
        await consumer.settle(each(await consumer.take(9), Retry(2.0, "Busy")))
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.waiting, measured.in_flight, measured.delayed) == (0, 0, 1)
        waiting = asyncio.ensure_future(consumer.take(9))
        await clock.advance(1.99)
        assert not waiting.done()
        await clock.advance(0.02)
        again = await waiting
        assert (bodies(again), again[0].message.attempt, again[0].delivery_count) == (["a"], 2, 2)
        assert again[0].route == Route("{alerts}:retry:pager")
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.in_total, measured.in_flight, measured.delayed) == (1, 1, 0)
        await consumer.settle(each(again, Retry(0.0)))
        third = await consumer.take(9)
        assert (third[0].message.attempt, third[0].delivery_count) == (3, 3)
        assert [outcome.settled for outcome in await consumer.settle(each(third, DeadLetter("Busy")))] == [
            Settled.SETTLED
        ]
        assert [outcome.settled for outcome in await consumer.settle(each(third, Ack()))] == [Settled.STALE]
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.in_flight, measured.delayed, len(broker.keys.streams["alerts"].ids)) == (0, 0, 1)
        assert (await broker.browse(DLQ, newest=1))[0].message.header_text("x-mqdash-attempt") == "3"


async def test_a_leased_retry_of_a_crashed_worker_goes_to_another_after_the_session_timeout() -> None:
    clock = ManualClock()
    async with (
        opened(clock) as broker,
        broker.consume(ALERTS, name="W1", prefetch=9, session_timeout_s=3.0) as first,
        broker.consume(ALERTS, name="W2", prefetch=9) as second,
    ):
        await add(broker, "a")
        await first.settle(each(await first.take(9), Retry(0.0)))
        held = await first.take(9)
        waiting = asyncio.ensure_future(second.take(9))
        await clock.advance(60.0)
        assert not waiting.done()  # a lease lasts while its worker is connected
        first.crash()
        await clock.advance(2.9)
        assert not waiting.done()
        await clock.advance(0.2)
        assert bodies(await waiting) == bodies(held) == ["a"]


async def test_S14_S15_deleting_group_or_stream_cancels_who_waits() -> None:
    async with opened(ManualClock()) as broker, broker.consume(ALERTS, name="W1", prefetch=9) as consumer:
        waiting = asyncio.ensure_future(consumer.take(9))
        await ManualClock.settle()
        await broker.remove(topology())
        with pytest.raises(ConsumerCancelled, match="NOGROUP"):
            await waiting
        assert broker.keys.streams == {}
        assert (await broker.catalog()).entities == ()
        with pytest.raises(NotFound, match="NOGROUP"):
            async with broker.consume(ALERTS, name="W1", prefetch=9):
                pass


async def test_S12_a_consumer_that_leaves_empty_handed_is_deleted_else_its_entries_stay() -> None:
    async with opened(ManualClock()) as broker:
        group = broker.keys.streams["alerts"].groups["pager"]
        async with broker.consume(ALERTS, name="W1", prefetch=9) as consumer:
            await add(broker, "a")
            await consumer.settle(each(await consumer.take(9), Ack()))
        assert group.holding == {}
        async with broker.consume(ALERTS, name="W2", prefetch=9) as consumer:
            await add(broker, "b")
            await consumer.take(9)
        assert group.holding == {"W2": 1}


async def test_S16_a_stream_declared_with_a_length_is_trimmed_and_counts_it() -> None:
    async with opened(ManualClock(), max_length=100) as broker:
        await add(broker, *["m"] * 250)
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.in_total, measured.waiting, measured.dropped_total) == (250, 150, 100)


async def test_E2_the_default_bound_forgets_the_oldest_and_the_counts_add_up() -> None:
    clock = ManualClock()
    async with opened(clock) as broker, broker.consume(ALERTS, name="W1", prefetch=5) as consumer:
        await add(broker, *["m"] * 10)
        await consumer.settle(each((await consumer.take(5))[:2], Ack()))
        await clock.advance(3.0)
        await add(broker, *["m"] * 10_000)
        await clock.advance(1.0)
        measured = (await broker.measure([ALERTS]))[0]
        assert (measured.waiting, measured.in_flight, measured.out_total, measured.dropped_total) == (10_000, 3, 2, 5)
        assert measured.in_total == 10_010
        assert measured.oldest_age_s == pytest.approx(1.0)


async def test_C1_request_and_reply_by_stream_and_list() -> None:
    clock = ManualClock()
    async with opened(clock) as broker:
        assert isinstance(broker, CanRequest)
        assert isinstance(broker, CanSubscribe)
        async with (
            broker.requester(name="asker") as requester,
            broker.consume(ALERTS, name="R1", prefetch=9) as consumer,
            broker.publisher(name="R1") as publisher,
        ):
            question = compose(Draft(body=b"how many?"), Family.REDIS_STREAMS)
            asked = asyncio.ensure_future(requester.request(Route("alerts"), question, timeout_s=1.0))
            request = (await consumer.take(1))[0].message
            await publisher.reply(request, compose(Draft(body=b"42"), Family.REDIS_STREAMS))
            reply = await asked
            assert reply.answer is Answer.ANSWERED
            assert reply.message is not None
            assert reply.message.body == b"42"
            await publisher.reply(request, Message(content=b"42"))
            assert requester.unmatched == 1
            nowhere = await requester.request(Route("nope"), question, timeout_s=1.0)
            assert nowhere.answer is Answer.RETURNED
        late = await _reply_to_a_gone_asker(broker, request)
        assert late == (Sent.CONFIRMED, "nobody waits for the reply any more")


async def _reply_to_a_gone_asker(broker: RedisBroker, request: Message) -> tuple[Sent, str]:
    async with broker.publisher(name="R1") as publisher:
        receipt = await publisher.reply(request, Message(content=b"42"))
        return receipt.sent, receipt.detail


async def test_a_restart_ends_the_life_and_keeps_entries_and_pending_lists() -> None:
    clock = ManualClock()
    way = new(clock)
    broker = cast("RedisBroker", await way.connect())
    await broker.declare(topology())
    async with broker.consume(ALERTS, name="W1", prefetch=1) as consumer, broker.publisher(name="p") as publisher:
        await add(broker, "a", "b")
        held = await consumer.take(1)
        way.server.stop("killed")
        assert await broker.lost() == "killed"
        assert [outcome.settled for outcome in await consumer.settle(each(held, Ack()))] == [Settled.STALE]
        unknown = await publisher.send([Outgoing(Route("alerts"), compose(Draft(body=b"c"), Family.REDIS_STREAMS))])
        assert [receipt.sent for receipt in unknown] == [Sent.UNKNOWN]
    way.server.start()
    async with cast("RedisBroker", await way.connect()) as again:
        measured = (await again.measure([ALERTS]))[0]
        assert (measured.waiting, measured.in_flight) == (1, 1)


async def test_E5_declare_refuses_what_redis_cannot_and_conflicts() -> None:
    async with opened(ManualClock()) as broker:
        with pytest.raises(Unsupported, match="fanout"):
            await broker.declare(Topology(destinations=(Destination(name="x", kind="fanout"),)))
        with pytest.raises(Unsupported, match="priorities"):
            await broker.declare(Topology(queues=(Queue(ref=ALERTS, max_priority=5),)))
        with pytest.raises(Conflict, match="is a stream, not a channel"):
            await broker.declare(Topology(destinations=(Destination(name="alerts", kind="channel"),)))
        with pytest.raises(Conflict, match="trimmed"):
            await broker.declare(Topology(destinations=(Destination(name="alerts", kind="stream", max_length=5),)))
        with pytest.raises(NotFound, match="does not exist"):
            await broker.declare(Topology(queues=(Queue(ref=QueueRef("nope", "g")),)))
        with pytest.raises(Unsupported, match="routes nothing"):
            await broker.declare(Topology(bindings=(Binding(source="alerts", destination="other"),)))
        await broker.declare(topology())  # equal: fine


async def test_catalog_shows_streams_groups_consumers_channels_and_dead_letters() -> None:
    async with opened(ManualClock()) as broker, broker.consume(ALERTS, name="W1", prefetch=2):
        page = await broker.catalog()
        destinations = {one.name: one.family for one in page.entities if isinstance(one, Destination)}
        assert destinations == {
            "alerts": Family.REDIS_STREAMS,
            "ops.eu": Family.REDIS_PUBSUB,
            "{alerts}:dlq": Family.REDIS_STREAMS,
        }
        assert [one.name for one in page.entities if isinstance(one, Attendant)] == ["W1"]
        assert [one.ref for one in page.entities if isinstance(one, Queue) and one.holds_dead_letters] == [DLQ]
        assert (await broker.catalog(limit=1)).after == "alerts"


async def test_an_observer_has_no_writing_method() -> None:
    observer = await new(ManualClock()).observe()
    for name in ("declare", "remove", "publisher", "consume", "lease", "requester", "subscribe"):
        assert not hasattr(observer, name)


async def test_E1_equal_seeds_give_byte_identical_logs_through_the_port() -> None:
    assert await _story(3) == await _story(3)
    assert await _story(3) != await _story(4)


async def _story(seed: int) -> bytes:
    """What a producer, two workers (one is killed), a subscriber and an asker see, with the broker's numbers."""
    told: list[str] = []
    clock = ManualClock()
    broker = cast("RedisBroker", await new(clock, seed=seed).connect())
    async with broker:
        await broker.declare(topology(max_length=10))
        async with (
            broker.consume(ALERTS, name="W1", prefetch=3) as killed,
            broker.consume(ALERTS, name="W2", prefetch=5) as other,
            broker.subscribe(["ops.*"], name="S1") as listener,
            broker.requester(name="asker") as asker,
        ):
            for number in range(20):
                receipts = [*await add(broker, str(number)), *await shout(broker, "ops.eu", str(number))]
                told += [repr(one) for one in (*receipts, *await listener.take(9))]
                if number == 8:
                    await add(broker, "x", "y")
                    told += [repr(one) for one in await killed.take(2)]
                    killed.crash()
                verdict: Verdict = DeadLetter("Boom") if number % 5 == 0 else Retry(1.0) if number % 3 == 0 else Ack()
                deliveries = await other.take(2)
                told += [repr(one) for one in (*deliveries, *await other.settle(each(deliveries, verdict)))]
                await clock.advance(0.3)
            told += [repr(one) for one in await other.claim(min_idle_s=1.0, limit=9)]
            question = compose(Draft(body=b"?"), Family.REDIS_STREAMS)
            asked = asyncio.ensure_future(asker.request(Route("alerts"), question, timeout_s=1.0))
            await clock.advance(1.5)
            told += [repr(await asked), repr(await broker.browse(ALERTS, newest=1))]
        told += [repr(await broker.measure([ALERTS, DLQ])), repr(await broker.catalog())]
    return "\n".join(told).encode()


async def test_E4_S6_a_killed_client_is_gone_and_its_entries_are_claimable_only_after_the_modelled_delays() -> None:
    clock = ManualClock()
    async with (
        opened(clock) as broker,
        broker.consume(ALERTS, name="W1", prefetch=9) as killed,
        broker.consume(ALERTS, name="W2", prefetch=9) as other,
        broker.subscribe(["ops.eu"], name="S1") as listener,
    ):

        async def connected() -> tuple[int | None, int | None]:
            group, channel = await broker.measure([ALERTS, QueueRef("ops.eu")])
            return group.consumers, channel.consumers

        async def attendants() -> dict[str, float | None]:
            page = await broker.catalog()
            return {one.name: one.idle_s for one in page.entities if isinstance(one, Attendant) and one.queue == ALERTS}

        await add(broker, "a", "b")
        await killed.take(9)
        killed.crash()
        listener.crash()
        assert await connected() == (2, 1)
        assert await attendants() == {"W1": None, "W2": None}
        assert [one.position for one in await shout(broker, "ops.eu", "lost")] == ["1"]  # as far as the broker knows
        await clock.advance(DETECTION_S * 0.9)
        assert await connected() == (2, 1)
        await clock.advance(DETECTION_S * 0.2)
        assert await connected() == (1, 0)
        assert (await attendants())["W1"] == pytest.approx(DETECTION_S * 1.1, abs=1e-5)
        await clock.advance(4.9)
        assert await other.claim(min_idle_s=5.0, limit=9) == []
        await clock.advance(0.1)
        claimed = await other.claim(min_idle_s=5.0, limit=9)
        assert bodies(claimed) == ["a", "b"]
        assert [round(one.idle_s or 0) for one in claimed] == [5, 5]
