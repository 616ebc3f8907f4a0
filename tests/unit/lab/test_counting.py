"""The count at the end: each message of this run in one place, what others left is not counted, losses are seen."""

from typing import Any

import msgspec
import pytest

from mqdash.clock import ManualClock
from mqdash.lab.counting import Counted, QueueCount, count
from mqdash.lab.lab import Lab
from mqdash.model.delivery import Outgoing
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import QueueRef, Route
from tests.unit.lab.labs import later, scenario, virtual, working

RABBIT = "embedded://rabbitmq"
JOBS = QueueRef("jobs")


def plan(rules: str, **changes: str) -> Any:
    found = scenario(count="0", **changes)
    topology = found.topology["rabbitmq"]
    limits: dict[str, Any] = dict(part.split("=") for part in rules.split())
    queue = msgspec.structs.replace(
        topology.queues[0],
        dead_letter=None,
        ttl_s=float(limits["ttl_s"]) if "ttl_s" in limits else None,
        max_length=int(limits["max_length"]) if "max_length" in limits else None,
    )
    topology = msgspec.structs.replace(topology, queues=(queue, *topology.queues[1:]))
    return msgspec.structs.replace(found, topology={"rabbitmq": topology})


def row(counted: Counted) -> QueueCount:
    return next(found for found in counted.queues if found.name == "jobs")


def parts(found: QueueCount) -> int:
    return found.acked + found.waiting + found.in_flight + found.dead + found.expired + found.dropped


class Silent:
    """A broker that tells no totals, as RabbitMQ itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def measure(self, refs: Any) -> Any:
        found = await self._inner.measure(refs)
        return [msgspec.structs.replace(one, expired_total=None, dropped_total=None, in_flight=None) for one in found]


async def counted(lab: Lab, clock: ManualClock, *, tells: bool, before: Any = None) -> Counted:
    broker = await lab.ready()
    return await virtual(clock, count(lab, broker if tells else Silent(broker), before or {}), step_s=0.05)


@pytest.mark.parametrize("tells", [True, False], ids=["told totals", "no totals"])
@pytest.mark.parametrize(
    ("rules", "expired", "dropped"),
    [("max_length=30", 0, 70), ("ttl_s=1", 100, 0), ("ttl_s=1 max_length=30", None, None)],
)
async def test_R36_R37_what_expired_or_was_dropped_is_booked_once(
    rules: str, expired: int | None, dropped: int | None, tells: bool
) -> None:
    clock = ManualClock()
    async with working(plan(rules, rate_per_s="0"), RABBIT, clock) as (lab, _, _):
        lab.producers["boss"].burst(100)
        await later(clock, 2.0)
        result = await counted(lab, clock, tells=tells)
        found = row(result)
        assert found.published == parts(found) == 100
        assert found.expired + found.dropped == (100 if "ttl_s" in rules else 70)
        if expired is not None:
            assert (found.expired, found.dropped) == (expired, dropped)
        assert result.lost == 0


async def test_what_is_missing_behind_what_still_waits_is_lost_whatever_the_rules() -> None:
    clock = ManualClock()
    async with working(plan("ttl_s=60 max_length=1000", rate_per_s="0"), RABBIT, clock) as (lab, _, _):
        lab.producers["boss"].burst(10)
        await later(clock, 0.5)
        lab.ledger.confirmed(Route("work", "job"), lab.producers["boss"].draft()[1].id)  # confirmed, and nowhere
        result = await counted(lab, clock, tells=False)
        assert (row(result).waiting, row(result).expired, row(result).dropped, result.lost) == (10, 0, 0, 1)


async def test_what_an_earlier_run_left_is_not_counted_as_this_ones() -> None:
    clock = ManualClock()
    async with working(scenario(count="0", rate_per_s="0"), RABBIT, clock) as (lab, _, _):
        broker = await lab.ready()
        async with broker.publisher(name="earlier") as publisher:
            old = [compose(Draft(body=b"{}", id=f"boss9f-{n}"), Family.RABBITMQ) for n in range(20)]
            await virtual(clock, publisher.send([Outgoing(Route("work", "job"), one) for one in old]))
        lab.producers["boss"].burst(10)
        await later(clock, 0.5)
        result = await counted(lab, clock, tells=True)
        assert (row(result).published, row(result).waiting, result.lost) == (10, 10, 0)
        lab.scale("W", 1)
        await later(clock, 1.0)
        result = await counted(lab, clock, tells=True)
        assert (row(result).published, row(result).acked, result.lost) == (10, 10, 0)
