"""Which acks to write, and when: pure, no I/O (broker-facts §2.3).

Below a prefetch of 100 each ack is written in the same loop turn: at prefetch 1 a timer would cost the whole rate.
From 100 on they are collected: one cumulative ack for the longest settled prefix, every 50 messages, every 20 ms, and
at once when nothing is open any more.
"""

from __future__ import annotations

from typing import Final

BATCHED_FROM_PREFETCH: Final = 100
BATCH_SIZE: Final = 50
BATCH_DELAY_S: Final = 0.02


class AckBook:
    """The delivery tags of one channel: open ones, and those whose ack is not written yet."""

    def __init__(self, prefetch: int) -> None:
        self.batched = prefetch == 0 or prefetch >= BATCHED_FROM_PREFETCH
        self._open: dict[int, None] = {}
        self._unwritten: list[int] = []

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, tag: int) -> bool:
        return tag in self._open

    def delivered(self, tag: int) -> None:
        """A delivery came; it is open until it is settled."""
        self._open[tag] = None

    def forget(self, tag: int) -> None:
        """Settled by other means (given back)."""
        self._open.pop(tag, None)

    def acked(self, tag: int) -> bool:
        """The delivery is done; True when the acks must be written now."""
        del self._open[tag]
        self._unwritten.append(tag)
        return not self.batched or len(self._unwritten) >= BATCH_SIZE or not self._open

    @property
    def unwritten(self) -> int:
        """Acks not written yet."""
        return len(self._unwritten)

    def take(self) -> list[tuple[int, bool]]:
        """The acks to write, as (tag, multiple), and they are forgotten here.

        A cumulative tag must itself be unacked on the channel (else 406), so it is the highest *done* tag below the
        first open one; what is done beyond an open delivery is acked one by one.
        """
        tags, self._unwritten = self._unwritten, []
        if len(tags) < 2:
            return [(tag, False) for tag in tags]
        if not self.batched:
            return [(tag, False) for tag in tags]
        floor = next(iter(self._open), None)
        prefix = tags if floor is None else [tag for tag in tags if tag < floor]
        beyond = [] if floor is None else [tag for tag in tags if tag > floor]
        cumulative = [(max(prefix), len(prefix) > 1)] if prefix else []
        return cumulative + [(tag, False) for tag in beyond]
