"""Names put together: which queues are machinery, how a group of workers is called, how a message is called."""

from __future__ import annotations

import re

_NUMBERED = re.compile(r"(.*?)(\d+)")
_LONGEST_ID = 16


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


def tag(message_id: str) -> str:
    """How a message is called in a sentence: `#8102`, or the beginning of a long id."""
    if not message_id:
        return "a message"
    if message_id.isdecimal():
        return f"#{message_id}"
    return message_id if len(message_id) <= _LONGEST_ID else f"{message_id[: _LONGEST_ID - 1]}…"


def tags(ids: tuple[str, ...], n: int, most: int = 3) -> str:
    """`#1 #2 #3 and 4 more`, or `7 messages` when no id is known."""
    if not ids:
        return f"{n} message{'' if n == 1 else 's'}"
    named = " ".join(tag(message_id) for message_id in ids[:most])
    more = max(n, len(ids)) - min(most, len(ids))
    return f"{named} and {more} more" if more else named
