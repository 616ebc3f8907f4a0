"""Dead letters: the deaths mqdash saw itself, by cause and one by one. Their queues are the flow's to know."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mqdash.model.causes import normalised_cause
from mqdash.model.views import CauseView, DeadLettersView, DeathView, GraveView
from mqdash.store.rates import MINUTE_S, Beat, Meter

if TYPE_CHECKING:
    from mqdash.model.events import Died
    from mqdash.model.topology import QueueRef

DEATHS_KEPT = 1000
CAUSES_KEPT = 500
OTHER_CAUSES = "(other causes)"
_WORKERS_NAMED = 8
_SPARK_BARS, _SPARK_BAR_S = 12, 5


class _Cause:
    __slots__ = ("broker", "cause", "dirty", "first_s", "last_s", "meter", "queue", "second", "view", "workers")

    def __init__(self, beat: Beat, broker: str, queue: QueueRef, cause: str, first_s: float) -> None:
        self.broker = broker
        self.queue = queue
        self.cause = cause
        self.workers: dict[str, None] = {}
        self.first_s = first_s
        self.last_s = first_s
        self.meter = Meter(beat)
        self.dirty = True
        self.second = -1
        self.view: CauseView | None = None


class DeadLetters:
    """Causes by count, the newest deaths first."""

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._causes: dict[tuple[str, QueueRef, str], _Cause] = {}
        self._deaths: deque[DeathView] = deque(maxlen=DEATHS_KEPT)
        self._seen = Meter(beat)
        self._dirty = False
        self._view = DeadLettersView()

    def died(self, event: Died, to: str) -> str:
        """Count and keep a death that went to the queue `to`; its normalised cause."""
        cause = normalised_cause(event.error, event.error_text)
        group = self._group(event, cause)
        group.meter.add(event.n)
        group.last_s = event.at_s
        group.dirty = True
        if event.by and len(group.workers) < _WORKERS_NAMED:
            group.workers[event.by] = None
        self._seen.add(event.n)
        self._deaths.appendleft(
            DeathView(
                broker=event.broker,
                queue=event.queue,
                id=event.id,
                key=event.key,
                by=event.by,
                cause=cause,
                text=event.error_text,
                attempt=event.attempt,
                at_s=event.at_s,
                to=to,
                size_bytes=event.size_bytes,
                preview=event.preview,
            )
        )
        self._dirty = True
        return cause

    @property
    def seen(self) -> int:
        """All deaths mqdash saw."""
        return self._seen.total

    @property
    def last_minute(self) -> int:
        """Those of the last minute."""
        return self._seen.last(MINUTE_S)

    def view(self, graves: tuple[GraveView, ...]) -> DeadLettersView:
        """The pane with these graves, the fullest first; the same object while nothing changed."""
        graves = tuple(sorted(graves, key=lambda grave: -(grave.count or 0)))
        second = self._beat.second
        for cause in self._causes.values():
            if cause.dirty or (cause.second != second and cause.meter.warm):
                self._dirty = _refresh(cause, second) or self._dirty
        if self._dirty or graves != self._view.graves:
            self._dirty = False
            causes = [cause.view for cause in self._causes.values() if cause.view is not None]
            self._view = DeadLettersView(
                causes=tuple(sorted(causes, key=lambda view: -view.count)),
                deaths=tuple(self._deaths),
                graves=graves,
                seen=self.seen,
                revision=self._view.revision + 1,
            )
        return self._view

    def _group(self, event: Died, cause: str) -> _Cause:
        key = (event.broker, event.queue, cause)
        group = self._causes.get(key)
        if group is None:
            if len(self._causes) >= CAUSES_KEPT:  # names nobody could group: counted, not listed
                key = (event.broker, event.queue, OTHER_CAUSES)
            group = self._causes.get(key) or _Cause(self._beat, *key, first_s=event.at_s)
            self._causes[key] = group
        return group


def _refresh(cause: _Cause, second: int) -> bool:
    cause.dirty = False
    cause.second = second
    view = CauseView(
        broker=cause.broker,
        queue=cause.queue,
        cause=cause.cause,
        count=cause.meter.total,
        workers=tuple(cause.workers),
        first_s=cause.first_s,
        last_s=cause.last_s,
        spark=cause.meter.spark(_SPARK_BARS, _SPARK_BAR_S),
    )
    changed = view != cause.view
    cause.view = view if changed else cause.view
    return changed
