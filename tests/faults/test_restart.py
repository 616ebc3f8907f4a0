"""Three cycles of the proof on each family: a broker killed with -9 under the dashboard and restarted."""

from typing import TYPE_CHECKING

import pytest

from tests.proof.restart import BROKERS, KAFKAS, REDISES, restart_under_load

if TYPE_CHECKING:
    from tests.proof.part import Run

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180)]


def _holds(found: "Run", *, rate_per_s: float) -> None:
    """What every broker owes: nothing lost, told and resumed in time, under at least this load."""
    assert found["lost"] == 0, found
    assert found["good"], found
    assert found["said_s"] < 5, found
    assert found["resumed_s"] < 10, found
    assert found["rate_per_s"] > rate_per_s, found


@pytest.mark.parametrize("name", [*BROKERS, BROKERS[1]])
async def test_4_R13_a_broker_killed_under_load_is_told_resumed_and_loses_nothing(name: str) -> None:
    found = await restart_under_load(name)
    _holds(found, rate_per_s=250)


@pytest.mark.parametrize("cycle", range(3))
@pytest.mark.parametrize("name", KAFKAS)
async def test_4_27_a_kafka_killed_at_1000_per_s_is_told_resumed_and_loses_nothing(name: str, cycle: int) -> None:
    del cycle
    found = await restart_under_load(name)
    _holds(found, rate_per_s=500)


@pytest.mark.parametrize("name", [*REDISES, REDISES[0]])
async def test_4_P6_a_redis_killed_at_1000_per_s_is_told_resumed_loses_nothing_and_shows_its_gaps(name: str) -> None:
    found = await restart_under_load(name)
    _holds(found, rate_per_s=500)
    assert found["gaps"] >= 1, found
