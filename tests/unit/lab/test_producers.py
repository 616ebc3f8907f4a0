"""Producers on the embedded RabbitMQ in virtual time: rate, burst, single messages, alarms."""

import asyncio

from mqdash.clock import ManualClock
from mqdash.lab.scenario_file import load_scenario
from mqdash.model.delivery import Sent
from mqdash.model.events import Noted
from mqdash.model.message import Draft
from mqdash.model.topology import QueueRef, Route
from tests.unit.lab.labs import later, scenario, working

RABBIT = "embedded://rabbitmq"
JOBS = QueueRef("jobs")


async def test_a_rate_is_kept_and_can_be_changed() -> None:
    clock = ManualClock()
    async with working(scenario(rate_per_s="200"), RABBIT, clock) as (lab, _, _):
        producer, start = lab.producers["boss"], lab.ledger.counts(JOBS).published
        await later(clock, 2.0)
        sent = lab.ledger.counts(JOBS).published - start
        assert 380 <= sent <= 420
        producer.set_rate(20)
        await later(clock, 2.0)
        assert 35 <= lab.ledger.counts(JOBS).published - start - sent <= 45
        assert producer.record.rate_per_s == 20


async def test_stop_and_start() -> None:
    clock = ManualClock()
    async with working(scenario(), RABBIT, clock) as (lab, _, _):
        producer = lab.producers["boss"]
        await later(clock, 0.5)
        producer.stop()
        assert producer.record.state == "off"
        sent = lab.ledger.counts(JOBS).published
        await later(clock, 1.0)
        assert lab.ledger.counts(JOBS).published == sent
        producer.start()
        await later(clock, 1.0)
        assert lab.ledger.counts(JOBS).published > sent + 40


async def test_a_burst_sends_exactly_that_many_and_then_goes_on() -> None:
    clock = ManualClock()
    async with working(scenario(rate_per_s="0"), RABBIT, clock) as (lab, _, _):
        producer = lab.producers["boss"]
        producer.burst(5000)
        assert producer.record.state == "burst"
        await later(clock, 1.0)
        assert lab.ledger.counts(JOBS).published == 5000
        assert producer.record.state == "on"
        assert producer.record.burst_left == 0


async def test_one_message_by_hand_gets_its_receipt() -> None:
    clock = ManualClock()
    async with working(scenario(rate_per_s="0"), RABBIT, clock) as (lab, _, _):
        producer = lab.producers["boss"]
        route, draft = producer.draft()
        assert (route, draft.id) == (Route("work", "job"), "boss-1")
        assert (await producer.publish(draft)).sent is Sent.CONFIRMED
        lost = await producer.publish(Draft(body=b"x", id="mine"), Route("work", "nowhere"))
        assert lost.sent is Sent.RETURNED
        assert lab.ledger.returned == 1
        await later(clock, 0.2)
        counts = lab.ledger.counts(JOBS)
        assert (counts.published, counts.done) == (1, 1)


async def test_the_next_message_has_a_place_of_its_own_where_a_template_chooses_it() -> None:
    async with working(await asyncio.to_thread(load_scenario, "alerts"), "embedded://redis", ManualClock()) as (
        lab,
        _,
        _,
    ):
        route, draft = lab.producers["ops"].draft()
        assert route in {Route("ops.deploy"), Route("ops.alarm")}
        assert f'"area": "{route.destination.removeprefix("ops.")}"'.encode() in draft.body


async def test_without_a_connection_nothing_is_sent_and_it_says_so() -> None:
    clock = ManualClock()
    async with working(scenario(), RABBIT, clock) as (lab, _, lives):
        lives.server.stop()
        await later(clock, 0.2)
        receipt = await lab.producers["boss"].publish(Draft(body=b"x"))
        assert receipt.sent is Sent.REFUSED
        assert "not connected" in receipt.detail
        lives.server.start()


async def test_R15_an_alarm_blocks_producers_and_is_told_by_the_steps() -> None:
    clock = ManualClock()
    step = '[[at]]\nat_s = 1\ndo = "alarm"\nfor_s = 1\ntext = "memory is low"\n'
    async with working(scenario(step, rate_per_s="100"), RABBIT, clock) as (lab, story, _):
        await later(clock, 1.3)
        assert lab.producers["boss"].record.state == "blocked"
        assert [event.text for event in story.of(Noted)] == ["memory is low"]
        sent = lab.ledger.counts(JOBS).published
        await later(clock, 0.5)
        assert lab.ledger.counts(JOBS).published == sent
        await later(clock, 1.5)
        assert lab.producers["boss"].record.state == "on"
        assert lab.ledger.counts(JOBS).published > sent + 50
        assert lab.ledger.unknown == 0


async def test_on_a_broker_it_cannot_steer_a_step_says_what_to_do() -> None:
    clock = ManualClock()
    step = '[[at]]\nat_s = 0.1\ndo = "restart"\n'
    async with working(scenario(step), RABBIT, clock) as (lab, story, _):
        lab._steps._faults = None
        await later(clock, 0.5)
        (told,) = story.of(Noted)
        assert told.text.startswith("this scenario asks you to restart the broker now")


async def test_14_what_a_broker_refuses_is_told_once_with_its_reason() -> None:
    clock = ManualClock()
    async with working(scenario(rate_per_s="0"), RABBIT, clock) as (lab, events, _):
        producer = lab.producers["boss"]

        async def refused(to: str) -> list[str]:
            receipt = await producer.publish(Draft(body=b"x"), Route(to))
            assert receipt.sent is Sent.REFUSED
            return [event.text for event in events.of(Noted)]

        first = await refused("nowhere")
        assert first
        assert first[-1].startswith("boss cannot publish: ")
        assert "nowhere" in first[-1]
        assert await refused("nowhere") == first
        assert len(await refused("elsewhere")) == len(first) + 1
