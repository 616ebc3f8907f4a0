"""Measurements and catalogue of a cluster: lag from outside, owners, dead letters (K24)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiokafka import TopicPartition

from mqdash.brokers.kafka.cluster import places_of
from mqdash.brokers.kafka.records import DLQ_SUFFIX, LETTERS_PREFIX, is_side_topic, retry_topics
from mqdash.model.delivery import Measurement, PartitionMeasure, Source
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Page, Queue, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.brokers.kafka.ages import Ages
    from mqdash.brokers.kafka.cluster import Cluster, Ends, GroupMember

SOURCE = "committed and end offsets"


async def measure(
    cluster: Cluster, queues: Sequence[QueueRef], *, now_s: float, held: Callable[[QueueRef], int | None], ages: Ages
) -> list[Measurement]:
    """Levels of these queues; `held(queue)` is what our own members hold, None when none of them is ours."""
    topics = await cluster.topics()
    known = [ref for ref in queues if ref.name in topics]
    names = {name for ref in known for name in (ref.name, *(retry_topics(*_parts(ref)) if ref.group else ()))}
    ends = await cluster.ends(places_of(topics, *sorted(names)))
    found = [
        await _group(cluster, ref, topics, ends, now_s=now_s, held=held(ref))
        if ref.group
        else await _letters(cluster, ref, topics, ends, now_s=now_s)
        for ref in known
    ]
    return await _with_ages(found, ends, ages)


async def _with_ages(measured: list[Measurement], ends: dict[TopicPartition, Ends], ages: Ages) -> list[Measurement]:
    """The oldest first record of all partitions with something to read; groups that are behind the most are asked first."""
    firsts = {one.queue: _firsts(one, ends) for one in measured}
    behind = sorted(measured, key=lambda one: -(one.waiting or 0))
    told: dict[QueueRef, float] = {}
    asked: dict[TopicPartition, int] = {}
    for one in behind:  # two groups of a topic may be at different places: the first one asked wins
        asked = {**firsts[one.queue], **asked}
    at_s = await ages.at(asked)
    for one in measured:
        stamps = [
            at_s[place] for place, offset in firsts[one.queue].items() if place in at_s and asked[place] == offset
        ]
        if stamps:
            told[one.queue] = max(one.at_s - min(stamps), 0.0)
    return [msgspec.structs.replace(one, oldest_age_s=told.get(one.queue)) for one in measured]


def _firsts(measured: Measurement, ends: dict[TopicPartition, Ends]) -> dict[TopicPartition, int]:
    places = {TopicPartition(measured.queue.name, one.partition): one for one in measured.partitions}
    return {
        place: max(one.committed or 0, ends[place].start) for place, one in places.items() if _waits(one, ends[place])
    }


def _waits(one: PartitionMeasure, ends: Ends) -> bool:
    return ends.end > max(one.committed or 0, ends.start)


async def _group(
    cluster: Cluster,
    ref: QueueRef,
    topics: dict[str, int],
    ends: dict[TopicPartition, Ends],
    *,
    now_s: float,
    held: int | None,
) -> Measurement:
    committed = await cluster.committed(ref.group)
    members = await cluster.members(ref.group)
    if members is not None:  # a group may read other topics, too: those members are not this queue's
        members = tuple(member for member in members if ref.name in member.topics)
    partitions = tuple(
        _partition(place, ends[place], committed.get(place), members)
        for place in places_of(topics, ref.name)
        if place in ends
    )
    # Without a commit there is no lag for the group (K24), but all of it would be read.
    lag = sum(
        one.end - max(one.committed or 0, ends[TopicPartition(ref.name, one.partition)].start) for one in partitions
    )
    retries = [place for place in places_of(topics, *retry_topics(*_parts(ref))) if place in ends]
    delayed = sum(ends[place].end - max(committed.get(place, 0), ends[place].start) for place in retries)
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        # The commit may be newer than our count of what is held: never below nothing.
        waiting=max(lag - (held or 0), 0),
        in_flight=held,
        delayed=delayed,
        consumers=None if members is None else len(members),
        in_total=sum(one.end for one in partitions),
        out_total=sum(one.committed or 0 for one in partitions),
        dropped_total=sum(one.lost for one in partitions),
        partitions=partitions,
        detail=SOURCE
        if members is not None
        else f"{SOURCE}; KIP-848 group: its members are told to newer clients only",
    )


def _partition(
    place: TopicPartition, ends: Ends, committed: int | None, members: tuple[GroupMember, ...] | None
) -> PartitionMeasure:
    owner = next((one.client_id for one in members or () if (place.topic, place.partition) in one.places), "")
    return PartitionMeasure(
        partition=place.partition,
        end=ends.end,
        committed=committed,
        waiting=None if committed is None else ends.end - max(committed, ends.start),
        lost=0 if committed is None else max(ends.start - committed, 0),
        owner=owner,
    )


async def _letters(
    cluster: Cluster, ref: QueueRef, topics: dict[str, int], ends: dict[TopicPartition, Ends], *, now_s: float
) -> Measurement:
    """A topic asked for without a group: what it keeps and nobody has removed as a dead letter."""
    places = [place for place in places_of(topics, ref.name) if place in ends]
    cursors = await cluster.cursors(ref.name, {place: ends[place] for place in places})
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=sum(ends[place].end - cursors[place].offset - len(cursors[place].removed) for place in places),
        in_total=sum(ends[place].end for place in places),
        detail=SOURCE,
    )


async def catalog(
    cluster: Cluster, *, prefix: str, after: str | None, limit: int, ours: Callable[[GroupMember], bool]
) -> Page:
    """Topics by name with the groups that have committed to them or read them; `ours` knows our members."""
    topics = await cluster.topics()
    names = sorted(name for name in topics if name.startswith(prefix) and not is_side_topic(name))
    rest = [name for name in names if after is None or name > after]
    shown = rest[:limit]
    entities: list[Entity] = [
        Destination(name=name, kind="topic", family=Family.KAFKA, partitions=topics[name]) for name in shown
    ]
    for name in shown:
        if name.endswith(DLQ_SUFFIX):
            entities.append(Queue(ref=QueueRef(name), kind="group", family=Family.KAFKA, holds_dead_letters=True))
            entities.append(Binding(source=name, queue=QueueRef(name)))
    for group in await cluster.groups():
        if not group.startswith(LETTERS_PREFIX):
            entities += await _group_entities(cluster, group, frozenset(shown), ours)
    return Page(entities=tuple(entities), after=shown[-1] if len(rest) > limit else None, source="cluster metadata")


async def _group_entities(
    cluster: Cluster, group: str, shown: frozenset[str], ours: Callable[[GroupMember], bool]
) -> list[Entity]:
    members = await cluster.members(group) or ()
    read = {place.topic for place in await cluster.committed(group)}
    read |= {topic for member in members for topic in member.topics}
    found: list[Entity] = []
    for name in sorted(read & shown):
        ref = QueueRef(name, group)
        found.append(Queue(ref=ref, kind="group", family=Family.KAFKA, dead_letter=Route(name + DLQ_SUFFIX)))
        found.append(Binding(source=name, queue=ref))
        found += [
            Attendant(queue=ref, name=one.client_id, address=one.address, ours=ours(one))
            for one in members
            if name in one.topics
        ]
    return found


def _parts(ref: QueueRef) -> tuple[str, str]:
    return ref.name, ref.group
