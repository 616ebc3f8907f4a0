"""Names put together: which queues are machinery, how a group of workers is called."""

from __future__ import annotations

import re

_NUMBERED = re.compile(r"(.*?)(\d+)")


def is_machinery(queue_name: str) -> bool:
    """Whether a queue is a rung of the wait ladder or the list of a lab's members: not drawn."""
    return "mqdash.wait." in queue_name or (queue_name.startswith("mqdash.") and queue_name.endswith(".members"))


def ranged(names: list[str]) -> str:
    """One name for several: `W1–W3` when numbered without a gap, else up to three and how many more."""
    if len(names) < 2:
        return "".join(names)
    numbered = sorted((match[1], int(match[2])) for name in names if (match := _NUMBERED.fullmatch(name)) is not None)
    if len(numbered) == len(names) and numbered[0][0] == numbered[-1][0]:
        stem, first, last = numbered[0][0], numbered[0][1], numbered[-1][1]
        if last - first == len(names) - 1:
            return f"{stem}{first}–{stem}{last}"
        names = [f"{stem}{number}" for _, number in numbered]
    return " ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")
