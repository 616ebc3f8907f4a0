"""A part of a scenario alone: several terminals share one run on a real broker (`--only`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from mqdash.errors import InputError

if TYPE_CHECKING:
    from mqdash.lab.scenario import PoolSpec, Scenario

_WORKER = re.compile(r"worker:([^\d\s]+)(\d+)\Z")


def part_of(scenario: Scenario, part: str) -> Scenario:
    """The scenario with only the producers or workers of this part; topology and text stay whole, steps go.

    `producers` · `workers` · `worker:W1` · `rpc-server` (who replies) · `rpc-client` (who asks) · the name of a queue or pool.

    Raises:
        InputError: no such part; names those there are.
    """
    alone = msgspec.structs.replace(scenario, producers=(), workers=(), at=())
    if part == "producers":
        return msgspec.structs.replace(alone, producers=scenario.producers)
    chosen = _workers(scenario, part)
    if not chosen:
        raise InputError(f"--only {part}: no such part of {scenario.name}; there are {', '.join(parts(scenario))}")
    return msgspec.structs.replace(alone, workers=chosen)


def parts(scenario: Scenario) -> list[str]:
    """What `--only` takes for this scenario."""
    named = ["producers", "workers"]
    named += [f"worker:{pool.pool}{number}" for pool in scenario.workers for number in range(1, pool.count + 1)]
    named += ["rpc-server"] if any(pool.reply is not None for pool in scenario.workers) else []
    named += ["rpc-client"] if any(pool.calls for pool in scenario.workers) else []
    return named + sorted({pool.queue for pool in scenario.workers})


def _workers(scenario: Scenario, part: str) -> tuple[PoolSpec, ...]:
    if part == "workers":
        return scenario.workers
    if part == "rpc-server":
        return tuple(pool for pool in scenario.workers if pool.reply is not None)
    if part == "rpc-client":
        return tuple(pool for pool in scenario.workers if pool.calls)
    single = _WORKER.match(part)
    if single is not None:
        return tuple(
            msgspec.structs.replace(pool, count=1, first=int(single[2]))
            for pool in scenario.workers
            if pool.pool == single[1] and int(single[2]) > 0
        )
    return tuple(pool for pool in scenario.workers if part in {pool.queue, pool.pool})
