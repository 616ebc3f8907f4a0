"""What the embedded Redis tells of itself: entities of its catalogue, measurements of groups and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.embedded.keyspace import dlq_name, is_dlq
from mqdash.brokers.embedded.pubsub import is_pattern
from mqdash.model.delivery import Measurement, Source
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Queue, QueueRef, Route

if TYPE_CHECKING:
    from mqdash.brokers.embedded.keyspace import Keyspace
    from mqdash.brokers.embedded.pubsub import Channels
    from mqdash.brokers.embedded.stream import Stream, StreamGroup


def stream_entities(keys: Keyspace, stream: Stream, now_s: float) -> list[Entity]:
    """A stream with its groups and their consumers, and itself as a place of dead letters."""
    found: list[Entity] = [
        Destination(name=stream.name, kind="stream", family=Family.REDIS_STREAMS, max_length=stream.max_length)
    ]
    graves = {grave(group) for other in keys.streams.values() for group in other.groups.values()}
    if is_dlq(stream.name) or stream.name in graves:
        ref = QueueRef(stream.name)
        found.append(Queue(ref=ref, kind="stream", family=Family.REDIS_STREAMS, holds_dead_letters=True))
        found.append(Binding(source=stream.name, queue=ref))
    for name, group in sorted(stream.groups.items()):
        ref = QueueRef(stream.name, name)
        found.append(Queue(ref=ref, kind="group", family=Family.REDIS_STREAMS, dead_letter=Route(grave(group))))
        found.append(Binding(source=stream.name, queue=ref))
        found += [
            Attendant(queue=ref, name=one.name, prefetch=one.prefetch, in_flight=one.in_flight, ours=True)
            for one in group.readers
        ]
        found += _left_behind(ref, group, now_s)
    return found


def _left_behind(ref: QueueRef, group: StreamGroup, now_s: float) -> list[Entity]:
    """Consumers that are gone and still hold entries: these stay theirs until somebody claims them (S6)."""
    here = {one.name for one in group.readers}
    given_s: dict[str, float] = {}
    for pending in group.pending.values():
        if pending.owner not in here:
            given_s[pending.owner] = max(pending.given_s, given_s.get(pending.owner, 0.0))
    return [
        Attendant(queue=ref, name=name, in_flight=group.holding[name], ours=True, idle_s=now_s - last_s)
        for name, last_s in given_s.items()
    ]


def channel_entities(channels: Channels, name: str) -> list[Entity]:
    """A channel or pattern with its subscribers; a channel is bound to the patterns that cover it."""
    ref = QueueRef(name)
    found: list[Entity] = []
    if not is_pattern(name):
        found.append(Destination(name=name, kind="channel", family=Family.REDIS_PUBSUB, durable=False))
        found += [
            Binding(source=name, queue=QueueRef(pattern), key=pattern)
            for pattern in sorted({pattern for one in channels.subscribers for pattern in one.patterns})
            if channels.matches(pattern, name)
        ]
    if any(name in one.channels or name in one.patterns for one in channels.subscribers):
        found.append(Queue(ref=ref, kind="channel", family=Family.REDIS_PUBSUB, durable=False))
        if not is_pattern(name):
            found.append(Binding(source=name, queue=ref))
    found += [
        Attendant(queue=ref, name=one.name, ours=True)
        for one in channels.subscribers
        if name in one.channels or name in one.patterns
    ]
    return found


def measured(keys: Keyspace, ref: QueueRef, now_s: float) -> Measurement | None:
    """A group by its pending list, a stream without a group by its length, a channel by its subscribers; None = no such."""
    stream = keys.streams.get(ref.name)
    if stream is None:
        return None if ref.group else _measured_channel(keys, ref, now_s)
    if not ref.group:
        return Measurement(
            queue=ref,
            at_s=now_s,
            source=Source.TOLD,
            waiting=len(stream.ids),
            in_flight=0,
            consumers=0,
            in_total=stream.added,
            dropped_total=stream.dropped,
            oldest_age_s=now_s - stream.entries[stream.ids[0]].at_s if stream.ids else None,
            detail="embedded",
        )
    group = stream.groups.get(ref.group)
    return None if group is None else _measured_group(group, ref, now_s)


def _measured_channel(keys: Keyspace, ref: QueueRef, now_s: float) -> Measurement | None:
    channels = keys.channels
    known = ref.name in keys.declared_channels or ref.name in channels.counts
    if not known and not channels.listeners(ref.name):
        return None
    counts = channels.count(ref.name)
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        consumers=channels.listeners(ref.name),
        in_total=counts.published,
        out_total=counts.delivered,
        dropped_total=counts.gone,
        detail="embedded: a channel keeps nothing; dropped = copies that reached nobody",
    )


def grave(group: StreamGroup) -> str:
    """Where the group's dead letters go."""
    return dlq_name(group.stream.name) if group.dead_letter is None else group.dead_letter.destination


def _measured_group(group: StreamGroup, ref: QueueRef, now_s: float) -> Measurement:
    stream = group.stream
    waiting = group.waiting
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=waiting,
        in_flight=len(group.pending) + group.retries.leased,
        delayed=group.retries.waiting,
        consumers=len(group.readers),
        in_total=group.received,
        out_total=group.out,
        redelivered_total=group.again + group.retries.again,
        expired_total=0,
        dropped_total=group.dropped,
        dead_total=0,
        oldest_age_s=max(now_s - stream.entries[stream.ids[-waiting]].at_s, 0.0) if waiting else None,
        detail="embedded",
    )
