"""One name for deaths of one cause: what differs from message to message becomes `*`."""

from __future__ import annotations

import functools
import re

NO_REASON = "rejected (no reason recorded)"
"""What a bare reject says: nothing (look/README)."""

CANNOT_DECODE = "CannotDecode"
"""A compressed batch that this machine cannot undo (fault 30): its bytes are kept, they are no message."""

_VARYING = re.compile(
    r"""
    "[^"]*" | '[^']*' | `[^`]*`                                                   # quoted data
    | \b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b   # UUID
    | \b0x[0-9a-fA-F]+\b                                                          # address
    | \b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b                                    # hash
    | \#?(?<![A-Za-z_\d])\d+(?:[.,:]\d+)*                                         # number, id, time
    """,
    re.VERBOSE,
)
_REPEATED = re.compile(r"\*(?:\s*\*)+")
_LONGEST = 120


@functools.lru_cache(maxsize=4096)
def normalised_cause(error: str, text: str = "") -> str:
    """The cause's name with numbers, ids, hex and quoted data replaced by `*`; `text` stands in when there is no name.

    Only the first line counts, of at most 120 characters. Without name and text: "rejected (no reason recorded)".
    """
    said = (error.strip() or text.strip()).partition("\n")[0].strip()
    if not said:
        return NO_REASON
    return _REPEATED.sub("*", _VARYING.sub("*", said[: _LONGEST * 4]))[:_LONGEST]
