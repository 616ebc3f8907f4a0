"""Where a member reads on when the log has no record at its offset: decided here and told, never a silent jump (K11, fault 29)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError

from mqdash.model.delivery import RecordsGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiokafka import TopicPartition

NOWHERE = (NoOffsetForPartitionError, OffsetOutOfRangeError)
"""What the library raises when it knows no place to read from (its own reset is switched off)."""


class Starts:
    """Of one member. A group without a commit starts at the earliest record; what a commit can no longer reach is told.

    `find_committed` tells the group's commits: a coordinator that has just taken over may have told the member of none.
    """

    def __init__(self, client: Any, find_committed: Callable[[], Awaitable[Mapping[TopicPartition, int]]]) -> None:
        self._client = client
        self._find_committed = find_committed
        self._gone: list[RecordsGone] = []

    def gone(self) -> list[RecordsGone]:
        """What could not be read since the last call."""
        told, self._gone = self._gone, []
        return told

    async def find(self, error: Exception, *, ours: Callable[[], bool]) -> None:
        """Seek where reading goes on; `ours` tells whether the assignment is still the one of the error.

        Raises:
            KafkaError: the cluster does not tell where the log starts.
            BrokerError: nobody tells the group's commits.
        """
        with contextlib.suppress(IllegalStateError):  # a rebalance took the partition
            if isinstance(error, NoOffsetForPartitionError):
                await self._without_commit(error.args[0], ours)
                return
            for place, offset in dict(error.args[0]).items():
                await self._outside(place, offset, ours)

    async def _without_commit(self, place: TopicPartition, ours: Callable[[], bool]) -> None:
        committed = (await self._find_committed()).get(place)
        if not ours():
            return
        if committed is None:
            await self._client.seek_to_beginning(place)
        else:
            self._client.seek(place, committed)

    async def _outside(self, place: TopicPartition, offset: int, ours: Callable[[], bool]) -> None:
        start = (await self._client.beginning_offsets([place]))[place]
        end = (await self._client.end_offsets([place]))[place]
        if not ours():
            return
        if start <= offset <= end:  # a replica that lagged behind said so
            self._client.seek(place, offset)
            return
        first, behind = (offset, start) if offset < start else (end, offset)
        self._client.seek(place, start)
        gone = RecordsGone(topic=place.topic, partition=place.partition, first=first, end=behind, reads_from=start)
        self._gone.append(gone)
