"""What of a topology is drawn: which destinations and queues, the edges' kinds and labels. Made once per topology."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mqdash.model.message import Family
from mqdash.model.routing import channel_matches
from mqdash.store.names import is_machinery

if TYPE_CHECKING:
    from mqdash.model.routing import Routing
    from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Topology

_LABELS_SHOWN = 2


class Map:
    """The drawn part of a topology, asked by name."""

    def __init__(self, topology: Topology, routing: Routing) -> None:
        self.queues: dict[QueueRef, Queue] = {
            queue.ref: queue for queue in topology.queues if not is_machinery(queue.ref.name)
        }
        self.by_name = {ref.name: ref for ref in self.queues if not ref.group}
        self.dead_ends = {
            queue.dead_letter.destination
            for queue in self.queues.values()
            if queue.dead_letter is not None and queue.dead_letter.destination
        }
        self._routing = routing
        self.graves = self._graves()
        self.grave_order = [ref for ref in self.queues if ref in self.graves]
        self.bindings: dict[tuple[str, QueueRef | str], list[Binding]] = self._grouped(topology)
        sources = {source for source, _ in self.bindings}
        targets = {target for _, target in self.bindings if isinstance(target, str)}
        self.destinations: dict[str, Destination] = {
            found.name: found
            for found in topology.destinations
            if found.name and (not found.name.startswith("amq.") or found.name in sources or found.name in targets)
        }
        self._patterns = [
            name for name, found in self.destinations.items() if found.family is Family.REDIS_PUBSUB and "*" in name
        ]

    def alias(self, destination: str) -> str:
        """The drawn destination a name belongs to: a channel to the pattern it is drawn as, else itself."""
        if destination in self.destinations or not self._patterns:
            return destination
        return next((name for name in self._patterns if channel_matches(name, destination)), destination)

    def first_like(self, pattern: str) -> Destination | None:
        """The first destination of a pattern that is none itself (`ops.*`): a producer that chooses one per message."""
        if "*" not in pattern:
            return None
        return next((found for name, found in self.destinations.items() if channel_matches(pattern, name)), None)

    def only_dead(self, destination: str) -> bool:
        """Whether nothing but dead letters goes through a destination."""
        reached = [target for source, target in self.bindings if source == destination]
        return destination in self.dead_ends and all(target in self.graves for target in reached)

    def kind(self, source: str, target: QueueRef | str) -> str:
        """`dead` for the last step of a dead letter, else `route`."""
        return "dead" if source in self.dead_ends and target in self.graves else "route"

    def blind(self, source: str) -> bool:
        """Whether headers decide what passes."""
        found = self.destinations.get(source)
        return found is not None and found.kind == "headers"

    def label(self, source: str, target: QueueRef | str) -> str:
        """The binding keys of one edge; nothing where they say nothing (fanout, groups, alternate)."""
        found = self.destinations.get(source)
        if found is None or found.family is not Family.RABBITMQ or found.kind == "fanout":
            return ""
        bound = self.bindings.get((source, target), [])
        if found.kind == "headers":
            keys = [
                " ".join(f"{name}={value}" for name, value in binding.headers if name != "x-match") for binding in bound
            ]
        else:
            keys = [binding.key for binding in bound if binding.key]
        shown = ", ".join(keys[:_LABELS_SHOWN])
        return f"{shown} +{len(keys) - _LABELS_SHOWN}" if len(keys) > _LABELS_SHOWN else shown

    def _grouped(self, topology: Topology) -> dict[tuple[str, QueueRef | str], list[Binding]]:
        grouped: defaultdict[tuple[str, QueueRef | str], list[Binding]] = defaultdict(list)
        sources = {found.name for found in topology.destinations} | {binding.source for binding in topology.bindings}
        # A log, stream or channel is its own source; a pattern is one only while no channel it covers is known.
        bound = {binding.queue for binding in topology.bindings}
        sources |= {
            ref.name
            for ref, queue in self.queues.items()
            if queue.family is not Family.RABBITMQ and not ("*" in ref.name and ref in bound)
        }
        for source in sorted(sources - {""}):
            for binding in self._routing.bound(source):
                if binding.queue is not None and binding.queue in self.queues:
                    grouped[source, binding.queue].append(binding)
                elif binding.destination is not None:
                    grouped[source, binding.destination].append(binding)
        for found in topology.destinations:
            if found.alternate is not None:
                grouped.setdefault((found.name, found.alternate), [])
        return dict(grouped)

    def _graves(self) -> set[QueueRef]:
        graves = {ref for ref, queue in self.queues.items() if queue.holds_dead_letters}
        for queue in self.queues.values():
            route = queue.dead_letter
            if route is None:
                continue
            if route.key:
                reached = self._routing.route(route).queues
            else:  # the message's own key decides: any of them
                bound = self._routing.bound(route.destination)
                reached = tuple(binding.queue for binding in bound if binding.queue is not None)
            # One with dead letters of its own is a work queue a wait queue leads back to.
            graves |= {ref for ref in reached if ref in self.queues and self.queues[ref].dead_letter is None}
        return graves
