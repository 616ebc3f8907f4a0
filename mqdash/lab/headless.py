"""The lab without a screen: run for a while, let everything come to its end, then count by id."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import InputError, MqdashError
from mqdash.lab.counting import QueueCount, count
from mqdash.lab.scenario import Do, StepSpec
from mqdash.model.actors import WorkerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.lab.lab import Lab
    from mqdash.lab.scenario import Scenario
    from mqdash.model.topology import QueueRef

log = logging.getLogger(__name__)

LOOK_S: Final = 0.05
PATIENCE_S: Final = 4.0
"""Beyond the session timeout: after this long without any progress what is left stays where it is."""
QUIET_LIMIT_S: Final = 300.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `unknown`: publishes without proof. `duplicates`: processed to the end more than once."""

    scenario: str
    broker: str
    seed: int
    queues: tuple[QueueCount, ...]
    returned: int
    unknown: int
    lost: int
    not_kept: int
    duplicates: int


def with_kills(scenario: Scenario, kills: Sequence[tuple[str, float]]) -> Scenario:
    """The scenario with these workers killed, each at its second.

    Raises:
        InputError: no such worker; names those there are.
    """
    known = [f"{pool.pool}{number}" for pool in scenario.workers for number in range(1, pool.count + 1)]
    for name, _ in kills:
        if name not in known:
            raise InputError(f"--kill {name}: no such worker in {scenario.name}; there are {', '.join(known)}")
    steps = tuple(StepSpec(at_s=at_s, do=Do.KILL, worker=name) for name, at_s in kills)
    return msgspec.structs.replace(scenario, at=scenario.at + steps)


async def run_headless(lab: Lab, *, length_s: float) -> Report:
    """Run a lab that was not started yet for `length_s` seconds, drain it, count, stop it.

    Raises:
        MqdashError: the scenario could not be declared.
    """
    await lab.start()
    try:
        broker = await lab.ready()
        refs = [queue.ref for queue in lab.topology.queues]
        before = {found.queue: found for found in await broker.measure(refs)}
        await lab.clock.sleep(length_s)
        await lab.stop_producers()
        await quiet(lab)
        await lab.stop_workers()
        broker = await lab.ready()
        counted = await count(lab, broker, before)
        lab.ledger.lost = counted.lost
        return Report(
            scenario=lab.scenario.name,
            broker=broker.info.url,
            seed=lab.crew.seed,
            queues=counted.queues,
            returned=lab.ledger.returned,
            unknown=lab.ledger.unknown,
            lost=counted.lost,
            not_kept=lab.crew.channels.not_kept(),
            duplicates=lab.ledger.total().duplicates,
        )
    finally:
        try:
            await lab.stop()
        except MqdashError as error:
            log.warning("the lab did not stop cleanly: %s", error)


async def quiet(lab: Lab) -> None:
    """Wait until nothing is open on queues that somebody works on, or until nothing moves any more."""
    clock = lab.clock
    patience_s = lab.scenario.session_timeout_s + PATIENCE_S
    began_s = moved_s = clock.monotonic()
    seen: object = None
    while clock.monotonic() - began_s < QUIET_LIMIT_S:
        counts = {ref: lab.ledger.counts(ref) for ref in _worked(lab)}
        if not any(found.open for found in counts.values()) and not _holding(lab):
            return
        if counts != seen or not _connected(lab):
            seen, moved_s = counts, clock.monotonic()
        elif clock.monotonic() - moved_s >= patience_s:
            return
        await clock.sleep(LOOK_S)


def _worked(lab: Lab) -> set[QueueRef]:
    """Queues with a worker that could still get on with them."""
    idle = {WorkerState.HUNG, WorkerState.PAUSED}
    return {worker.queue for worker in lab.workers.values() if worker.living and worker.state not in idle}


def _holding(lab: Lab) -> bool:
    return any(worker.held_ids for worker in lab.workers.values() if worker.living and worker.queue in _worked(lab))


def _connected(lab: Lab) -> bool:
    """Whether every living worker has its connection: without, no progress means nothing."""
    return not any(worker.away for worker in lab.workers.values() if worker.living)
