"""The store: events go in, one frozen view comes out. No asyncio, no I/O, no wall clock of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from mqdash.model.broker import LinkState
from mqdash.model.events import (
    AnyEvent,
    Delivered,
    Died,
    Finished,
    HandedOver,
    LedgerCounted,
    LinkChanged,
    Measured,
    ProducerChanged,
    ProducerGone,
    Published,
    Requested,
    Retried,
    TopologySeen,
    Unroutable,
    UserActed,
    WorkerChanged,
    WorkerDied,
    WorkerGone,
)
from mqdash.model.views import View
from mqdash.store.dead_letters import DeadLetters
from mqdash.store.flow import BrokerFlow
from mqdash.store.growth import GrowthWatch, Reading
from mqdash.store.header import Links
from mqdash.store.producers import Producers
from mqdash.store.rates import Beat
from mqdash.store.story import Aside, Story
from mqdash.store.totals import Totals
from mqdash.store.workers import Roster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mqdash.clock import Clock
    from mqdash.model.message import Family
    from mqdash.model.topology import QueueRef

_GONE = frozenset({LinkState.DOWN, LinkState.REFUSED, LinkState.CLOSED})


class Store:
    """All that the dashboard shows. `apply` is O(1) and inline; `view` is cheap when nothing changed."""

    def __init__(self, clock: Clock, *, story_limit: int = 500) -> None:
        self._beat = Beat(clock)
        self._flows: dict[str, BrokerFlow] = {}
        self._links = Links(self._beat)
        self._roster = Roster(self._beat, self._family_of)
        self._producers = Producers(self._beat, self._family_to)
        self._dead_letters = DeadLetters(self._beat)
        self._story = Story(self._beat, self._family_of, story_limit)
        self._growth = GrowthWatch()
        self._totals = Totals()
        self._view = View()

    def apply(self, event: AnyEvent) -> None:
        """Take one event in."""
        if self._beat.read():
            self._new_second()
        match event:
            case Published():
                n = event.confirmed + event.returned + event.refused + event.unknown
                self._flow(event.broker).counts.published(event, n)
                self._producers.published(event, n)
            case Delivered():
                self._flow(event.broker).counts.delivered(event)
                self._roster.delivered(event)
            case Finished():
                self._flow(event.broker).counts.finished(event)
                self._roster.finished(event)
            case Requested():
                self._flow(event.broker).counts.requested(event)
            case Measured() | TopologySeen() | LinkChanged() | LedgerCounted():
                self._apply_level(event)
            case ProducerChanged():
                self._flow(event.broker)
                self._producers.changed(event)
            case ProducerGone():
                self._producers.gone(event)
            case WorkerChanged():
                self._flow(event.broker)
                self._story.worker_changed(event, self._roster.changed(event))
            case WorkerGone():
                self._roster.gone(event)
            case _:
                self._apply_moment(event)

    def view(self) -> View:
        """The picture of now; parts that did not change are the same objects as before."""
        if self._beat.read():
            self._new_second()
        self._roster.expire()
        flows = tuple([flow.view() for flow in self._flows.values()])
        graves = tuple([grave for flow in self._flows.values() for grave in flow.counts.graves()])
        counts = [flow.counts for flow in self._flows.values()]
        totals = self._totals.view(counts, graves, self._dead_letters, self._beat.tick)
        before = self._view
        parts = (
            self._links.view(totals),
            self._producers.view(),
            before.flows if _same(flows, before.flows) else flows,
            self._roster.view(),
            self._dead_letters.view(graves),
            self._story.view(),
        )
        now_s = self._beat.wall_s()
        shown = (before.header, before.producers, before.flows, before.workers, before.dead_letters, before.story)
        if now_s != before.at_s or not _same(parts, shown):
            header, producers, flows, workers, dead_letters, story = parts
            self._view = View(
                at_s=now_s,
                header=header,
                producers=producers,
                flows=flows,
                workers=workers,
                dead_letters=dead_letters,
                story=story,
            )
        return self._view

    # --- inside -------------------------------------------------------------------------------------------------------

    def _apply_level(self, event: Measured | TopologySeen | LinkChanged | LedgerCounted) -> None:
        match event:
            case Measured():
                self._links.measured(event)
                self._flow(event.broker).counts.measured(event)
            case TopologySeen():
                self._links.topology_seen(event)
                self._flow(event.broker).counts.topology_seen(event)
                self._roster.topology_seen(event)
                self._producers.topology_seen(event.broker)
            case LinkChanged():
                self._links.link_changed(event)
                if event.state in _GONE:
                    self._flow(event.broker).counts.link_down()
                else:
                    self._flow(event.broker)
                self._story.link_changed(event)
            case LedgerCounted():
                self._totals.ledger_counted(event)
            case _:
                assert_never(event)

    def _apply_moment(self, event: WorkerDied | HandedOver | Died | Retried | Unroutable | UserActed | Aside) -> None:
        match event:
            case Died():
                counts = self._flow(event.broker).counts
                to = counts.burial(event)
                cause = self._dead_letters.died(event, to)
                counts.died(event, cause)
                self._story.died(event, cause, to)
            case WorkerDied():
                self._roster.died(event)
                self._story.worker_died(event)
            case HandedOver():
                self._roster.handed_over(event)
                self._story.handed_over(event)
            case Retried():
                self._story.retried(event)
            case Unroutable():
                self._story.unroutable(event)
            case UserActed():
                self._story.acted(event)
            case _:
                self._story.aside(event)

    def _new_second(self) -> None:
        for flow in self._flows.values():
            flow.counts.new_second()
        self._story.new_second()
        for broker, told in self._growth.second(self._readings()):
            self._story.tell_of(broker, told)

    def _readings(self) -> Iterator[Reading]:
        for broker, flow in self._flows.items():
            for node in flow.counts.queues():
                if node.dead or node.measurement is None:
                    continue
                members = self._roster.members(broker, node.ref)
                yield Reading(
                    broker=broker,
                    queue=node.ref,
                    waiting=node.measurement.waiting,
                    trend_per_s=node.trend_per_s(),
                    in_per_s=node.in_per_s(),
                    out_per_s=flow.counts.out_of(node.ref),
                    consumers=node.measurement.consumers,
                    own_workers=any(not member.foreign for member in members),
                )

    def _flow(self, broker: str) -> BrokerFlow:
        flow = self._flows.get(broker)
        if flow is None:
            flow = self._flows[broker] = BrokerFlow(self._beat, broker, self._links, self._roster, self._producers)
        return flow

    def _family_of(self, broker: str, queue: QueueRef) -> Family:
        flow = self._flows.get(broker)
        return flow.counts.family_of(queue) if flow is not None else self._links.family(broker)

    def _family_to(self, broker: str, destination: str) -> Family:
        flow = self._flows.get(broker)
        return flow.counts.family_to(destination) if flow is not None else self._links.family(broker)


def _same(new: tuple[object, ...], old: tuple[object, ...]) -> bool:
    """Whether these are the very same objects."""
    return len(new) == len(old) and all(one is other for one, other in zip(new, old, strict=True))
