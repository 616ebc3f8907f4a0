"""Measurements and catalogue by commands that only look (S18): XINFO, XRANGE, SCAN, TYPE, PUBSUB, ZCARD, HLEN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.redis.entries import covers, dlq_name, flat, is_dlq, is_pattern, retry_keys
from mqdash.brokers.redis.session import Lost
from mqdash.errors import ConnectionLost
from mqdash.model.delivery import Measurement, Source
from mqdash.model.message import Family
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Page, Queue, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mqdash.brokers.redis.known import Known
    from mqdash.brokers.redis.session import Session

SCAN_STEP: Final = 1000
SCANNED_AT_MOST: Final = 200_000
"""Keys looked at for one page: a huge keyspace is listed in part, and the page says so."""


async def measure(
    session: Session, queues: Sequence[QueueRef], *, now_s: float, channels: frozenset[str]
) -> list[Measurement]:
    """Levels of groups, streams and channels; `channels` are those declared."""
    found = []
    for ref in queues:
        stream, groups, due, kept, listeners = await _ask(
            session,
            [
                ("XINFO", "STREAM", ref.name),
                ("XINFO", "GROUPS", ref.name),
                ("ZCARD", retry_keys(ref)[0]),
                ("HLEN", retry_keys(ref)[1]),
                ("PUBSUB", "NUMSUB", ref.name),
            ],
        )
        if not isinstance(stream, list):
            one = _channel(ref, listeners, now_s, known=ref.name in channels)
        elif ref.group:
            one = await _group(session, ref, flat(stream), groups, (due, kept), now_s)
        else:
            one = _stream(ref, flat(stream), now_s)
        found += [one] if one is not None else []
    return found


async def _ask(session: Session, commands: list[tuple[Any, ...]]) -> list[Any]:
    """Results with error replies in place: a key of another type is no stream, which is an answer."""
    results = await session.run(commands)
    lost = next((result for result in results if isinstance(result, Lost)), None)
    if lost is not None:
        raise ConnectionLost(session.broker, str(lost))
    return results


async def _group(
    session: Session, ref: QueueRef, stream: dict[str, Any], groups: Any, retries: tuple[Any, Any], now_s: float
) -> Measurement | None:
    group = next((one for one in map(flat, groups) if one["name"].decode() == ref.group), None)
    if group is None:
        return None
    waiting, read = group.get("lag"), group.get("entries-read")
    due, kept = (count if isinstance(count, int) else 0 for count in retries)
    leased = max(kept - 2 * due, 0)  # each retry has a copy and a count, a leased one an owner, too
    oldest = (await _ask(session, [("XRANGE", ref.name, f"({group['last-delivered-id'].decode()}", "+", "COUNT", 1)]))[
        0
    ]
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=waiting,
        in_flight=group["pending"] + leased,
        delayed=due - leased,
        consumers=group["consumers"],
        in_total=stream.get("entries-added"),
        out_total=None if read is None else max(read - group["pending"] - due, 0),
        oldest_age_s=max(now_s - _added_s(oldest[0][0]), 0.0) if isinstance(oldest, list) and oldest else None,
        detail="XINFO; after deletes or trims lag is an estimate"
        if waiting is not None
        else "XINFO; lag not known (S17)",
    )


def _stream(ref: QueueRef, stream: dict[str, Any], now_s: float) -> Measurement:
    first = stream["first-entry"]
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=stream["length"],
        in_flight=0,
        consumers=0,
        in_total=stream.get("entries-added"),
        oldest_age_s=max(now_s - _added_s(first[0]), 0.0) if first else None,
        detail="XINFO",
    )


def _channel(ref: QueueRef, listeners: Any, now_s: float, *, known: bool) -> Measurement | None:
    count = listeners[1] if isinstance(listeners, list) else 0
    if ref.group or (not known and not count):
        return None
    detail = "a channel keeps nothing; PUBSUB NUMSUB"
    if is_pattern(ref.name):
        return Measurement(queue=ref, at_s=now_s, source=Source.TOLD, detail="who listens to a pattern is not told")
    return Measurement(queue=ref, at_s=now_s, source=Source.TOLD, consumers=count, detail=detail)


def _added_s(entry_id: bytes) -> float:
    return int(entry_id.partition(b"-")[0]) / 1000


async def catalog(
    session: Session,
    *,
    prefix: str,
    after: str | None,
    limit: int,
    known: Known,
) -> Page:
    """Streams by SCAN, channels that are declared or have subscribers, patterns that we listen to: others' are not told."""
    streams, complete = await _streams(session, prefix)
    active = (await _ask(session, [("PUBSUB", "CHANNELS", _glob(prefix) + "*")]))[0]
    channels = {name.decode("utf-8", "replace") for name in active if isinstance(active, list)}
    heard = set(channels) | {name for name in known.listening if name.startswith(prefix)}
    channels = heard | {name for name in known.channels if name.startswith(prefix)}
    rest = [name for name in sorted({*streams, *channels}) if after is None or name > after]
    entities: list[Entity] = []
    for name in rest[:limit]:
        if name in channels:
            entities += _channel_entities(name, known.listening, heard=name in heard)
        if name in streams:
            entities += await _stream_entities(session, name, known)
    source = "SCAN, XINFO" if complete else f"SCAN (only {SCANNED_AT_MOST} keys looked at), XINFO"
    return Page(entities=tuple(entities), after=rest[limit - 1] if len(rest) > limit else None, source=source)


async def _streams(session: Session, prefix: str) -> tuple[set[str], bool]:
    names: set[str] = set()
    complete = True
    for node in await session.each():
        cursor, looked = b"0", 0
        while looked < SCANNED_AT_MOST:
            # Our dead-letter streams begin with a brace: they belong to the page of their stream.
            cursor, found = await node.call("SCAN", cursor, "COUNT", SCAN_STEP, "TYPE", "stream")
            looked += SCAN_STEP
            texts = (name.decode("utf-8", "replace") for name in found)
            names |= {name for name in texts if name.removeprefix("{").startswith(prefix)}
            if cursor == b"0":
                break
        complete = complete and cursor == b"0"
    return names, complete


async def _stream_entities(session: Session, name: str, known: Known) -> list[Entity]:
    bound = known.destinations[name].max_length if name in known.destinations else None
    found: list[Entity] = [Destination(name=name, kind="stream", family=Family.REDIS_STREAMS, max_length=bound)]
    if is_dlq(name):
        ref = QueueRef(name)
        found.append(Queue(ref=ref, kind="stream", family=Family.REDIS_STREAMS, holds_dead_letters=True))
        found.append(Binding(source=name, queue=ref))
    groups = (await _ask(session, [("XINFO", "GROUPS", name)]))[0]
    for group in map(flat, groups if isinstance(groups, list) else ()):
        ref = QueueRef(name, group["name"].decode("utf-8", "replace"))
        grave = Route(dlq_name(name))
        found.append(Queue(ref=ref, kind="group", family=Family.REDIS_STREAMS, dead_letter=grave))
        found.append(Binding(source=name, queue=ref))
        consumers = (await _ask(session, [("XINFO", "CONSUMERS", name, group["name"])]))[0]
        for one in map(flat, consumers if isinstance(consumers, list) else ()):
            who = one["name"].decode("utf-8", "replace")
            idle_s, ours = one["idle"] / 1000, (ref, who) in known.consumers
            found.append(Attendant(queue=ref, name=who, in_flight=one["pending"], ours=ours, idle_s=idle_s))
    return found


def _channel_entities(name: str, listening: Mapping[str, int], *, heard: bool) -> list[Entity]:
    """A channel with those who listen to itself and, of our own, to a pattern that covers it."""
    ref = QueueRef(name)
    found: list[Entity] = []
    if heard:
        found.append(Queue(ref=ref, kind="channel", family=Family.REDIS_PUBSUB, durable=False))
    if is_pattern(name):
        return found
    found.append(Destination(name=name, kind="channel", family=Family.REDIS_PUBSUB, durable=False))
    if heard:
        found.append(Binding(source=name, queue=ref))
    patterns = sorted(pattern for pattern in listening if is_pattern(pattern) and covers(pattern, name))
    return found + [Binding(source=name, queue=QueueRef(pattern), key=pattern) for pattern in patterns]


def _glob(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)
