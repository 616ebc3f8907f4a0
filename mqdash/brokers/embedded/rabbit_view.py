"""What the embedded RabbitMQ tells about itself: measurements and its catalogue. Reading changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.brokers import moves
from mqdash.model.delivery import Measurement, Source
from mqdash.model.topology import Attendant, Entity, Page, QueueRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mqdash.brokers.embedded.queue import ReadyQueue
    from mqdash.brokers.embedded.rabbitmq import RabbitServer

SOURCE = "embedded"


def measure(server: RabbitServer, ref: QueueRef, now_s: float, *, at_s: float) -> Measurement | None:
    """One queue now, or None when there is none. Offered but refused counts as come in and dropped, so sums hold."""
    queue = server.queues.get(ref.name)
    if queue is None:
        return None
    counts, head = queue.counts, queue.head()
    refused = counts.refused.total()
    return Measurement(
        queue=ref,
        at_s=at_s,
        source=Source.TOLD,
        waiting=queue.ready,
        in_flight=queue.unacked,
        delayed=delayed(server, ref.name),
        consumers=len(queue.subscribers),
        in_total=counts.published + refused,
        out_total=counts.acked,
        redelivered_total=counts.redelivered,
        expired_total=counts.expired,
        dropped_total=counts.dropped.total() + refused,
        dead_total=counts.dead.total(),
        oldest_age_s=None if head is None else max(now_s - head.enqueued_s, 0.0),
        detail=SOURCE,
    )


def delayed(server: RabbitServer, name: str) -> int:
    """How many copies wait on the ladder to come back to this queue."""
    rungs = (server.queues.get(rung.ref.name) for rung in moves.wait_queues(name))
    return sum(rung.ready + rung.unacked for rung in rungs if rung is not None)


def catalog(server: RabbitServer, *, prefix: str, after: str | None, limit: int) -> Page:
    """A page in order of name; queues behind a dead-letter exchange are marked."""
    known = sorted((key, entity) for key, entity in _named(server) if key.startswith(prefix))
    found = [(key, entity) for key, entity in known if after is None or key > after]
    page = found[:limit]
    return Page(
        entities=tuple(entity for _, entity in page),
        after=page[-1][0] if len(found) > limit else None,
        source=SOURCE,
    )


def _named(server: RabbitServer) -> Iterator[tuple[str, Entity]]:
    """Everything with a key that starts with its name and is unlike every other's."""
    graves = _dead_letter_queues(server)
    for exchange in server.exchanges.all():
        yield f"{exchange.name}\x00a", exchange
    for name, queue in server.queues.items():
        spec = queue.spec
        holds = spec.holds_dead_letters or name in graves
        yield f"{name}\x00b", msgspec.structs.replace(spec, holds_dead_letters=holds)
        for at, subscriber in enumerate(queue.subscribers):
            attendant = Attendant(
                queue=QueueRef(name),
                name=subscriber.tag,
                address=SOURCE,
                prefetch=subscriber.prefetch or None,
                in_flight=subscriber.unacked,
                ours=True,
            )
            yield f"{name}\x00d{at:06}", attendant
    for at, binding in enumerate(server.exchanges.bindings()):
        name = binding.queue.name if binding.queue is not None else str(binding.destination)
        yield f"{name}\x00c{at:06}", binding


def _dead_letter_queues(server: RabbitServer) -> set[str]:
    """Queues that dead letters of others come to; a TTL queue without consumers only delays, and is not a source."""
    graves: set[str] = set()
    for queue in server.queues.values():
        to = queue.spec.dead_letter
        if to is None or moves.is_wait_queue(queue.name) or _delays(queue):
            continue
        if not to.destination:
            graves.add(to.key)
        else:
            bound = (binding for binding in server.exchanges.bindings() if binding.source == to.destination)
            graves |= {binding.queue.name for binding in bound if binding.queue is not None}
    return graves


def _delays(queue: ReadyQueue) -> bool:
    return queue.ttl_s is not None and not queue.had_subscriber
