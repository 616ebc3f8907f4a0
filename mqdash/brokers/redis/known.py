"""What this process knows of a node and Redis does not tell, kept across connection lives."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mqdash.model.topology import Destination, QueueRef, Route


class Known:
    """Redis itself knows neither channels, nor bounds, nor who listens to a pattern, nor whose a consumer is.

    `consumers` are (queue, name) of all consumers we ever had there: what a dead one of ours holds is still ours.
    """

    def __init__(self) -> None:
        self.destinations: dict[str, Destination] = {}
        self.graves: dict[QueueRef, Route] = {}
        self.consumers: set[tuple[QueueRef, str]] = set()
        self.listening: Counter[str] = Counter()

    @property
    def channels(self) -> frozenset[str]:
        """Names declared as channels."""
        return frozenset(name for name, one in self.destinations.items() if one.kind == "channel")

    @contextmanager
    def listens(self, channels: Sequence[str]) -> Iterator[None]:
        """While a subscriber of ours listens to these channels and patterns."""
        self.listening.update(channels)
        try:
            yield
        finally:
            self.listening = +(self.listening - Counter(channels))
