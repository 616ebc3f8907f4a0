"""Declaring and removing streams, groups and their side keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.redis.entries import dlq_name, is_pattern, retry_keys
from mqdash.brokers.redis.errors import translated
from mqdash.errors import Conflict, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mqdash.brokers.redis.session import Session
    from mqdash.model.topology import Destination, Queue, Topology

_KINDS = {"stream", "channel"}


async def check(session: Session, topology: Topology, declared: Mapping[str, Destination]) -> None:
    """Refuse what Redis has not, or what exists differently; nothing is changed.

    Raises:
        Unsupported, Conflict, NotFound: with the name of the thing.
    """
    where = session.broker
    kinds = {name: one.kind for name, one in declared.items()}
    for destination in topology.destinations:
        name = destination.name
        if destination.kind not in _KINDS:
            raise Unsupported(where, f"Redis has streams and channels, {name!r} is {destination.kind}")
        if kinds.setdefault(name, destination.kind) != destination.kind:
            raise Conflict(where, f"{name!r} is a {kinds[name]}, not a {destination.kind}")
        if name in declared and declared[name].max_length != destination.max_length:
            raise Conflict(where, f"stream {name!r} is trimmed to {declared[name].max_length}")
        held = await session.call("TYPE", name)
        if destination.kind == "stream" and held not in {b"none", b"stream"}:
            raise Conflict(where, f"key {name!r} is a {held.decode()}, not a stream")
    for queue in topology.queues:
        limits = (queue.ttl_s, queue.expires_s, queue.max_length, queue.max_length_bytes, queue.max_priority)
        if any(limit is not None for limit in (*limits, queue.delivery_limit)) or queue.single_active_consumer:
            raise Unsupported(where, f"Redis has no limits, priorities or expiry per group ({queue.ref})")
        new = kinds.get(queue.ref.name) == "stream"
        if queue.ref.group and not new and await session.call("TYPE", queue.ref.name) != b"stream":
            raise NotFound(where, f"group {queue.ref.group!r} reads stream {queue.ref.name!r}, which does not exist")
    for binding in topology.bindings:
        if binding.queue is None:
            raise Unsupported(where, f"Redis routes nothing from {binding.source!r} to another destination")


async def create(session: Session, topology: Topology) -> None:
    """Create streams that are missing and groups, which read from the beginning."""
    streams = {one.name for one in topology.destinations if one.kind == "stream"}
    for queue in topology.queues:
        if queue.ref.group:
            await _group(session, queue.ref.name, queue.ref.group)
            if not queue.holds_dead_letters:
                streams.add(grave(queue))
        elif queue.kind != "channel" and not is_pattern(queue.ref.name):
            channel = any(one.name == queue.ref.name and one.kind == "channel" for one in topology.destinations)
            streams |= set() if channel else {queue.ref.name}
    for name in sorted(streams):
        if not await session.call("EXISTS", name):
            # Redis makes an empty stream for a group only; the stream stays when the group goes.
            await _group(session, name, "mqdash")
            await session.call("XGROUP", "DESTROY", name, "mqdash")


async def remove(session: Session, topology: Topology) -> None:
    """Delete groups with their retries, the dead-letter streams made for them, and streams."""
    keys = {one.name for one in topology.destinations if one.kind == "stream"}
    for queue in topology.queues:
        if queue.ref.group:
            await session.run([("XGROUP", "DESTROY", queue.ref.name, queue.ref.group)])
            await session.call("DEL", *retry_keys(queue.ref))
            if not queue.holds_dead_letters:
                keys.add(dlq_name(queue.ref.name))
        elif queue.kind != "channel":
            keys.add(queue.ref.name)
    for key in sorted(keys):
        if await session.call("TYPE", key) == b"stream":
            await session.call("DEL", key)


def grave(queue: Queue) -> str:
    """The dead-letter stream of a group."""
    return dlq_name(queue.ref.name) if queue.dead_letter is None else queue.dead_letter.destination


async def _group(session: Session, stream: str, group: str) -> None:
    result = (await session.run([("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")]))[0]
    if isinstance(result, Exception) and "BUSYGROUP" not in str(result):
        raise translated(session.broker, result, what=stream)
