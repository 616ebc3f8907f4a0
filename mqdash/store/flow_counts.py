"""What is counted of one broker's flow: exact totals per edge, levels per queue.

Publishes are followed through the bindings lazily: `published` only adds to its route. Once a frame, and at least once
a second, the sums are spread over the edges they went along: one event costs the same however many queues it reaches.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mqdash.model.routing import Routing
from mqdash.model.topology import QueueRef, Route, Topology
from mqdash.model.views import GraveView
from mqdash.store.flow_edge import HEADS_KEPT, Edge, destination_id, publisher_id, queue_id, request_id, workers_id
from mqdash.store.flow_nodes import QueueNode
from mqdash.store.flow_shape import Map
from mqdash.store.names import is_machinery
from mqdash.store.rates import MINUTE_S, SPARK_S, Beat, Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mqdash.model.events import Delivered, Died, Finished, Head, Measured, Published, Requested, TopologySeen
    from mqdash.model.message import Family
    from mqdash.store.header import Links
    from mqdash.store.producers import Producers
    from mqdash.store.workers import Roster

_ROUTES_KEPT = 4096


class FlowCounts:
    """One broker. In a lab all traffic is ours and counted; on one only looked at, its own totals move the edges."""

    def __init__(self, beat: Beat, broker: str, links: Links, roster: Roster, producers: Producers) -> None:
        self.broker = broker
        self._beat = beat
        self._links = links
        self._roster = roster
        self._producers = producers
        self.seen: TopologySeen | None = None
        self._routing = Routing(Topology())
        self.map = Map(Topology(), self._routing)
        self._edges: dict[tuple[str, str], Edge] = {}
        self._queues: dict[QueueRef, QueueNode] = {}
        self._publish_edges: dict[tuple[str, Route], Edge | None] = {}
        self.deliver_edges: dict[QueueRef, Edge] = {}
        self.published_to: dict[tuple[str, str], Edge] = {}
        self.asked: dict[tuple[str, QueueRef], Edge] = {}
        self.died_to: dict[tuple[QueueRef, str], Edge] = {}
        self._pending: dict[Route, tuple[list[int], list[Head]]] = {}
        self._ways: dict[Route, tuple[Edge, ...]] = {}
        self.changes = 0
        self.levels = 0
        self._published = Meter(beat)
        self._finished = Meter(beat)
        self._is_told = False
        self._cold: set[tuple[str, str]] = set()
        self._told_sparks: tuple[deque[float], deque[float]] = (deque(maxlen=SPARK_S), deque(maxlen=SPARK_S))

    # --- traffic ------------------------------------------------------------------------------------------------------

    def published(self, event: Published, n: int) -> None:
        """Count on the edge to the destination now, on the edges behind it with the next flush."""
        route = event.route
        self._published.add(n)
        key = (event.by, route)
        edge = self._publish_edges.get(key)
        if edge is None and key not in self._publish_edges:
            edge = self._new_publish_edge(event.by, route)
        if edge is not None:
            edge.count(n, event.heads)
        if event.confirmed:
            self._follow(route, event.confirmed, event.heads)

    def delivered(self, event: Delivered) -> None:
        """Count on the edge to the workers."""
        edge = self.deliver_edges.get(event.queue) or self.deliver_edge(event.queue)
        if edge.told:
            edge.keep(event.heads)
        else:
            edge.count(event.n, event.heads, event.redelivered)

    def finished(self, event: Finished) -> None:
        """Count what left for good."""
        self._finished.add(event.acked + event.dead)

    def requested(self, event: Requested) -> None:
        """Count questions on the edge to what answers them."""
        ref = self._asked_ref(event.route)
        edge = self.asked.get((event.by, ref))
        if edge is None:
            edge = self.asked[event.by, ref] = self.edge(self.publisher_of(event.by), request_id(ref.name), "request")
            self.changes += 1
        edge.count(event.answered + event.timed_out + event.returned + event.unknown)
        self.queue(ref).timed(event.durations)

    def died(self, event: Died, cause: str) -> None:
        """Count on the edge to the dead letters' destination, and on the way behind it."""
        to = self._burial_route(event)
        if not to.destination and not to.key:
            return
        target = destination_id(to.destination) if to.destination else queue_id(QueueRef(to.key))
        edge = self.died_to.get((event.queue, target))
        if edge is None:
            edge = self.died_to[event.queue, target] = self.edge(queue_id(event.queue), target, "dead")
            self.changes += 1
        edge.count(event.n)
        edge.blame(cause, event.n)
        if to.destination:
            self._follow(to, event.n, ())

    # --- levels -------------------------------------------------------------------------------------------------------

    def topology_seen(self, event: TopologySeen) -> None:
        """A new picture of what exists; what was counted so far went the old ways."""
        if self.seen is not None and (event.topology, event.source) == (self.seen.topology, self.seen.source):
            return
        self.flush()
        self.seen = event
        self._routing = Routing(event.topology)
        self.map = Map(event.topology, self._routing)
        self._publish_edges.clear()
        self._ways.clear()
        self.changes += 1

    def measured(self, event: Measured) -> None:
        """Keep levels; where all traffic is not ours, the broker's totals move the edges."""
        self.levels += 1
        attached = self._links.lab(self.broker) is False
        for measurement in event.measurements:
            if is_machinery(measurement.queue.name):
                continue
            node = self.queue(measurement.queue)
            before = node.measurement
            came, went = node.measured(measurement)
            self._is_told = self._is_told or (attached and node.told_in[0])
            if bool(before and before.consumers) != bool(measurement.consumers):
                self.changes += 1
            arriving = [edge for edge in node.incoming if edge.kind in {"route", "dead"}]
            told, per_s = node.told_in
            if told and len(arriving) == 1 and (attached or arriving[0].blind):
                arriving[0].tell(came, per_s)
            told, per_s = node.told_out
            leaving = self.deliver_edges.get(measurement.queue)
            if told and attached and leaving is not None:
                leaving.tell(went, per_s)

    def link_down(self) -> None:
        """Trends of before say nothing of now."""
        self.levels += 1
        for node in self._queues.values():
            node.forget_trend()

    def flush(self) -> None:
        """Spread what was published and what died over the edges it went along."""
        for route, (count, heads) in self._pending.items():
            for edge in self._way(route):
                if edge.told:
                    edge.keep(tuple(heads))
                elif not edge.blind:
                    edge.count(count[0], tuple(heads))
        self._pending.clear()

    def new_second(self) -> None:
        """Once a second: nothing stays unspread, rates of looked-at brokers go into their sparklines."""
        self.flush()
        if self._is_told:
            for spark, rate_per_s in zip(self._told_sparks, (self.in_per_s(), self.out_per_s()), strict=True):
                spark.append(rate_per_s)
        cold = {key for key, edge in self.published_to.items() if not edge.meter.warm}
        if cold != self._cold:
            self._cold = cold
            self.changes += 1

    # --- questions ----------------------------------------------------------------------------------------------------

    def queues(self) -> Iterator[QueueNode]:
        """The queues that exist, without machinery."""
        return (node for ref, node in self._queues.items() if self.exists(ref))

    def burial(self, event: Died) -> str:
        """The name of the queue a death went to, else of where it was published to."""
        to = self._burial_route(event)
        reached = self._routing.route(to).queues if to.destination else ()
        return reached[0].name if reached else to.destination or to.key

    def in_per_s(self) -> float:
        """Published per second: ours, or on a broker only looked at what its work queues got."""
        if not self._is_told:
            return self._published.rate_per_s()
        return sum(node.told_in[1] or 0.0 for node in self.queues() if not node.dead)

    def out_per_s(self) -> float:
        """Acknowledged or dead-lettered per second, likewise."""
        if not self._is_told:
            return self._finished.rate_per_s()
        return sum(node.told_out[1] or 0.0 for node in self.queues() if not node.dead)

    def sparks(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """In and out per second of the last seconds."""
        if not self._is_told:
            return self._published.spark(), self._finished.spark()
        return tuple(self._told_sparks[0]), tuple(self._told_sparks[1])

    def out_of(self, ref: QueueRef) -> float | None:
        """How fast workers take from a queue."""
        edge = self.deliver_edges.get(ref)
        return edge.rate_per_s() if edge is not None else None

    def family_of(self, ref: QueueRef) -> Family:
        """The family of a queue: one Redis has streams and channels."""
        queue = self.map.queues.get(ref)
        return queue.family if queue is not None else self._links.family(self.broker)

    def family_of_node(self, node_id: str) -> Family:
        """The family of the destination or queue with that node id."""
        if node_id.startswith("d:"):
            return self.family_to(node_id[2:])
        return self.family_of(QueueRef(*node_id[2:].rsplit("|", 1)))

    def family_to(self, destination: str) -> Family:
        """The family of a destination."""
        found = self.map.destinations.get(self.map.alias(destination)) or self.map.first_like(destination)
        return found.family if found is not None else self._links.family(self.broker)

    def graves(self) -> tuple[GraveView, ...]:
        """The queues that hold dead letters, with the broker's count of them."""
        return tuple([self._grave(self.queue(ref)) for ref in self.map.grave_order])

    # --- inside: counting ---------------------------------------------------------------------------------------------

    def _follow(self, route: Route, n: int, heads: tuple[Head, ...]) -> None:
        pending = self._pending.get(route)
        if pending is None:
            pending = self._pending[route] = ([0], [])
        pending[0][0] += n
        if heads and len(pending[1]) < HEADS_KEPT:
            pending[1].extend(heads)

    @staticmethod
    def _burial_route(event: Died) -> Route:
        """Without a key of the queue's own, dead letters keep theirs."""
        return event.to if event.to.key or not event.key else Route(event.to.destination, event.key, event.to.partition)

    def _way(self, route: Route) -> tuple[Edge, ...]:
        way = self._ways.get(route)
        if way is None:
            edges = []
            for hop in self._routing.route(route).hops:
                target = self._node_id(hop.queue, hop.destination)
                if hop.source and target:
                    edges.append(self.edge(destination_id(self.map.alias(hop.source)), target, "route"))
            if len(self._ways) >= _ROUTES_KEPT:
                self._ways.clear()
            way = self._ways[route] = tuple(edges)
        return way

    def _node_id(self, queue: QueueRef | None, destination: str | None) -> str:
        if queue is None:
            return destination_id(destination or "")
        return "" if is_machinery(queue.name) else queue_id(queue)

    def _new_publish_edge(self, by: str, route: Route) -> Edge | None:
        """The edge a publish is counted on; None for what is not drawn (replies, machinery, what nobody knows)."""
        if len(self._publish_edges) >= _ROUTES_KEPT:
            self._publish_edges.clear()
        target = self.target(route)
        edge = None
        if target:
            edge = self.edge(self.publisher_of(by), target, "publish")
            if (by, target) not in self.published_to:
                self.published_to[by, target] = edge
                self.changes += 1
        self._publish_edges[by, route] = edge
        return edge

    def target(self, route: Route) -> str:
        """The node a publish goes to; "" for what is not drawn. The default exchange is no node (its queue is)."""
        if route.destination:
            return destination_id(self.map.alias(route.destination))
        ref = self.map.by_name.get(route.key)
        return queue_id(ref) if ref is not None else ""

    def edge(self, source: str, target: str, kind: str) -> Edge:
        """The edge between two nodes, made when it is new."""
        edge = self._edges.get((source, target))
        if edge is None:
            edge = self._edges[source, target] = Edge(self._beat, source, target, kind)
        return edge

    def deliver_edge(self, ref: QueueRef) -> Edge:
        """The edge from a queue to those who take from it."""
        edge = self.deliver_edges.get(ref)
        if edge is None:
            edge = self.deliver_edges[ref] = self.edge(queue_id(ref), workers_id(ref), "deliver")
        return edge

    def forget_publish_edges(self) -> None:
        """Who is shown as what may have changed: ask anew at each one's next publish."""
        self._publish_edges.clear()

    def queue(self, ref: QueueRef) -> QueueNode:
        """The node of a queue, made when it is new."""
        node = self._queues.get(ref)
        if node is None:
            node = self._queues[ref] = QueueNode(self._beat, ref)
            self.changes += 1
        return node

    def _grave(self, node: QueueNode) -> GraveView:
        return GraveView(
            broker=self.broker,
            family=self.family_of(node.ref),
            queue=node.ref,
            count=node.measurement.waiting if node.measurement is not None else None,
            new=sum([edge.meter.last(MINUTE_S) for edge in node.incoming if edge.kind == "dead"]),
        )

    def _asked_ref(self, route: Route) -> QueueRef:
        name = route.destination or route.key
        return self.map.by_name.get(name) or next((ref for ref in self.map.queues if ref.name == name), QueueRef(name))

    def publisher_of(self, by: str) -> str:
        """The node id of whoever publishes as `by`: workers of a pool are one."""
        pool = self._roster.pool(self.broker, by)
        return publisher_id(f"pool/{pool}" if pool and by not in self.producing() else by)

    def exists(self, ref: QueueRef) -> bool:
        """Whether that queue is there and no machinery."""
        return ref in self.map.queues if self.seen is not None else not is_machinery(ref.name)

    def consumers(self, ref: QueueRef) -> int | None:
        """How many consumers the broker counts."""
        node = self._queues.get(ref)
        return node.measurement.consumers if node is not None and node.measurement is not None else None

    def producing(self) -> set[str]:
        """The names of the producers."""
        return {record.name for record in self._producers.records(self.broker)}
