"""Creating and removing topology, in RabbitMQ's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mqdash.brokers import moves
from mqdash.errors import Conflict, NotFound, Unsupported

if TYPE_CHECKING:
    from mqdash.brokers.rabbitmq.link import Link
    from mqdash.model.topology import Binding, Destination, Queue, Topology

EXCHANGE_KINDS = frozenset({"direct", "fanout", "topic", "headers"})
QUEUE_KINDS = frozenset({"classic", "quorum", "stream"})


def refuse_unsupported(broker: str, topology: Topology) -> None:
    """Find what cannot be declared before anything is.

    Raises:
        Unsupported: a kind RabbitMQ does not have, or a name it would never answer for.
    """
    for one in topology.destinations:
        if one.kind not in EXCHANGE_KINDS:
            raise Unsupported(broker, f"exchange {one.name!r}: RabbitMQ has no kind {one.kind!r}")
    for queue in topology.queues:
        if queue.kind not in QUEUE_KINDS:
            raise Unsupported(broker, f"queue {queue.ref}: RabbitMQ has no kind {queue.kind!r}")
        if queue.ref.group:
            raise Unsupported(broker, f"queue {queue.ref}: RabbitMQ has no consumer groups")
    names = [*(one.name for one in topology.destinations), *(queue.ref.name for queue in topology.queues)]
    for name in names:
        if "\r" in name or "\n" in name:
            raise Unsupported(broker, f"{name!r}: RabbitMQ never answers for a name with a line break")


async def declare(link: Link, topology: Topology) -> None:
    """Create what is missing.

    Raises:
        Conflict, NotFound, AccessRefused, Unsupported: as the broker said; what was declared before stays.
    """
    refuse_unsupported(link.url.safe, topology)
    channel = await link.channel()
    try:
        for one in topology.destinations:
            if one.name:
                await channel.call("exchange_declare", one.name, **exchange_arguments(one))
        for queue in topology.queues:
            await channel.call("queue_declare", queue.ref.name, **queue_arguments(queue))
        for binding in topology.bindings:
            await _bind(channel, binding)
    finally:
        channel.drop()


async def _bind(channel: Any, binding: Binding) -> None:
    if not binding.source:
        return  # every queue is bound to the default exchange by its name (R1)
    arguments = dict(binding.headers)
    if binding.queue is not None:
        await channel.call("queue_bind", binding.queue.name, binding.source, binding.key, arguments=arguments)
    elif binding.destination is not None:
        await channel.call(
            "exchange_bind", binding.destination, binding.source, routing_key=binding.key, arguments=arguments
        )


async def remove(link: Link, topology: Topology) -> None:
    """Delete queues with their wait ladders, then exchanges; what is not there is fine.

    Raises:
        AccessRefused, Conflict: it is not ours to delete.
    """
    names = [name for queue in topology.queues for name in (queue.ref.name, *_ladder(queue.ref.name))]
    calls = [("queue_delete", name) for name in names]
    calls += [("exchange_delete", one.name) for one in topology.destinations if one.name]
    channel = await link.channel()
    try:
        for method, name in calls:
            try:
                await channel.call(method, name)
            except NotFound:
                channel = await link.channel()
    finally:
        channel.drop()


def _ladder(name: str) -> list[str]:
    return [wait.ref.name for wait in moves.wait_queues(name)]


async def declare_wait_queue(link: Link, queue: Queue) -> None:
    """Create one rung of a ladder.

    Raises:
        Conflict: something else has its name.
    """
    channel = await link.channel()
    try:
        await channel.call("queue_declare", queue.ref.name, **queue_arguments(queue))
    except Conflict as error:
        raise Conflict(error.broker, f"the wait queue {queue.ref} is not as mqdash makes it: {error.text}") from error
    finally:
        channel.drop()


def exchange_arguments(one: Destination) -> dict[str, Any]:
    """The arguments of exchange.declare."""
    arguments = {} if one.alternate is None else {"alternate-exchange": one.alternate}
    return {"exchange_type": one.kind, "durable": one.durable, "internal": one.internal, "arguments": arguments}


def queue_arguments(queue: Queue) -> dict[str, Any]:
    """The arguments of queue.declare."""
    dead_letter = queue.dead_letter
    given = {
        "x-queue-type": None if queue.kind == "classic" else queue.kind,
        "x-dead-letter-exchange": None if dead_letter is None else dead_letter.destination,
        "x-dead-letter-routing-key": None if dead_letter is None else dead_letter.key or None,
        "x-message-ttl": _milliseconds(queue.ttl_s),
        "x-expires": _milliseconds(queue.expires_s),
        "x-max-length": queue.max_length,
        "x-max-length-bytes": queue.max_length_bytes,
        "x-overflow": queue.overflow,
        "x-dead-letter-strategy": queue.dead_letter_strategy,
        "x-max-priority": queue.max_priority,
        "x-delivery-limit": queue.delivery_limit,
        "x-single-active-consumer": queue.single_active_consumer or None,
    }
    return {
        "durable": queue.durable,
        "exclusive": queue.exclusive,
        "auto_delete": queue.auto_delete,
        "arguments": {name: value for name, value in given.items() if value is not None},
    }


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def quoted(name: str) -> str:
    """The name as a part of an API path."""
    return quote(name, safe="", errors="surrogateescape")
