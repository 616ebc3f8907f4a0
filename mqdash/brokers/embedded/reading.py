"""What the embedded Kafka and Redis share: dead letters that are read freely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.delivery import Delivery, Outcome, Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.model.broker import LeaseInfo


class FreeLease:
    """Dead letters of a log or stream: nothing is held, nothing needs to be given back."""

    def __init__(self, info: LeaseInfo, letters: Sequence[Delivery], remove: Callable[[Delivery], bool]) -> None:
        self.info = info
        self.letters = letters
        self._remove = remove

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """Take them out for good, one outcome each; removing twice is fine."""
        return [
            Outcome(Settled.SETTLED) if self._remove(letter) else Outcome(Settled.SETTLED, "it was gone already")
            for letter in letters
        ]
