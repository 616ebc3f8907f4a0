"""The two lines on top: the brokers with their links, and the totals over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.message import Family
from mqdash.model.views import BrokerView, HeaderView, TotalsView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.broker import LinkState
    from mqdash.model.events import LinkChanged, Measured, TopologySeen
    from mqdash.store.rates import Beat


class Links:
    """Every broker that was ever attached, in that order."""

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._brokers: dict[str, BrokerView] = {}
        self._measured_s: dict[str, float] = {}
        self._view = HeaderView()

    def link_changed(self, event: LinkChanged) -> None:
        """Keep the newest state; what is not told again (info) stays."""
        before = self._brokers.get(event.broker)
        since_s = before.since_s if before is not None and before.state is event.state else event.at_s
        self._brokers[event.broker] = BrokerView(
            name=event.broker,
            family=event.family,
            state=event.state,
            url=event.url,
            cause=event.cause,
            since_s=since_s,
            retry_at_s=event.retry_at_s,
            blocked=event.blocked,
            lab=event.lab,
            info=event.info or (before.info if before is not None else None),
            source=before.source if before is not None else "",
        )

    def measured(self, event: Measured) -> None:
        """Remember how fresh the broker's figures are."""
        newest = max((measurement.at_s for measurement in event.measurements), default=0.0)
        if newest > self._measured_s.get(event.broker, 0.0):
            self._measured_s[event.broker] = newest

    def topology_seen(self, event: TopologySeen) -> None:
        """Keep who told the topology."""
        broker = self._brokers.get(event.broker)
        if broker is not None and broker.source != event.source:
            self._brokers[event.broker] = msgspec.structs.replace(broker, source=event.source)

    def family(self, broker: str) -> Family:
        """The family of a broker; RabbitMQ while nothing is known of it."""
        found = self._brokers.get(broker)
        return found.family if found is not None else Family.RABBITMQ

    def state(self, broker: str) -> LinkState | None:
        """The link's state, None while nothing is known."""
        found = self._brokers.get(broker)
        return found.state if found is not None else None

    def lab(self, broker: str) -> bool | None:
        """Whether all its traffic is ours, None while nothing is known."""
        found = self._brokers.get(broker)
        return found.lab if found is not None else None

    def names(self) -> Iterable[str]:
        """The brokers in the order they came."""
        return self._brokers.keys()

    def view(self, totals: TotalsView) -> HeaderView:
        """The header with these totals; the same object while nothing changed."""
        now_s = self._beat.wall_s()
        brokers = tuple([self._with_age(broker, now_s) for broker in self._brokers.values()])
        if brokers != self._view.brokers or totals != self._view.totals:
            self._view = HeaderView(brokers=brokers, totals=totals, revision=self._view.revision + 1)
        return self._view

    def _with_age(self, broker: BrokerView, now_s: float) -> BrokerView:
        measured_s = self._measured_s.get(broker.name)
        # Whole seconds: an age that changed each frame would redraw the header each frame.
        age_s = None if measured_s is None else float(max(0, int(now_s - measured_s)))
        if age_s != broker.age_s:
            broker = self._brokers[broker.name] = msgspec.structs.replace(broker, age_s=age_s)
        return broker
