"""Parts of a scenario alone (`--only`)."""

from __future__ import annotations

import pytest

from mqdash.errors import InputError
from mqdash.lab.parts import part_of, parts
from mqdash.lab.scenario_file import load_scenario


@pytest.mark.parametrize(
    ("part", "producers", "pools"),
    [
        ("producers", ["shop", "audit", "sale"], []),
        ("workers", [], ["W", "N", "A", "L", "I"]),
        ("notifications", [], ["N"]),
        ("analytics", [], ["A"]),
        ("logs", [], ["L"]),
        ("rpc-server", [], ["I"]),
        ("rpc-client", [], ["W"]),
        ("W", [], ["W"]),
    ],
)
def test_a_part_has_only_its_own(part: str, producers: list[str], pools: list[str]) -> None:
    scenario = part_of(load_scenario("orders"), part)
    assert [producer.name for producer in scenario.producers] == producers
    assert [pool.pool for pool in scenario.workers] == pools
    assert scenario.topology == load_scenario("orders").topology


def test_one_worker_keeps_its_name() -> None:
    (pool,) = part_of(load_scenario("orders"), "worker:W2").workers
    assert (pool.pool, pool.first, pool.count) == ("W", 2, 1)


@pytest.mark.parametrize("part", ["worker:X1", "worker:W0", "nothing", ""])
def test_an_unknown_part_names_the_known_ones(part: str) -> None:
    with pytest.raises(InputError, match="there are producers, workers, worker:W1"):
        part_of(load_scenario("orders"), part)


def test_every_named_part_exists() -> None:
    for name in ("orders", "clicks", "alerts"):
        for part in parts(load_scenario(name)):
            assert part_of(load_scenario(name), part).name == name
