"""A pool: workers of one kind on one queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.lab.workers import Worker

if TYPE_CHECKING:
    from mqdash.lab.crew import Crew
    from mqdash.lab.scenario import PoolSpec
    from mqdash.model.message import Family
    from mqdash.model.topology import Queue


class Pool:
    """The workers of a pool, dead ones included, in the order of their numbers."""

    def __init__(
        self, spec: PoolSpec, queue: Queue, *, families: dict[str, Family], session_timeout_s: float, crew: Crew
    ) -> None:
        self.name = spec.pool
        self.spec = spec
        self.workers: list[Worker] = []
        self._queue = queue
        self._families = families
        self._session_timeout_s = session_timeout_s
        self._crew = crew
        self._last = spec.first - 1

    def add(self, n: int) -> list[Worker]:
        """`n` new workers with the next numbers, not yet started. A number is never used twice: the Story names it."""
        added: list[Worker] = []
        for _ in range(n):
            self._last += 1
            worker = Worker(
                self.spec,
                self._last,
                queue=self._queue,
                families=self._families,
                session_timeout_s=self._session_timeout_s,
                crew=self._crew,
            )
            self.workers.append(worker)
            added.append(worker)
        return added
