"""Producers: their newest records beside what they really publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.views import ProducersView, ProducerView
from mqdash.store.rates import Beat, Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mqdash.model.actors import ProducerRecord
    from mqdash.model.events import ProducerChanged, ProducerGone, Published
    from mqdash.model.message import Family


class _Source:
    __slots__ = ("dirty", "family", "published", "record", "tick", "unconfirmed", "view")

    def __init__(self, beat: Beat, record: ProducerRecord, family: Family) -> None:
        self.record = record
        self.family = family
        self.published = Meter(beat)
        self.unconfirmed = 0
        self.dirty = True
        self.tick = -1
        self.view: ProducerView | None = None


class Producers:
    """All producers in the order they appeared. `shapes` grows per broker when one came, went or changed its route."""

    def __init__(self, beat: Beat, family_of: Callable[[str, str], Family]) -> None:
        self._beat = beat
        self._family_of = family_of
        self._sources: dict[tuple[str, str], _Source] = {}
        self._stale = False
        self._view = ProducersView()
        self.shapes: dict[str, int] = {}

    def published(self, event: Published, n: int) -> None:
        """Count `n` ended publishes of somebody; whoever is no producer is not listed."""
        source = self._sources.get((event.broker, event.by))
        if source is not None:
            source.published.add(n)
            source.unconfirmed += n - event.confirmed
            source.dirty = True

    def changed(self, event: ProducerChanged) -> None:
        """Keep the newest record."""
        record = event.producer
        key = (event.broker, record.name)
        source = self._sources.get(key)
        if source is None:
            self._sources[key] = _Source(self._beat, record, self._family_of(event.broker, record.route.destination))
            self._moved(event.broker)
            return
        if source.record.route != record.route:
            source.family = self._family_of(event.broker, record.route.destination)
            self._moved(event.broker)
        source.record = record
        source.dirty = True

    def gone(self, event: ProducerGone) -> None:
        """Forget it."""
        if self._sources.pop((event.broker, event.name), None) is not None:
            self._moved(event.broker)

    def topology_seen(self, broker: str) -> None:
        """Now it may be known whether a destination is a stream or a channel."""
        for (of, _), source in self._sources.items():
            family = self._family_of(of, source.record.route.destination)
            if of == broker and family is not source.family:
                source.family = family
                source.dirty = True

    def records(self, broker: str) -> Iterator[ProducerRecord]:
        """The producers of one broker."""
        return (source.record for (of, _), source in self._sources.items() if of == broker)

    def view(self) -> ProducersView:
        """All rows; the same object while nothing changed."""
        tick = self._beat.tick
        changed = self._stale
        for source in self._sources.values():
            if source.dirty or (source.tick != tick and source.published.warm):
                changed = self._refresh(source, tick) or changed
        if changed:
            self._stale = False
            rows = tuple([source.view for source in self._sources.values() if source.view is not None])
            self._view = ProducersView(rows=rows, revision=self._view.revision + 1)
        return self._view

    def _moved(self, broker: str) -> None:
        self.shapes[broker] = self.shapes.get(broker, 0) + 1
        self._stale = True

    @staticmethod
    def _refresh(source: _Source, tick: int) -> bool:
        source.dirty = False
        source.tick = tick
        view = ProducerView(
            producer=source.record,
            family=source.family,
            rate_per_s=round(source.published.rate_per_s(), 3),
            total=source.published.total,
            unconfirmed=source.unconfirmed,
            spark=source.published.spark(),
        )
        changed = view != source.view
        source.view = view if changed else source.view
        return changed
