"""Events made by hand: the lab as it stands at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.actors import ProducerRecord, ProducerState, WorkerRecord, WorkerState
from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.delivery import Measurement, Source
from mqdash.model.events import Died, LinkChanged, Measured, ProducerChanged, TopologySeen, UserActed, WorkerChanged
from mqdash.model.message import Family
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mqdash.model.events import Event

FAMILIES = {"orders": Family.RABBITMQ, "clicks": Family.KAFKA, "alerts": Family.REDIS_STREAMS}
ORDERS = Topology(
    destinations=(
        Destination(name="orders.direct", kind="direct"),
        Destination(name="orders.dlx", kind="direct"),
        Destination(name="logs.topic", kind="topic"),
    ),
    queues=(
        Queue(ref=QueueRef("orders"), dead_letter=Route("orders.dlx", "orders")),
        Queue(ref=QueueRef("orders.failed"), holds_dead_letters=True),
        Queue(ref=QueueRef("logs")),
    ),
    bindings=(
        Binding(source="orders.direct", queue=QueueRef("orders"), key="order"),
        Binding(source="orders.dlx", queue=QueueRef("orders.failed"), key="orders"),
        Binding(source="logs.topic", queue=QueueRef("logs"), key="order.#"),
    ),
)
CLICKS = Topology(
    destinations=(Destination(name="clicks", kind="topic", family=Family.KAFKA, partitions=3),),
    queues=(Queue(ref=QueueRef("clicks", "clicks-app"), kind="group", family=Family.KAFKA),),
    bindings=(Binding(source="clicks", queue=QueueRef("clicks", "clicks-app")),),
)


def link(broker: str, at_s: float, state: LinkState = LinkState.UP, **more: object) -> LinkChanged:
    """The way to one of the three brokers."""
    family = FAMILIES[broker]
    info = BrokerInfo(family=family, version="4.0", url=f"embedded://{family}", embedded=True)
    return LinkChanged(
        broker=broker,
        at_s=at_s,
        state=state,
        family=family,
        url=info.url,
        info=info,
        lab=True,
        **more,  # type: ignore[arg-type]
    )


def producer(
    name: str, at_s: float, state: str = "on", rate_per_s: float = 60.0, broker: str = "orders"
) -> ProducerChanged:
    """A producer of orders, or of clicks."""
    route = Route("orders.direct", "order") if broker == "orders" else Route("clicks")
    record = ProducerRecord(name=name, broker=broker, route=route, state=ProducerState(state), rate_per_s=rate_per_s)
    return ProducerChanged(broker=broker, at_s=at_s, producer=record)


def worker(
    name: str,
    at_s: float,
    state: WorkerState = WorkerState.BUSY,
    queue: str = "orders",
    *,
    controls: frozenset[str] = frozenset({"kill", "hang", "crash", "finish", "pause"}),
    foreign: bool = False,
) -> WorkerChanged:
    """A worker of a queue of orders, pool W."""
    busy = state is WorkerState.BUSY
    record = WorkerRecord(
        name=name,
        broker="orders",
        queue=QueueRef(queue),
        pool=name[0],
        state=state,
        prefetch=1,
        in_flight=int(busy),
        current_id="m-8102" if busy else "",
        controls=controls,
        foreign=foreign,
    )
    return WorkerChanged(broker="orders", at_s=at_s, worker=record)


def death(id_: str, at_s: float, error: str = "PaymentDeclined", text: str = "card 4242") -> Died:
    """A message of orders that W1 dead-lettered."""
    return Died(
        broker="orders",
        at_s=at_s,
        queue=QueueRef("orders"),
        by="W1",
        error=error,
        error_text=text,
        to=Route("orders.dlx", "orders"),
        id=id_,
        key="order",
        size_bytes=40,
        preview=b'{"order": 8102, "total": 99.5}',
    )


def lab_events(at_s: float) -> Iterator[Event]:
    """Three brokers, two topologies, five producers, four workers, two deaths, one sentence."""
    for broker in FAMILIES:
        yield link(broker, at_s)
    yield TopologySeen(broker="orders", at_s=at_s, topology=ORDERS)
    yield TopologySeen(broker="clicks", at_s=at_s, topology=CLICKS)
    for name in ("shop", "audit"):
        yield producer(name, at_s)
    yield producer("sale", at_s, "off", 0.0)
    yield producer("visitors", at_s, broker="clicks")
    for name in ("W1", "W2", "W3"):
        yield worker(name, at_s)
    yield worker("L1", at_s, WorkerState.IDLE, "logs")
    levels = (("orders", 412, 3), ("orders.failed", 2, 0), ("logs", 41, 0))
    yield Measured(
        broker="orders",
        at_s=at_s,
        measurements=tuple(
            Measurement(queue=QueueRef(name), at_s=at_s, source=Source.TOLD, waiting=waiting, in_flight=flight)
            for name, waiting, flight in levels
        ),
    )
    yield death("m-8102", at_s)
    yield death("m-8103", at_s, "bad JSON", "at byte 17")
    yield UserActed(broker="orders", at_s=at_s, text="you raised shop from 60/s to 120/s")
