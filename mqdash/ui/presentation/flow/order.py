"""Which queue stands above which: lanes from top to bottom, so that edges cross as little as they can.

A lane is a queue with everything left and right of it. Destinations are ordered by the barycentre of their queues and
the other way round; what takes the dead letters of a queue stands below it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.model.views import EdgeView, FlowView, NodeView

_SWEEPS: Final = 4


@dataclass(slots=True)
class Slot:
    """A destination (None = publishes straight to the queue) and the edges of those who publish to it."""

    node: NodeView | None
    sources: list[EdgeView] = field(default_factory=list)


@dataclass(slots=True)
class Lane:
    """One row of the picture: a queue, the destinations that stand beside it, those who take from it; or a request."""

    queue: NodeView | None = None
    slots: list[Slot] = field(default_factory=list)
    workers: NodeView | None = None
    request: NodeView | None = None


class Graph:
    """A flow view, indexed. Edges to nodes that are not there are left out."""

    def __init__(self, flow: FlowView) -> None:
        self.nodes: dict[str, NodeView] = {node.id: node for node in flow.nodes}
        self.edges = [edge for edge in flow.edges if edge.source in self.nodes and edge.target in self.nodes]
        self.out: dict[str, list[EdgeView]] = {}
        self.into: dict[str, list[EdgeView]] = {}
        for edge in self.edges:
            self.out.setdefault(edge.source, []).append(edge)
            self.into.setdefault(edge.target, []).append(edge)

    def kind(self, node_id: str) -> str:
        """The kind of a node."""
        return self.nodes[node_id].kind

    def forward(self, edge: EdgeView) -> bool:
        """From a destination to a queue: drawn from left to right, whatever its colour."""
        return self.kind(edge.source) == "destination" and self.kind(edge.target) == "queue"

    def falls(self, edge: EdgeView) -> bool:
        """From a queue to where its dead letters go, or between destinations: drawn through the space between lanes."""
        kinds = (self.kind(edge.source), self.kind(edge.target))
        return kinds in {("queue", "destination"), ("queue", "queue"), ("destination", "destination")}

    def publishers(self, node_id: str) -> list[EdgeView]:
        """Edges of those who publish to it."""
        return [edge for edge in self.into.get(node_id, ()) if self.kind(edge.source) == "producers"]

    def takers(self, node_id: str) -> NodeView | None:
        """The node of all who take from a queue (or are subscribed to a channel)."""
        found = (edge.target for edge in self.out.get(node_id, ()) if self.kind(edge.target) == "workers")
        target = next(found, None)
        return None if target is None else self.nodes[target]


def lanes(graph: Graph) -> list[Lane]:
    """All lanes from the top; every queue, destination and request stands in exactly one."""
    return _Placing(graph).placed()


class _Placing:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.lanes: list[Lane] = []
        self.lane_of: dict[str, Lane] = {}
        self.rank = _barycentres(graph)

    def placed(self) -> list[Lane]:
        """Roots first, then what only dead letters reach, then queues without a destination, then requests."""
        nodes = sorted(self.graph.nodes.values(), key=lambda node: self.rank.get(node.id, 0.0))
        below = {edge.target for edge in self.graph.edges if self.graph.falls(edge)}
        for last in (False, True):
            for node in nodes:
                if (node.id in below) is last:
                    if node.kind == "destination":
                        self._destination(node)
                    elif node.kind == "queue" and (last or not self._has_destination(node)):
                        self._queue(node, None)
        for node in self.graph.nodes.values():
            if node.kind == "request":
                self.lanes.append(Lane(request=node, slots=[Slot(None, self.graph.publishers(node.id))]))
        self._loose_workers()
        return self.lanes

    def _has_destination(self, queue: NodeView) -> bool:
        return any(self.graph.forward(edge) for edge in self.graph.into.get(queue.id, ()))

    def _destination(self, node: NodeView) -> None:
        if node.id in self.lane_of:
            return
        slot = Slot(node, self.graph.publishers(node.id))
        targets = [edge.target for edge in self.graph.out.get(node.id, ()) if self.graph.forward(edge)]
        targets = list(dict.fromkeys(targets))
        targets.sort(key=lambda target: self.rank.get(target, 0.0))
        home = next((self.lane_of[target] for target in targets if target in self.lane_of), None)
        fresh = [self.graph.nodes[target] for target in targets if target not in self.lane_of]
        if not fresh:
            if home is None:
                home = Lane(workers=self.graph.takers(node.id))
                self.lanes.append(home)
            home.slots.append(slot)
            self.lane_of[node.id] = home
        for at, queue in enumerate(fresh):
            self._queue(queue, slot if at == 0 else None)
        self._below(node)

    def _queue(self, node: NodeView, slot: Slot | None) -> None:
        if node.id in self.lane_of:
            return
        lane = Lane(queue=node, workers=self.graph.takers(node.id))
        if slot is not None and slot.node is not None:
            lane.slots.append(slot)
            self.lane_of[slot.node.id] = lane
        straight = self.graph.publishers(node.id)
        if straight:
            lane.slots.append(Slot(None, straight))
        self.lanes.append(lane)
        self.lane_of[node.id] = lane
        self._below(node)

    def _below(self, node: NodeView) -> None:
        """Place what this one's messages fall to, once all that fall there are placed."""
        for edge in self.graph.out.get(node.id, ()):
            if not self.graph.falls(edge) or edge.target in self.lane_of:
                continue
            sources = [other.source for other in self.graph.into[edge.target] if self.graph.falls(other)]
            if all(source in self.lane_of for source in sources):
                target = self.graph.nodes[edge.target]
                if target.kind == "destination":
                    self._destination(target)
                elif not self._has_destination(target):
                    self._queue(target, None)

    def _loose_workers(self) -> None:
        """Workers nobody leads to are drawn all the same."""
        shown = {lane.workers.id for lane in self.lanes if lane.workers is not None}
        for node in self.graph.nodes.values():
            if node.kind == "workers" and node.id not in shown:
                self.lanes.append(Lane(workers=node))


def _barycentres(graph: Graph) -> dict[str, float]:
    """The order of destinations and queues: each goes to the mean place of what it is connected with."""
    destinations = [node.id for node in graph.nodes.values() if node.kind == "destination"]
    queues = [node.id for node in graph.nodes.values() if node.kind == "queue"]
    to = {name: [e.target for e in graph.out.get(name, ()) if graph.forward(e)] for name in destinations}
    back = {name: [e.source for e in graph.into.get(name, ()) if graph.forward(e)] for name in queues}
    rank: dict[str, float] = {name: float(at) for at, name in enumerate(queues)}
    rank |= {name: float(at) for at, name in enumerate(destinations)}
    for _ in range(_SWEEPS):
        _sort(destinations, to, rank)
        _sort(queues, back, rank)
    return rank


def _sort(names: list[str], neighbours: dict[str, list[str]], rank: dict[str, float]) -> None:
    wished = {name: _mean([rank[other] for other in neighbours[name]], rank[name]) for name in names}
    names.sort(key=lambda name: wished[name])  # stable: ties keep the order they appeared in
    for at, name in enumerate(names):
        rank[name] = float(at)


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
