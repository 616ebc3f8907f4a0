"""Workers: their newest records beside what they really do, foreign ones from the broker's list included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.actors import WorkerRecord, WorkerState
from mqdash.model.views import MemberView, WorkersView, WorkerView
from mqdash.store.names import is_machinery
from mqdash.store.rates import MINUTE_S, Beat, Meter
from mqdash.store.sentences import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.model.events import (
        Delivered,
        Finished,
        HandedOver,
        TopologySeen,
        WorkerChanged,
        WorkerDied,
        WorkerGone,
    )
    from mqdash.model.message import Family
    from mqdash.model.topology import Attendant, QueueRef

SHOWN_AFTER_DEATH_S = 10.0
_DEAD = frozenset({WorkerState.KILLED, WorkerState.CRASHED, WorkerState.GONE})


class Hand:
    """One worker. `record` is None while only its traffic was seen; `listed` until it is told gone."""

    __slots__ = (
        "came_back",
        "delivered",
        "died_at_s",
        "died_mono_s",
        "dirty",
        "failed",
        "finished",
        "listed",
        "record",
        "tick",
        "view",
    )

    def __init__(self, beat: Beat) -> None:
        self.record: WorkerRecord | None = None
        self.listed = True
        self.delivered = Meter(beat)
        self.finished = Meter(beat)
        self.failed = Meter(beat)
        self.came_back = 0
        self.died_at_s: float | None = None
        self.died_mono_s = 0.0
        self.dirty = True
        self.tick = -1
        self.view: WorkerView | None = None


class Roster:
    """Everybody who takes messages. `shapes` grows per broker when somebody came, went or changed queue or pool."""

    def __init__(self, beat: Beat, family_of: Callable[[str, QueueRef], Family]) -> None:
        self._beat = beat
        self._family_of = family_of
        self._hands: dict[tuple[str, str], Hand] = {}
        self._pools: dict[tuple[str, str], str] = {}
        self._attending: dict[str, set[str]] = {}
        self._by_queue: dict[tuple[str, QueueRef], list[Hand]] = {}
        self._members: dict[tuple[str, QueueRef], tuple[MemberView, ...]] = {}
        self._dying: set[tuple[str, str]] = set()
        self._ordered: list[Hand] = []
        self._stale_order = False
        self._view = WorkersView()
        self.shapes: dict[str, int] = {}

    # --- traffic ------------------------------------------------------------------------------------------------------

    def delivered(self, event: Delivered) -> None:
        """Count what a worker was given."""
        hand = self._hands.get((event.broker, event.by)) or self._hand(event.broker, event.by)
        hand.delivered.add(event.n)
        hand.dirty = True

    def finished(self, event: Finished) -> None:
        """Count what a worker settled, and what of it did not go well."""
        hand = self._hands.get((event.broker, event.by)) or self._hand(event.broker, event.by)
        hand.finished.add(event.acked + event.retried + event.dead)
        ill = event.retried + event.dead + event.failed
        if ill:
            hand.failed.add(ill)
        hand.dirty = True

    # --- records ------------------------------------------------------------------------------------------------------

    def changed(self, event: WorkerChanged) -> WorkerRecord | None:
        """Keep the newest record; the one before it, None when there was none."""
        return self._keep(event.broker, event.worker.name, event.worker, event.at_s)

    def gone(self, event: WorkerGone) -> None:
        """It is listed no more: shown as gone, or as what it died of, for a moment."""
        self._leave(event.broker, event.name, event.at_s)

    def died(self, event: WorkerDied) -> None:
        """Stamp the death; its messages have yet to come back."""
        hand = self._hand(event.broker, event.worker)
        self._bury((event.broker, event.worker), hand, event.at_s)
        hand.came_back = 0
        if hand.record is not None and hand.record.state not in _DEAD:
            state = WorkerState.KILLED if event.how == "killed" else WorkerState.CRASHED
            hand.record = msgspec.structs.replace(hand.record, state=state)
        self._touch(event.broker, hand)

    def handed_over(self, event: HandedOver) -> None:
        """Messages of a dead worker came to another one."""
        hand = self._hands.get((event.broker, event.from_worker))
        if hand is not None:
            hand.came_back += event.n
            hand.dirty = True

    def topology_seen(self, event: TopologySeen) -> None:
        """Consumers of others, as the broker lists them, become workers too."""
        seen: set[str] = set()
        for attendant in event.attendants:
            if not attendant.ours and not is_machinery(attendant.queue.name):
                name = f"{attendant.queue}/{attendant.name}"
                seen.add(name)
                self._keep(event.broker, name, _foreign(event.broker, attendant), event.at_s)
        self._tell_left_behind(event)
        for name in self._attending.get(event.broker, set()) - seen:
            self._leave(event.broker, name, event.at_s)
        self._attending[event.broker] = seen

    def _tell_left_behind(self, event: TopologySeen) -> None:
        """What the broker still keeps for dead workers of ours (Streams), until somebody claims it."""
        kept = {one.name: one for one in event.attendants if one.ours and one.in_flight and one.idle_s is not None}
        for (broker, name), hand in self._hands.items():
            if broker != event.broker or hand.record is None or hand.record.state not in _DEAD:
                continue
            one = kept.get(name)
            note = _pending(one) if one is not None and one.queue == hand.record.queue else ""
            if note != hand.record.note:
                hand.record = msgspec.structs.replace(hand.record, note=note)
                hand.dirty = True

    # --- questions ----------------------------------------------------------------------------------------------------

    def record(self, broker: str, name: str) -> WorkerRecord | None:
        """The newest record of that worker."""
        hand = self._hands.get((broker, name))
        return hand.record if hand is not None else None

    def pool(self, broker: str, name: str) -> str:
        """The pool of that worker, also after it has left: what it published was the pool's. "" when none is known."""
        record = self.record(broker, name)
        return record.pool if record is not None else self._pools.get((broker, name), "")

    def pool_names(self, broker: str, pool: str) -> list[str]:
        """The names of a pool's workers: those that live, or all that are still shown when none does."""
        hands = [
            hand
            for (of, _), hand in self._hands.items()
            if of == broker and hand.record is not None and hand.record.pool == pool
        ]
        living = [hand for hand in hands if hand.died_at_s is None]
        return [hand.record.name for hand in living or hands if hand.record is not None]

    def members(self, broker: str, queue: QueueRef) -> tuple[MemberView, ...]:
        """All shown workers of a queue; the same object while nothing changed."""
        key = (broker, queue)
        members = self._members.get(key)
        if members is None:
            members = tuple(
                [
                    MemberView(
                        name=hand.record.name,
                        state=_state(hand, hand.record).value,
                        died_at_s=hand.died_at_s,
                        foreign=hand.record.foreign,
                    )
                    for hand in self._by_queue.get(key, ())
                    if hand.record is not None
                ]
            )
            self._members[key] = members
        return members

    def view(self) -> WorkersView:
        """All rows, by broker and queue; the same object while nothing changed."""
        changed = self._stale_order
        if self._stale_order:
            self._order()
        tick = self._beat.tick
        for hand in self._ordered:
            if hand.dirty or (hand.tick != tick and (hand.delivered.warm or hand.finished.warm)):
                changed = self._refresh(hand, tick) or changed
        if changed:
            rows = tuple([hand.view for hand in self._ordered if hand.view is not None])
            self._view = WorkersView(rows=rows, revision=self._view.revision + 1)
        return self._view

    # --- inside -------------------------------------------------------------------------------------------------------

    def _hand(self, broker: str, name: str) -> Hand:
        hand = self._hands.get((broker, name))
        if hand is None:
            hand = self._hands[broker, name] = Hand(self._beat)
            self._stale_order = True
        return hand

    def _keep(self, broker: str, name: str, record: WorkerRecord, at_s: float) -> WorkerRecord | None:
        hand = self._hand(broker, name)
        before = hand.record
        if record == before and hand.listed:
            return before
        moved = before is None or (before.queue, before.pool) != (record.queue, record.pool)
        hand.record = record
        hand.listed = True
        if record.pool:
            self._pools[broker, name] = record.pool
        if record.state in _DEAD:
            self._bury((broker, name), hand, at_s)
        elif hand.died_at_s is not None:
            self.shapes[broker] = self.shapes.get(broker, 0) + 1
            hand.died_at_s = None
            hand.came_back = 0
            self._dying.discard((broker, name))
        if moved:
            self._moved(broker)
        self._touch(broker, hand)
        return before

    def _leave(self, broker: str, name: str, at_s: float) -> None:
        hand = self._hands.get((broker, name))
        if hand is None:
            return
        hand.listed = False
        self._bury((broker, name), hand, at_s)
        self._touch(broker, hand)

    def _bury(self, key: tuple[str, str], hand: Hand, at_s: float) -> None:
        if hand.died_at_s is None:
            self.shapes[key[0]] = self.shapes.get(key[0], 0) + 1  # a pool is called by those that live
            hand.died_at_s = at_s
            hand.died_mono_s = self._beat.mono_s
        self._dying.add(key)

    def _touch(self, broker: str, hand: Hand) -> None:
        hand.dirty = True
        if hand.record is not None:
            self._members.pop((broker, hand.record.queue), None)

    def _moved(self, broker: str) -> None:
        self.shapes[broker] = self.shapes.get(broker, 0) + 1
        self._stale_order = True
        self._by_queue.clear()
        self._members.clear()
        for (of, _), hand in self._hands.items():
            if hand.record is not None:
                self._by_queue.setdefault((of, hand.record.queue), []).append(hand)

    def expire(self) -> None:
        """Forget those who went long enough ago."""
        if not self._dying:
            return
        now_s = self._beat.mono_s
        for key in list(self._dying):
            hand = self._hands[key]
            if now_s - hand.died_mono_s >= SHOWN_AFTER_DEATH_S and not hand.listed:
                self._dying.discard(key)
                del self._hands[key]
                self._moved(key[0])

    def _order(self) -> None:
        self._stale_order = False
        brokers: dict[str, int] = {}
        queues: dict[tuple[str, QueueRef], int] = {}
        places: list[tuple[int, int, int, Hand]] = []
        for place, ((broker, _), hand) in enumerate(self._hands.items()):
            if hand.record is not None:
                at = brokers.setdefault(broker, len(brokers))
                of = queues.setdefault((broker, hand.record.queue), len(queues))
                places.append((at, of, place, hand))
        self._ordered = [hand for *_, hand in sorted(places, key=lambda entry: entry[:3])]

    def _refresh(self, hand: Hand, tick: int) -> bool:
        record = hand.record
        if record is None:
            return False
        hand.dirty = False
        hand.tick = tick
        busy = hand.delivered if record.subscriber else hand.finished
        finished = hand.finished.last(MINUTE_S)
        if record.state is not _state(hand, record) or hand.came_back > record.came_back:
            came_back = max(record.came_back, hand.came_back)
            record = msgspec.structs.replace(record, state=_state(hand, record), came_back=came_back)
        view = WorkerView(
            worker=record,
            family=self._family_of(record.broker, record.queue),
            rate_per_s=None if record.foreign else round(busy.rate_per_s(), 3),
            error_rate=hand.failed.last(MINUTE_S) / finished if finished else None,
            total=busy.total,
            died_at_s=hand.died_at_s,
            spark=busy.spark(),
        )
        changed = view != hand.view
        hand.view = view if changed else hand.view
        return changed


def _state(hand: Hand, record: WorkerRecord) -> WorkerState:
    """What it died of stays visible when it is told gone; a worker that just left is GONE."""
    return record.state if hand.listed or record.state in _DEAD else WorkerState.GONE


def _foreign(broker: str, attendant: Attendant) -> WorkerRecord:
    return WorkerRecord(
        name=attendant.name,
        broker=broker,
        queue=attendant.queue,
        state=WorkerState.BUSY if attendant.in_flight else WorkerState.IDLE,
        prefetch=attendant.prefetch,
        in_flight=attendant.in_flight,
        foreign=True,
        address=attendant.address,
        note=_pending(attendant) if attendant.in_flight and attendant.idle_s is not None else "",
    )


def _pending(attendant: Attendant) -> str:
    """`5 pending, idle 4.2 s`."""
    return f"{attendant.in_flight:,} pending, idle {seconds(attendant.idle_s or 0.0)}"
