"""Named points in the code where a test can make the process die or raise: no-ops unless armed.

Random kills do not find an ack-before-copy bug; a kill at each numbered step of semantics §2 does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

armed: dict[str, Callable[[], None]] = {}


def failpoint(name: str) -> None:
    """Run what a test armed under this name; nothing otherwise."""
    if armed and (action := armed.get(name)) is not None:
        action()
