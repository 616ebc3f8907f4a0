"""What a person may do to workers, on the embedded RabbitMQ in virtual time."""

from itertools import pairwise
from typing import Any

import pytest

from mqdash.clock import ManualClock
from mqdash.errors import MqdashError
from mqdash.lab.lab import Lab
from mqdash.lab.workers import Worker
from mqdash.model.actors import WorkerState
from mqdash.model.delivery import Outcome, Settled
from mqdash.model.events import (
    Cancelled,
    Claimed,
    Gap,
    HandedOver,
    Noted,
    SettleFailed,
    WorkerChanged,
    WorkerDied,
    WorkerGone,
)
from mqdash.model.topology import QueueRef, Topology
from tests.unit.lab.labs import ALERTS, later, scenario, virtual, working

RABBIT = "embedded://rabbitmq"
JOBS = QueueRef("jobs")
# Work takes half a second, so that a worker surely holds something when it is looked at.
SLOW = "time_ms = [500, 500]\n"


def state(worker: Worker) -> str:
    return worker.record.state


async def waiting(lab: Lab) -> int:
    broker = await lab.ready()
    return (await broker.measure([JOBS]))[0].waiting or 0


async def test_R24_a_killed_worker_keeps_its_row_and_its_message_comes_to_another_one() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, rate_per_s="20"), RABBIT, clock) as (lab, story, _):
        await later(clock, 0.3)
        first, other = lab.workers["W1"], lab.workers["W2"]
        assert state(first) == WorkerState.BUSY
        held = first.record.in_flight_ids
        assert len(held) == 1
        first.kill()
        assert state(first) == WorkerState.KILLED
        assert first.record.in_flight_ids == held
        assert first.record.controls == frozenset()
        await later(clock, 1.2)
        (death,) = story.of(WorkerDied)
        assert (death.how, death.held_ids) == ("killed", held)
        (handed,) = story.of(HandedOver)
        assert (handed.ids, handed.from_worker, handed.to_worker) == (held, "W1", "W2")
        assert 0 < handed.after_s < 0.6
        assert first.record.came_back == 1
        assert lab.ledger.counts(JOBS).redelivered == 1
        assert state(other) == WorkerState.BUSY


async def test_a_hung_worker_holds_its_message_until_it_is_woken() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, count="1", rate_per_s="20"), RABBIT, clock) as (lab, _, _):
        await later(clock, 0.2)
        worker = lab.workers["W1"]
        worker.hang()
        assert state(worker) == WorkerState.HUNG
        held = worker.record.in_flight_ids
        await later(clock, 5.0)
        assert worker.record.in_flight_ids == held
        assert lab.ledger.counts(JOBS).done == 0
        worker.resume()
        await later(clock, 0.1)
        assert lab.ledger.counts(JOBS).done == 1


async def test_crash_on_next_raises_on_the_next_message_and_loses_nothing() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, rate_per_s="20"), RABBIT, clock) as (lab, story, _):
        await later(clock, 0.2)
        worker = lab.workers["W1"]
        in_hand = worker.record.in_flight_ids
        worker.crash_next()
        assert state(worker) == WorkerState.BUSY
        assert worker.record.note == "will crash on its next message"
        await later(clock, 0.6)
        assert worker.record.note == ""
        (death,) = story.of(WorkerDied)
        assert state(worker) == WorkerState.CRASHED
        assert (death.how, death.held) == ("crashed", 1)
        assert death.held_ids != in_hand
        await later(clock, 1.0)
        assert [event.ids for event in story.of(HandedOver)] == [death.held_ids]


async def test_finish_settles_what_is_held_then_leaves_the_list() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW + "prefetch = 3\n", count="1"), RABBIT, clock) as (lab, story, _):
        await later(clock, 0.2)
        worker = lab.workers["W1"]
        worker.finish()
        assert state(worker) == WorkerState.DRAINING
        await later(clock, 2.0)
        assert state(worker) == WorkerState.GONE
        counts = lab.ledger.counts(JOBS)
        assert 1 <= counts.done <= 3
        assert counts.redelivered == 0
        await later(clock, 11.0)
        assert "W1" not in lab.workers
        assert [event.name for event in story.of(WorkerGone)] == ["W1"]


async def test_a_paused_worker_finishes_its_message_and_takes_no_more() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, count="1"), RABBIT, clock) as (lab, _, _):
        await later(clock, 0.2)
        worker = lab.workers["W1"]
        worker.pause()
        await later(clock, 0.6)
        assert state(worker) == WorkerState.PAUSED
        done = lab.ledger.counts(JOBS).done
        await later(clock, 2.0)
        assert lab.ledger.counts(JOBS).done == done == 1
        worker.resume()
        await later(clock, 1.2)
        assert lab.ledger.counts(JOBS).done > done


async def test_scale_adds_the_next_number_and_takes_the_last_ones_away() -> None:
    clock = ManualClock()
    async with working(scenario(rate_per_s="20"), RABBIT, clock) as (lab, _, _):
        lab.workers["W2"].kill()
        assert lab.living("W") == 1
        lab.scale("W", 3)
        assert sorted(lab.workers) == ["W1", "W2", "W3", "W4"]
        assert lab.living("W") == 3
        await later(clock, 0.3)
        assert lab.workers["W4"].record.state in {WorkerState.IDLE, WorkerState.BUSY}
        lab.scale("W", 1)
        await later(clock, 0.3)
        states = {name: worker.state for name, worker in lab.workers.items()}
        assert states["W1"] in {WorkerState.IDLE, WorkerState.BUSY}
        assert (states["W2"], states["W3"], states["W4"]) == (
            WorkerState.KILLED,
            WorkerState.GONE,
            WorkerState.GONE,
        )
        with pytest.raises(MqdashError, match="no pool called X in small; there are W"):
            lab.scale("X", 1)


async def test_R17_a_new_prefetch_holds_as_many() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, count="1", rate_per_s="100"), RABBIT, clock) as (lab, _, _):
        await later(clock, 0.2)
        worker = lab.workers["W1"]
        assert worker.record.in_flight == 1
        worker.set_prefetch(5)
        await later(clock, 1.2)
        assert worker.record.in_flight == 5
        assert worker.record.prefetch == 5


async def test_work_can_be_changed_while_it_runs() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, count="1"), RABBIT, clock) as (lab, _, _):
        await later(clock, 0.2)
        lab.workers["W1"].set_work(time_s=0.0, failure_rate=1.0)
        await later(clock, 1.0)
        counts = lab.ledger.counts(JOBS)
        assert counts.dead > 10
        assert lab.ledger.counts(QueueRef("failed")).published == counts.dead


async def test_a_refused_dead_letter_stops_the_worker_and_keeps_the_message() -> None:
    clock = ManualClock()
    plan = scenario('failure_rate = 1.0\nerrors = [{ name = "Bad" }]\n', count="1")
    async with working(plan, RABBIT, clock) as (lab, story, _):
        broker = await lab.ready()
        worker = lab.workers["W1"]
        await later(clock, 0.2)
        dead = lab.ledger.counts(JOBS).dead
        assert dead > 0
        failed = [queue for queue in lab.topology.queues if queue.ref.name == "failed"]
        await broker.remove(Topology(queues=tuple(failed)))
        await later(clock, 0.5)
        assert state(worker) == WorkerState.STUCK
        assert worker.record.note
        assert len(story.of(SettleFailed)) == 1
        assert worker.record.in_flight == 1
        (held,) = worker.record.in_flight_ids
        await broker.declare(lab.topology)
        worker.resume()
        await later(clock, 1.0)
        assert worker.record.state in {WorkerState.IDLE, WorkerState.BUSY}
        assert held not in lab.ledger.queue(JOBS).open_ids()


async def test_R27_a_deleted_queue_is_told_and_worked_again_when_it_is_back() -> None:
    clock = ManualClock()
    async with working(scenario(count="1"), RABBIT, clock) as (lab, story, _):
        broker = await lab.ready()
        await later(clock, 0.2)
        jobs = [queue for queue in lab.topology.queues if queue.ref == JOBS]
        await broker.remove(Topology(queues=tuple(jobs)))
        await later(clock, 0.3)
        assert [event.by for event in story.of(Cancelled)] == ["W1"]
        assert state(lab.workers["W1"]) == WorkerState.STUCK
        await broker.declare(lab.topology)
        done = lab.ledger.counts(JOBS).done
        await later(clock, 1.0)
        assert lab.ledger.counts(JOBS).done > done


async def test_R13_after_a_restart_everybody_works_again_and_nothing_confirmed_is_lost() -> None:
    clock = ManualClock()
    async with working(scenario(rate_per_s="200"), RABBIT, clock) as (lab, _, lives):
        await later(clock, 1.0)
        lives.server.stop("the broker was restarted")
        await later(clock, 0.3)
        assert {worker.record.state for worker in lab.workers.values()} == {WorkerState.STUCK}
        assert lab.producers["boss"].record.state == "blocked"
        lives.server.start()
        done = lab.ledger.counts(JOBS).done
        await later(clock, 1.0)
        assert lab.ledger.counts(JOBS).done > done + 50
        await virtual(clock, lab.stop_producers())
        await later(clock, 0.5)
        assert lab.ledger.counts(JOBS).open_confirmed == await waiting(lab) == 0


async def test_P6_a_listener_that_was_away_tells_its_gap() -> None:
    clock = ManualClock()
    async with working(ALERTS, "embedded://redis", clock) as (lab, story, lives):
        await later(clock, 1.0)
        lives.server.cut("O1")
        await later(clock, 1.0)
        gaps = story.of(Gap)
        assert [(gap.by, gap.channels) for gap in gaps] == [("O1", ("ops.*",))]
        assert 0.05 <= gaps[0].duration_s <= 0.5
        assert lab.workers["O1"].record.subscriber


async def test_idle_and_busy_are_told_at_most_ten_times_a_second() -> None:
    clock = ManualClock()
    plan = scenario("time_ms = [1, 2]\n", count="1", rate_per_s="200")
    async with working(plan, RABBIT, clock) as (_, story, _):
        await later(clock, 1.0)
        before = len(story.of(WorkerChanged))
        await later(clock, 5.0)
        assert 10 <= len(story.of(WorkerChanged)) - before <= 110


async def test_S8_a_pager_with_work_of_its_own_claims_too_and_tells_the_measured_idle_time() -> None:
    clock = ManualClock()
    async with working(ALERTS, "embedded://redis", clock) as (lab, story, _):
        await later(clock, 2.0)
        held = lab.workers["P1"].held_ids
        lab.workers["P1"].kill()
        await later(clock, 4.5)
        claimed = story.of(Claimed)
        assert {(event.from_worker, event.to_worker) for event in claimed} == {("P1", "P2")}
        assert {one for event in claimed for one in event.ids} == set(held)
        assert all(3.0 <= event.idle_s < 4.0 for event in claimed)
        assert len({event.idle_s for event in claimed}) == len(claimed) > 0
        broker = await lab.ready()
        assert (await broker.measure([QueueRef("alerts", "pager")]))[0].waiting  # it was never without new entries


async def test_S6_a_hung_pager_claims_nothing() -> None:
    clock = ManualClock()
    async with working(ALERTS, "embedded://redis", clock) as (lab, story, _):
        await later(clock, 2.0)
        lab.workers["P1"].kill()
        lab.workers["P2"].hang()
        await later(clock, 5.0)
        assert story.of(Claimed) == []


@pytest.mark.parametrize("order", ["kill", "hang", "crash_next", "finish", "pause", "resume"])
async def test_a_dead_worker_refuses_every_order(order: str) -> None:
    clock = ManualClock()
    async with working(scenario(), RABBIT, clock) as (lab, _, _):
        worker = lab.workers["W2"]
        worker.kill()
        with pytest.raises(
            MqdashError, match=r"W2 is killed: it can do nothing any more; \+ in Workers adds another one"
        ):
            getattr(worker, order)()
        with pytest.raises(MqdashError, match="W2 is killed"):
            worker.set_prefetch(5)
        with pytest.raises(MqdashError, match="W2 is killed"):
            worker.set_work(time_s=1.0)
        assert state(worker) == WorkerState.KILLED


async def test_a_leaving_worker_cannot_be_paused() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, rate_per_s="20"), RABBIT, clock) as (lab, _, _):
        await later(clock, 0.3)
        lab.workers["W1"].finish()
        with pytest.raises(MqdashError, match="W1 is finishing what it holds and leaves"):
            lab.workers["W1"].pause()


async def test_a_pool_is_never_scaled_beyond_64_living_workers() -> None:
    clock = ManualClock()
    async with working(scenario(), RABBIT, clock) as (lab, _, _):
        with pytest.raises(MqdashError, match="W can have at most 64 living workers, not 500: nothing was changed"):
            lab.scale("W", 500)
        assert lab.living("W") == 2


async def test_F4_a_settle_without_proof_drops_the_connection_and_everything_comes_again() -> None:
    clock = ManualClock()
    async with working(scenario(SLOW, count="1", rate_per_s="2"), RABBIT, clock) as (lab, story, _):
        worker = lab.workers["W1"]
        await later(clock, 1.0)
        assert worker.record.in_flight == 1
        (held,) = worker.record.in_flight_ids

        async def unanswered(verdicts: Any) -> list[Outcome]:  # the broker is never asked: it still holds the delivery
            return [Outcome(Settled.UNKNOWN, "no answer in 5 s") for _ in verdicts]

        assert worker._consumer is not None
        worker._consumer.settle = unanswered  # type: ignore[method-assign]
        await later(clock, 3.0)
        assert [event.text for event in story.of(Noted)] == [
            f"no proof that {held} was moved; W1 starts over, it may come twice"
        ]
        lab.producers["boss"].stop()
        await later(clock, 8.0)
        (jobs,) = await (await lab.ready()).measure([JOBS])
        counts = lab.ledger.counts(JOBS)
        assert (jobs.waiting, jobs.in_flight, counts.open, counts.redelivered) == (0, 0, 0, 1)
        assert worker.record.state == WorkerState.IDLE
        assert dict(lab.ledger.queue(JOBS).unproven_ids) == {}


async def test_E3_a_stuck_worker_sees_its_lost_connection_and_tries_again() -> None:
    clock = ManualClock()
    plan = scenario('failure_rate = 1.0\nerrors = [{ name = "Bad" }]\n', count="1", rate_per_s="20")
    async with working(plan, RABBIT, clock) as (lab, story, lives):
        broker = await lab.ready()
        worker = lab.workers["W1"]
        failed = [queue for queue in lab.topology.queues if queue.ref.name == "failed"]
        await broker.remove(Topology(queues=tuple(failed)))
        await later(clock, 0.5)
        assert (state(worker), worker.record.in_flight) == (WorkerState.STUCK, 1)
        lives.server.stop("the broker was restarted")
        await later(clock, 0.2)
        assert worker.away
        assert worker.record.in_flight == 0
        dead = lab.ledger.counts(JOBS).dead
        lives.server.start()  # and the lab declares what is missing
        await later(clock, 1.0)
        assert lab.ledger.counts(JOBS).dead > dead
        assert len(story.of(SettleFailed)) == 1


async def test_R27_a_queue_that_stays_away_is_asked_for_less_and_less_often() -> None:
    clock = ManualClock()
    async with working(scenario(), RABBIT, clock) as (lab, _, _):
        broker = await lab.ready()
        await later(clock, 0.5)
        jobs = [queue for queue in lab.topology.queues if queue.ref == JOBS]
        await broker.remove(Topology(queues=tuple(jobs)))
        worker, opened = lab.workers["W1"], []
        inner = worker._open

        async def counting(*given: Any) -> Any:
            opened.append(clock.monotonic())
            return await inner(*given)

        worker._open = counting  # type: ignore[method-assign,assignment]
        await later(clock, 30.0)
        waits_s = [round(b - a, 1) for a, b in pairwise(opened)]
        assert waits_s[:4] == [0.4, 0.8, 1.6, 3.2]
        assert set(waits_s[4:]) == {5.0}
        await broker.declare(lab.topology)
        worker.resume()  # a person need not wait for it
        await later(clock, 0.1)
        assert worker.record.state in {WorkerState.IDLE, WorkerState.BUSY}
