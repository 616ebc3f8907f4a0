"""How old the first unread record of a partition is: one record read without a group, by a reader of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from mqdash.brokers.kafka.way import stop
from mqdash.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

    from mqdash.brokers.kafka.way import Way

LIMIT_S: Final = 0.5
PLACES_LIMIT: Final = 64
"""Partitions read at a time: an age is worth a fetch, a thousand of them every second are not."""


class Ages:
    """Reads timestamps. What cannot be read in time is left out; a place read before is remembered until it moves on."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._reader: Any = None
        self._asking = asyncio.Lock()
        self._known: dict[TopicPartition, tuple[int, float]] = {}

    async def at(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
        """Timestamps, in Unix seconds, of the records at these offsets, or of the next ones there are."""
        async with self._asking:
            known = {place: self._known[place] for place, offset in offsets.items() if self._is_known(place, offset)}
            wanted = [(place, offset) for place, offset in offsets.items() if place not in known][:PLACES_LIMIT]
            if wanted:
                with contextlib.suppress(TimeoutError, KafkaError, BrokerError):
                    async with asyncio.timeout(LIMIT_S):
                        await self._read(dict(wanted), known)
            self._known = known
            return {place: at_s for place, (_, at_s) in known.items()}

    def _is_known(self, place: TopicPartition, offset: int) -> bool:
        return place in self._known and self._known[place][0] == offset

    async def _read(self, wanted: dict[TopicPartition, int], found: dict[TopicPartition, tuple[int, float]]) -> None:
        if self._reader is None:
            self._reader = await self._way.reader("mqdash-ages")
        reader = self._reader
        reader.assign(list(wanted))
        try:
            for place, offset in wanted.items():
                reader.seek(place, offset)
            while missing := [place for place in wanted if place not in found]:
                # One record each: what was fetched with it stays unread, so nothing more is fetched.
                got = await reader.getmany(*missing, timeout_ms=int(LIMIT_S * 1000), max_records=1)
                for place, records in got.items():
                    found[place] = wanted[place], records[0].timestamp / 1000
        finally:
            reader.unsubscribe()

    async def close(self) -> None:
        """Stop the reader, if there ever was one."""
        if self._reader is not None:
            await stop(self._reader)
