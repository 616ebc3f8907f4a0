"""The shipped scenarios, whole, in virtual time: everything published is accounted for by id."""

import msgspec
import pytest

from mqdash.errors import InputError
from mqdash.lab.counting import QueueCount
from mqdash.lab.headless import Report, with_kills
from mqdash.lab.scenario import Do, Scenario, StepSpec
from mqdash.model.events import Claimed, HandedOver, Rebalanced, WorkerDied
from tests.unit.lab.labs import ALERTS, CLICKS, ORDERS, headless

RABBIT, KAFKA, REDIS = "embedded://rabbitmq", "embedded://kafka", "embedded://redis"


def row(report: Report, name: str) -> QueueCount:
    return next(queue for queue in report.queues if queue.name == name)


def hung_first(plan: Scenario, worker: str, at_s: float) -> Scenario:
    """Hang the worker half a second before it is killed, so that it surely holds something then."""
    hang = StepSpec(at_s=at_s - 0.5, do=Do.HANG, worker=worker)
    return with_kills(msgspec.structs.replace(plan, at=(*plan.at, hang)), [(worker, at_s)])


def assert_adds_up(report: Report) -> None:
    for queue in report.queues:
        parts = queue.acked + queue.waiting + queue.in_flight + queue.dead + queue.expired + queue.dropped
        assert queue.published == parts, queue


async def test_R24_E2_orders_keeps_every_message_when_a_worker_is_killed() -> None:
    report, story, _ = await headless(with_kills(ORDERS, [("W2", 3.0)]), RABBIT, length_s=10.0)
    assert_adds_up(report)
    assert (report.lost, report.unknown, report.returned, report.not_kept) == (0, 0, 0, 0)
    orders, failed = row(report, "orders"), row(report, "orders.failed")
    assert 500 < orders.published < 1100
    assert 0.05 < orders.dead / orders.published < 0.16  # about one in ten fails
    assert failed.published == failed.waiting == orders.dead
    assert row(report, "notifications").acked == row(report, "analytics").acked == orders.acked
    assert row(report, "logs").acked > orders.acked
    (death,) = story.of(WorkerDied)
    assert (death.worker, death.how, death.held) == ("W2", "killed", 1)
    (handed,) = story.of(HandedOver)
    assert handed.ids == death.held_ids
    assert handed.to_worker in {"W1", "W3"}
    assert orders.redelivered >= 1


async def test_K9_K12_clicks_of_a_killed_member_come_again_after_the_session_timeout() -> None:
    report, story, _ = await headless(hung_first(CLICKS, "C2", 2.0), KAFKA, length_s=4.0)
    assert_adds_up(report)
    clicks = row(report, "clicks/clicks-app")
    assert report.lost == 0
    assert clicks.acked == clicks.published > 1000
    (death,) = story.of(WorkerDied)
    handed = story.of(HandedOver)
    assert sum(one.n for one in handed) == death.held > 0
    assert all(5.9 <= one.after_s <= 7.0 for one in handed)
    taken = [move for event in story.of(Rebalanced) for move in event.moved if move[1] == "C2" and move[2] != "C2"]
    assert taken, "nobody was told to have taken the partition of C2"


async def test_S6_S8_alerts_of_a_killed_pager_are_claimed_and_P1_nobody_keeps_for_a_killed_listener() -> None:
    plan = with_kills(hung_first(ALERTS, "P2", 3.0), [("O1", 2.0)])
    report, story, lab = await headless(plan, REDIS, length_s=8.0)
    assert_adds_up(report)
    alerts, ops = row(report, "alerts/pager"), row(report, "ops.*")
    assert report.lost == 0
    assert alerts.acked + alerts.dead == alerts.published > 200
    death = next(event for event in story.of(WorkerDied) if event.worker == "P2")
    claimed = [event for event in story.of(Claimed) if event.from_worker == "P2"]
    assert sum(len(event.ids) for event in claimed) >= death.held
    assert all(event.to_worker == "P1" for event in claimed)
    assert 3 <= report.not_kept == ops.dropped <= 8  # one a second, from second 2 on, for one of two listeners
    assert lab.crew.channels.not_kept() == report.not_kept


@pytest.mark.parametrize("seed", [1, 2])
async def test_E1_same_seed_same_messages(seed: int) -> None:
    first, _, _ = await headless(ORDERS, RABBIT, length_s=2.0, seed=seed)
    again, _, _ = await headless(ORDERS, RABBIT, length_s=2.0, seed=seed)
    assert first == again


async def test_other_seed_other_messages() -> None:
    first, _, _ = await headless(ORDERS, RABBIT, length_s=3.0, seed=1)
    other, _, _ = await headless(ORDERS, RABBIT, length_s=3.0, seed=3)
    assert first.queues != other.queues


def test_unknown_worker_to_kill_is_named() -> None:
    with pytest.raises(InputError, match=r"--kill W9: no such worker in orders; there are W1, W2, W3, N1"):
        with_kills(ORDERS, [("W9", 3.0)])
