"""Publishing: every message ends as exactly one receipt."""

import asyncio

from mqdash.brokers.base import Broker
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from tests.conformance.helpers import ack, bodies, publish, take, waiting
from tests.conformance.subjects import Subject, Work, conformance


@conformance("publish")
async def test_R11_R12_every_publish_is_confirmed_once_and_is_there(
    subject: Subject, broker: Broker, work: Work
) -> None:
    sent = [subject.message(b"%d" % number) for number in range(300)]
    async with broker.publisher(name="p", window=50) as publisher:
        batches = [[Outgoing(work.route, message) for message in sent[at : at + 100]] for at in (0, 100, 200)]
        receipts = [receipt for batch in batches for receipt in await publisher.send(batch)]
    assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED] * 300
    async with broker.consume(work.queue, name="w", prefetch=300) as consumer:
        taken = await take(consumer, 300)
        assert sorted(bodies(taken)) == sorted(message.body for message in sent)
        await ack(consumer, taken)


@conformance("publish", "exchanges")
async def test_R16_one_publisher_to_one_queue_keeps_the_order(subject: Subject, broker: Broker, work: Work) -> None:
    sent = [b"%d" % number for number in range(200)]
    await publish(broker, work, [subject.message(body) for body in sent])
    async with broker.consume(work.queue, name="w", prefetch=500) as consumer:
        taken = await take(consumer, 200)
        assert bodies(taken) == sent
        await ack(consumer, taken)


@conformance("publish")
async def test_several_sends_may_be_open_at_once(subject: Subject, broker: Broker, work: Work) -> None:
    async with broker.publisher(name="p", window=10) as publisher:
        batch = [Outgoing(work.route, subject.message())] * 30
        answers = await asyncio.gather(*(publisher.send(batch) for _ in range(4)))
    assert {receipt.sent for receipts in answers for receipt in receipts} == {Sent.CONFIRMED}
    await waiting(broker, work.queue, 120)


@conformance("returns")
async def test_R6_R7_unroutable_comes_back_when_mandatory_and_is_confirmed_when_not(
    subject: Subject, broker: Broker, work: Work
) -> None:
    nowhere = Route(work.route.destination, "nobody-bound-this")
    plan = [(work.route, True), (nowhere, True), (work.route, True), (nowhere, False), (nowhere, True)]
    batch = [Outgoing(route, subject.message(), mandatory=mandatory) for route, mandatory in plan]
    async with broker.publisher(name="p") as publisher:
        receipts = await publisher.send(batch)
    expected = [Sent.CONFIRMED, Sent.RETURNED, Sent.CONFIRMED, Sent.CONFIRMED, Sent.RETURNED]
    assert [receipt.sent for receipt in receipts] == expected
    assert "NO_ROUTE" in receipts[1].detail
    await waiting(broker, work.queue, 2)


@conformance("returns")
async def test_R7_each_return_finds_its_own_publish(subject: Subject, broker: Broker, work: Work) -> None:
    nowhere = Route(work.route.destination, "nobody-bound-this")
    batch = [
        Outgoing(nowhere if number % 3 == 0 else work.route, subject.message(b"same", headers=(("n", str(number)),)))
        for number in range(300)
    ]
    async with broker.publisher(name="p", window=1000) as publisher:
        receipts = await publisher.send(batch)
    assert [receipt.sent is Sent.RETURNED for receipt in receipts] == [number % 3 == 0 for number in range(300)]


@conformance("refuses")
async def test_R9_publishing_to_what_does_not_exist_is_refused_and_the_publisher_lives_on(
    subject: Subject, broker: Broker, work: Work
) -> None:
    missing = Outgoing(Route(f"{work.route.destination}.missing", "work"), subject.message())
    present = Outgoing(work.route, subject.message())
    async with broker.publisher(name="p") as publisher:
        receipts = await publisher.send([present, missing, present])
        assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED, Sent.REFUSED, Sent.CONFIRMED]
        assert f"{work.route.destination}.missing" in receipts[1].detail
        assert [receipt.sent for receipt in await publisher.send([present])] == [Sent.CONFIRMED]
    await waiting(broker, work.queue, 3)


@conformance("exchanges")
async def test_R1_the_default_exchange_routes_by_queue_name(subject: Subject, broker: Broker, work: Work) -> None:
    async with broker.publisher(name="p") as publisher:
        await publisher.send([Outgoing(Route("", work.queue.name), subject.message())])
    await waiting(broker, work.queue, 1)


@conformance("exchanges")
async def test_R2_R4_topic_patterns_match_words_and_a_message_arrives_once(
    subject: Subject, broker: Broker, work: Work
) -> None:
    name = f"{work.route.destination}.topic"
    keys = {"star": "order.*", "hash": "order.#", "both": "#"}
    refs = {which: QueueRef(f"{name}.{which}") for which in keys}
    topology = Topology(
        destinations=(Destination(name=name, kind="topic"),),
        queues=tuple(Queue(ref=ref) for ref in refs.values()),
        bindings=(
            *(Binding(source=name, queue=refs[which], key=key) for which, key in keys.items()),
            Binding(source=name, queue=refs["both"], key="order.*"),
        ),
    )
    await broker.declare(topology)
    try:
        async with broker.publisher(name="p") as publisher:
            sent = ["order", "order.new", "order.new.big", "log"]
            await publisher.send([Outgoing(Route(name, key), subject.message()) for key in sent])
        for which, count in (("star", 1), ("hash", 3), ("both", 4)):
            await waiting(broker, refs[which], count)
    finally:
        await broker.remove(topology)


@conformance("exchanges")
async def test_R3_headers_exchange_matches_all(subject: Subject, broker: Broker, work: Work) -> None:
    name = f"{work.route.destination}.headers"
    ref = QueueRef(f"{name}.q")
    wanted = (("x-match", "all"), ("kind", "order"), ("size", "big"))
    topology = Topology(
        destinations=(Destination(name=name, kind="headers"),),
        queues=(Queue(ref=ref),),
        bindings=(Binding(source=name, queue=ref, headers=wanted),),
    )
    await broker.declare(topology)
    try:
        fits = subject.message(headers=(("kind", "order"), ("size", "big"), ("more", "1")))
        lacks = subject.message(headers=(("kind", "order"),))
        async with broker.publisher(name="p") as publisher:
            receipts = await publisher.send([Outgoing(Route(name), fits), Outgoing(Route(name), lacks)])
        assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED, Sent.RETURNED]
        await waiting(broker, ref, 1)
    finally:
        await broker.remove(topology)


@conformance("exchanges", "returns")
async def test_R8_an_alternate_exchange_takes_the_unroutable_and_nothing_is_returned(
    subject: Subject, broker: Broker, work: Work
) -> None:
    name = f"{work.route.destination}.main"
    rest, ref = f"{name}.rest", QueueRef(f"{name}.rest.q")
    topology = Topology(
        destinations=(
            Destination(name=rest, kind="fanout"),
            Destination(name=name, kind="direct", alternate=rest),
        ),
        queues=(Queue(ref=ref),),
        bindings=(Binding(source=rest, queue=ref),),
    )
    await broker.declare(topology)
    try:
        async with broker.publisher(name="p") as publisher:
            [receipt] = await publisher.send([Outgoing(Route(name, "nobody"), subject.message())])
        assert receipt.sent is Sent.CONFIRMED
        await waiting(broker, ref, 1)
    finally:
        await broker.remove(topology)
