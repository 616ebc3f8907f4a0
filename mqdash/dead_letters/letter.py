"""A dead letter as a person reads it: what died, where, why, and where it would go back to."""

from __future__ import annotations

import msgspec

from mqdash.model.delivery import Delivery
from mqdash.model.topology import QueueRef, Route


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One place on the way of a message: `kind` destination, queue or grave; `note` why it left there, `at_s` when, if told."""

    kind: str
    name: str
    note: str = ""
    at_s: float | None = None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter of a window.

    `cause` is the error's name or the broker's reason, `text` what it said. `origin` is the queue it failed in (None: nobody
    tells), `home` the route that reaches only that queue. `deaths`: how often it died, when told. `replays`: how often mqdash
    replayed it. `dialect`: who wrote the origin (mqdash, x-death, spring, connect, …).
    """

    number: int
    delivery: Delivery
    id: str
    key: str = ""
    cause: str = ""
    text: str = ""
    by: str = ""
    deaths: int | None = None
    died_at_s: float | None = None
    origin: QueueRef | None = None
    home: Route | None = None
    source: Route | None = None  # what it was first published to: reaches every bound queue again
    dialect: str = ""
    replays: int = 0
    path: tuple[Step, ...] = ()


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Letters of one normalised cause from one queue, most first."""

    cause: str
    origin: QueueRef | None
    letters: tuple[Letter, ...]

    @property
    def workers(self) -> dict[str, int]:
        """How many each worker buried."""
        counts: dict[str, int] = {}
        for letter in self.letters:
            if letter.by:
                counts[letter.by] = counts.get(letter.by, 0) + 1
        return counts
