"""Who held a message when it went, and who gets it next: what the Story tells of a kill, with the measured delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.events import HandedOver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.clock import Clock
    from mqdash.model.delivery import Delivery
    from mqdash.model.events import Event
    from mqdash.model.topology import QueueRef

LIMIT = 10_000
IDS_TOLD = 16


class _Gone(msgspec.Struct, frozen=True):
    worker: str
    at_s: float  # monotonic


def id_of(delivery: Delivery) -> str:
    """The message's id, or where it is when it has none."""
    return delivery.message.id or delivery.message.correlation_id or str(delivery.claim or "")


class Handovers:
    """Ids held by workers that went, until somebody else is given them."""

    def __init__(
        self, broker: str, *, clock: Clock, emit: Callable[[Event], None], came_back: Callable[[str, int], None]
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._emit = emit
        self._came_back = came_back
        self._gone: dict[tuple[QueueRef, str], _Gone] = {}

    def went(self, worker: str, queue: QueueRef, ids: Sequence[str]) -> None:
        """This worker held these ids when it went."""
        now = self._clock.monotonic()
        for message_id in ids:
            if len(self._gone) < LIMIT:
                self._gone[queue, message_id] = _Gone(worker, now)

    def holder(self, queue: QueueRef, message_id: str) -> str:
        """Who held this id when it went; '' when nobody."""
        gone = self._gone.get((queue, message_id))
        return "" if gone is None else gone.worker

    def came(self, worker: str, queue: QueueRef, deliveries: Sequence[Delivery]) -> None:
        """These were given to `worker`: tell those that another one had held."""
        if not self._gone:
            return
        found: dict[str, list[tuple[str, _Gone, int | None]]] = {}
        for delivery in deliveries:
            gone = self._gone.pop((queue, id_of(delivery)), None)
            if gone is not None:
                found.setdefault(gone.worker, []).append((id_of(delivery), gone, delivery.delivery_count))
        for former, letters in found.items():
            self._came_back(former, len(letters))
            if former != worker:
                self._tell(worker, queue, former, letters)

    def _tell(
        self, worker: str, queue: QueueRef, former: str, letters: Sequence[tuple[str, _Gone, int | None]]
    ) -> None:
        counts = {count for _, _, count in letters}
        self._emit(
            HandedOver(
                broker=self._broker,
                at_s=self._clock.now(),
                queue=queue,
                ids=tuple(message_id for message_id, _, _ in letters[:IDS_TOLD]),
                n=len(letters),
                from_worker=former,
                to_worker=worker,
                after_s=self._clock.monotonic() - min(gone.at_s for _, gone, _ in letters),
                count=counts.pop() if len(counts) == 1 else None,
            )
        )
