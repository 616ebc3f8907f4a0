"""The sums over all brokers. What nobody can tell is None, never 0."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mqdash.model.views import TotalsView

N = TypeVar("N", int, float)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mqdash.model.events import LedgerCounted
    from mqdash.model.views import GraveView
    from mqdash.store.dead_letters import DeadLetters
    from mqdash.store.flow_counts import FlowCounts


class _Levels(msgspec.Struct, frozen=True):
    waiting: int | None
    trend_per_s: float | None
    in_flight: int | None
    oldest_s: float | None


class Totals:
    """Remembers the labs' counts by id, and each broker's levels until they are measured anew."""

    def __init__(self) -> None:
        self._ledgers: dict[str, LedgerCounted] = {}
        self._levels: dict[str, tuple[int, _Levels]] = {}
        self._view = TotalsView()
        self._rates_tick = -1

    def ledger_counted(self, event: LedgerCounted) -> None:
        """The newest count of one lab."""
        self._ledgers[event.broker] = event

    def view(
        self, flows: Sequence[FlowCounts], graves: Sequence[GraveView], dead_letters: DeadLetters, tick: int
    ) -> TotalsView:
        """The sums; rates are worked out once per tick."""
        if tick != self._rates_tick:
            self._rates_tick = tick
            self._view = self._with_rates(flows)
        levels = [self._levels_of(flow) for flow in flows]
        counted = [grave.count for grave in graves if grave.count is not None]
        made = msgspec.structs.replace(
            self._view,
            waiting=_sum(level.waiting for level in levels),
            waiting_trend_per_s=_sum(level.trend_per_s for level in levels),
            in_flight=_sum(level.in_flight for level in levels),
            dead=sum(counted) if counted else dead_letters.seen,
            dead_new=dead_letters.last_minute,
            oldest_s=max((level.oldest_s for level in levels if level.oldest_s is not None), default=None),
            lost=sum(ledger.lost for ledger in self._ledgers.values()),
            duplicates=sum(ledger.duplicates for ledger in self._ledgers.values()),
        )
        if made != self._view:
            self._view = made
        return self._view

    def _with_rates(self, flows: Sequence[FlowCounts]) -> TotalsView:
        sparks = [flow.sparks() for flow in flows]
        return msgspec.structs.replace(
            self._view,
            in_per_s=round(sum(flow.in_per_s() for flow in flows), 3),
            out_per_s=round(sum(flow.out_per_s() for flow in flows), 3),
            in_spark=_stacked([spark for spark, _ in sparks]),
            out_spark=_stacked([spark for _, spark in sparks]),
        )

    def _levels_of(self, flow: FlowCounts) -> _Levels:
        known = self._levels.get(flow.broker)
        if known is not None and known[0] == flow.levels:
            return known[1]
        waiting = [node for node in flow.queues() if not node.dead and node.measurement is not None]
        measured = [node.measurement for node in waiting if node.measurement is not None]
        trend_per_s = _sum(node.trend_per_s() for node in waiting)
        levels = _Levels(
            waiting=_sum(measurement.waiting for measurement in measured),
            trend_per_s=None if trend_per_s is None else round(trend_per_s, 3),
            in_flight=_sum(measurement.in_flight for measurement in measured),
            oldest_s=max((level.oldest_age_s for level in measured if level.oldest_age_s is not None), default=None),
        )
        self._levels[flow.broker] = (flow.levels, levels)
        return levels


def _sum(numbers: Iterable[N | None]) -> N | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _stacked(sparks: list[tuple[float, ...]]) -> tuple[float, ...]:
    """Series added up, aligned at their newest value."""
    backwards = zip_longest(*(reversed(spark) for spark in sparks), fillvalue=0.0)
    return tuple([sum(column) for column in backwards][::-1])
