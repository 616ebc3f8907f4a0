"""Which of our members last had a partition, so that the new owner can tell whence it came and how long nobody had it.

Only the group's leader is told who has what; of members elsewhere we learn nothing here: their name stays empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.delivery import PartitionMove

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.topology import QueueRef


class _Last(msgspec.Struct):
    member: str
    gone_s: float | None = None


class Owners:
    """Of all groups our members are in, over all lives on a cluster. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.ours: set[str] = set()
        """Ids the coordinators gave to our members: the cluster lists a killed one until its session times out."""
        self._damaged: dict[QueueRef, dict[tuple[str, int], int]] = {}
        self._last: dict[tuple[QueueRef, int], _Last] = {}

    def met_damage(self, ref: QueueRef, place: tuple[str, int], offset: int) -> None:
        """A member could not read this partition from `offset` on: what stands before it is taken one by one."""
        self._damaged.setdefault(ref, {})[place] = offset

    def is_damaged(self, ref: QueueRef) -> bool:
        """Whether damaged records were met in that queue which no member got past yet."""
        return ref in self._damaged

    def received(self, ref: QueueRef, place: tuple[str, int], offset: int) -> None:
        """A record was read there: damage before it, or at it, is in nobody's way any more."""
        places = self._damaged.get(ref, {})
        if places.get(place, offset + 1) <= offset:
            del places[place]
            if not places:
                del self._damaged[ref]

    def gone(self, ref: QueueRef, member: str, now_s: float) -> None:
        """That member stopped reading its partitions: revoked, left or crashed."""
        for (queue, _), last in self._last.items():
            if queue == ref and last.member == member and last.gone_s is None:
                last.gone_s = now_s

    def assigned(self, ref: QueueRef, member: str, partitions: Iterable[int], now_s: float) -> list[PartitionMove]:
        """Those partitions are this member's now; what moved to it."""
        moves = []
        for partition in sorted(partitions):
            last = self._last.get((ref, partition))
            if last is None or last.member != member:
                gone_s = None if last is None else last.gone_s
                moves.append(
                    PartitionMove(
                        partition=partition,
                        from_member="" if last is None else last.member,
                        to_member=member,
                        gap_s=None if gone_s is None else now_s - gone_s,
                    )
                )
            self._last[ref, partition] = _Last(member)
        return moves
