"""What a part is, and how its runs are kept and told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".proof"
REPORT = ROOT / "docs" / "proof.md"
HEAD = "# Proof\n\nMade by `make proof`; every figure comes from a run on the brokers it names.\n"

Run = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """`total` runs, the n-th made by `run(n)`; `table` turns them into the lines of its section.

    `at_once`: so many runs side by side, each in a process of its own, where they neither disturb nor time each other.
    """

    name: str
    title: str
    total: int
    run: Callable[[int], Awaitable[Run]]
    table: Callable[[list[Run]], list[str]]
    at_once: int = 1


def commit() -> str:
    """The commit the runs are made on, with a + when the tree is changed."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def prove(part: Part, *, again: bool) -> bool:
    """Run what is missing of a part and write its section; whether every run was good."""
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{part.name}.ndjson"
    if again:
        kept.unlink(missing_ok=True)
    runs: dict[int, Run] = {}
    if kept.exists():
        for line in kept.read_text().splitlines():
            run = json.loads(line)
            runs[run.get("n", len(runs))] = run
    missing = [n for n in range(part.total) if n not in runs]
    with ProcessPoolExecutor(max_workers=part.at_once, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_measured, part.name, n) for n in missing]):
            run = done.result()
            runs[run["n"]] = run
            with kept.open("a") as file:
                file.write(json.dumps(run) + "\n")
            print(f"{part.name} {len(runs)}/{part.total}: {json.dumps(run)}", flush=True)
    made = [runs[n] for n in sorted(runs)]
    _write(part, made)
    return all(run.get("good") for run in made)


def _measured(name: str, n: int) -> Run:
    from tests.proof.parts import PARTS  # in a process of its own: found again by its name

    started_s = time.monotonic()
    run = asyncio.run(PARTS[name].run(n))
    return {"n": n, **run, "took_s": round(time.monotonic() - started_s, 1), "commit": commit(), "at": int(time.time())}


def _write(part: Part, runs: list[Run]) -> None:
    bad = sum(not run.get("good") for run in runs)
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    date = time.strftime("%Y-%m-%d", time.gmtime(runs[-1]["at"]))
    lines = [
        f"## {part.title}",
        "",
        f"`make proof PART={part.name}` · {len(runs)} runs, {bad} bad · {date} · commit {commits}",
        "",
        *part.table(runs),
    ]
    text = REPORT.read_text() if REPORT.exists() else HEAD
    sections = text.split("\n## ")
    kept = [section for section in sections[1:] if not section.startswith(part.title + "\n")]
    kept.append("\n".join(lines)[3:] + "\n")
    REPORT.write_text(
        sections[0].rstrip() + "\n\n" + "\n".join("## " + section.strip() + "\n" for section in sorted(kept))
    )
