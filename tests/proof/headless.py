"""A worker killed in the middle of a run without a screen: nothing lost by id, its messages come again."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

from tests.harness import require_target
from tests.proof.part import ROOT, Run


@dataclass(frozen=True)
class On:
    """A scenario, the broker it runs on and the worker that is killed."""

    scenario: str
    broker: str
    worker: str


ON = (
    On("orders", "embedded", "W2"),
    On("orders", "rabbitmq-3.10", "W2"),
    On("orders", "rabbitmq-4", "W2"),
    On("clicks", "embedded", "C2"),
    On("alerts", "embedded", "P1"),
)


async def headless(on: On, *, length_s: float = 10.0, kill_at_s: float = 3.0, run: str = "") -> Run:
    """Run the command as a user would and read its JSON; `good` when nothing was lost and the queues add up."""
    where: list[str] = []
    if on.broker != "embedded":
        target = require_target(on.broker)
        where = [f"{target.url}?management={target.management_url}", "--run", run or f"proof-{on.broker}"]
    command = [
        "-m",
        "mqdash",
        "lab",
        on.scenario,
        *where,
        "--for",
        f"{length_s}s",
        "--kill",
        f"{on.worker}@{kill_at_s}s",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, "--json", cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), timeout=length_s + 120)
    if not out:
        return {"scenario": on.scenario, "broker": on.broker, "good": False, "error": err.decode()[-500:], **_NOTHING}
    report = json.loads(out)
    sides = ("acked", "waiting", "in_flight", "dead", "expired", "dropped")
    adds_up = all(queue["published"] == sum(queue[side] for side in sides) for queue in report["queues"])
    work = report["queues"][0]
    return {
        "scenario": on.scenario,
        "broker": on.broker,
        "published": work["published"],
        "redelivered": work["redelivered"],
        "lost": report["lost"],
        "duplicates": report["duplicates"],
        "adds_up": adds_up,
        "exit": process.returncode,
        "good": report["lost"] == 0 and process.returncode == 0 and adds_up and work["redelivered"] > 0,
        "queues": report["queues"] if not adds_up else [],
    }


_NOTHING = {"published": 0, "redelivered": 0, "lost": 0, "duplicates": 0}
