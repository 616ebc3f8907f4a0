"""A store with a clock that is moved by hand, and short words for events of one broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mqdash.model.actors import ProducerRecord, WorkerRecord, WorkerState
from mqdash.model.broker import LinkState
from mqdash.model.delivery import Measurement, Source
from mqdash.model.events import (
    Delivered,
    Died,
    Finished,
    Head,
    LinkChanged,
    Measured,
    ProducerChanged,
    Published,
    TopologySeen,
    WorkerChanged,
)
from mqdash.model.message import Family
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from mqdash.store import Store

if TYPE_CHECKING:
    from mqdash.model.views import EdgeView, FlowView, NodeView, StoryLine, View

ORDERS = QueueRef("orders")
FAILED = QueueRef("orders.failed")

TOPOLOGY = Topology(
    destinations=(
        Destination(name="orders.direct", kind="direct"),
        Destination(name="events.fanout", kind="fanout"),
        Destination(name="orders.dlx", kind="direct"),
        Destination(name="amq.direct", kind="direct"),
    ),
    queues=(
        Queue(ref=ORDERS, dead_letter=Route("orders.dlx", "orders")),
        Queue(ref=FAILED),
        Queue(ref=QueueRef("notifications")),
        Queue(ref=QueueRef("analytics")),
        Queue(ref=QueueRef("rpc.inventory")),
        Queue(ref=QueueRef("mqdash.wait.orders.1s"), dead_letter=Route("", "orders")),
    ),
    bindings=(
        Binding(source="orders.direct", queue=ORDERS, key="order"),
        Binding(source="orders.direct", queue=ORDERS, key="urgent"),
        Binding(source="orders.dlx", queue=FAILED, key="orders"),
        Binding(source="events.fanout", queue=QueueRef("notifications")),
        Binding(source="events.fanout", queue=QueueRef("analytics")),
    ),
)


class HandClock:
    """Stands still until `pass_s`."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.passed_s

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("the store never sleeps")


class Scene:
    """Broker `b`, a lab unless told otherwise."""

    def __init__(
        self, *, lab: bool = True, topology: Topology | None = TOPOLOGY, family: Family = Family.RABBITMQ
    ) -> None:
        self.clock = HandClock()
        self.store = Store(self.clock)
        self.family = family
        self.url = "embedded://rabbitmq" if lab else "amqp://127.0.0.1:5672/"
        self.lab = lab
        self.link(LinkState.UP)
        if topology is not None:
            self.apply(TopologySeen, topology=topology, source="declared")

    def apply(self, kind: type[Any], /, **fields: Any) -> None:
        fields.setdefault("broker", "b")
        self.store.apply(kind(at_s=self.clock.now(), **fields))

    def pass_s(self, seconds: float) -> None:
        self.clock.passed_s += seconds

    def link(self, state: LinkState, cause: str = "", **more: Any) -> None:
        self.apply(LinkChanged, state=state, family=self.family, url=self.url, cause=cause, lab=self.lab, **more)

    def publish(self, n: int = 1, *, by: str = "shop", to: Route | None = None, **counts: Any) -> None:
        self.apply(Published, by=by, route=to or Route("orders.direct", "order"), confirmed=n, **counts)

    def deliver(self, n: int = 1, *, by: str = "W1", queue: QueueRef = ORDERS, redelivered: int = 0) -> None:
        self.apply(Delivered, by=by, queue=queue, n=n, redelivered=redelivered)

    def finish(self, *, by: str = "W1", queue: QueueRef = ORDERS, **counts: int) -> None:
        self.apply(Finished, by=by, queue=queue, **counts)

    def die(self, message_id: str = "8102", *, error: str = "PaymentDeclined", n: int = 1, **more: Any) -> None:
        fields = {
            "queue": ORDERS,
            "by": "W1",
            "error": error,
            "to": Route("orders.dlx", "orders"),
            "id": message_id,
            "n": n,
        }
        self.apply(Died, **(fields | more))

    def producer(self, name: str = "shop", to: Route | None = None) -> None:
        self.apply(
            ProducerChanged, producer=ProducerRecord(name=name, broker="b", route=to or Route("orders.direct", "order"))
        )

    def worker(
        self, name: str, *, state: WorkerState = WorkerState.BUSY, queue: QueueRef = ORDERS, **more: Any
    ) -> None:
        self.apply(
            WorkerChanged, worker=WorkerRecord(name=name, broker="b", queue=queue, pool="W", state=state, **more)
        )

    def measure(self, queue: QueueRef = ORDERS, **levels: Any) -> None:
        measured = Measurement(queue=queue, at_s=self.clock.now(), source=Source.TOLD, **levels)
        self.apply(Measured, measurements=(measured,))

    def view(self) -> View:
        return self.store.view()

    def flow(self) -> FlowView:
        return next(flow for flow in self.view().flows if flow.broker == "b")

    def nodes(self) -> dict[str, NodeView]:
        return {node.id: node for node in self.flow().nodes}

    def edges(self) -> dict[str, EdgeView]:
        return {edge.id: edge for edge in self.flow().edges}

    def story(self) -> list[StoryLine]:
        return list(self.view().story.lines)

    def texts(self) -> list[str]:
        return [line.text for line in self.story()]


def heads(*ids: str) -> tuple[Head, ...]:
    return tuple(Head(id=one) for one in ids)
