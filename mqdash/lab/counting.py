"""The count at the end of a run: per queue, what this run published and where each message is now, each in one place.

Only ids of this run count: what an earlier run or somebody else left on the broker is not ours to account for.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import BrokerError
from mqdash.lab.whereabouts import Found, by_id, by_number
from mqdash.model.message import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mqdash.brokers.base import Broker
    from mqdash.lab.lab import Lab
    from mqdash.model.delivery import Delivery, Measurement
    from mqdash.model.topology import Queue, QueueRef

log = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
SETTLE_LIMIT_S: Final = 8.0
"""Brokers tell what is in flight up to 5 s late: as long as something is missing, the count is taken again for this long."""
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
    refs = [queue.ref for queue in lab.topology.queues]
    while True:
        measured = {found.queue: found for found in await broker.measure(refs)}
        late = lab.clock.monotonic() >= deadline_s
        found = [
            await _look(lab, broker, queue, measured.get(queue.ref), before.get(queue.ref), late=late)
            for queue in lab.topology.queues
        ]
        if late or not any(one.missing for one in found):
            break
        await lab.clock.sleep(SETTLE_S)
    rows = [_row(lab, queue, one) for queue, one in zip(lab.topology.queues, found, strict=True)]
    return Counted(tuple(rows), sum(one.lost for one in found))


async def _look(
    lab: Lab, broker: Broker, queue: Queue, now: Measurement | None, before: Measurement | None, *, late: bool
) -> Found:
    if queue.family is Family.REDIS_PUBSUB:
        return Found()
    ledger = lab.ledger.queue(queue.ref)
    unsure = lab.ledger.unknown or any(lab.ledger.queue(one.ref).unproven_ids for one in lab.topology.queues)
    waiting = 0 if now is None else now.waiting or 0
    if queue.family is not Family.RABBITMQ or waiting > SWEEP_LIMIT:
        return by_number(ledger, queue, now, before, unknown=lab.ledger.unknown, late=late)
    there = await _sweep(broker, queue.ref, waiting) if waiting and (ledger.own.open or unsure) else []
    held = [one for worker in lab.workers.values() if worker.queue == queue.ref for one in worker.held_ids]
    found = by_id(ledger, queue, now, before, there=there, held=held, late=late)
    if found.lost_ids and late:
        log.warning("%s: confirmed and nowhere: %s", queue.ref, ", ".join(found.lost_ids[:16]))
    return found


def _row(lab: Lab, queue: Queue, found: Found) -> QueueCount:
    if queue.family is Family.REDIS_PUBSUB:
        owed, missing = lab.crew.channels.counts(queue.ref)
        return _counted(queue.ref, published=owed, acked=owed - missing, dropped=missing)
    own = lab.ledger.queue(queue.ref).own
    return _counted(
        queue.ref,
        published=own.published + found.unexpected,
        acked=own.done + found.acked,
        waiting=found.waiting,
        in_flight=found.in_flight,
        dead=own.dead + found.dead,
        expired=found.expired,
        dropped=found.dropped,
        redelivered=own.redelivered,
    )


def _counted(ref: QueueRef, **numbers: int) -> QueueCount:
    columns = dict.fromkeys(QueueCount.__struct_fields__[1:], 0) | numbers
    return QueueCount(name=f"{ref.name}/{ref.group}" if ref.group else ref.name, **columns)


async def _sweep(broker: Broker, ref: QueueRef, n: int) -> list[Delivery]:
    """What waits in a RabbitMQ queue: taken, read, and given back in place when the consumer leaves (R24, R25)."""
    found: list[Delivery] = []
    try:
        async with broker.consume(ref, name="count", prefetch=0) as consumer:
            while len(found) < n:
                async with asyncio.timeout(SWEEP_WAIT_S):
                    found += await consumer.take(n)
    except (TimeoutError, BrokerError) as error:
        log.warning("%s: only %d of %d could be read: %s", ref, len(found), n, error)
    return found
