"""The count at the end of a run: per queue, what was published and where each message is now."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import BrokerError
from mqdash.lab.handovers import id_of
from mqdash.model.message import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mqdash.brokers.base import Broker
    from mqdash.lab.lab import Lab
    from mqdash.lab.ledger import Counts
    from mqdash.model.delivery import Measurement
    from mqdash.model.topology import Queue, QueueRef

log = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
SETTLE_LIMIT_S: Final = 8.0
"""Brokers tell depths up to 5 s late: a count that does not add up is asked again for this long."""
SWEEP_LIMIT: Final = 20_000
SWEEP_WAIT_S: Final = 2.0


class QueueCount(msgspec.Struct, frozen=True, kw_only=True):
    """One queue: published = acked + waiting + in_flight + dead + expired + dropped, plus what was lost.

    `waiting` includes what waits in the retry ladder to come back; a dead letter is `dead`, not `acked`.
    """

    name: str
    published: int
    acked: int
    waiting: int
    in_flight: int
    dead: int
    expired: int
    dropped: int
    redelivered: int


class Counted(msgspec.Struct, frozen=True):
    """All queues, and how many confirmed messages are nowhere."""

    queues: tuple[QueueCount, ...]
    lost: int


async def count(lab: Lab, broker: Broker, before: Mapping[QueueRef, Measurement]) -> Counted:
    """Count every queue of the lab; `before` are the measurements from the start of the run."""
    deadline_s = lab.clock.monotonic() + SETTLE_LIMIT_S
    while True:
        refs = [queue.ref for queue in lab.topology.queues]
        measured = {found.queue: found for found in await broker.measure(refs)}
        rows = [_row(lab, queue, measured.get(queue.ref), before.get(queue.ref)) for queue in lab.topology.queues]
        if all(_adds_up(row) for row in rows) or lab.clock.monotonic() >= deadline_s:
            break
        await lab.clock.sleep(SETTLE_S)
    lost = 0
    for queue, row in zip(lab.topology.queues, rows, strict=True):
        lost += await _lost(lab, broker, queue, row, measured.get(queue.ref))
    return Counted(tuple(rows), lost)


def _row(lab: Lab, queue: Queue, now: Measurement | None, before: Measurement | None) -> QueueCount:
    if queue.family is Family.REDIS_PUBSUB:
        owed, missing = lab.crew.channels.counts(queue.ref)
        return _counted(queue.ref, published=owed, acked=owed - missing, dropped=missing)
    counts = lab.ledger.counts(queue.ref)
    waiting = 0 if now is None else (now.waiting or 0) + (now.delayed or 0)
    in_flight = 0 if now is None else now.in_flight or 0
    gone = counts.open - waiting - in_flight
    expired = _since("expired_total", now, before, gone if queue.ttl_s is not None else 0)
    dropped = _since("dropped_total", now, before, gone if queue.max_length is not None else 0)
    found = counts.done + counts.dead + waiting + in_flight + expired + dropped
    return _counted(
        queue.ref,
        # What the broker has beyond our confirms came from publishes without proof: they turned out to have arrived.
        published=max(counts.published, found),
        acked=counts.done,
        waiting=waiting,
        in_flight=in_flight,
        dead=counts.dead,
        expired=expired,
        dropped=dropped,
        redelivered=counts.redelivered,
    )


def _counted(ref: QueueRef, **numbers: int) -> QueueCount:
    columns = dict.fromkeys(QueueCount.__struct_fields__[1:], 0) | numbers
    return QueueCount(name=f"{ref.name}/{ref.group}" if ref.group else ref.name, **columns)


def _since(total: str, now: Measurement | None, before: Measurement | None, otherwise: int) -> int:
    """How much a total grew in this run; what the broker cannot tell is what is missing, where the queue has such a rule."""
    end = None if now is None else getattr(now, total)
    if end is None:
        return max(0, otherwise)
    start = None if before is None else getattr(before, total)
    return max(0, int(end) - int(start or 0))


def _adds_up(row: QueueCount) -> bool:
    return row.published == row.acked + row.waiting + row.in_flight + row.dead + row.expired + row.dropped


async def _lost(lab: Lab, broker: Broker, queue: Queue, row: QueueCount, now: Measurement | None) -> int:
    """Confirmed messages that are nowhere: by id where what waits can be taken and given back, else by number."""
    counts: Counts = lab.ledger.counts(queue.ref)
    if not counts.open_confirmed or queue.family is Family.REDIS_PUBSUB:
        return 0
    excused = row.expired + row.dropped
    if queue.family is not Family.RABBITMQ or row.waiting > SWEEP_LIMIT:
        return max(0, counts.open_confirmed - row.waiting - row.in_flight - excused)
    held = {
        message_id for worker in lab.workers.values() if worker.queue == queue.ref for message_id in worker.held_ids
    }
    there = held | await _sweep(broker, queue.ref, 0 if now is None else now.waiting or 0)
    missing = [message_id for message_id in lab.ledger.queue(queue.ref).open_ids() if message_id not in there]
    delayed = 0 if now is None else now.delayed or 0
    lost = max(0, len(missing) - delayed - excused)
    if lost:
        log.warning("%s: confirmed and nowhere: %s", queue.ref, ", ".join(missing[:16]))
    return lost


async def _sweep(broker: Broker, ref: QueueRef, n: int) -> set[str]:
    """Ids of what waits in a RabbitMQ queue: taken, read, and given back in place when the consumer leaves (R24, R25)."""
    found: set[str] = set()
    taken = 0
    try:
        async with broker.consume(ref, name="count", prefetch=0) as consumer:
            while taken < n:
                async with asyncio.timeout(SWEEP_WAIT_S):
                    deliveries = await consumer.take(n)
                taken += len(deliveries)
                found |= {id_of(delivery) for delivery in deliveries}
    except (TimeoutError, BrokerError) as error:
        log.warning("%s: only %d of %d could be read: %s", ref, taken, n, error)
    return found
