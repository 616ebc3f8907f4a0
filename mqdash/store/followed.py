"""A few messages a person cares for (replayed, published by hand): who took each of them and how it ended.

Told only where it was seen: a message that no worker's record named in time is passed over in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.actors import WorkerState
from mqdash.model.names import tag
from mqdash.store.sentences import Told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.actors import WorkerRecord
    from mqdash.model.events import Died, Retried
    from mqdash.store.rates import Beat

FOLLOWED_AT_MOST = 16
SURE_AFTER_S = 0.2
"""Deaths above 50/s are told summed and a slice later: only then a message that left its worker is surely done."""
_WORKS = frozenset({WorkerState.IDLE, WorkerState.BUSY})


class Followed:
    """The newest ids by broker, with why they are followed."""

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._why: dict[tuple[str, str], str] = {}
        self._back: set[tuple[str, str]] = set()
        self._left: dict[tuple[str, str], tuple[float, WorkerRecord]] = {}

    def follow(self, broker: str, ids: Iterable[str], why: str) -> None:
        """Follow these from now on; `why` ends the sentence ("after its replay")."""
        for message_id in ids:
            if message_id:
                self._why.pop((broker, message_id), None)
                self._why[broker, message_id] = why
        while len(self._why) > FOLLOWED_AT_MOST:
            del self._why[next(iter(self._why))]
        self._back &= self._why.keys()

    def worker_changed(self, worker: WorkerRecord, before: WorkerRecord | None) -> None:
        """Note that a worker which goes on has a followed message in hand no more."""
        if not self._why or before is None or before.current_id == worker.current_id:
            return
        key = (worker.broker, before.current_id)
        if key in self._back:
            self._back.discard(key)
        elif key in self._why and worker.state in _WORKS and before.current_id not in worker.in_flight_ids:
            self._left[key] = (self._beat.mono_s, worker)

    def retried(self, event: Retried) -> None:
        """It was put back: not done."""
        key = (event.broker, event.id)
        if self._left.pop(key, None) is None and key in self._why:
            self._back.add(key)  # it leaves its worker with the next record

    def died(self, event: Died, cause: str) -> Told | None:
        """The sentence about a followed message that died, if this is one."""
        if event.n > 1:  # which ones is not told: those that might be among them are not called done
            gone = [
                key for key, (_, worker) in self._left.items() if key[0] == event.broker and worker.queue == event.queue
            ]
            for key in gone:
                del self._left[key], self._why[key]
            return None
        self._left.pop((event.broker, event.id), None)
        why = self._why.pop((event.broker, event.id), None)
        if why is None:
            return None
        by = f" by {event.by}" if event.by else ""
        return Told(level="dead", text=f"{tag(event.id)} was dead-lettered{by} {why}: {cause}", subject=event.by)

    def done(self) -> list[tuple[str, Told]]:
        """Brokers and sentences of those that are surely done by now."""
        sure = [key for key, (at_s, _) in self._left.items() if self._beat.mono_s - at_s >= SURE_AFTER_S]
        told = []
        for broker, message_id in sure:
            _, worker = self._left.pop((broker, message_id))
            why = self._why.pop((broker, message_id), "")
            text = f"{tag(message_id)} was processed by {worker.name} {why}".rstrip()
            told.append((broker, Told(level="good", text=text, subject=worker.name)))
        return told
