from __future__ import annotations

from mqdash.model.actors import WorkerState
from mqdash.model.broker import LinkState
from mqdash.model.events import (
    HandedOver,
    LedgerCounted,
    LinkChanged,
    ProducerGone,
    TopologySeen,
    WorkerDied,
    WorkerGone,
)
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, QueueRef
from tests.unit.store.scene import FAILED, ORDERS, TOPOLOGY, Scene


def busy() -> Scene:
    scene = Scene()
    scene.producer()
    scene.worker("W1")
    scene.publish(3)
    scene.deliver(3)
    scene.finish(acked=2, dead=1)
    scene.die()
    scene.measure(waiting=5, in_flight=1)
    return scene


def test_a_view_is_the_same_object_when_nothing_happened() -> None:
    scene = busy()
    view = scene.view()
    assert scene.view() is view


def test_parts_that_did_not_change_are_the_same_objects_when_time_passes() -> None:
    scene = busy()
    scene.pass_s(120)
    scene.view()
    scene.pass_s(0.5)
    before = scene.view()
    scene.pass_s(0.1)
    after = scene.view()
    assert after.at_s > before.at_s
    assert after.flows is before.flows
    for part in ("producers", "workers", "dead_letters", "story"):
        assert getattr(after, part) is getattr(before, part), part


def test_only_what_an_event_touches_gets_a_new_revision() -> None:
    scene = busy()
    before = scene.view()
    scene.worker("W1", state=WorkerState.PAUSED)
    after = scene.view()
    assert after.workers.revision == before.workers.revision + 1
    assert after.producers is before.producers
    assert after.story is before.story
    assert after.dead_letters is before.dead_letters


def test_totals_are_sums_over_brokers_and_none_where_nobody_can_tell() -> None:
    scene = Scene()
    totals = scene.view().header.totals
    assert (totals.waiting, totals.in_flight, totals.oldest_s) == (None, None, None)
    scene.measure(waiting=5, oldest_age_s=3.4)
    scene.measure(QueueRef("analytics"), waiting=7, in_flight=2, oldest_age_s=1.0)
    scene.measure(FAILED, waiting=100)
    totals = scene.view().header.totals
    assert (totals.waiting, totals.in_flight, totals.oldest_s) == (12, 2, 3.4)
    assert totals.dead == 100


def test_dead_falls_back_to_what_was_seen() -> None:
    scene = Scene()
    scene.die(n=3)
    assert (scene.view().header.totals.dead, scene.view().header.totals.dead_new) == (3, 3)
    scene.pass_s(70)
    assert (scene.view().header.totals.dead, scene.view().header.totals.dead_new) == (3, 0)


def test_out_counts_acked_and_dead() -> None:
    scene = Scene()
    scene.worker("W1")
    for _ in range(50):
        scene.finish(acked=3, dead=1, retried=5)
        scene.publish(7)
        scene.pass_s(0.1)
    totals = scene.view().header.totals
    assert 36 <= totals.out_per_s <= 44
    assert 63 <= totals.in_per_s <= 77
    assert sum(totals.in_spark) <= 350


def test_lost_and_duplicates_come_from_the_ledgers() -> None:
    scene = Scene()
    scene.apply(LedgerCounted, published=10, done=8, lost=1, not_kept=0, duplicates=2)
    scene.apply(LedgerCounted, broker="other", published=10, done=8, lost=0, not_kept=0, duplicates=1)
    totals = scene.view().header.totals
    assert (totals.lost, totals.duplicates) == (1, 3)


def test_the_header_keeps_since_when_a_link_is_what_it_is_and_how_old_figures_are() -> None:
    scene = Scene()
    began_s = scene.clock.now()
    scene.measure(waiting=1)
    scene.pass_s(7.5)
    scene.link(LinkState.UP)
    (broker,) = scene.view().header.brokers
    assert (broker.since_s, broker.age_s, broker.source) == (began_s, 7, "declared")
    scene.link(LinkState.DOWN, "connection refused", retry_at_s=1.0)
    (broker,) = scene.view().header.brokers
    assert (broker.state, broker.cause, broker.since_s) == (LinkState.DOWN, "connection refused", scene.clock.now())


def test_brokers_stand_in_the_order_they_were_attached() -> None:
    scene = Scene()
    scene.apply(LinkChanged, broker="a", state=LinkState.CONNECTING, family=Family.KAFKA, url="kafka://h")
    assert [broker.name for broker in scene.view().header.brokers] == ["b", "a"]
    assert [flow.broker for flow in scene.view().flows] == ["b", "a"]


def test_producers_show_what_they_really_do() -> None:
    scene = Scene()
    scene.producer()
    scene.publish(5, returned=1, unknown=2)
    (row,) = scene.view().producers.rows
    assert (row.total, row.unconfirmed) == (8, 3)
    scene.apply(ProducerGone, name="shop")
    assert scene.view().producers.rows == ()


def test_workers_show_rate_errors_and_total() -> None:
    scene = Scene()
    scene.worker("W1")
    for _ in range(40):
        scene.finish(acked=3, retried=1)
        scene.pass_s(0.1)
    (row,) = scene.view().workers.rows
    assert row.total == 160
    assert row.error_rate == 0.25
    assert 36 <= (row.rate_per_s or 0) <= 44


def test_a_subscriber_settles_nothing_so_what_it_got_counts() -> None:
    scene = Scene()
    scene.worker("S1", subscriber=True)
    scene.deliver(4, by="S1")
    (row,) = scene.view().workers.rows
    assert (row.total, row.error_rate) == (4, None)


def test_a_dead_worker_stays_ten_seconds_with_what_came_back() -> None:
    scene = Scene()
    scene.worker("W3")
    scene.apply(WorkerDied, worker="W3", queue=ORDERS, how="killed", held=2, held_ids=("1", "2"))
    for one in ("1", "2"):
        scene.apply(HandedOver, queue=ORDERS, ids=(one,), n=1, from_worker="W3", to_worker="W1", after_s=0.1)
    scene.apply(WorkerGone, name="W3")
    (row,) = scene.view().workers.rows
    assert (row.worker.state, row.worker.came_back, row.died_at_s) == (WorkerState.KILLED, 2, scene.clock.now())
    scene.pass_s(9.9)
    assert len(scene.view().workers.rows) == 1
    scene.pass_s(0.2)
    assert scene.view().workers.rows == ()


def test_a_killed_worker_that_is_still_listed_stays_and_one_that_left_is_gone() -> None:
    scene = Scene()
    scene.worker("W2", state=WorkerState.KILLED)
    scene.worker("W1")
    scene.apply(WorkerGone, name="W1")
    assert [row.worker.state for row in scene.view().workers.rows] == [WorkerState.KILLED, WorkerState.GONE]
    scene.pass_s(30)
    assert [row.worker.name for row in scene.view().workers.rows] == ["W2"]
    scene.worker("W2", state=WorkerState.IDLE)
    (row,) = scene.view().workers.rows
    assert (row.died_at_s, row.worker.state) == (None, WorkerState.IDLE)


def test_workers_stand_by_queue_in_the_order_they_appeared() -> None:
    scene = Scene()
    scene.worker("W1")
    scene.worker("N1", queue=QueueRef("notifications"))
    scene.worker("W2")
    assert [row.worker.name for row in scene.view().workers.rows] == ["W1", "W2", "N1"]


def test_deaths_are_grouped_by_what_they_have_in_common() -> None:
    scene = Scene()
    for byte in (3, 17, 99):
        scene.die(error=f"bad JSON at byte {byte}", by=f"W{byte % 2}")
    scene.die(error="", error_text="", native=True)
    view = scene.view().dead_letters
    assert [(cause.cause, cause.count) for cause in view.causes] == [
        ("bad JSON at byte *", 3),
        ("rejected (no reason recorded)", 1),
    ]
    assert view.causes[0].workers == ("W1",)
    assert view.seen == 4
    assert view.deaths[0].to == "orders.failed"


def test_the_newest_thousand_deaths_are_kept_and_all_are_counted() -> None:
    scene = Scene()
    for number in range(1200):
        scene.die(str(number))
    view = scene.view().dead_letters
    assert (len(view.deaths), view.deaths[0].id, view.deaths[-1].id) == (1000, "1199", "200")
    assert view.seen == view.causes[0].count == 1200


def test_causes_nobody_could_group_are_counted_as_others() -> None:
    scene = Scene()
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
    for word in words:
        scene.die(error=word)
    causes = scene.view().dead_letters.causes
    assert len(causes) <= 501
    assert sum(cause.count for cause in causes) == len(words)


def test_S6_what_a_dead_worker_left_pending_stands_in_its_row_until_it_is_claimed() -> None:
    scene = busy()
    scene.apply(WorkerDied, worker="W1", queue=ORDERS, how="killed", held=2, held_ids=("a", "b"))
    left = Attendant(queue=ORDERS, name="W1", in_flight=2, ours=True, idle_s=4.2)
    theirs = Attendant(queue=ORDERS, name="app", in_flight=1, idle_s=70.0)
    scene.apply(TopologySeen, topology=TOPOLOGY, attendants=(left, theirs), source="XINFO")
    notes = {row.worker.name: row.worker.note for row in scene.view().workers.rows}
    assert notes == {"W1": "2 pending, idle 4.2 s", "app": "1 pending, idle 1 m 10 s"}
    scene.apply(TopologySeen, topology=TOPOLOGY, attendants=(), source="XINFO")
    assert {row.worker.name: row.worker.note for row in scene.view().workers.rows}["W1"] == ""
