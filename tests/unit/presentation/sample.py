"""A hand-made view of the lab, as the store would make it: what the pictures show."""

from __future__ import annotations

from typing import Any

from mqdash.model.actors import ProducerRecord, ProducerState, WorkerRecord, WorkerState
from mqdash.model.broker import BrokerInfo, LinkState
from mqdash.model.delivery import PartitionMeasure
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef, Route
from mqdash.model.views import (
    BrokerView,
    CauseView,
    DeadLettersView,
    DeathView,
    EdgeView,
    FlowView,
    GraveView,
    HeaderView,
    MemberView,
    NodeView,
    ProducersView,
    ProducerView,
    StoryLine,
    StoryView,
    TotalsView,
    View,
    WorkersView,
    WorkerView,
)

NOW_S = 1_700_000_000.0
K, S, P = Family.KAFKA, Family.REDIS_STREAMS, Family.REDIS_PUBSUB


def edge(source: str, target: str, kind: str, **more: Any) -> EdgeView:
    return EdgeView(id=f"e:{source}>{target}", source=source, target=target, kind=kind, **more)


def members(*names: str, **states: str) -> tuple[MemberView, ...]:
    return tuple(MemberView(name=name, state=states.get(name, "busy")) for name in names)


def orders_flow(shape: int = 1, revision: int = 1, total: int = 0) -> FlowView:
    queue: dict[str, Any] = {"kind": "queue", "sub": "classic", "depth_max": 600}
    return FlowView(
        broker="orders",
        family=Family.RABBITMQ,
        shape=shape,
        revision=revision,
        nodes=(
            NodeView(id="p:shop", kind="producers", name="shop", rate_per_s=118),
            NodeView(id="p:pool/W", kind="producers", name="W1–W3", rate_per_s=94),
            NodeView(id="d:orders.direct", kind="destination", name="orders.direct", sub="direct", rate_per_s=118),
            NodeView(id="d:orders.dlx", kind="destination", name="orders.dlx", sub="fanout", dead=True),
            NodeView(id="d:events.fanout", kind="destination", name="events.fanout", sub="fanout", rate_per_s=94),
            NodeView(id="d:logs.topic", kind="destination", name="logs.topic", sub="topic", rate_per_s=210),
            NodeView(id="q:orders|", name="orders", depth=412, trend_per_s=2, in_flight=3, **queue),
            NodeView(id="q:orders.failed|", name="orders.failed", depth=12, dead=True, **queue | {"depth_max": 180}),
            NodeView(id="q:notifications|", name="notifications", depth=3, **queue),
            NodeView(id="q:analytics|", name="analytics", depth=0, **queue),
            NodeView(id="q:logs|", name="logs", depth=41, trend_per_s=-5, **queue | {"depth_max": 205}),
            NodeView(id="w:orders|", kind="workers", name="W1–W3", members=members("W1", "W2", "W3", W3="killed")),
            NodeView(id="w:notifications|", kind="workers", name="N1", members=members("N1")),
            NodeView(id="w:analytics|", kind="workers", name="A1", members=members("A1", A1="hung")),
            NodeView(id="w:logs|", kind="workers", name="L1", members=members("L1")),
            NodeView(id="r:rpc.inventory", kind="request", name="rpc.inventory", p50_ms=4, p99_ms=11),
        ),
        edges=(
            edge("p:shop", "d:orders.direct", "publish", rate_per_s=118, total=total),
            edge("p:pool/W", "d:events.fanout", "publish", rate_per_s=94, total=total),
            edge("p:pool/W", "d:logs.topic", "publish", rate_per_s=94, total=total),
            edge("p:shop", "r:rpc.inventory", "request", rate_per_s=4, total=total),
            edge("d:orders.direct", "q:orders|", "route", label="order", rate_per_s=118, total=total),
            edge("d:events.fanout", "q:notifications|", "route", rate_per_s=94, total=total),
            edge("d:events.fanout", "q:analytics|", "route", rate_per_s=94, total=total),
            edge("d:logs.topic", "q:logs|", "route", label="order.#", rate_per_s=210, total=total),
            edge("q:orders|", "d:orders.dlx", "dead", label="rejected", rate_per_s=0.05, total=total),
            edge("d:orders.dlx", "q:orders.failed|", "dead", rate_per_s=0.05, total=total),
            edge("q:orders|", "w:orders|", "deliver", rate_per_s=116, total=total),
            edge("q:notifications|", "w:notifications|", "deliver", rate_per_s=94, total=total),
            edge("q:analytics|", "w:analytics|", "deliver", rate_per_s=94, total=total),
            edge("q:logs|", "w:logs|", "deliver", rate_per_s=215, total=total),
        ),
    )


def clicks_flow(shape: int = 1, revision: int = 1, total: int = 0) -> FlowView:
    parts = tuple(
        PartitionMeasure(partition=at, end=4000, committed=4000 - lag, waiting=lag, owner=owner)
        for at, (lag, owner) in enumerate(((131, "C1"), (125, "C2"), (1200, "")))
    )
    group: dict[str, Any] = {"kind": "queue", "sub": "clicks-app", "family": K}
    return FlowView(
        broker="clicks",
        family=K,
        shape=shape,
        revision=revision,
        nodes=(
            NodeView(id="p:visitors", kind="producers", name="visitors", family=K, rate_per_s=800),
            NodeView(id="d:clicks", kind="destination", name="clicks", sub="topic", family=K, rate_per_s=800),
            NodeView(id="q:clicks|clicks-app", name="clicks", depth=1456, depth_max=1500, partitions=parts, **group),
            NodeView(
                id="w:clicks|clicks-app", kind="workers", name="C1–C3", family=K, members=members("C1", "C2", "C3")
            ),
        ),
        edges=(
            edge("p:visitors", "d:clicks", "publish", rate_per_s=800, total=total),
            edge("d:clicks", "q:clicks|clicks-app", "route", rate_per_s=800, total=total),
            edge("q:clicks|clicks-app", "w:clicks|clicks-app", "deliver", rate_per_s=790, total=total),
        ),
    )


def alerts_flow(shape: int = 1, revision: int = 1, total: int = 0) -> FlowView:
    return FlowView(
        broker="alerts",
        family=S,
        shape=shape,
        revision=revision,
        nodes=(
            NodeView(id="p:sensors", kind="producers", name="sensors", family=S, rate_per_s=40),
            NodeView(id="p:ops", kind="producers", name="ops", family=P, rate_per_s=1),
            NodeView(id="d:alerts", kind="destination", name="alerts", sub="stream", family=S, rate_per_s=40),
            NodeView(id="d:ops.*", kind="destination", name="ops.*", sub="channel", family=P, rate_per_s=1),
            NodeView(
                id="q:alerts|pager",
                kind="queue",
                name="alerts",
                sub="pager",
                family=S,
                depth=40,
                depth_max=120,
                in_flight=24,
            ),
            NodeView(id="w:alerts|pager", kind="workers", name="P1", family=S, members=members("P1", "P2")),
            NodeView(id="w:ops.*|", kind="workers", name="O1", family=P, members=members("O1")),
        ),
        edges=(
            edge("p:sensors", "d:alerts", "publish", rate_per_s=40, total=total),
            edge("p:ops", "d:ops.*", "publish", rate_per_s=1, total=total),
            edge("d:alerts", "q:alerts|pager", "route", rate_per_s=40, total=total),
            edge("q:alerts|pager", "w:alerts|pager", "deliver", rate_per_s=40, total=total),
            edge("d:ops.*", "w:ops.*|", "deliver", rate_per_s=1, total=total),
        ),
    )


def lab_brokers() -> tuple[BrokerView, ...]:
    return tuple(
        BrokerView(
            name=name,
            family=family,
            state=state,
            lab=True,
            age_s=4.0,
            url=f"embedded://{family}",
            info=BrokerInfo(family=family, version="4.0", url=f"embedded://{family}", embedded=True),
        )
        for name, family, state in (
            ("orders", Family.RABBITMQ, LinkState.UP),
            ("clicks", K, LinkState.UP),
            ("alerts", S, LinkState.STALE),
        )
    )


def lab_header() -> HeaderView:
    spark = (3.0, 4.0, 5.0, 6.0, 7.0, 6.0, 7.0, 8.0, 9.0, 8.0)
    totals = TotalsView(
        in_per_s=1240, out_per_s=1220, in_spark=spark, out_spark=spark[::-1], waiting=412, waiting_trend_per_s=2,
        in_flight=37, dead=12, dead_new=3, oldest_s=3.4,
    )  # fmt: skip
    return HeaderView(brokers=lab_brokers(), totals=totals, revision=1)


def lab_producers() -> ProducersView:
    spark = (3.0, 4.0, 2.0, 5.0, 4.0, 6.0)

    def row(name: str, broker: str, family: Family, to: str, per_s: float, state: ProducerState) -> ProducerView:
        record = ProducerRecord(
            name=name,
            broker=broker,
            route=Route(destination=to, key="k"),
            state=state,
            rate_per_s=per_s,
            burst_size=5000,
        )
        return ProducerView(producer=record, family=family, rate_per_s=per_s, spark=spark if per_s else ())

    on = ProducerState.ON
    return ProducersView(
        revision=1,
        rows=(
            row("shop", "orders", Family.RABBITMQ, "orders.direct", 120, on),
            row("audit", "orders", Family.RABBITMQ, "logs.topic", 10, on),
            row("sale", "orders", Family.RABBITMQ, "orders.direct", 0, ProducerState.OFF),
            row("visitors", "clicks", K, "clicks", 800, on),
            row("sensors", "alerts", S, "alerts", 40, on),
            row("ops", "alerts", P, "ops.*", 1, on),
        ),
    )


def worker(name: str, queue: str, state: WorkerState, rate: float, **record: Any) -> WorkerView:
    record = {"prefetch": 1, "in_flight": 0} | record
    return WorkerView(
        worker=WorkerRecord(name=name, broker="orders", queue=QueueRef(name=queue), state=state, **record),
        family=Family.RABBITMQ,
        rate_per_s=rate,
    )


def lab_workers() -> WorkersView:
    busy: dict[str, Any] = {"in_flight": 1, "busy_since_s": NOW_S - 0.5, "expected_s": 1.0}
    return WorkersView(
        revision=1,
        rows=(
            worker("W1", "orders", WorkerState.BUSY, 31, current_id="#8123", **busy),
            worker("W2", "orders", WorkerState.BUSY, 29, current_id="#8121", current_attempt=2, **busy),
            worker("W3", "orders", WorkerState.KILLED, 0, came_back=2),
            worker("N1", "notifications", WorkerState.IDLE, 47, prefetch=10),
            worker("A1", "analytics", WorkerState.HUNG, 0, prefetch=10, in_flight=10, current_id="#7990"),
            worker("L1", "logs", WorkerState.PAUSED, 0, prefetch=50),
        ),
    )


def lab_dead_letters() -> DeadLettersView:
    ref = QueueRef(name="orders")

    def cause(text: str, count: int, workers: tuple[str, ...], ago_s: float) -> CauseView:
        return CauseView(
            broker="orders", queue=ref, cause=text, count=count, workers=workers, last_s=NOW_S - ago_s,
            spark=(1.0, 0.0, 2.0, 1.0, 1.0, 3.0, 2.0),
        )  # fmt: skip

    death = DeathView(
        broker="orders", queue=ref, id="#8102", key="order", by="W1", cause="PaymentDeclined",
        text="PaymentDeclined: card 4242 … insufficient funds", attempt=2, at_s=NOW_S - 41, to="orders.dlx", size_bytes=118,
        preview=b'{"order": 8102, "total": 99.5, "card": "declined"}',
    )  # fmt: skip
    return DeadLettersView(
        causes=(
            cause("PaymentDeclined", 7, ("W1", "W2"), 41),
            cause("bad JSON at byte *", 3, ("W2",), 120),
            cause("expired (ttl 30 s)", 2, (), 300),
        ),
        deaths=(death,),
        graves=(
            GraveView(broker="orders", family=Family.RABBITMQ, queue=QueueRef(name="orders.failed"), count=12, new=3),
        ),
        seen=12,
        revision=1,
    )


def lab_story() -> StoryView:
    def line(ago_s: float, level: str, text: str, *more: str) -> StoryLine:
        return StoryLine(at_s=NOW_S - ago_s, broker="orders", level=level, text=text, more=more)

    return StoryView(
        revision=1,
        lines=(
            line(1, "broken", "W3 was killed holding 2 unacked messages", "broker gave #8119 #8120 to W1, 2nd time"),
            line(3, "dead", "#8102 dead-lettered by W1 → orders.failed", "PaymentDeclined, attempt 2"),
            line(10, "you", "you raised shop from 60/s to 120/s"),
            line(29, "look", "orders grows 2/s: 62/s in, 60/s out", "+ adds a worker"),
            line(39, "info", "A1 stopped answering (hung by you)"),
            line(44, "info", "clicks-app rebalanced: C2 took p1, 0.2 s"),
        ),
    )


def lab_view(total: int = 0, revision: int = 1) -> View:
    return View(
        at_s=NOW_S,
        header=lab_header(),
        producers=lab_producers(),
        flows=tuple(make(1, revision, total) for make in (orders_flow, clicks_flow, alerts_flow)),
        workers=lab_workers(),
        dead_letters=lab_dead_letters(),
        story=lab_story(),
    )
