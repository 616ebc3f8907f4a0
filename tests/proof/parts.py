"""All parts by name."""

from __future__ import annotations

import statistics
from typing import Any

from tests.proof.headless import ON, headless
from tests.proof.part import Part, Run
from tests.proof.restart import BROKERS, KAFKAS, REDISES, restart_under_load
from tests.proof.stateful import CHUNKS, stateful


def _median(runs: list[Run], key: str) -> str:
    values = [run[key] for run in runs if run.get(key) is not None]
    return f"{statistics.median(values):g}" if values else "–"


async def _restart(n: int) -> Run:
    return await restart_under_load(BROKERS[n % len(BROKERS)])


async def _restart_kafka(n: int) -> Run:
    return await restart_under_load(KAFKAS[n % len(KAFKAS)])


async def _restart_redis(n: int) -> Run:
    return await restart_under_load(REDISES[n % len(REDISES)])


def _restarts(runs: list[Run]) -> list[str]:
    lines = [
        "Killed with -9 and restarted under the dashboard with a producer aiming at 500 msgs/s (Kafka and Redis: 1,000). Times are",
        "medians in seconds: until the screen said so (after the kill), until the producer's next confirm (after the broker",
        "was back).",
        "",
        "| broker | kills | confirmed | lost | duplicates | said after | resumed after | reached msgs/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in (*BROKERS, *KAFKAS, *REDISES):
        mine = [run for run in runs if run["broker"] == name]
        if mine:
            sums = {key: sum(run[key] for run in mine) for key in ("confirmed", "lost", "duplicates")}
            lines.append(
                f"| {name} | {len(mine)} | {sums['confirmed']:,} | {sums['lost']} | {sums['duplicates']} "
                f"| {_median(mine, 'said_s')} | {_median(mine, 'resumed_s')} | {_median(mine, 'rate_per_s')} |"
            )
    return lines


async def _headless(n: int) -> Run:
    return await headless(ON[n % len(ON)])


def _headlesses(runs: list[Run]) -> list[str]:
    lines = [
        "`mqdash lab SCENARIO [URL] --for 10s --kill WORKER@3s --json`: lost by id, and the killed worker's messages redelivered.",
        "",
        "| scenario | broker | worker killed | runs | published | redelivered | lost | duplicates | median s |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for on in ON:
        mine = [run for run in runs if (run["scenario"], run["broker"]) == (on.scenario, on.broker)]
        if mine:
            sums = {key: sum(run[key] for run in mine) for key in ("published", "redelivered", "lost", "duplicates")}
            lines.append(
                f"| {on.scenario} | {on.broker} | {on.worker} | {len(mine)} | {sums['published']:,} "
                f"| {sums['redelivered']} | {sums['lost']} | {sums['duplicates']} | {_median(mine, 'took_s')} |"
            )
    return lines


def _statefuls(runs: list[Run]) -> list[str]:
    lines = [
        "The same random steps, 30 a run, with a new seed per chunk: after each step the embedded broker and the real one showed",
        "the same levels, holders, orders and marks; by itself each kept every message (E2) and gave none twice (E3).",
        "",
        "| model | on | runs | steps | failed chunks |",
        "|---|---|---:|---:|---:|",
    ]
    for model, on in dict.fromkeys((chunk.model, chunk.on) for chunk in CHUNKS):
        mine = [run for run in runs if (run["model"], run["on"]) == (model, on)]
        if mine:
            sums = {key: sum(run[key] for run in mine) for key in ("runs", "steps")}
            failed = sum(not run["good"] for run in mine)
            lines.append(f"| {model} | {on} | {sums['runs']:,} | {sums['steps']:,} | {failed} |")
    return lines


PARTS: dict[str, Any] = {
    part.name: part
    for part in (
        Part(name="restart", title="Broker killed under load", total=30, run=_restart, table=_restarts),
        Part(name="restart-kafka", title="Kafka killed under load", total=30, run=_restart_kafka, table=_restarts),
        Part(name="restart-redis", title="Redis killed under load", total=30, run=_restart_redis, table=_restarts),
        Part(name="headless", title="A worker killed in the lab", total=20 * len(ON), run=_headless, table=_headlesses),
        Part(name="stateful", title="Random steps", total=len(CHUNKS), run=stateful, table=_statefuls, at_once=3),
    )
}
