"""The picture of one broker's flow: which of the counted edges and nodes are drawn now, and their views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.views import FlowView
from mqdash.store.flow_counts import FlowCounts
from mqdash.store.flow_edge import Edge, destination_id, queue_id
from mqdash.store.flow_nodes import DestinationNode, Node, PublisherNode, QueueNode, WorkersNode
from mqdash.store.names import ranged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.message import Family
    from mqdash.model.topology import QueueRef, Route
    from mqdash.store.header import Links
    from mqdash.store.producers import Producers
    from mqdash.store.rates import Beat
    from mqdash.store.workers import Roster

_Edges = dict[tuple[str, str], Edge]


class BrokerFlow:
    """One broker: `counts` takes the events, `view` draws."""

    def __init__(self, beat: Beat, broker: str, links: Links, roster: Roster, producers: Producers) -> None:
        self.counts = FlowCounts(beat, broker, links, roster, producers)
        self._beat = beat
        self._broker = broker
        self._links = links
        self._roster = roster
        self._producers = producers
        self._destinations: dict[str, DestinationNode] = {}
        self._publishers: dict[str, PublisherNode] = {}
        self._workers: dict[QueueRef, WorkersNode] = {}
        self._shape_of: tuple[int, int, int] | None = None
        self._nodes: list[Node] = []
        self._edges: list[Edge] = []
        self._view = FlowView(broker=broker, family=links.family(broker))

    def view(self) -> FlowView:
        """The picture; the same object while nothing changed."""
        counts = self.counts
        counts.flush()
        reshaped = self._reshaped()
        for ref, workers in self._workers.items():
            workers.man(self._roster.members(self._broker, ref), counts.consumers(ref), counts.family_of(ref))
        for _, ref in counts.asked:
            counts.queue(ref).serve(self._roster.members(self._broker, ref), request=True)
        tick = self._beat.tick
        # Edges first: nodes sum up their rates.
        fresh_edges = [edge for edge in self._edges if edge.fresh(tick)]
        fresh_nodes = [node for node in self._nodes if node.fresh()]
        source = counts.seen.source if counts.seen is not None else ""
        if reshaped or fresh_edges or fresh_nodes or source != self._view.source:
            self._view = FlowView(
                broker=self._broker,
                family=self._links.family(self._broker),
                nodes=tuple([node.view for node in self._nodes]),
                edges=tuple([edge.view for edge in self._edges]),
                source=source,
                shape=self._view.shape + reshaped,
                revision=self._view.revision + 1,
            )
        return self._view

    def _reshaped(self) -> bool:
        """Choose the drawn nodes and edges anew when something came or went; whether they are others than before."""
        counts = self.counts
        shapes = (self._roster.shapes.get(self._broker, 0), self._producers.shapes.get(self._broker, 0))
        shape_of = (counts.changes, *shapes)
        if shape_of == self._shape_of:
            return False
        before = ([node.id for node in self._nodes], [(edge.source, edge.target, edge.kind) for edge in self._edges])
        counts.forget_publish_edges()
        requests = {ref for _, ref in counts.asked}
        edges: _Edges = {}
        publishers = self._draw_publishers(edges, requests)
        queues = self._draw_queues(edges, requests)
        workers = self._draw_workers(edges, queues)
        destinations = self._draw_destinations(edges, requests)
        self._nodes = [*publishers, *destinations, *queues, *workers]
        self._edges = list(edges.values())
        self._connect()
        # Drawing makes nodes for names it has not met: that is no news.
        self._shape_of = (counts.changes, *shapes)
        return before != (
            [node.id for node in self._nodes],
            [(edge.source, edge.target, edge.kind) for edge in self._edges],
        )

    # --- columns, left to right ---------------------------------------------------------------------------------------

    def _draw_publishers(self, edges: _Edges, requests: set[QueueRef]) -> list[PublisherNode]:
        counts = self.counts
        drawn: dict[str, PublisherNode] = {}
        hidden = {queue_id(ref) for ref in requests}
        producing = counts.producing()
        for record in self._producers.records(self._broker):
            node = self._publisher(counts.publisher_of(record.name))
            node.call(record.name, counts.family_to(record.route.destination), record.state.value)
            drawn[node.id] = node
            target = counts.target(record.route)
            chosen_per_message = any(sign in record.route.destination for sign in "*?") and any(
                by == record.name for by, _ in counts.published_to
            )
            if target and target not in hidden and not chosen_per_message:
                _put(edges, counts.edge(node.id, target, "publish"), "publish")
        for (by, target), edge in counts.published_to.items():
            pool = self._pool_shown(by)
            if target not in hidden and (pool or (edge.meter.total and edge.meter.warm)):
                self._draw_other(drawn, by, pool if by not in producing else [], counts.family_of_node(target))
                _put(edges, counts.edge(counts.publisher_of(by), target, "publish"), "publish")
        for (by, ref), edge in counts.asked.items():
            pool = self._pool_shown(by)
            if pool or by in producing or edge.meter.warm:
                self._draw_other(drawn, by, pool if by not in producing else [], counts.family_of(ref))
                _put(edges, counts.edge(counts.publisher_of(by), edge.target, "request"), "request")
        return list(drawn.values())

    def _draw_other(self, drawn: dict[str, PublisherNode], by: str, pool: list[str], family: Family) -> None:
        """Somebody who publishes and is no producer: a pool of workers as one, or a name."""
        node = self._publisher(self.counts.publisher_of(by))
        if node.id not in drawn:
            node.call(ranged(pool) or by, family, "")
            drawn[node.id] = node

    def _draw_destinations(self, edges: _Edges, requests: set[QueueRef]) -> list[DestinationNode]:
        plan = self.counts.map
        ends = {end for edge in edges.values() for end in (edge.source, edge.target)}
        answered = {ref.name for ref in requests}
        names = [name for name in plan.destinations if destination_id(name) in ends or name not in answered]
        known = {destination_id(name) for name in names}
        names += sorted(end[2:] for end in ends - known if end.startswith("d:"))
        drawn = []
        for name in sorted(names, key=plan.only_dead):  # stable: those of dead letters come last
            node = self._destinations.get(name)
            if node is None:
                node = self._destinations[name] = DestinationNode(self._beat, name)
            arriving = (
                [edge.kind for edge in edges.values() if edge.target == node.id]
                if name not in plan.destinations
                else []
            )
            node.declare(
                plan.destinations.get(name),
                dead=plan.only_dead(name) or (bool(arriving) and set(arriving) == {"dead"}),
            )
            drawn.append(node)
        return drawn

    def _draw_queues(self, edges: _Edges, requests: set[QueueRef]) -> list[QueueNode]:
        counts, plan = self.counts, self.counts.map
        refs = [*plan.queues, *(ref for ref in requests if ref not in plan.queues)]
        if counts.seen is None:
            refs += [node.ref for node in counts.queues() if node.ref not in refs]
        drawn = []
        for ref in refs:
            node = counts.queue(ref)
            node.declare(plan.queues.get(ref), dead=ref in plan.graves)
            node.serve(self._roster.members(self._broker, ref), request=ref in requests)
            drawn.append(node)
        for source, target in plan.bindings:
            if target not in requests:
                to = destination_id(target) if isinstance(target, str) else queue_id(target)
                edge = counts.edge(destination_id(source), to, "route")
                edge.name(plan.label(source, target))
                edge.blind = plan.blind(source)
                _put(edges, edge, plan.kind(source, target))
        self._draw_dead_edges(edges, requests)
        return drawn

    def _draw_dead_edges(self, edges: _Edges, requests: set[QueueRef]) -> None:
        counts, plan = self.counts, self.counts.map
        for ref, queue in plan.queues.items():
            if queue.dead_letter is not None and ref not in requests:
                self._draw_dead_edge(edges, ref, queue.dead_letter)
        for (ref, _), edge in counts.died_to.items():
            if counts.exists(ref) and ref not in requests:
                _put(edges, edge, "dead")

    def _draw_dead_edge(self, edges: _Edges, ref: QueueRef, dead_letter: Route) -> None:
        target = self.counts.target(dead_letter)
        if target:
            _put(edges, self.counts.edge(queue_id(ref), target, "dead"), "dead")

    def _draw_workers(self, edges: _Edges, queues: Iterable[QueueNode]) -> list[WorkersNode]:
        counts = self.counts
        attached = self._links.lab(self._broker) is False
        drawn = []
        for queue in queues:
            ref = queue.ref
            if not queue.request and (self._roster.members(self._broker, ref) or (attached and counts.consumers(ref))):
                node = self._workers.get(ref)
                if node is None:
                    node = self._workers[ref] = WorkersNode(self._beat, ref, ranged)
                drawn.append(node)
                _put(edges, counts.deliver_edge(ref), "deliver")
        return drawn

    # --- inside -------------------------------------------------------------------------------------------------------

    def _publisher(self, node_id: str) -> PublisherNode:
        node = self._publishers.get(node_id)
        if node is None:
            node = self._publishers[node_id] = PublisherNode(self._beat, node_id, node_id[2:])
        return node

    def _pool_shown(self, by: str) -> list[str]:
        pool = self._roster.pool(self._broker, by)
        return self._roster.pool_names(self._broker, pool) if pool else []

    def _connect(self) -> None:
        arriving: dict[str, list[Edge]] = {}
        leaving: dict[str, list[Edge]] = {}
        for edge in self._edges:
            arriving.setdefault(edge.target, []).append(edge)
            leaving.setdefault(edge.source, []).append(edge)
        for node in self._nodes:
            is_publisher = isinstance(node, PublisherNode)
            node.incoming = (leaving if is_publisher else arriving).get(node.id, [])
            if isinstance(node, DestinationNode):
                node.outgoing = leaving.get(node.id, [])
            node.dirty = True


def _put(edges: _Edges, edge: Edge, kind: str) -> None:
    edge.be(kind)
    edges[edge.source, edge.target] = edge
