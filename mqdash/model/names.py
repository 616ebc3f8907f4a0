"""How a message is called wherever it is named: in the Story, in panes, in dialogs. One way, so that it can be followed."""

from __future__ import annotations

_LONGEST_ID = 16


def tag(message_id: str, longest: int | None = _LONGEST_ID) -> str:
    """`#8102` for a number, else the id itself; `a message` without one.

    Longer than `longest` characters (None: whole) its beginning goes: ids of one producer differ in their ends.
    """
    if not message_id:
        return "a message"
    if message_id.isdecimal():
        return f"#{message_id}"
    return message_id if longest is None or len(message_id) <= longest else f"…{message_id[1 - longest :]}"


def tags(ids: tuple[str, ...], n: int, most: int = 3) -> str:
    """`#1 #2 #3 and 4 more`, or `7 messages` when no id is known."""
    if not any(ids):
        return f"{n} message{'' if n == 1 else 's'}"
    named = " ".join(tag(message_id) for message_id in ids[:most])
    more = max(n, len(ids)) - min(most, len(ids))
    return f"{named} and {more} more" if more else named
