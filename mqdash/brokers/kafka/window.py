"""What a member was given of one partition and has not committed: only the contiguous done prefix is committed (K8)."""

from __future__ import annotations

from collections import deque


class Window:
    """Offsets given out, in order. Commits only go forward; what is done behind an open offset is held back. Pure."""

    def __init__(self) -> None:
        self.given: deque[int] = deque()
        self.committed = 0
        self._done: set[int] = set()

    @property
    def open(self) -> int:
        """How many are given out and not done."""
        return len(self.given) - len(self._done)

    def give(self, offset: int) -> None:
        """The next record was handed out."""
        self.given.append(offset)

    def holds(self, offset: int) -> bool:
        """Whether it was given out, is not done, and may be settled."""
        given = self.given
        return bool(given) and given[0] <= offset <= given[-1] and offset not in self._done

    def done(self, offset: int) -> bool:
        """It is done, if it was open; `target` may have moved."""
        if not self.holds(offset):
            return False
        self._done.add(offset)
        return True

    def target(self) -> int | None:
        """The offset to commit (the next one to read, K8), or None when the prefix has not grown."""
        last: int | None = None
        for offset in self.given:
            if offset not in self._done:
                break
            last = offset
        return None if last is None else last + 1

    def commit(self, target: int) -> None:
        """The broker has taken the commit of `target`."""
        while self.given and self.given[0] < target:
            self._done.discard(self.given.popleft())
        self.committed = max(self.committed, target)
