"""Running a machine: how many runs, with which seed, on which brokers."""

import time
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from tests.harness import require_target
from tests.stateful.channels import ChannelMachine
from tests.stateful.logs import LogMachine
from tests.stateful.machine import Machine
from tests.stateful.queues import QueueMachine
from tests.stateful.streams import StreamMachine

STEPS = 30

MODELS: dict[str, type[Machine[Any]]] = {
    "queues": QueueMachine,
    "channels": ChannelMachine,
    "streams": StreamMachine,
    "logs": LogMachine,
}
"""Model name → its machine."""

_EMBEDDED = {
    "rabbitmq-3.10": "embedded://rabbitmq?version=3.10",
    "rabbitmq-4": "embedded://rabbitmq?version=4.0",
    "kafka-4": "embedded://kafka",
    "redis-7": "embedded://redis",
    "redis-8": "embedded://redis",
}
ON: dict[str, tuple[str, ...]] = {
    "queues": ("rabbitmq-3.10", "rabbitmq-4"),
    "logs": ("kafka-4",),
    "streams": ("redis-7", "redis-8"),
    "channels": ("redis-7", "redis-8"),
}
"""The real brokers a model is compared with; alone, the embedded one is what these would be."""


@dataclass(frozen=True)
class Done:
    """What was run."""

    runs: int
    steps: int
    seconds: float


def run(model: str, target: str, *, runs: int, seed: int, real: bool) -> Done:
    """Run a model's machine `runs` times on the embedded twin of `target`, with `real` beside the real one.

    Raises what the first bad run raised, after its steps were printed. On an embedded broker alone a failure is made
    shorter first; on a real one that would take minutes.
    """
    urls = (_EMBEDDED[target], *((require_target(target).url,) if real else ()))
    started_s = time.monotonic()
    full: type[Machine[Any]] = type(MODELS[model].__name__, (MODELS[model],), {"urls": urls, "lengths": []})
    try:
        _run(full, runs, seed, Phase.generate, least=STEPS - 1)
    except Exception:
        if not real:
            _run(full, runs, seed, Phase.generate, Phase.shrink, least=0)
        raise
    steps = [length for length in full.lengths if length == STEPS]
    return Done(len(steps), sum(steps), time.monotonic() - started_s)


def _run(machine: type[Machine[Any]], runs: int, seed: int, *phases: Phase, least: int) -> None:
    settings = hypothesis.settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        phases=phases,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings, _min_steps=least)
