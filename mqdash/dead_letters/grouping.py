"""Dead letters by cause."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mqdash.dead_letters.letter import Group, Letter
from mqdash.model.causes import normalised_cause

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.topology import QueueRef


def by_cause(letters: Iterable[Letter]) -> tuple[Group, ...]:
    """Groups of equal normalised cause and origin, largest first; letters keep their order."""
    groups: dict[tuple[str, QueueRef | None], list[Letter]] = defaultdict(list)
    for letter in letters:
        groups[normalised_cause(letter.cause), letter.origin].append(letter)
    made = (Group(cause=cause, origin=origin, letters=tuple(members)) for (cause, origin), members in groups.items())
    return tuple(sorted(made, key=lambda group: (-len(group.letters), group.cause)))
