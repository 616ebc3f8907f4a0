"""What the embedded Kafka tells of itself: entities of its catalogue, measurements of groups and dead-letter topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.embedded.group import DLQ_SUFFIX
from mqdash.model.delivery import Measurement, PartitionMeasure, Source
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Queue, QueueRef

if TYPE_CHECKING:
    from mqdash.brokers.embedded.cluster import Cluster
    from mqdash.brokers.embedded.group import Group


def entities_of(cluster: Cluster, name: str) -> list[Entity]:
    """A topic with its groups, their members, and itself as a place of dead letters."""
    topic = cluster.topics[name]
    found: list[Entity] = [Destination(name=name, kind="topic", family=Family.KAFKA, partitions=len(topic.partitions))]
    groups = sorted((group for key, group in cluster.groups.items() if key[0] == name), key=lambda g: g.name)
    targets = {group.dead_letter.destination for group in cluster.groups.values()}
    if name in targets or name.endswith(DLQ_SUFFIX):
        ref = QueueRef(name)
        found.append(Queue(ref=ref, kind="group", family=Family.KAFKA, holds_dead_letters=True))
        found.append(Binding(source=name, queue=ref))
    for group in groups:
        ref = QueueRef(name, group.name)
        found.append(Queue(ref=ref, kind="group", family=Family.KAFKA, dead_letter=group.dead_letter))
        found.append(Binding(source=name, queue=ref))
        found += [
            Attendant(queue=ref, name=member.name, prefetch=member.prefetch, in_flight=member.unsettled, ours=True)
            for member in group.members
        ]
    return found


def measured(cluster: Cluster, ref: QueueRef, now_s: float) -> Measurement | None:
    """A group by its cursors; without a group, the dead letters the topic still holds; None when there is no such."""
    topic = cluster.topics.get(ref.name)
    group = cluster.groups.get((ref.name, ref.group))
    if topic is None or (group is None and ref.group):
        return None
    if group is None:
        return Measurement(
            queue=ref,
            at_s=now_s,
            source=Source.TOLD,
            waiting=cluster.letters_count(topic),
            in_flight=0,
            consumers=0,
            in_total=topic.appended,
            dropped_total=topic.dropped,
            detail="embedded",
        )
    return _measured_group(group, ref, now_s)


def _measured_group(group: Group, ref: QueueRef, now_s: float) -> Measurement:
    """`waiting` is what nobody holds yet: waiting + in flight = lag, so the counts add up (E2); partitions show lag."""
    logs = group.topic.partitions
    cursors = [group.cursors[group.topic.name, number] for number in range(len(logs))]
    ends = [log.end for log in logs]
    oldest = [record.at_s for log, cursor in zip(logs, cursors, strict=True) if (record := log.at(cursor.position))]
    delayed = sum(
        log.end - group.cursors[topic.name, number].position
        for topic in group.retries
        for number, log in enumerate(topic.partitions)
    )
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=sum(end - cursor.position for end, cursor in zip(ends, cursors, strict=True)),
        in_flight=sum(len(cursor.window) for cursor in group.cursors.values()),
        delayed=delayed,
        consumers=len(group.members),
        in_total=sum(end - cursor.origin for end, cursor in zip(ends, cursors, strict=True)),
        out_total=sum(cursor.out for cursor in cursors),
        redelivered_total=sum(cursor.again for cursor in group.cursors.values()),
        expired_total=0,
        dropped_total=sum(cursor.lost for cursor in group.cursors.values()),
        dead_total=0,
        oldest_age_s=max(now_s - min(oldest), 0.0) if oldest else None,
        partitions=tuple(
            PartitionMeasure(
                partition=number,
                end=log.end,
                committed=cursor.committed,
                waiting=None if cursor.committed is None else log.end - max(cursor.committed, log.start),
                lost=max(0, log.start - (cursor.committed if cursor.committed is not None else log.start)),
                owner="" if (owner := group.owners[number]) is None else owner.name,
            )
            for number, (log, cursor) in enumerate(zip(logs, cursors, strict=True))
        ),
        detail="embedded",
    )
