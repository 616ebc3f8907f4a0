"""What passes through the port is counted exactly, once, whatever the wrappers (design §4.1)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from mqdash.brokers.base import CanBrowse, CanRequest, CanSubscribe, HoldsDeadLetters
from mqdash.brokers.metered import metered
from mqdash.brokers.registry import connector_for
from mqdash.brokers.scoped import Scope, scoped
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Ack, DeadLetter, Outgoing, Retry
from mqdash.model.events import Delivered, Died, Finished, Published, Retried, Unroutable
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker
    from mqdash.model.delivery import Verdict
    from mqdash.model.events import Event

ORDERS, FAILED = QueueRef("orders"), QueueRef("failed")
TOPOLOGY = Topology(
    destinations=(Destination(name="dlx", kind="fanout"),),
    queues=(Queue(ref=ORDERS, dead_letter=Route("dlx")), Queue(ref=FAILED)),
    bindings=(Binding(source="dlx", queue=FAILED),),
)


async def a_broker(events: list[Event], *, run: str = "", url: str = "embedded://rabbitmq") -> tuple[Broker, Broker]:
    """The wrapped broker and the bare one."""
    clock = SystemClock()
    bare = await connector_for(parse_url(url), clock=clock, bounded=False).connect()
    inner = scoped(bare, Scope(run)) if run else bare
    return metered(inner, "b", clock=clock, emit=events.append), bare


def outgoing(n: int, key: str = "orders") -> list[Outgoing]:
    """`n` messages to a queue by the default exchange."""
    return [Outgoing(Route("", key), compose(Draft(body=b"x" * 10, id=f"{i}"), Family.RABBITMQ)) for i in range(n)]


@pytest.mark.parametrize("run", ["", "r1"])
async def test_totals_are_exact_at_any_rate_and_heads_are_a_sample(run: str) -> None:
    events: list[Any] = []
    broker, _ = await a_broker(events, run=run)
    await broker.declare(TOPOLOGY)
    async with broker.publisher(name="shop") as publisher:
        await publisher.send(outgoing(500))
        await publisher.send(outgoing(3, "nowhere"))
    async with broker.consume(ORDERS, name="W1", prefetch=500) as worker:
        taken: list[Any] = []
        while len(taken) < 500:
            taken += await worker.take(500)
        verdicts: list[Verdict] = [Ack(), DeadLetter("Boom", "text"), Retry(0)]
        await worker.settle([(delivery, verdicts[i % 3]) for i, delivery in enumerate(taken)])
    await broker.close()
    sums: Counter[str] = Counter()
    for event in events:
        match event:
            case Published():
                sums["confirmed"] += event.confirmed
                sums["returned"] += event.returned
                sums["published bytes"] += event.size_bytes
                sums["publish durations"] += sum(event.durations)
            case Delivered():
                sums["delivered"] += event.n
                sums["heads"] += len(event.heads)
            case Finished():
                sums["acked"] += event.acked
                sums["dead"] += event.dead
                sums["retried"] += event.retried
            case Died():
                sums["died"] += event.n
                assert (event.queue, event.by, event.to.destination) == (ORDERS, "W1", "dlx")
            case Unroutable():
                sums["unroutable"] += event.n
            case Retried():
                assert event.by == "W1"
            case _:
                pytest.fail(f"unexpected {event}")
    assert sums["confirmed"] == 500
    assert sums["returned"] == sums["unroutable"] == 3
    assert sums["published bytes"] == 5030
    assert sums["publish durations"] == 503
    assert (sums["acked"], sums["dead"], sums["retried"]) == (167, 167, 166)
    assert sums["died"] == 167
    assert sums["delivered"] >= 500
    assert 0 < sums["heads"] < 100


async def test_wrappers_have_exactly_the_powers_of_what_they_wrap() -> None:
    powers = (CanSubscribe, CanRequest, HoldsDeadLetters, CanBrowse)
    for url in ("embedded://rabbitmq", "embedded://kafka", "embedded://redis"):
        wrapped, bare = await a_broker([], run="r", url=url)
        assert [isinstance(wrapped, power) for power in powers] == [isinstance(bare, power) for power in powers], url


async def test_a_run_has_names_of_its_own_on_the_broker() -> None:
    broker, bare = await a_broker([], run="r1")
    await broker.declare(TOPOLOGY)
    async with broker.publisher(name="p") as publisher:
        (receipt,) = await publisher.send(outgoing(1))
    assert receipt.sent == "confirmed"
    real = {entity.ref.name for entity in (await bare.catalog()).entities if isinstance(entity, Queue)}
    assert real == {"mqdash.r1.orders", "mqdash.r1.failed"}
    shown = {entity.ref.name for entity in (await broker.catalog()).entities if isinstance(entity, Queue)}
    assert shown == {"orders", "failed"}
    assert [(m.queue, m.waiting) for m in await broker.measure([ORDERS])] == [(ORDERS, 1)]
    async with broker.consume(ORDERS, name="W", prefetch=1) as worker:
        (delivery,) = await worker.take(1)
        assert (delivery.queue, delivery.route) == (ORDERS, Route("", "orders"))
        await worker.settle([(delivery, DeadLetter("Boom"))])
    assert isinstance(broker, HoldsDeadLetters)
    async with broker.lease(FAILED) as lease:
        assert [letter.queue for letter in lease.letters] == [FAILED]
        await lease.remove(lease.letters)
    assert [m.waiting for m in await broker.measure([FAILED])] == [0]
    await broker.remove(TOPOLOGY)
    assert (await bare.catalog()).entities == ()


def test_a_scope_translates_both_ways_and_only_once() -> None:
    scope = Scope("r")
    for name in ("orders", "{alerts}:dlq", ""):
        assert scope.shown(scope.real(name)) == name
        assert scope.real(scope.real(name)) == scope.real(name)
    assert scope.real("{alerts}:dlq") == "{mqdash.r.alerts}:dlq"
    assert scope.real("amq.topic") == "amq.topic"
    assert scope.real_route(Route("logs.topic", "order.created")) == Route("mqdash.r.logs.topic", "order.created")
