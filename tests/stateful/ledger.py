"""The account of one world by message id: what was confirmed, what is held by whom, what is done (E2, E3)."""

from collections import Counter
from collections.abc import Iterable

Copy = tuple[str, str]
"""A message in a place: (queue, id). The same message in two queues is two copies."""


class Ledger:
    """Confirmed copies are open until they are done; a copy is held by one worker or none."""

    def __init__(self) -> None:
        self.confirmed: Counter[Copy] = Counter()
        self.done: set[Copy] = set()
        self.holder: dict[Copy, str] = {}
        self.moved = 0

    def publish(self, copies: Iterable[Copy]) -> None:
        self.confirmed.update(copies)

    def withdraw(self, copies: Iterable[Copy]) -> None:
        """They were not confirmed after all."""
        self.confirmed -= Counter(copies)

    def deliver(self, copy: Copy, worker: str) -> None:
        """E3: never in two unacked sets, never again once it was acknowledged."""
        assert copy in self.confirmed, f"{copy} was never published there"
        assert copy not in self.done, f"{copy} was acknowledged and is delivered again to {worker}"
        assert copy not in self.holder, f"{copy} is held by {self.holder[copy]} and delivered to {worker}"
        self.holder[copy] = worker

    def release(self, copy: Copy) -> None:
        """Nobody holds it now: given back, or its holder is gone."""
        del self.holder[copy]

    def finish(self, copy: Copy) -> None:
        """It is acknowledged: its holder had it."""
        del self.holder[copy]
        self.done.add(copy)

    def move(self, copy: Copy) -> None:
        """It is settled here and lies among the dead letters: one copy more, somewhere else."""
        self.finish(copy)
        self.moved += 1

    def held_by(self, worker: str) -> list[Copy]:
        return [copy for copy, holder in self.holder.items() if holder == worker]

    @property
    def open(self) -> int:
        """Copies that must be somewhere, those among the dead letters too."""
        return self.confirmed.total() - len(self.done) + self.moved
