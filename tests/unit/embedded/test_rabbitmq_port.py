"""The embedded RabbitMQ through the port, on a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mqdash.brokers.base import CanRequest, HoldsDeadLetters
from mqdash.brokers.embedded import connector
from mqdash.brokers.embedded.session import RabbitBroker, RabbitConnector
from mqdash.brokers.url import parse_url
from mqdash.clock import ManualClock
from mqdash.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnavailable,
    Conflict,
    ConnectionLost,
    ConsumerCancelled,
    NotFound,
    Unsupported,
)
from mqdash.model.delivery import Ack, Answer, DeadLetter, Measurement, Outgoing, Receipt, Retry, Sent, Settled
from mqdash.model.message import Amqp, Message
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Queue, QueueRef, Route, Topology
from tests.support import until

Q = QueueRef("orders")


def out(body: str = "m", *, to: str = "orders", exchange: str = "", mandatory: bool = True, **native: Any) -> Outgoing:
    message = Message(content=body.encode(), headers=(("h", "1"),), native=Amqp(**native))
    return Outgoing(Route(exchange, to), message, mandatory)


def queue(name: str = "orders", **options: Any) -> Topology:
    return Topology(queues=(Queue(ref=QueueRef(name), **options),))


class Lab:
    """A connector on a manual clock with one open broker."""

    def __init__(self, made: RabbitConnector, clock: ManualClock, broker: RabbitBroker) -> None:
        self.connector = made
        self.server = made.server
        self.clock = clock
        self.broker = broker

    async def publish(self, *batch: Outgoing) -> list[Sent]:
        async with self.broker.publisher(name="P") as publisher:
            return [receipt.sent for receipt in await publisher.send(batch)]

    async def measure(self, name: str = "orders") -> Measurement:
        (measured,) = await self.broker.measure([QueueRef(name)])
        return measured


def make(text: str = "embedded://rabbitmq", *, bounded: bool = True) -> tuple[RabbitConnector, ManualClock]:
    clock = ManualClock()
    made = connector(parse_url(text), clock=clock, seed=1, bounded=bounded)
    assert isinstance(made, RabbitConnector)
    return made, clock


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made, clock = make()
    broker = await made.connect()
    yield Lab(made, clock, broker)
    await broker.close()


async def test_R11_R12_publish_take_settle(lab: Lab) -> None:
    await lab.broker.declare(queue())
    assert await lab.publish(out("a", message_id="1"), out("b")) == [Sent.CONFIRMED] * 2
    async with lab.broker.consume(Q, name="W1", prefetch=10) as consumer:
        first, second = await consumer.take(10)
        assert (first.message, first.route, first.queue) == (out("a", message_id="1").message, Route("", "orders"), Q)
        assert first.redelivered is False
        assert first.delivery_count is None, "a classic queue cannot tell"
        assert (await lab.measure()).in_flight == 2
        outcomes = await consumer.settle([(second, Ack()), (first, Ack()), (first, Ack())])
        assert [outcome.settled for outcome in outcomes] == [Settled.SETTLED, Settled.SETTLED, Settled.STALE]
    measured = await lab.measure()
    assert (measured.waiting, measured.in_flight, measured.in_total, measured.out_total) == (0, 0, 2, 2)


async def test_take_waits_and_wakes(lab: Lab) -> None:
    await lab.broker.declare(queue())
    async with lab.broker.consume(Q, name="W1", prefetch=1) as consumer:
        taking = asyncio.ensure_future(consumer.take(5))
        await lab.clock.settle()
        assert not taking.done()
        await lab.publish(out())
        (delivery,) = await taking
        assert delivery.message.body == b"m"


async def test_R7_R9_R35_receipts_say_returned_and_refused(lab: Lab) -> None:
    await lab.broker.declare(queue(max_length=1, overflow="reject-publish"))
    sent = await lab.publish(
        out(),
        out(),
        out(to="nowhere"),
        out(to="nowhere", mandatory=False),
        out(exchange="no exchange"),
        out(to="nowhere"),
    )
    assert sent == [Sent.CONFIRMED, Sent.REFUSED, Sent.RETURNED, Sent.CONFIRMED, Sent.REFUSED, Sent.RETURNED]
    measured = await lab.measure()
    assert (measured.in_total, measured.dropped_total, measured.waiting) == (2, 1, 1)


async def test_R24_E4_a_crash_hands_over_after_the_detection_delay_and_stales_the_claims(lab: Lab) -> None:
    await lab.broker.declare(queue())
    await lab.publish(*(out(str(n)) for n in range(4)))
    async with (
        lab.broker.consume(Q, name="W1", prefetch=2) as dying,
        lab.broker.consume(Q, name="W2", prefetch=10) as other,
    ):
        held = await dying.take(2)
        assert [d.message.body for d in await other.take(10)] == [b"2", b"3"]
        dying.crash()
        taking = asyncio.ensure_future(other.take(10))
        await lab.clock.settle()
        assert not taking.done(), "the broker has not noticed yet"
        assert [o.settled for o in await dying.settle([(held[0], Ack())])] == [Settled.STALE]
        with pytest.raises(ConnectionLost):
            await dying.take(1)
        await lab.clock.advance(0.002)
        assert [(d.message.body, d.redelivered) for d in await taking] == [(b"0", True), (b"1", True)]
        assert (await lab.measure()).redelivered_total == 2


async def test_leaving_politely_gives_back_at_once(lab: Lab) -> None:
    await lab.broker.declare(queue())
    await lab.publish(out())
    async with lab.broker.consume(Q, name="W1", prefetch=2) as consumer:
        await consumer.take(1)
    measured = await lab.measure()
    assert (measured.waiting, measured.in_flight, measured.consumers) == (1, 0, 0)


async def test_a_paused_consumer_keeps_what_it_holds_and_gets_no_more(lab: Lab) -> None:
    await lab.broker.declare(queue())
    async with lab.broker.consume(Q, name="W1", prefetch=5) as consumer:
        await lab.publish(out("held"))
        (held,) = await consumer.take(1)
        consumer.pause()
        await lab.publish(out("waits"))
        measured = await lab.measure()
        assert (measured.waiting, measured.in_flight, measured.consumers) == (1, 1, 1)
        assert (await consumer.settle([(held, Ack())]))[0].settled is Settled.SETTLED
        assert (await lab.measure()).waiting == 1
        consumer.resume()
        assert [d.message.body for d in await consumer.take(5)] == [b"waits"]


async def test_R27_a_deleted_queue_cancels_its_consumers(lab: Lab) -> None:
    await lab.broker.declare(queue())
    async with lab.broker.consume(Q, name="W1", prefetch=1) as consumer:
        taking = asyncio.ensure_future(consumer.take(1))
        await lab.clock.settle()
        await lab.broker.remove(queue())
        with pytest.raises(ConsumerCancelled, match="deleted"):
            await taking


async def test_R9_R10_errors_are_the_ports(lab: Lab) -> None:
    await lab.broker.declare(queue())
    with pytest.raises(NotFound, match="no queue 'none'"):
        async with lab.broker.consume(QueueRef("none"), name="W", prefetch=1):
            pass
    with pytest.raises(Conflict, match="ttl_s"):
        await lab.broker.declare(queue(ttl_s=5.0))
    with pytest.raises(AccessRefused):
        await lab.broker.declare(Topology(destinations=(Destination(name="amq.mine", kind="direct"),)))
    with pytest.raises(Unsupported, match="stream"):
        await lab.broker.declare(queue("s", kind="stream"))
    await lab.broker.declare(queue())


async def test_a_dead_letter_is_a_copy_with_its_reason_then_an_ack(lab: Lab) -> None:
    await lab.broker.declare(queue(dead_letter=Route("", "failed")))
    await lab.broker.declare(queue("failed"))
    await lab.publish(out("bad", message_id="8102"))
    async with lab.broker.consume(Q, name="W1", prefetch=1) as consumer:
        (delivery,) = await consumer.take(1)
        (outcome,) = await consumer.settle([(delivery, DeadLetter("PaymentDeclined", "card 4242 …"))])
        assert outcome.settled is Settled.SETTLED
    async with lab.broker.lease(QueueRef("failed")) as lease:
        (letter,) = lease.letters
        assert letter.message.id == "8102"
        assert dict(letter.message.headers) == {
            "h": "1",
            "x-mqdash-at": "1700000000.000",
            "x-mqdash-error": "PaymentDeclined",
            "x-mqdash-error-text": "card 4242 …",
            "x-mqdash-worker": "W1",
            "x-mqdash-attempt": "1",
            "x-mqdash-queue": "orders",
            "x-mqdash-exchange": "",
            "x-mqdash-key": "orders",
        }
    assert (await lab.measure()).out_total == 1


@pytest.mark.parametrize(
    ("route", "says"),
    [(None, "no dead-letter route"), (Route("", "nowhere"), "returned"), (Route("", "full"), "refused"),
     (Route("no exchange"), "404")],
)  # fmt: skip
async def test_a_dead_letter_that_cannot_be_copied_FAILED_and_stays_ours(
    lab: Lab, route: Route | None, says: str
) -> None:
    await lab.broker.declare(queue())
    await lab.broker.declare(queue("full", max_length=0, overflow="reject-publish"))
    await lab.publish(out())
    async with lab.broker.consume(Q, name="W1", prefetch=1, dead_letter=route) as consumer:
        (delivery,) = await consumer.take(1)
        (outcome,) = await consumer.settle([(delivery, DeadLetter("Bad"))])
        assert outcome.settled is Settled.FAILED
        assert says in outcome.detail
        assert (await lab.measure()).in_flight == 1
        assert (await consumer.settle([(delivery, Ack())]))[0].settled is Settled.SETTLED


async def test_R20_a_claim_belongs_to_the_channel_it_came_on(lab: Lab) -> None:
    await lab.broker.declare(queue())
    await lab.publish(out("a"), out("b"))
    async with (
        lab.broker.consume(Q, name="W1", prefetch=1) as first,
        lab.broker.consume(Q, name="W2", prefetch=1) as second,
    ):
        (mine,), (other,) = await first.take(1), await second.take(1)
        assert (await first.settle([(other, Ack())]))[0].settled is Settled.STALE
        assert (await lab.measure()).in_flight == 2
        assert (await first.settle([(mine, Ack())]))[0].settled is Settled.SETTLED


async def test_a_move_that_lost_its_original_meanwhile_is_stale_and_acks_nothing(lab: Lab) -> None:
    await lab.broker.declare(queue(dead_letter=Route("", "failed")))
    await lab.broker.declare(queue("failed"))
    await lab.publish(out())
    async with lab.broker.consume(Q, name="W1", prefetch=1) as consumer:
        (delivery,) = await consumer.take(1)
        lab.server.alarm("memory")
        moving = asyncio.ensure_future(consumer.settle([(delivery, DeadLetter("Slow"))]))
        await lab.clock.settle()
        assert (await consumer.settle([(delivery, Ack())]))[0].settled is Settled.SETTLED
        lab.server.alarm(None)
        (outcome,) = await moving
        assert outcome.settled is Settled.STALE
        assert "copy is made" in outcome.detail
    assert (await lab.measure()).out_total == 1


async def test_a_move_cut_before_its_proof_is_unknown_and_the_original_comes_again(lab: Lab) -> None:
    await lab.broker.declare(queue(dead_letter=Route("", "failed")))
    await lab.broker.declare(queue("failed"))
    await lab.publish(out())
    async with lab.broker.consume(Q, name="W1", prefetch=1) as consumer:
        (delivery,) = await consumer.take(1)
        lab.server.alarm("memory")
        moving = asyncio.ensure_future(consumer.settle([(delivery, DeadLetter("Slow"))]))
        await lab.clock.settle()
        consumer.crash()
        assert (await moving)[0].settled is Settled.UNKNOWN
    await lab.clock.advance(0.01)
    assert (await lab.measure()).waiting == 1


async def test_retry_at_once_requeues_and_later_goes_through_the_ladder(lab: Lab) -> None:
    await lab.broker.declare(queue(dead_letter=Route("", "failed")))
    await lab.broker.declare(queue("failed"))
    await lab.broker.declare(
        Topology(destinations=(Destination(name="x", kind="topic"),), bindings=(Binding(source="x", queue=Q, key="#"),))
    )
    await lab.publish(out("m", exchange="x", to="a.b", expiration="900000"))
    async with lab.broker.consume(Q, name="W1", prefetch=1) as consumer:
        (first,) = await consumer.take(1)
        await consumer.settle([(first, Retry())])
        (second,) = await consumer.take(1)
        assert (second.redelivered, second.message.attempt) == (True, 1)
        assert (await consumer.settle([(second, Retry(3.0, "Busy", "try later"))]))[0].settled is Settled.SETTLED
        measured = await lab.measure()
        assert (measured.waiting, measured.in_flight, measured.delayed) == (0, 0, 1)
        await lab.clock.advance(4.9)
        assert (await lab.measure()).delayed == 1
        await lab.clock.advance(0.2)
        (third,) = await consumer.take(1)
        assert (third.redelivered, third.message.attempt) == (False, 2)
        assert third.message.header("x-mqdash-error") == "Busy"
        assert third.route == Route("", "orders")
        await consumer.settle([(third, DeadLetter("Broken"))])
    async with lab.broker.lease(QueueRef("failed")) as lease:
        (letter,) = lease.letters
        headers = dict(letter.message.headers)
        assert (headers["x-mqdash-exchange"], headers["x-mqdash-key"]) == ("x", "a.b"), "where it first came from"
        assert headers["x-mqdash-attempt"] == "2"
        assert headers["x-mqdash-history"] == '{"expiration": "900000"}'
        assert "x-death" not in headers
    await lab.broker.remove(queue())
    assert [name for name in lab.server.model.queues if name.startswith("mqdash.wait")] == []


async def test_R15_an_alarm_blocks_publishers_and_nobody_else(lab: Lab) -> None:
    await lab.broker.declare(queue())
    await lab.publish(out("before"))
    async with (
        lab.broker.publisher(name="P") as publisher,
        lab.broker.consume(Q, name="W", prefetch=5) as consumer,
    ):
        lab.server.alarm("memory")
        sending = asyncio.ensure_future(publisher.send([out("during")]))
        await lab.clock.settle()
        assert publisher.blocked == "memory"
        assert [d.message.body for d in await consumer.take(5)] == [b"before"]
        assert not sending.done()
        lab.server.alarm(None)
        assert [receipt.sent for receipt in await sending] == [Sent.CONFIRMED]
        assert publisher.blocked == ""


async def test_F7_a_publish_given_up_while_blocked_is_unknown_and_may_arrive(lab: Lab) -> None:
    await lab.broker.declare(queue())
    async with lab.broker.publisher(name="P", window=2) as publisher:
        lab.server.alarm("disk")
        sending = [asyncio.ensure_future(publisher.send([out("kept"), out("kept")]))]
        sending.append(asyncio.ensure_future(publisher.send([out("beyond the window")])))
        await lab.clock.settle()
        await lab.clock.advance(31)
        kept, beyond = [[receipt.sent for receipt in await one] for one in sending]
        assert (kept, beyond) == ([Sent.UNKNOWN] * 2, [Sent.REFUSED])
        assert (await lab.measure()).waiting == 0
        lab.server.alarm(None)
        assert (await lab.measure()).waiting == 2


async def test_R13_R14_stop_and_start_end_everything_and_keep_the_durable(lab: Lab) -> None:
    await lab.broker.declare(queue())
    await lab.broker.declare(queue("transient", durable=False))
    await lab.publish(out("kept", delivery_mode=2), out("gone", delivery_mode=1))
    publisher_end: list[Receipt] = []
    async with lab.broker.publisher(name="P") as publisher, lab.broker.consume(Q, name="W", prefetch=5) as consumer:
        held = await consumer.take(5)
        waiting = asyncio.ensure_future(consumer.take(1))
        lost = asyncio.ensure_future(lab.broker.lost())
        await lab.clock.settle()
        lab.server.stop()
        assert "stopped" in await lost
        with pytest.raises(ConnectionLost):
            await waiting
        publisher_end += await publisher.send([out()])
        assert (await consumer.settle([(held[0], Ack())]))[0].settled is Settled.STALE
    assert [receipt.sent for receipt in publisher_end] == [Sent.UNKNOWN]
    with pytest.raises(ConnectionLost):
        await lab.broker.measure([Q])
    with pytest.raises(BrokerUnavailable, match="refused"):
        await lab.connector.connect()
    lab.server.start()
    again = await lab.connector.connect()
    async with again.consume(Q, name="W", prefetch=5) as consumer:
        assert [(d.message.body, d.redelivered) for d in await consumer.take(5)] == [(b"kept", True)]
    (measured,) = await again.measure([Q, QueueRef("transient")])
    assert measured.dropped_total == 1
    await again.close()


async def test_cut_drops_one_connection_by_name(lab: Lab) -> None:
    await lab.broker.declare(queue())
    async with (
        lab.broker.consume(Q, name="W1", prefetch=5) as first,
        lab.broker.consume(Q, name="W2", prefetch=5) as second,
    ):
        assert lab.server.cut("W1") == 1
        with pytest.raises(ConnectionLost, match="cut"):
            await first.take(1)
        await lab.clock.advance(0.01)
        await lab.publish(out())
        assert len(await second.take(5)) == 1


async def test_a_closed_life_ends_its_consumers_and_is_not_lost(lab: Lab) -> None:
    await lab.broker.declare(queue())
    other = await lab.connector.connect()
    lost = asyncio.ensure_future(other.lost())
    async with other.consume(Q, name="W", prefetch=1) as consumer:
        await other.close()
        await other.close()
        with pytest.raises(ConnectionLost):
            await consumer.take(1)
    await lab.clock.settle()
    assert not lost.done()
    lost.cancel()


@pytest.mark.parametrize("direct", [True, False])
async def test_C1_C2_C7_request_and_reply(lab: Lab, direct: bool) -> None:
    await lab.broker.declare(queue("rpc"))
    assert isinstance(lab.broker, CanRequest)
    async with (
        lab.broker.requester(name="shop", direct=direct) as requester,
        lab.broker.consume(QueueRef("rpc"), name="S", prefetch=1) as server,
        lab.broker.publisher(name="S replies") as replies,
    ):
        asking = asyncio.ensure_future(requester.request(Route("", "rpc"), out("ask").message, timeout_s=5))
        (request,) = await server.take(1)
        assert request.message.correlation_id
        assert (request.message.reply_to or "").startswith("amq.rabbitmq.reply-to." if direct else "mqdash.reply.")
        receipt = await replies.reply(request.message, out("yes").message)
        assert receipt.sent is Sent.CONFIRMED
        reply = await asking
        assert reply.answer is Answer.ANSWERED
        assert reply.message is not None
        assert (reply.message.body, reply.message.correlation_id) == (b"yes", request.message.correlation_id)
        await replies.reply(out(correlation_id="who", reply_to=request.message.reply_to).message, out().message)
        assert requester.unmatched == 1
    assert list(lab.server.model.queues) == ["rpc"], "an exclusive reply queue goes with its connection"


@pytest.mark.parametrize("direct", [True, False])
async def test_C4_C5_a_late_reply_is_counted_and_answers_nobody(lab: Lab, direct: bool) -> None:
    await lab.broker.declare(queue("rpc"))
    async with (
        lab.broker.requester(name="shop", direct=direct) as requester,
        lab.broker.consume(QueueRef("rpc"), name="S", prefetch=1) as server,
        lab.broker.publisher(name="S replies") as replies,
    ):
        asking = asyncio.ensure_future(requester.request(Route("", "rpc"), out().message, timeout_s=2))
        (request,) = await server.take(1)
        await lab.clock.advance(2)
        reply = await asking
        assert (reply.answer, reply.elapsed_s) == (Answer.TIMEOUT, 2.0)
        await replies.reply(request.message, out("late").message)
        assert (requester.late, requester.unmatched) == (1, 0)


async def test_a_request_to_nowhere_is_returned_and_a_cut_is_unknown(lab: Lab) -> None:
    await lab.broker.declare(queue("rpc"))
    async with lab.broker.requester(name="shop") as requester:
        reply = await requester.request(Route("", "nowhere"), out().message, timeout_s=2)
        assert reply.answer is Answer.RETURNED
        asking = asyncio.ensure_future(requester.request(Route("", "rpc"), out().message, timeout_s=2))
        await lab.clock.settle()
        lab.server.cut("shop")
        assert (await asking).answer is Answer.UNKNOWN


async def test_a_lease_holds_in_place_and_removes_only_what_is_asked(lab: Lab) -> None:
    assert isinstance(lab.broker, HoldsDeadLetters)
    await lab.broker.declare(queue("failed"))
    await lab.publish(*(out(str(n), to="failed") for n in range(5)))
    async with lab.broker.lease(QueueRef("failed"), limit=3) as lease:
        assert (lease.info.total, lease.info.held, lease.info.order, lease.info.returns_left) == (
            5,
            True,
            "oldest",
            None,
        )
        assert [letter.message.body for letter in lease.letters] == [b"0", b"1", b"2"]
        assert (await lab.measure("failed")).in_flight == 3
        outcomes = await lease.remove([lease.letters[1], lease.letters[1]])
        assert [outcome.settled for outcome in outcomes] == [Settled.SETTLED, Settled.STALE]
    async with lab.broker.lease(QueueRef("failed")) as lease:
        assert [letter.message.body for letter in lease.letters] == [b"0", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ttl_s": 60.0}, "F3"),
        ({"max_length": 100}, "F3"),
        ({"kind": "quorum", "delivery_limit": 2}, "F1"),
    ],
)
async def test_F1_F3_a_lease_that_would_cost_messages_is_refused(lab: Lab, options: dict[str, Any], why: str) -> None:
    await lab.broker.declare(queue("failed", **options))
    await lab.publish(out("m", to="failed"))
    with pytest.raises(BrokerError, match=why):
        async with lab.broker.lease(QueueRef("failed")):
            pass
    measured = await lab.measure("failed")
    assert (measured.waiting, measured.in_flight, measured.redelivered_total) == (1, 0, 0)


async def test_F1_F2_a_quorum_lease_counts_returns_and_keeps_the_order() -> None:
    for text, lefts in (("embedded://rabbitmq", [20, 19, 18]), ("embedded://rabbitmq?version=3.10", [None] * 3)):
        made, clock = make(text)
        broker = await made.connect()
        lab = Lab(made, clock, broker)
        await broker.declare(queue("failed", kind="quorum"))
        await lab.publish(*(out(str(n), to="failed") for n in range(4)))
        for left in lefts:
            async with broker.lease(QueueRef("failed"), limit=2) as lease:
                assert lease.info.returns_left == left
                assert [letter.message.body for letter in lease.letters] == [b"0", b"1"]
        await broker.close()


@pytest.mark.parametrize(("version", "first_pulled"), [("3.10", 0), ("4.0", None)])
async def test_R49_a_quorum_queue_says_how_often_a_message_came_back(version: str, first_pulled: int | None) -> None:
    made, clock = make(f"embedded://rabbitmq?version={version}")
    broker = await made.connect()
    await broker.declare(queue(kind="quorum"))
    await Lab(made, clock, broker).publish(out())
    async with broker.lease(Q) as lease:
        told = lease.letters[0].message.header("x-delivery-count")
        assert (None if told is None else told.value) == first_pulled, "3.10 tells whoever pulls, not who consumes"
    async with broker.consume(Q, name="W", prefetch=1) as consumer:
        for count in (1, 2):
            (delivery,) = await consumer.take(1)
            assert delivery.message.header("x-delivery-count").value == count
            assert (delivery.delivery_count, delivery.redelivered) == (count + 1, True)
            await consumer.settle([(delivery, Retry())])
    await Lab(made, clock, broker).publish(out())
    async with broker.consume(Q, name="W", prefetch=2) as consumer:
        _, delivery = [*await consumer.take(1), *await consumer.take(1)]
        assert delivery.message.header("x-delivery-count") is None
        assert (delivery.delivery_count, delivery.redelivered) == (None, False)
    await broker.close()


async def test_catalog_pages_and_marks_queues_of_dead_letters(lab: Lab) -> None:
    topology = Topology(
        destinations=(Destination(name="orders.dlx", kind="fanout"), Destination(name="orders.direct", kind="direct")),
        queues=(
            Queue(ref=Q, dead_letter=Route("orders.dlx")),
            Queue(ref=QueueRef("orders.failed")),
            Queue(ref=QueueRef("zebra")),
        ),
        bindings=(
            Binding(source="orders.direct", queue=Q, key="new"),
            Binding(source="orders.dlx", queue=QueueRef("orders.failed")),
        ),
    )
    await lab.broker.declare(topology)
    async with lab.broker.consume(Q, name="W1", prefetch=3):
        whole = await lab.broker.catalog()
        pages: list[Entity] = []
        after: str | None = None
        while True:
            page = await lab.broker.catalog(after=after, limit=2)
            pages += page.entities
            after = page.after
            if after is None:
                break
        only = await lab.broker.catalog(prefix="z")
    assert tuple(pages) == whole.entities
    assert whole.source == "embedded"
    queues = {entity.ref.name: entity for entity in whole.entities if isinstance(entity, Queue)}
    assert {name: found.holds_dead_letters for name, found in queues.items()} == {
        "orders": False, "orders.failed": True, "zebra": False,
    }  # fmt: skip
    assert {entity for entity in whole.entities if isinstance(entity, Binding)} == set(topology.bindings)
    assert [entity for entity in whole.entities if isinstance(entity, Attendant)] == [
        Attendant(queue=Q, name="W1", address="embedded", prefetch=3, in_flight=0, ours=True)
    ]
    assert [entity.ref.name for entity in only.entities if isinstance(entity, Queue)] == ["zebra"]


async def test_measure_tells_ages_and_leaves_out_what_is_not_there(lab: Lab) -> None:
    await lab.broker.declare(queue())
    await lab.publish(out())
    await lab.clock.advance(7)
    await lab.publish(out())
    (measured,) = await lab.broker.measure([QueueRef("none"), Q])
    assert measured.oldest_age_s == pytest.approx(7)
    assert measured.at_s == lab.clock.now()
    async with lab.broker.consume(Q, name="W", prefetch=1):
        assert (await lab.measure()).oldest_age_s == pytest.approx(0)


async def test_an_observer_has_no_writing_method() -> None:
    made, _ = make()
    observer = await made.observe()
    assert observer.info.writable is False
    assert not {"declare", "remove", "publisher", "consume", "requester", "lease"} & set(dir(observer))
    assert any("single node, no disk" in note for note in observer.info.notes)
    await observer.close()


async def test_R31_timers_run_by_themselves_while_somebody_is_connected(lab: Lab) -> None:
    await lab.broker.declare(queue(ttl_s=1.0, dead_letter=Route("", "late")))
    await lab.broker.declare(queue("late"))
    async with lab.broker.consume(QueueRef("late"), name="W", prefetch=1) as consumer:
        await lab.publish(out())
        taking = asyncio.ensure_future(consumer.take(1))
        await lab.clock.advance(0.9)
        assert not taking.done()
        await lab.clock.advance(0.2)
        assert (await taking)[0].message.header("x-first-death-reason") == "expired"


async def test_the_bound_holds_unless_it_is_lifted() -> None:
    for bounded, expected in ((True, Sent.REFUSED), (False, Sent.CONFIRMED)):
        made, clock = make(bounded=bounded)
        broker = await made.connect()
        lab = Lab(made, clock, broker)
        await broker.declare(queue())
        assert set(await lab.publish(*[out()] * 10_000)) == {Sent.CONFIRMED}
        assert await lab.publish(out()) == [expected]
        await broker.close()


async def test_E1_equal_seeds_give_equal_logs_through_the_port() -> None:
    logs: list[list[str]] = []
    for _ in range(2):
        log: list[str] = []
        logs.append(log)
        await _scene(log)
    assert logs[0] == logs[1]
    assert len(logs[0]) > 20


async def _scene(log: list[str]) -> None:
    from mqdash.brokers.embedded import session

    clock = ManualClock()
    made = session.connector(parse_url("embedded://rabbitmq"), clock=clock, seed=3, log=log)
    broker = await made.connect()
    await broker.declare(queue(dead_letter=Route("", "failed")))
    await broker.declare(queue("failed"))
    async with (
        broker.publisher(name="P") as publisher,
        broker.consume(Q, name="W1", prefetch=2) as first,
        broker.consume(Q, name="W2", prefetch=2) as second,
    ):
        await publisher.send([out(str(n)) for n in range(8)])
        first.crash()
        await clock.advance(0.01)
        for _ in range(3):
            for delivery in await second.take(2):
                await second.settle([(delivery, DeadLetter("E") if delivery.message.body < b"2" else Retry(1.0))])
        await clock.advance(2)
    await broker.close()


def test_unknown_versions_and_models_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"3\.10, 4\.0"):
        make("embedded://rabbitmq?version=9")


async def test_many_waiters_all_end_with_the_life(lab: Lab) -> None:
    await lab.broker.declare(queue())
    async with lab.broker.consume(Q, name="A", prefetch=1) as one, lab.broker.consume(Q, name="B", prefetch=1) as two:
        waiting = [asyncio.ensure_future(consumer.take(1)) for consumer in (one, two)]
        await lab.clock.settle()
        assert lab.server.cut() == 1
        await until(lambda: all(task.done() for task in waiting))
        assert all(isinstance(task.exception(), ConnectionLost) for task in waiting)
