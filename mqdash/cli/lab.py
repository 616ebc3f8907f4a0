"""`mqdash lab [SCENARIO|FILE] [URL]`: a scenario on the embedded broker or a real one, with the dashboard or headless (`--for`)."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mqdash.cli.arguments import Parser, duration_s, kill_step
from mqdash.cli.dashboard import full_screen
from mqdash.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mqdash.config import Config
    from mqdash.lab.headless import Report
    from mqdash.runtime import Target


_RUN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""It stands before the name of every queue: Kafka takes these characters, and brokers 249 to 255 bytes in all."""


def run(arguments: Sequence[str]) -> int:
    """Run a scenario; headless: 0 fine, 1 something was lost, 2 bad input."""
    options = _parser().parse_args(arguments)
    from mqdash import config as configuration
    from mqdash.runtime import lab_target, lab_targets

    config = configuration.load(flags={}, env=os.environ, path=options.config)
    if options.run is not None and not _RUN_ID.fullmatch(options.run):
        raise InputError("--run takes a short name: 1 to 64 of letters, digits, '.', '_' and '-'")
    if options.scenario is None:
        if options.length is not None:
            raise InputError("--for needs a scenario: mqdash lab orders --for 10s")
        return full_screen(lab_targets(seed=options.seed), config)
    target = lab_target(
        options.scenario,
        options.url,
        config,
        os.environ,
        run=options.run,
        keep=options.keep,
        write=options.write,
        seed=options.seed,
        only=options.only,
    )
    if options.only and options.length is not None:
        raise InputError("--only goes with the screen: a part alone cannot count what the others did")
    if options.length is None:
        for option in ("kill", "json"):
            if getattr(options, option):
                raise InputError(f"--{option} goes with --for: it is for runs without a screen")
        return full_screen([target], config)
    return _headless(target, config, options)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("mqdash lab", "A scenario on the embedded broker, or unchanged on a real one.")
    parser.add_argument("scenario", nargs="?", help="a name (orders, clicks, alerts) or a .toml file")
    parser.add_argument("url", nargs="?", help="the broker; the embedded one when left out")
    for_help = "run that long without a screen, let the workers drain what is left, then count by id"
    parser.add_argument("--for", dest="length", metavar="10s", help=for_help)
    kill_help = "kill a worker then, as soon as it holds a message (at most 0.5 s later); repeatable"
    parser.add_argument("--kill", action="append", default=[], metavar="W2@3s", help=kill_help)
    parser.add_argument("--seed", type=int, default=None, help="the same seed gives the same messages")
    parser.add_argument("--json", action="store_true", help="print the count as JSON")
    parser.add_argument("--only", metavar="PART", help="a part of it alone: worker:W1, producers, a queue's name, …")
    parser.add_argument("--run", metavar="ID", help="name of the run on a real broker (default: the scenario's name)")
    parser.add_argument("--keep", action="store_true", help="leave the queues on the broker when leaving last")
    parser.add_argument("--write", action="store_true", help="allow a broker that is not on this machine")
    parser.add_argument("--config", type=Path)
    return parser


def _headless(target: Target, config: Config, options: argparse.Namespace) -> int:
    from mqdash.runtime import run_lab_headless

    length_s = duration_s(options.length)
    kills = [kill_step(text) for text in options.kill]
    for kill, text in zip(kills, options.kill, strict=True):
        if kill.at_s >= length_s:
            raise InputError(f"--kill {text}: the run ends before that, with --for {options.length}")
    deaths = [(kill.worker, kill.at_s) for kill in kills]
    report = asyncio.run(run_lab_headless(target, config, length_s=length_s, kills=deaths))
    sys.stdout.write(_json(report) if options.json else _table(report))
    return 1 if report.lost else 0


def _json(report: Report) -> str:
    import msgspec

    return msgspec.json.encode(report).decode() + "\n"


def _table(report: Report) -> str:
    columns = ("published", "acked", "waiting", "in_flight", "dead", "expired", "dropped", "redelivered")
    rows: list[tuple[str, ...]] = [("queue", *columns)]
    rows += [(queue.name, *(str(getattr(queue, name)) for name in columns)) for queue in report.queues]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    sums = ("returned", "unknown", "lost", "not_kept", "duplicates")
    counts = "  ".join(f"{name} {getattr(report, name)}" for name in sums)
    return "\n".join([f"{report.scenario} on {report.broker}, seed {report.seed}", *lines, counts, ""])
