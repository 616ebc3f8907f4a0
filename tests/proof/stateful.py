"""Random steps on embedded and real brokers (tests/stateful), in chunks: 2,000 runs alone, 200 beside each real broker."""

from __future__ import annotations

import asyncio
import random
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.stateful.running import ON, run

if TYPE_CHECKING:
    from tests.proof.part import Run

ERROR_CHARS = 4000


@dataclass(frozen=True)
class Chunk:
    """Some runs of one model in one go."""

    model: str
    target: str
    real: bool
    runs: int

    @property
    def on(self) -> str:
        return f"embedded and {self.target}" if self.real else f"embedded, as {self.target}"


def _chunks() -> list[Chunk]:
    """All models take turns, so a part that was stopped has something of each."""
    alone = [Chunk(model, targets[n % len(targets)], False, 100) for n in range(20) for model, targets in ON.items()]
    beside = [Chunk(model, target, True, 10) for _ in range(20) for model, targets in ON.items() for target in targets]
    return [*alone, *beside]


CHUNKS = _chunks()


async def stateful(n: int) -> Run:
    """The n-th chunk with a new seed; `good` when no run failed. The seed and the steps of a bad one are kept."""
    chunk = CHUNKS[n]
    seed = random.SystemRandom().getrandbits(32)
    told = {"model": chunk.model, "on": chunk.on, "seed": seed}
    try:
        done = await asyncio.to_thread(run, chunk.model, chunk.target, runs=chunk.runs, seed=seed, real=chunk.real)
    except Exception as error:  # noqa: BLE001 - whatever a step raises makes the run a bad one
        steps = "".join(traceback.format_exception(error))[-ERROR_CHARS:]
        return {**told, "runs": 0, "steps": 0, "good": False, "error": steps}
    return {**told, "runs": done.runs, "steps": done.steps, "good": done.runs >= chunk.runs}
