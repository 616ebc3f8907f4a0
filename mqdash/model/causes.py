"""Causes made comparable: what differs from message to message (numbers, ids, quoted values) becomes `*`."""

from __future__ import annotations

import re
from functools import lru_cache

_PARTS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,30}\b"), "*"),
    (re.compile(r"'[^']{0,200}'|\"[^\"]{0,200}\""), "*"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "*"),
    (re.compile(r"#?\b[0-9][0-9.,:_-]*"), "*"),
    (re.compile(r"\b(?=\w*[0-9])[0-9a-fA-F]{8,}\b"), "*"),
    (re.compile(r"\*(?:\s*\*)+"), "*"),
)
_LIMIT = 200


@lru_cache(maxsize=4096)
def normalised(cause: str) -> str:
    """The cause with its changing parts as `*`: at most 200 characters, one line.

    >>> normalised("bad JSON at byte 117")
    'bad JSON at byte *'
    """
    text = " ".join(cause[: 4 * _LIMIT].split())
    for pattern, instead in _PARTS:
        text = pattern.sub(instead, text)
    return text[:_LIMIT]
