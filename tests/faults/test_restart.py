"""One cycle of the proof: RabbitMQ killed with -9 under the dashboard at 500 msgs/s and restarted."""

import pytest

from tests.proof.restart import BROKERS, restart_under_load

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize("name", BROKERS)
async def test_4_R13_a_broker_killed_under_load_is_told_resumed_and_loses_nothing(name: str) -> None:
    found = await restart_under_load(name)
    assert found["lost"] == 0, found
    assert found["good"], found
    assert found["said_s"] < 5, found
    assert found["resumed_s"] < 10, found
    assert found["rate_per_s"] > 250, found
