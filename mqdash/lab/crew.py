"""What all actors of a lab share: where they work, the time, chance, the ledger, and where moments are told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mqdash.lab.channels import Channels
from mqdash.lab.handovers import Handovers
from mqdash.model.delivery import Sent
from mqdash.model.events import Noted, Rebalanced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mqdash.clock import Clock
    from mqdash.lab.ledger import Ledger
    from mqdash.lab.lives import Lives
    from mqdash.lab.workers import Worker
    from mqdash.model.delivery import Outgoing, PartitionMove, Receipt, RecordsGone
    from mqdash.model.events import Event
    from mqdash.model.topology import QueueRef


class Crew:
    """Shared by producers and workers of one lab. `instance` keeps the ids of several processes of one run apart."""

    def __init__(
        self,
        broker: str,
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        ledger: Ledger,
        lives: Lives,
        seed: int,
        instance: str = "",
        workers: Mapping[str, Worker],
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.emit = emit
        self.ledger = ledger
        self.lives = lives
        self.seed = seed
        self.instance = instance
        self.channels = Channels()
        self._workers = workers
        self.handovers = Handovers(broker, clock=clock, emit=emit, came_back=self._came_back)

    def rng(self, who: str) -> random.Random:
        """A source of chance of one actor's own: what one does changes nothing for another."""
        return random.Random(f"{self.seed} {who}")  # noqa: S311 - makes demo traffic, no secret

    def published(self, outgoing: Outgoing, receipt: Receipt) -> None:
        """Book the end of one publish."""
        ledger = self.ledger
        if receipt.sent is Sent.CONFIRMED:
            if outgoing.message.id is None:
                self.channels.published(ledger.reach(outgoing.route))
            else:
                ledger.confirmed(outgoing.route, outgoing.message.id)
        elif receipt.sent is Sent.RETURNED:
            ledger.returned += 1
        elif receipt.sent is Sent.REFUSED:
            ledger.refused += 1
        else:
            ledger.unknown += 1

    def book(self, batch: Sequence[Outgoing], receipts: Sequence[Receipt]) -> None:
        """Book the ends of a batch."""
        for outgoing, receipt in zip(batch, receipts, strict=True):
            self.published(outgoing, receipt)

    def holder(self, queue: QueueRef, message_id: str) -> str:
        """The worker that holds, or held when it died, this message; '' when nobody of ours does."""
        for worker in self._workers.values():
            if worker.queue == queue and message_id in worker.held_ids:
                return worker.name
        return self.handovers.holder(queue, message_id)

    def moved(self, queue: QueueRef, moves: Sequence[PartitionMove]) -> None:
        """Tell a rebalance; the first assignment of a partition is none."""
        told = [move for move in moves if move.from_member or move.gap_s is not None]
        if told:
            gaps_s = tuple((move.partition, move.gap_s) for move in told if move.gap_s is not None)
            self.emit(
                Rebalanced(
                    broker=self.broker,
                    at_s=self.clock.now(),
                    queue=queue,
                    moved=tuple((move.partition, move.from_member, move.to_member) for move in told),
                    gap_s=max((gap_s for _, gap_s in gaps_s), default=None),
                    gaps_s=gaps_s,
                )
            )

    def gone(self, queue: QueueRef, lost: Sequence[RecordsGone]) -> None:
        """Tell which records nobody of this group can read any more (fault 29)."""
        for one in lost:
            text = f"records [{one.first:,}, {one.end:,}) of {one.topic} p{one.partition} are gone: {queue.group}"
            text += (
                " had not read them"
                if one.reads_from >= one.end
                else f" had read them; the log was cut, it reads again from {one.reads_from:,}"
            )
            self.emit(Noted(broker=self.broker, at_s=self.clock.now(), text=text, level="broken"))

    def _came_back(self, worker: str, n: int) -> None:
        found = self._workers.get(worker)
        if found is not None:
            found.back(n)
