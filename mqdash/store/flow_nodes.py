"""The nodes of one broker's flow: each sums up its edges, and remakes its view only when it has to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.message import Family
from mqdash.model.views import NodeView
from mqdash.store.flow_edge import Edge, destination_id, queue_id, request_id, workers_id
from mqdash.store.rates import Beat, Counter, Durations, RecentMax, Slope

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.model.delivery import Measurement
    from mqdash.model.events import Histogram
    from mqdash.model.topology import Destination, Queue, QueueRef
    from mqdash.model.views import MemberView

_TREND_S = 5.0


class Node:
    """A node that is drawn. `incoming` is what its rate is the sum of."""

    __slots__ = ("_beat", "_phase", "_rate_per_s", "_tick", "_view", "dirty", "id", "incoming")

    def __init__(self, beat: Beat, id_: str) -> None:
        self.id = id_
        self._beat = beat
        self._phase = beat.phase()
        self.incoming: list[Edge] = []
        self.dirty = True
        self._tick = -1
        self._rate_per_s: float | None = None
        self._view: NodeView | None = None

    def fresh(self) -> bool:
        """Remake the view when something changed; whether it did."""
        tick = self._beat.tick_at(self._phase)
        if self._tick != tick:
            self._tick = tick
            rate_per_s = self._rate()
            if rate_per_s != self._rate_per_s:
                self._rate_per_s = rate_per_s
                self.dirty = True
        if not self.dirty:
            return False
        self.dirty = False
        view = self._made(self._rate_per_s)
        changed = view != self._view
        self._view = view
        return changed

    @property
    def view(self) -> NodeView:
        """The view made last."""
        assert self._view is not None
        return self._view

    def _rate(self) -> float | None:
        rates = [rate_per_s for edge in self.incoming if (rate_per_s := edge.rate_per_s()) is not None]
        return round(sum(rates), 3) if rates else None

    def _made(self, rate_per_s: float | None) -> NodeView:
        raise NotImplementedError


class PublisherNode(Node):
    """A producer, or a pool of workers that publish; its rate is what leaves it."""

    __slots__ = ("family", "name", "note")

    def __init__(self, beat: Beat, id_: str, name: str) -> None:
        super().__init__(beat, id_)
        self.name = name
        self.note = ""
        self.family = Family.RABBITMQ

    def call(self, name: str, family: Family, note: str) -> None:
        """Give it the name, family and note of now."""
        if (name, family, note) != (self.name, self.family, self.note):
            self.name, self.family, self.note = name, family, note
            self.dirty = True

    def _made(self, rate_per_s: float | None) -> NodeView:
        kind = "producers"
        return NodeView(
            id=self.id, kind=kind, name=self.name, family=self.family, rate_per_s=rate_per_s, note=self.note
        )


class DestinationNode(Node):
    """An exchange, topic, stream or channel. What nobody counted its fastest queue tells, where all get everything."""

    __slots__ = ("_dead", "_name", "_spec", "outgoing")

    def __init__(self, beat: Beat, name: str) -> None:
        super().__init__(beat, destination_id(name))
        self.outgoing: list[Edge] = []
        self._name = name
        self._spec: Destination | None = None
        self._dead = False

    def declare(self, spec: Destination | None, *, dead: bool) -> None:
        """What it is, and whether dead letters go through it."""
        if spec != self._spec or dead != self._dead:
            self._spec, self._dead = spec, dead
            self.dirty = True

    def _rate(self) -> float | None:
        rate_per_s = super()._rate()
        to_all = self._spec is not None and (self._spec.family is not Family.RABBITMQ or self._spec.kind == "fanout")
        if rate_per_s is None and to_all:
            told = [told_per_s for edge in self.outgoing if (told_per_s := edge.rate_per_s()) is not None]
            return round(max(told), 3) if told else None
        return rate_per_s

    def _made(self, rate_per_s: float | None) -> NodeView:
        spec = self._spec
        return NodeView(
            id=self.id,
            kind="destination",
            name=self._name,
            sub=spec.kind if spec is not None else "",
            family=spec.family if spec is not None else Family.RABBITMQ,
            rate_per_s=rate_per_s,
            limit=spec.max_length if spec is not None else None,
            dead=self._dead,
        )


class QueueNode(Node):
    """A queue with what was measured of it last. Depth is never guessed between two measurements."""

    __slots__ = (
        "_ceiling",
        "_depth",
        "_in",
        "_out",
        "dead",
        "durations",
        "measurement",
        "members",
        "ref",
        "request",
        "spec",
    )

    def __init__(self, beat: Beat, ref: QueueRef) -> None:
        super().__init__(beat, queue_id(ref))
        self.ref = ref
        self.spec: Queue | None = None
        self.dead = False
        self.request = False
        self.members: tuple[MemberView, ...] = ()
        self.measurement: Measurement | None = None
        self.durations = Durations(beat)
        self._ceiling = RecentMax(beat)
        self._depth = Slope(_TREND_S)
        self._in = Counter()
        self._out = Counter()

    def declare(self, spec: Queue | None, *, dead: bool) -> None:
        """What it is, and whether it holds dead letters."""
        if spec != self.spec or dead != self.dead:
            self.spec, self.dead = spec, dead
            self.dirty = True

    def serve(self, members: tuple[MemberView, ...], *, request: bool) -> None:
        """Who takes from it; a queue one asks is drawn with its workers in it."""
        self.request = request
        self.id = request_id(self.ref.name) if request else queue_id(self.ref)
        if members is not self.members:
            self.members = members
            self.dirty = self.dirty or request

    def measured(self, measurement: Measurement) -> tuple[int, int]:
        """Keep a measurement; how much its in and out totals grew (0 where they are not told)."""
        self.measurement = measurement
        if measurement.waiting is not None:
            self._depth.add(measurement.at_s, measurement.waiting)
            self._ceiling.add(measurement.waiting)
        self.dirty = True
        return (
            self._in.growth(measurement.at_s, measurement.in_total),
            self._out.growth(measurement.at_s, measurement.out_total),
        )

    def forget_trend(self) -> None:
        """The link is gone: what was measured before says nothing of what happens now."""
        self._depth.clear()
        self.dirty = True

    @property
    def told_in(self) -> tuple[bool, float | None]:
        """Whether the broker tells what came in, and how fast."""
        return self._in.known, self._in.per_s()

    @property
    def told_out(self) -> tuple[bool, float | None]:
        """Whether the broker tells what went out, and how fast."""
        return self._out.known, self._out.per_s()

    def trend_per_s(self) -> float | None:
        """How fast what waits grows, over about 5 s."""
        return self._depth.per_s()

    def in_per_s(self) -> float | None:
        """What comes in: the sum of the edges into it, else what the broker tells."""
        rate_per_s = super()._rate()
        return self.told_in[1] if rate_per_s is None else rate_per_s

    def timed(self, durations: Histogram) -> None:
        """Requests to it were answered after so long."""
        self.durations.add(durations)
        self.dirty = True

    def _rate(self) -> float | None:
        if self.request and self.durations.percentiles_ms(0.5) != (self._view.p50_ms if self._view else None,):
            self.dirty = True
        return self.in_per_s()

    def _made(self, rate_per_s: float | None) -> NodeView:
        spec, measured = self.spec, self.measurement
        trend_per_s = self.trend_per_s()
        p50_ms, p99_ms = self.durations.percentiles_ms(0.5, 0.99) if self.request else (None, None)
        return NodeView(
            id=self.id,
            kind="request" if self.request else "queue",
            name=self.ref.name,
            sub=self.ref.group or (spec.kind if spec is not None else ""),
            family=spec.family if spec is not None else Family.RABBITMQ,
            rate_per_s=rate_per_s,
            depth=measured.waiting if measured is not None else None,
            depth_max=self._ceiling.value(),
            limit=spec.max_length if spec is not None else None,
            trend_per_s=None if trend_per_s is None else round(trend_per_s, 3),
            in_flight=measured.in_flight if measured is not None else None,
            partitions=measured.partitions if measured is not None else (),
            dead=self.dead,
            members=self.members if self.request else (),
            p50_ms=None if p50_ms is None else round(p50_ms, 2),
            p99_ms=None if p99_ms is None else round(p99_ms, 2),
            note=f"{measured.delayed} delayed" if measured is not None and measured.delayed else "",
        )


class WorkersNode(Node):
    """All that take from one queue."""

    __slots__ = ("_consumers", "_family", "_members", "_name_of", "_ref")

    def __init__(self, beat: Beat, ref: QueueRef, name_of: Callable[[list[str]], str]) -> None:
        super().__init__(beat, workers_id(ref))
        self._ref = ref
        self._name_of = name_of
        self._members: tuple[MemberView, ...] = ()
        self._consumers: int | None = None
        self._family = Family.RABBITMQ

    def man(self, members: tuple[MemberView, ...], consumers: int | None, family: Family) -> None:
        """Who they are, or how many the broker says."""
        if members is not self._members or consumers != self._consumers or family is not self._family:
            self._members, self._consumers, self._family = members, consumers, family
            self.dirty = True

    def _made(self, rate_per_s: float | None) -> NodeView:
        name = self._name_of([member.name for member in self._members])
        if not name and self._consumers:
            name = f"{self._consumers} consumer{'s' if self._consumers > 1 else ''}"
        return NodeView(
            id=self.id,
            kind="workers",
            name=name,
            sub=str(self._ref),
            family=self._family,
            rate_per_s=rate_per_s,
            members=self._members,
        )
