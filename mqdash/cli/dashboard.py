"""`mqdash [URL…|@PROFILE…]`: the full-screen dashboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mqdash.cli.arguments import Parser
from mqdash.ui.terminal import check_terminal, supervise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.config import Config
    from mqdash.runtime import Target


def run(arguments: Sequence[str]) -> int:
    """Open the dashboard on the given brokers, or on the live lab."""
    parser = Parser("mqdash", "The terminal control room for message queues.")
    parser.add_argument("targets", nargs="*", metavar="URL|@PROFILE")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--config", type=Path)
    options = parser.parse_args(arguments)
    from mqdash import config as configuration
    from mqdash.runtime import attach_targets, lab_targets

    config = configuration.load(flags={}, env=os.environ, path=options.config)
    if not options.targets:
        return full_screen(lab_targets(), config)
    return full_screen(attach_targets(options.targets, config, os.environ, write=options.write), config)


def full_screen(targets: Sequence[Target], config: Config) -> int:
    """Check the terminal, then run the app in a supervised child that cannot leave the terminal broken."""
    check_terminal(sys.stdin, sys.stdout, os.environ)
    return supervise(lambda: _in_child(targets, config))


def _in_child(targets: Sequence[Target], config: Config) -> int:
    from mqdash.runtime import run_dashboard

    return run_dashboard(targets, config)
