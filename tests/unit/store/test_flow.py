from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mqdash.model.actors import WorkerState
from mqdash.model.events import Requested, TopologySeen, WorkerGone
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, Binding, Destination, Queue, QueueRef, Route, Topology
from tests.unit.store.scene import FAILED, ORDERS, TOPOLOGY, Scene, heads

SHOP_EDGE = "p:shop>d:orders.direct"
ORDERS_EDGE = "d:orders.direct>q:orders|"


def test_a_publish_is_counted_to_the_destination_and_along_its_binding() -> None:
    scene = Scene()
    scene.publish(3)
    edges = scene.edges()
    assert (edges[SHOP_EDGE].total, edges[ORDERS_EDGE].total) == (3, 3)
    assert edges[ORDERS_EDGE].label == "order, urgent"
    assert edges[SHOP_EDGE].kind == "publish"


def test_R2_a_fanout_counts_on_every_edge_behind_it() -> None:
    scene = Scene()
    scene.publish(5, to=Route("events.fanout", "anything"))
    edges = scene.edges()
    assert edges["d:events.fanout>q:notifications|"].total == 5
    assert edges["d:events.fanout>q:analytics|"].total == 5


def test_R7_returned_refused_and_unknown_publishes_end_at_the_destination() -> None:
    scene = Scene()
    scene.publish(2, returned=3, refused=4, unknown=1)
    edges = scene.edges()
    assert (edges[SHOP_EDGE].total, edges[ORDERS_EDGE].total) == (10, 2)


def test_R1_the_default_exchange_is_no_node() -> None:
    scene = Scene()
    scene.publish(2, to=Route("", "orders"))
    edges = scene.edges()
    assert edges["p:shop>q:orders|"].total == 2
    assert not any(node.startswith("d:") and node == "d:" for node in scene.nodes())


def test_machinery_and_unused_built_in_exchanges_are_not_drawn() -> None:
    nodes = Scene().nodes()
    assert "d:amq.direct" not in nodes
    assert not any("mqdash.wait" in node for node in nodes)


def test_every_edge_ends_at_drawn_nodes() -> None:
    scene = Scene()
    scene.producer()
    scene.worker("W1")
    scene.publish(1, by="W1", to=Route("events.fanout"))
    scene.die()
    nodes = scene.nodes()
    for edge in scene.edges().values():
        assert {edge.source, edge.target} <= set(nodes)


def test_workers_that_publish_are_one_node_named_after_all_of_them() -> None:
    scene = Scene()
    for name in ("W1", "W2", "W3"):
        scene.worker(name)
        scene.publish(2, by=name, to=Route("events.fanout"))
    assert scene.nodes()["p:pool/W"].name == "W1–W3"
    assert scene.edges()["p:pool/W>d:events.fanout"].total == 6


def test_a_producer_is_drawn_before_it_publishes_and_goes_when_it_is_gone() -> None:
    scene = Scene()
    scene.producer()
    assert SHOP_EDGE in scene.edges()
    shape = scene.flow().shape
    scene.producer(to=Route("events.fanout"))
    assert SHOP_EDGE not in scene.edges()
    assert scene.flow().shape == shape + 1


def test_numbers_move_the_revision_and_not_the_shape() -> None:
    scene = Scene()
    scene.publish()
    before = scene.flow()
    scene.publish()
    after = scene.flow()
    assert after.shape == before.shape
    assert after.revision > before.revision


def test_rates_are_of_the_last_seconds_and_fade_to_zero() -> None:
    scene = Scene()
    for _ in range(60):
        scene.publish(6)
        scene.pass_s(0.1)
    assert 55 <= (scene.edges()[SHOP_EDGE].rate_per_s or 0) <= 65
    scene.pass_s(10)
    assert scene.edges()[SHOP_EDGE].rate_per_s == 0
    assert scene.edges()[SHOP_EDGE].total == 360


def test_heads_know_the_total_they_arrived_at() -> None:
    scene = Scene()
    scene.publish(2, heads=heads("1", "2"))
    scene.publish(10, heads=heads("7", "12"))
    edge = scene.edges()[ORDERS_EDGE]
    assert [head.id for head in edge.heads] == ["1", "2", "7", "12"]
    assert edge.head_totals[-1] == edge.total == 12
    assert list(edge.head_totals) == sorted(edge.head_totals)


def test_redelivered_messages_are_counted_beside_the_total() -> None:
    scene = Scene()
    scene.worker("W1")
    scene.deliver(5, redelivered=2)
    edge = scene.edges()["q:orders|>w:orders|"]
    assert (edge.total, edge.redelivered_total) == (5, 2)


def test_R40_deaths_run_over_the_dead_letter_exchange_with_their_main_reason() -> None:
    scene = Scene()
    scene.die(n=3)
    scene.die(error="bad JSON at byte 17")
    edges = scene.edges()
    assert edges["q:orders|>d:orders.dlx"].total == 4
    assert edges["q:orders|>d:orders.dlx"].label == "mostly PaymentDeclined"
    assert edges["d:orders.dlx>q:orders.failed|"].total == 4
    assert edges["d:orders.dlx>q:orders.failed|"].kind == "dead"
    nodes = scene.nodes()
    assert nodes["q:orders.failed|"].dead
    assert nodes["d:orders.dlx"].dead
    assert not nodes["q:orders|"].dead


def test_dead_letters_without_a_key_of_the_queue_keep_their_own() -> None:
    scene = Scene()
    scene.die(to=Route("orders.dlx"), key="orders")
    assert scene.edges()["d:orders.dlx>q:orders.failed|"].total == 1


def test_what_answers_requests_is_a_node_of_its_own() -> None:
    scene = Scene()
    scene.worker("R1", queue=QueueRef("rpc.inventory"))
    histogram = (0, 0, 90, 10) + (0,) * 12
    scene.apply(Requested, by="shop", route=Route("", "rpc.inventory"), answered=99, timed_out=1, durations=histogram)
    node = scene.nodes()["r:rpc.inventory"]
    assert node.kind == "request"
    assert 2 <= (node.p50_ms or 0) <= 4 < (node.p99_ms or 0) <= 8
    assert [member.name for member in node.members] == ["R1"]
    assert "q:rpc.inventory|" not in scene.nodes()
    assert scene.edges()["p:shop>r:rpc.inventory"].total == 100


def test_depth_is_the_last_measurement_and_its_largest_of_five_minutes() -> None:
    scene = Scene()
    scene.measure(waiting=412, in_flight=3)
    scene.publish(50)
    node = scene.nodes()["q:orders|"]
    assert (node.depth, node.depth_max, node.in_flight) == (412, 412, 3)
    scene.pass_s(100)
    scene.measure(waiting=7)
    assert (scene.nodes()["q:orders|"].depth, scene.nodes()["q:orders|"].depth_max) == (7, 412)
    scene.pass_s(301)
    scene.measure(waiting=8)
    assert scene.nodes()["q:orders|"].depth_max == 8


def test_what_was_never_measured_is_none() -> None:
    scene = Scene()
    node = scene.nodes()["q:orders|"]
    assert (node.depth, node.in_flight, node.trend_per_s) == (None, None, None)


def test_the_trend_is_growth_per_second() -> None:
    scene = Scene()
    for second in range(8):
        scene.measure(waiting=100 + 3 * second)
        scene.pass_s(1)
    assert scene.nodes()["q:orders|"].trend_per_s == 3


def test_attached_edges_move_by_the_growth_of_the_brokers_totals() -> None:
    scene = Scene(lab=False)
    scene.apply(
        TopologySeen, topology=TOPOLOGY, attendants=(Attendant(queue=ORDERS, name="app-1"),), source="management API"
    )
    scene.view()
    for second in range(6):
        scene.measure(waiting=0, in_total=1000 + 20 * second, out_total=900 + 10 * second, consumers=1)
        scene.pass_s(1)
    edges = scene.edges()
    assert edges[ORDERS_EDGE].total == 100
    assert edges[ORDERS_EDGE].rate_per_s == 20
    assert edges["q:orders|>w:orders|"].total == 50
    assert scene.nodes()["w:orders|"].members[0].foreign
    assert scene.view().header.totals.in_per_s == 20


def test_totals_never_shrink_when_a_broker_starts_counting_anew() -> None:
    scene = Scene(lab=False)
    scene.view()
    for total in (1000, 1050, 3, 8):
        scene.measure(waiting=0, in_total=total)
        scene.pass_s(1)
    assert scene.edges()[ORDERS_EDGE].total == 55


def test_in_a_lab_the_brokers_totals_are_not_counted_a_second_time() -> None:
    scene = Scene()
    scene.view()
    for second in range(4):
        scene.publish(5)
        scene.measure(waiting=0, in_total=5 * (second + 1))
        scene.pass_s(1)
    assert scene.edges()[ORDERS_EDGE].total == 20


def test_totals_survive_a_new_topology() -> None:
    scene = Scene()
    scene.publish(4)
    more = Binding(source="events.fanout", queue=ORDERS)
    scene.apply(TopologySeen, topology=msgspec.structs.replace(TOPOLOGY, bindings=(*TOPOLOGY.bindings, more)))
    scene.publish(3)
    assert scene.edges()[ORDERS_EDGE].total == 7


def test_every_group_of_a_topic_gets_every_record() -> None:
    topology = Topology(
        destinations=(Destination(name="clicks", kind="topic", family=Family.KAFKA, partitions=3),),
        queues=tuple(
            Queue(ref=QueueRef("clicks", group), kind="group", family=Family.KAFKA) for group in ("app", "audit")
        ),
    )
    scene = Scene(topology=topology, family=Family.KAFKA)
    scene.publish(6, by="visitors", to=Route("clicks", "user-1"))
    edges = scene.edges()
    assert (edges["d:clicks>q:clicks|app"].total, edges["d:clicks>q:clicks|audit"].total) == (6, 6)


def test_P4_a_channel_is_drawn_as_the_pattern_that_hears_it() -> None:
    topology = Topology(
        destinations=(Destination(name="ops.*", kind="channel", family=Family.REDIS_PUBSUB),),
        queues=(Queue(ref=QueueRef("ops.*"), kind="channel", family=Family.REDIS_PUBSUB),),
    )
    scene = Scene(topology=topology, family=Family.REDIS_STREAMS)
    scene.publish(2, by="ops", to=Route("ops.deploy"))
    edges = scene.edges()
    assert edges["p:ops>d:ops.*"].total == 2
    assert edges["d:ops.*>q:ops.*|"].total == 2


def test_a_killed_worker_stays_beside_its_queue_for_a_while() -> None:
    scene = Scene()
    scene.worker("W1")
    scene.worker("W3")
    scene.worker("W3", state=WorkerState.KILLED)
    scene.apply(WorkerGone, name="W3")
    assert [(member.name, member.state) for member in scene.nodes()["w:orders|"].members] == [
        ("W1", "busy"),
        ("W3", "killed"),
    ]
    scene.pass_s(10.1)
    assert [member.name for member in scene.nodes()["w:orders|"].members] == ["W1"]


@given(
    st.lists(
        st.tuples(st.sampled_from(("order", "urgent", "nobody")), st.integers(0, 50), st.integers(0, 5), st.booleans()),
        max_size=40,
    )
)
def test_totals_equal_the_sums_whenever_one_looks(slices: list[tuple[str, int, int, bool]]) -> None:
    scene = Scene()
    sent, routed = 0, 0
    for key, confirmed, returned, look in slices:
        scene.publish(confirmed, to=Route("orders.direct", key), returned=returned)
        scene.pass_s(0.3)
        sent += confirmed + returned
        routed += confirmed if key != "nobody" else 0
        if look:
            scene.view()
    edges = scene.edges()
    if slices:
        assert edges[ORDERS_EDGE].total == routed
        shop = edges.get(SHOP_EDGE)
        assert (shop.total if shop else 0) == sent


def test_the_graves_are_counted_by_the_broker() -> None:
    scene = Scene()
    scene.die(n=2)
    scene.measure(FAILED, waiting=12)
    (grave,) = scene.view().dead_letters.graves
    assert (grave.queue, grave.count, grave.new) == (FAILED, 12, 2)


def test_a_pool_is_called_by_those_that_live() -> None:
    scene = Scene()
    for n in (1, 2, 3):
        scene.worker(f"W{n}")
    scene.publish(by="W1", to=Route("events.fanout"))
    assert "W1–W3" in [node.name for node in scene.nodes().values()]
    scene.worker("W3", state=WorkerState.GONE)
    assert "W1–W2" in [node.name for node in scene.nodes().values()]


def test_a_producer_that_chooses_a_channel_per_message_is_of_their_family() -> None:
    channels = tuple(
        Destination(name=name, kind="channel", family=Family.REDIS_PUBSUB) for name in ("ops.deploy", "ops.alarm")
    )
    scene = Scene(topology=Topology(destinations=channels), family=Family.REDIS_STREAMS)
    scene.producer("ops", to=Route("ops.*"))
    scene.producer("sensors", to=Route("alerts"))
    rows = scene.view().producers.rows
    assert [row.family for row in rows] == [Family.REDIS_PUBSUB, Family.REDIS_STREAMS]


def test_a_worker_that_left_its_pool_becomes_no_producer() -> None:
    scene = Scene()
    for n in (1, 2):
        scene.worker(f"W{n}")
        scene.publish(by=f"W{n}", to=Route("events.fanout"))
    scene.apply(WorkerGone, name="W2")
    scene.pass_s(11)
    scene.publish(by="W1", to=Route("events.fanout"))
    assert "W2" not in [row.worker.name for row in scene.view().workers.rows]
    assert [node.name for node in scene.nodes().values() if node.kind == "producers"] == ["W1"]


def test_members_list_of_a_lab_has_no_workers_on_screen() -> None:
    scene = Scene()
    members = Attendant(queue=QueueRef("mqdash.ab12.members"), name="c1", ours=False)
    scene.apply(TopologySeen, topology=TOPOLOGY, attendants=(members,))
    assert scene.view().workers.rows == ()
