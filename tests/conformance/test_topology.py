"""Declaring, measuring and listing."""

import msgspec
import pytest

from mqdash.brokers.base import Broker
from mqdash.errors import Conflict, ConsumerCancelled, NotFound, Unsupported
from mqdash.model.delivery import Source
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Topology
from tests.conformance.helpers import level, publish, take, waiting
from tests.conformance.subjects import Subject, Work, conformance
from tests.support import until


@conformance("publish")
async def test_declaring_again_changes_nothing(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message()])
    await broker.declare(work.topology)
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        assert len(await take(consumer, 1)) == 1


@conformance("conflicts")
async def test_R10_other_arguments_are_a_conflict(subject: Subject, broker: Broker, work: Work) -> None:
    other = msgspec.structs.replace(work.topology.queues[0], max_length=5)
    with pytest.raises(Conflict) as conflict:
        await broker.declare(Topology(queues=(other,)))
    assert work.queue.name in str(conflict.value)
    await broker.declare(work.topology)


@conformance("conflicts", "exchanges")
async def test_R10_an_exchange_of_another_kind_is_a_conflict(subject: Subject, broker: Broker, work: Work) -> None:
    other = Destination(name=work.route.destination, kind="topic")
    with pytest.raises(Conflict):
        await broker.declare(Topology(destinations=(other,)))


@conformance("exchanges")
async def test_E5_R39_an_exchange_that_delays_is_a_plugins_and_unsupported(
    subject: Subject, broker: Broker, work: Work
) -> None:
    delaying = Destination(name=f"{work.route.destination}.delays", kind="x-delayed-message")
    with pytest.raises(Unsupported, match="x-delayed-message"):
        await broker.declare(Topology(destinations=(delaying,)))
    await broker.declare(work.topology)  # and the connection is as it was


@conformance("conflicts")
async def test_R9_consuming_from_what_does_not_exist_is_not_found(subject: Subject, broker: Broker, work: Work) -> None:
    with pytest.raises(NotFound):
        async with broker.consume(QueueRef(f"{work.queue.name}.missing"), name="w", prefetch=1):
            pass


@conformance("conflicts", "exchanges")
async def test_R9_binding_to_a_missing_exchange_is_not_found(subject: Subject, broker: Broker, work: Work) -> None:
    missing = Binding(source=f"{work.route.destination}.missing", queue=work.queue, key="x")
    with pytest.raises(NotFound):
        await broker.declare(Topology(bindings=(missing,)))


@conformance("publish")
async def test_removing_what_is_not_there_is_fine(subject: Subject, broker: Broker, work: Work) -> None:
    await broker.remove(work.topology)
    await broker.remove(work.topology)
    assert await broker.measure([work.queue]) == [] or not await broker.measure([work.queue])


@conformance("measures")
async def test_levels_are_live(subject: Subject, broker: Broker, work: Work) -> None:
    await publish(broker, work, [subject.message()] * 7)
    measured = await level(broker, work.queue)
    assert (measured.waiting, measured.consumers, measured.delayed) == (7, 0, 0)
    assert measured.source is Source.TOLD
    assert measured.detail
    async with broker.consume(work.queue, name="w", prefetch=3) as consumer:
        await take(consumer, 3)
        measured = await level(broker, work.queue)
        assert (measured.waiting, measured.consumers) == (4, 1)

        async def three_in_flight() -> bool:
            return (await level(broker, work.queue)).in_flight == 3

        await until(three_in_flight, 15)
    if "gives_back" in subject.abilities:
        await waiting(broker, work.queue, 7)


@conformance("measures")
async def test_a_queue_that_does_not_exist_is_left_out(subject: Subject, broker: Broker, work: Work) -> None:
    missing = QueueRef(f"{work.queue.name}.missing")
    measured = await broker.measure([missing, work.dead, work.queue])
    assert [one.queue for one in measured] == [work.dead, work.queue]


@conformance("catalog", "exchanges")
async def test_the_catalogue_shows_what_was_declared(subject: Subject, broker: Broker, work: Work) -> None:
    async with broker.consume(work.queue, name="attendant", prefetch=2):

        async def page() -> tuple[object, ...]:
            found = await broker.catalog(prefix=work.route.destination.rpartition(".")[0])
            assert found.source
            return found.entities if any("Attendant" in type(one).__name__ for one in found.entities) else ()

        entities = await until(page, 15)
    queues = {one.ref: one for one in entities if isinstance(one, Queue)}
    assert set(queues) == {work.queue, work.dead}
    assert queues[work.queue].dead_letter == work.topology.queues[0].dead_letter
    assert queues[work.dead].holds_dead_letters
    names = {one.name: one.kind for one in entities if isinstance(one, Destination)}
    assert names == {one.name: one.kind for one in work.topology.destinations}
    assert {one for one in entities if isinstance(one, Binding)} == set(work.topology.bindings)


@conformance("catalog", "exchanges")
async def test_the_catalogue_comes_in_pages(subject: Subject, broker: Broker, work: Work) -> None:
    prefix = f"{work.queue.name}.many"
    many = Topology(queues=tuple(Queue(ref=QueueRef(f"{prefix}.{number:02}")) for number in range(7)))
    await broker.declare(many)
    try:
        found: list[str] = []
        after: str | None = None
        for _ in range(10):
            page = await broker.catalog(prefix=prefix, after=after, limit=3)
            found += [one.ref.name for one in page.entities if isinstance(one, Queue)]
            after = page.after
            if after is None:
                break
        assert found == [queue.ref.name for queue in many.queues]
    finally:
        await broker.remove(many)


@conformance("cancels", "conflicts")
async def test_a_removed_queue_can_be_made_again(subject: Subject, broker: Broker, work: Work) -> None:
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        await broker.remove(work.topology)
        with pytest.raises(ConsumerCancelled):
            await consumer.take(1)
    await broker.declare(work.topology)
    await publish(broker, work, [subject.message()])
