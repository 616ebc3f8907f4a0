"""The edges of one broker's flow: each counts, and remakes its view only when it has to."""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from typing import TYPE_CHECKING

from mqdash.model.views import EdgeView
from mqdash.store.rates import MINUTE_S, WINDOW_S, Beat, Meter

if TYPE_CHECKING:
    from mqdash.model.events import Head
    from mqdash.model.topology import QueueRef

HEADS_KEPT = 24
_REASONS_KEPT = 64
_TREND_S = 5.0


def publisher_id(name: str) -> str:
    """Node id of a publisher."""
    return f"p:{name}"


def destination_id(name: str) -> str:
    """Node id of a destination."""
    return f"d:{name}"


def queue_id(ref: QueueRef) -> str:
    """Node id of a queue."""
    return f"q:{ref.name}|{ref.group}"


def workers_id(ref: QueueRef) -> str:
    """Node id of all that take from a queue."""
    return f"w:{ref.name}|{ref.group}"


def request_id(name: str) -> str:
    """Node id of something one asks and gets an answer from."""
    return f"r:{name}"


class Edge:
    """One edge with its exact total: counted by us, or (`told`) by the growth of a broker's total."""

    __slots__ = (
        "_beat",
        "_head_totals",
        "_heads",
        "_reasons",
        "_tick",
        "_told_per_s",
        "_view",
        "blind",
        "dirty",
        "kind",
        "label",
        "meter",
        "redelivered",
        "source",
        "target",
        "told",
    )

    def __init__(self, beat: Beat, source: str, target: str, kind: str) -> None:
        self.source = source
        self.target = target
        self.kind = kind
        self.label = ""
        self.meter = Meter(beat)
        self.redelivered = 0
        self.told = False
        self.blind = False  # our own publishes cannot be followed along it (headers decide)
        self.dirty = True
        self._beat = beat
        self._heads: deque[Head] = deque(maxlen=HEADS_KEPT)
        self._head_totals: deque[int] = deque(maxlen=HEADS_KEPT)
        self._reasons: Tally[str] = Tally()
        self._told_per_s: float | None = None
        self._tick = -1
        self._view: EdgeView | None = None

    @property
    def id(self) -> str:
        """Source and target; there is one edge between two nodes."""
        return f"{self.source}>{self.target}"

    def count(self, n: int, heads: tuple[Head, ...] = (), redelivered: int = 0) -> None:
        """`n` messages passed; `heads` are some of them, spread evenly over the slice."""
        before = self.meter.total
        self.meter.add(n)
        self.redelivered += redelivered
        if heads:
            known = len(heads)
            self._heads.extend(heads)
            self._head_totals.extend([before + place * n // known for place in range(1, known + 1)])
        self.dirty = True

    def keep(self, heads: tuple[Head, ...]) -> None:
        """Heads of messages whose number the broker tells."""
        self._heads.extend(heads)
        self._head_totals.extend([self.meter.total] * len(heads))
        self.dirty = True

    def tell(self, growth: int, per_s: float | None) -> None:
        """What the broker counted since the last time, and how fast."""
        self.told = True
        if growth:
            self.meter.add(growth)
        if growth or per_s != self._told_per_s:
            self._told_per_s = per_s
            self.dirty = True

    def name(self, label: str) -> None:
        """Label it."""
        if label != self.label:
            self.label = label
            self.dirty = True

    def be(self, kind: str) -> None:
        """What it leads is told apart by kind."""
        if kind != self.kind:
            self.kind = kind
            self.dirty = True

    def blame(self, reason: str, n: int) -> None:
        """Label it with the reason most messages passed for, as what it is: the only one, most of them, or the largest part."""
        if reason in self._reasons or len(self._reasons) < _REASONS_KEPT:
            self._reasons[reason] += n
        if self._reasons:
            first, count = self._reasons.most_common(1)[0]
            share = "" if len(self._reasons) == 1 else "mostly " if 2 * count > self._reasons.total() else "e.g. "
            self.name(f"{share}{first}")

    def rate_per_s(self) -> float | None:
        """Per second; dead letters over a minute, since they are few."""
        if self.told:
            return self._told_per_s
        return self.meter.rate_per_s(MINUTE_S if self.kind == "dead" else WINDOW_S)

    def fresh(self, tick: int) -> bool:
        """Remake the view when something changed; whether it did."""
        if not self.dirty and (self._tick == tick or not self.meter.warm):
            return False
        self._tick = tick
        rate_per_s = self.rate_per_s()
        rate_per_s = None if rate_per_s is None else round(rate_per_s, 3)
        if not self.dirty and self._view is not None and self._view.rate_per_s == rate_per_s:
            return False
        self.dirty = False
        self._view = EdgeView(
            id=self._view.id if self._view is not None else self.id,
            source=self.source,
            target=self.target,
            kind=self.kind,
            label=self.label,
            rate_per_s=rate_per_s,
            total=self.meter.total,
            redelivered_total=self.redelivered,
            heads=tuple(self._heads),
            head_totals=tuple(self._head_totals),
        )
        return True

    @property
    def view(self) -> EdgeView:
        """The view made last."""
        assert self._view is not None
        return self._view
