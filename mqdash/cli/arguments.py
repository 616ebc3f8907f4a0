"""What commands have in common: an argument parser that speaks in our errors, and the forms of durations and steps."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

import msgspec

from mqdash.errors import InputError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?\Z")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


class Parser(argparse.ArgumentParser):
    """Errors are InputErrors with where to read on; abbreviations are not guessed."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Refuse with one sentence."""
        raise InputError(f"{message}; {self.prog} --help shows how")


def duration_s(text: str) -> float:
    """`10s`, `250ms`, `2m`, `1h` or plain seconds, as seconds.

    Raises:
        InputError: it is none of these, or zero.
    """
    match = _DURATION.match(text)
    if match is None or float(match[1]) == 0:
        raise InputError(f"not a duration: {text!r}; write 10s, 250ms, 2m or 1h")
    return float(match[1]) * _UNITS[match[2]]


class KillStep(msgspec.Struct, frozen=True):
    """Kill this worker that many seconds after the start."""

    worker: str
    at_s: float


def kill_step(text: str) -> KillStep:
    """`W2@3s`.

    Raises:
        InputError: it is not of that form.
    """
    worker, at, when = text.rpartition("@")
    if not at or not worker:
        raise InputError(f"--kill {text!r}: write WORKER@TIME, for example W2@3s")
    return KillStep(worker, duration_s(when))
