"""Where the open messages of a queue are: by id where what waits can be read, else by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.lab.handovers import id_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mqdash.lab.ledger import QueueLedger
    from mqdash.model.delivery import Delivery, Measurement
    from mqdash.model.topology import Queue


class Found(msgspec.Struct, kw_only=True):
    """The open messages of this run, each in one place.

    `unexpected`: there without a confirm, their publish was UNKNOWN and has arrived. `acked`, `dead`: settled without proof and
    never seen again. `missing`: not found anywhere yet. `lost` of them were confirmed.
    """

    waiting: int = 0
    in_flight: int = 0
    acked: int = 0
    dead: int = 0
    expired: int = 0
    dropped: int = 0
    unexpected: int = 0
    missing: int = 0
    lost: int = 0
    lost_ids: list[str] = []


def by_id(
    ledger: QueueLedger,
    queue: Queue,
    now: Measurement | None,
    before: Measurement | None,
    *,
    there: Sequence[Delivery],
    held: Collection[str],
    late: bool,
) -> Found:
    """`there` is what waits, in its order, `held` the ids our workers hold. `late`: old figures are new by now."""
    open_ids = ledger.open_ids()
    waiting = {id_of(delivery) for delivery in there}
    holding = open_ids.keys() & held
    unexpected = sum(ledger.is_own(one) and not ledger.knows(one) for one in waiting)
    found = Found(
        waiting=len(open_ids.keys() & waiting - holding) + unexpected, in_flight=len(holding), unexpected=unexpected
    )
    missing = [one for one in open_ids if one not in holding and one not in waiting]
    missing = _without_unproven(ledger, found, missing)
    delayed = min(len(missing), 0 if now is None else now.delayed or 0)
    found.waiting += delayed
    n = len(missing) - delayed
    by_broker = min(n, _since("dead_total", now, before) or 0)  # it moved them to the dead letters itself
    found.dead += by_broker
    gone = set(_from_the_head(ledger, queue, missing, there))
    found.expired, found.dropped = _gone(queue, now, before, min(len(gone), n - by_broker))
    n -= by_broker + found.expired + found.dropped
    elsewhere = 0 if now is None or not late else max(0, (now.in_flight or 0) - len(held))
    found.in_flight += min(n, elsewhere)  # another process of this run has them
    found.missing = n - min(n, elsewhere)
    suspects = sorted((one for one in missing if open_ids[one]), key=gone.__contains__)
    found.lost_ids = suspects[: found.missing]
    found.lost = len(found.lost_ids)
    return found


def by_number(
    ledger: QueueLedger,
    queue: Queue,
    now: Measurement | None,
    before: Measurement | None,
    *,
    unknown: int,
    late: bool,
) -> Found:
    """From the broker's figures alone: what it held before the run is not of this run until our workers have had it."""
    own = ledger.own
    old = max(0, _held(before) - ledger.foreign.done - ledger.foreign.dead)
    most = own.open + unknown
    in_flight = 0 if now is None else now.in_flight or 0
    waiting = 0 if now is None else (now.waiting or 0) + (now.delayed or 0)
    found = Found(in_flight=min(most, max(0, in_flight - max(0, old - waiting))))
    found.waiting = min(most - found.in_flight, max(0, waiting - old))
    found.unexpected = max(0, found.waiting + found.in_flight - own.open)
    n = max(0, own.open - found.waiting - found.in_flight)
    for dead in ledger.unproven_ids.values():
        if n and late:
            n -= 1
            found.dead, found.acked = found.dead + dead, found.acked + (not dead)
    by_broker = min(n, _since("dead_total", now, before) or 0)
    found.dead, n = found.dead + by_broker, n - by_broker
    found.expired, found.dropped = _gone(queue, now, before, n)
    found.missing = n - found.expired - found.dropped
    found.lost = min(found.missing, own.open_confirmed)
    return found


def _held(before: Measurement | None) -> int:
    return 0 if before is None else (before.waiting or 0) + (before.in_flight or 0) + (before.delayed or 0)


def _without_unproven(ledger: QueueLedger, found: Found, missing: list[str]) -> list[str]:
    """What was settled without proof and is not on the queue was settled."""
    unproven = ledger.unproven_ids
    for one in missing:
        if one in unproven:
            found.dead, found.acked = found.dead + unproven[one], found.acked + (not unproven[one])
    return [one for one in missing if one not in unproven]


def _from_the_head(
    ledger: QueueLedger, queue: Queue, missing: Sequence[str], there: Sequence[Delivery]
) -> Iterable[str]:
    """Those that a time-to-live or a limit can have taken: both take the oldest, so nothing behind what still waits."""
    if queue.ttl_s is None and not _drops(queue):
        return ()
    first: dict[tuple[str, str], int] = {}
    for delivery in there:
        place = ledger.place(id_of(delivery))
        if place is not None and delivery.message.attempt == 1:  # a retried one stands behind younger ones
            first.setdefault(place[0], place[1])
    if queue.max_priority is not None:
        first.clear()  # the oldest are not the first
    places = {one: ledger.place(one) for one in missing}
    return (one for one, place in places.items() if place and place[1] < first.get(place[0], place[1] + 1))


def _drops(queue: Queue) -> bool:
    return queue.max_length is not None and queue.overflow in {None, "drop-head"}


def _gone(queue: Queue, now: Measurement | None, before: Measurement | None, n: int) -> tuple[int, int]:
    """How many of `n` missing ones have expired and were dropped: as the broker tells, else as the queue's rules allow."""
    expired = _since("expired_total", now, before)
    dropped = _since("dropped_total", now, before)
    if expired is None:
        expired = n - min(n, dropped or 0) if queue.ttl_s is not None else 0
    if dropped is None:
        dropped = n if _drops(queue) else 0
    expired = min(n, expired)
    return expired, min(n - expired, dropped)


def _since(total: str, now: Measurement | None, before: Measurement | None) -> int | None:
    """How much a total grew in this run; None where the broker cannot tell."""
    end = None if now is None else getattr(now, total)
    start = None if before is None else getattr(before, total)
    return None if end is None else max(0, int(end) - int(start or 0))
