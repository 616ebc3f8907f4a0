"""Actions: a delayed publish is held and comes, or is refused; nothing promises what the broker would drop."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from mqdash.brokers.url import parse_url
from mqdash.control import actions
from mqdash.control.actions import next_step
from mqdash.errors import MqdashError, NotFound, ReadOnly, Unsupported
from mqdash.model.delivery import Ack, Sent
from mqdash.model.events import UserActed
from mqdash.model.message import Draft
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from tests.support import until
from tests.unit.dead_letters.support import ORDERS, TOPOLOGY, bench

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.dead_letters.support import Bench

DRAFT = Draft(body=b"{}", id="m-1")


def told(lab: Bench) -> list[str]:
    return [event.text for event in lab.events if isinstance(event, UserActed)]


async def test_a_published_message_is_told_with_its_end(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        assert (await lab.control.publish("lab", Route("", "orders"), DRAFT)).sent is Sent.CONFIRMED
        assert (await lab.control.publish("lab", Route("", "nowhere"), DRAFT)).sent is Sent.RETURNED
        assert "confirmed" in told(lab)[0]
        assert "nobody is bound" in told(lab)[1]
        assert await lab.waiting(ORDERS) == 1


async def test_a_delayed_message_is_held_then_comes_and_its_wait_queue_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "FRESH_S", 0.05)
    monkeypatch.setattr(actions, "TIDY_AFTER_S", 0.5)
    async with bench(tmp_path) as lab:
        await lab.control.publish("lab", Route("", "orders"), Draft(body=b"later", id="m", delay_s=0.2))
        assert await lab.waiting(ORDERS) == 0
        assert "held, due in 0.2 s" in told(lab)[0]
        await until(lambda: _has(lab, 1))
        async with lab.broker.consume(ORDERS, name="W", prefetch=1) as worker:
            (delivery,) = await worker.take(1)
            assert (delivery.message.body, delivery.message.id) == (b"later", "m")
            await worker.settle([(delivery, Ack())])
        await until(lambda: _no_wait_queues(lab))


async def _has(lab: Bench, n: int) -> bool:
    return await lab.waiting(ORDERS) == n


async def _no_wait_queues(lab: Bench) -> bool:
    entities = (await lab.broker.catalog()).entities
    return not any(isinstance(entity, Queue) and entity.ref.name.startswith("mqdash.wait.") for entity in entities)


async def test_R42_a_delay_for_nobody_is_refused_instead_of_dropped_when_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "FRESH_S", 0.05)
    async with bench(tmp_path) as lab:
        bound = Topology(
            destinations=(*TOPOLOGY.destinations, Destination(name="d", kind="direct")),
            queues=TOPOLOGY.queues,
            bindings=(*TOPOLOGY.bindings, Binding(source="d", queue=ORDERS, key="order")),
        )
        await lab.broker.declare(bound)
        lab.control.attachments["lab"].topology = bound
        later = Draft(body=b"{}", delay_s=0.1)
        for route, error in (
            (Route("", "nowhere"), NotFound),
            (Route("missing", "x"), NotFound),
            (Route("d", "other"), NotFound),
            (Route("d", ""), Unsupported),
        ):
            with pytest.raises(error):
                await lab.control.publish("lab", route, later)
        assert (await lab.control.publish("lab", Route("d", "order"), later)).sent is Sent.CONFIRMED
        await until(lambda: _has(lab, 1))


async def test_two_delayed_messages_of_one_way_both_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait queue of the first is not deleted under the second."""
    monkeypatch.setattr(actions, "FRESH_S", 0.05)
    monkeypatch.setattr(actions, "TIDY_AFTER_S", 0.5)
    async with bench(tmp_path) as lab:
        later = Draft(body=b"{}", delay_s=0.1)
        await lab.control.publish("lab", Route("", "orders"), later)
        first = next(iter(lab.control._tidying.values()))
        await lab.control.publish("lab", Route("", "orders"), later)
        await until(first.cancelled)
        assert len(lab.control._tidying) == 1
        await until(lambda: _has(lab, 2))
        await until(lambda: _no_wait_queues(lab))


async def test_the_same_again_is_another_message(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        await lab.control.publish("lab", Route("", "orders"), DRAFT)
        await lab.control.publish_again("lab")
        async with lab.broker.consume(ORDERS, name="W", prefetch=10) as worker:
            taken = [*await worker.take(10)]
            while len(taken) < 2:
                taken += await worker.take(10)
        assert len({delivery.message.id for delivery in taken}) == 2
        assert {delivery.message.body for delivery in taken} == {b"{}"}


async def test_a_read_only_attachment_refuses_and_says_what_would_be_needed(tmp_path: Path) -> None:
    async with bench(tmp_path, writable=False) as lab:
        with pytest.raises(ReadOnly, match="--write"):
            await lab.control.publish("lab", Route("", "orders"), DRAFT)
        assert "--write" in lab.control.refusal("publish", "lab")


async def test_what_asks_and_how(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        control = lab.control
        assert control.asks("publish", "lab") == ""
        assert control.asks("discard", "lab", "orders.failed") == "confirm"
        assert control.asks("replay", "lab", "orders.failed", n=101) == "typed:orders.failed"
        real = dataclasses.replace(control.attachments["lab"], url=parse_url("amqp://127.0.0.1"))
        control.attachments["lab"] = real
        assert control.asks("publish", "lab") == "confirm"
        assert control.asks("discard", "lab", "orders.failed") == "typed:orders.failed"
        control.attachments["lab"] = dataclasses.replace(real, production=True)
        assert control.asks("publish", "lab") == "typed:lab"


async def test_without_a_lab_there_is_nobody_to_kill(tmp_path: Path) -> None:
    async with bench(tmp_path) as lab:
        with pytest.raises(MqdashError, match="other people's processes"):
            lab.control.kill("lab", "W1")
        assert "somebody else" in lab.control.refusal("kill", "lab", "W1")


def test_the_steps_of_a_rate() -> None:
    assert [next_step(value, up=True) for value in (0, 1, 60, 100)] == [1, 2, 100, 200]
    assert [next_step(value, up=False) for value in (60, 1, 0)] == [50, 0, 0]


def test_queue_refs_are_written_as_people_read_them() -> None:
    assert str(QueueRef("clicks", "app")) == "clicks › app"
