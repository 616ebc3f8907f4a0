"""Retries of a stream's group that wait for their time: the model of `{stream}:retry:<group>` (semantics §2.1). Pure.

A due entry is leased to a consumer of that group and removed when it is settled; it is never added to the stream again.
A lease lasts as long as its consumer is connected; after a crash it runs out with the session timeout.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqdash.model.message import Message


class Due:
    """One retry: the copy of its message, when it is due, who has leased it ('' = nobody), times given out."""

    __slots__ = ("count", "message", "number", "owner")

    def __init__(self, message: Message, count: int) -> None:
        self.message = message
        self.owner = ""
        self.number = 0
        self.count = count


class DueSet:
    """Retries by entry id, served in order of due time."""

    def __init__(self) -> None:
        self.leased = 0
        self.again = 0
        self._due: dict[str, Due] = {}
        self._later: list[tuple[float, int, str]] = []
        self._ready: deque[tuple[int, str]] = deque()
        self._number = 0

    @property
    def waiting(self) -> int:
        """Retries nobody holds: due or not."""
        return len(self._due) - self.leased

    def put(self, entry_id: str, message: Message, due_s: float, *, count: int = 1) -> None:
        """Keep a retry until it is due; an entry that is there already is replaced (its attempt grew)."""
        self._release(entry_id)
        self._due[entry_id] = Due(message, count)
        self._push(entry_id, due_s)

    def lease(self, owner: str, limit: int, now_s: float) -> list[tuple[str, Due]]:
        """Due retries, now this consumer's."""
        self.advance(now_s)
        given: list[tuple[str, Due]] = []
        while len(given) < limit and self._ready:
            number, entry_id = self._ready.popleft()
            due = self._due.get(entry_id)
            if due is None or due.number != number:
                continue
            due.owner = owner
            due.number = 0
            due.count += 1
            self.again += 1
            self.leased += 1
            given.append((entry_id, due))
        return given

    def held(self, entry_id: str, owner: str) -> Due | None:
        """The retry when that consumer still holds it."""
        due = self._due.get(entry_id)
        return due if due is not None and due.owner == owner else None

    def settle(self, entry_id: str, owner: str) -> bool:
        """Remove a retry; False when that consumer does not hold it any more."""
        if self.held(entry_id, owner) is None:
            return False
        self._release(entry_id)
        del self._due[entry_id]
        return True

    def give_back(self, owner: str, due_s: float) -> None:
        """All that this consumer holds is for somebody else from `due_s` on."""
        for entry_id, due in self._due.items():
            if due.owner == owner:
                self._release(entry_id)
                self._push(entry_id, due_s)

    def next_due_s(self) -> float | None:
        """When the next retry becomes due that `advance` has not told yet."""
        later = self._later
        while later and not self._valid(later[0][1], later[0][2]):
            heapq.heappop(later)
        return later[0][0] if later else None

    def advance(self, now_s: float) -> bool:
        """Make ready what is due until now; whether anything is ready."""
        later = self._later
        while later and later[0][0] <= now_s:
            _, number, entry_id = heapq.heappop(later)
            if self._valid(number, entry_id):
                self._ready.append((number, entry_id))
        return bool(self._ready)

    def _valid(self, number: int, entry_id: str) -> bool:
        due = self._due.get(entry_id)
        return due is not None and due.number == number

    def _push(self, entry_id: str, due_s: float) -> None:
        self._number += 1
        self._due[entry_id].number = self._number
        heapq.heappush(self._later, (due_s, self._number, entry_id))

    def _release(self, entry_id: str) -> None:
        due = self._due.get(entry_id)
        if due is not None and due.owner:
            due.owner = ""
            self.leased -= 1
