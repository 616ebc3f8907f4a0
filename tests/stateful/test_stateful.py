"""E2, E3 and agreement with real brokers under random steps. A failure prints its steps; `SEED` makes them come again."""

import pytest

from tests.stateful.running import ON, STEPS, run

SEED = 4
ALONE = 200
BESIDE_REAL = 15
_PAIRS = [(model, target) for model, targets in ON.items() for target in targets]


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("queues", "rabbitmq-3.10"),
        ("queues", "rabbitmq-4"),
        ("logs", "kafka-4"),
        ("streams", "redis-8"),
        ("channels", "redis-8"),
    ],
)
@pytest.mark.timeout(300)
def test_E2_E3_random_steps_on_the_embedded_broker_lose_nothing_and_give_nothing_twice(model: str, target: str) -> None:
    runs = ALONE // len(ON[model]) if model == "queues" else ALONE
    done = run(model, target, runs=runs, seed=SEED, real=False)
    assert done.steps >= runs * STEPS


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("model", "target"), _PAIRS)
def test_E2_E3_the_embedded_broker_does_at_every_random_step_what_the_real_one_does(model: str, target: str) -> None:
    done = run(model, target, runs=BESIDE_REAL, seed=SEED, real=True)
    assert done.steps >= BESIDE_REAL * STEPS
