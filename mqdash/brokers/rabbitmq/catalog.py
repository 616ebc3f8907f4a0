"""What exists and how full it is: from the management API when it answers, else from passive declares of known names.

Nothing here changes anything on the broker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mqdash.brokers import moves
from mqdash.errors import AccessRefused, BrokerUnavailable, Conflict, ConnectionLost, NotFound
from mqdash.model.delivery import Measurement, Source
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Page, Queue, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.rabbitmq.known import Known
    from mqdash.brokers.rabbitmq.link import Link
    from mqdash.brokers.rabbitmq.management import Management
    from mqdash.brokers.rabbitmq.scratch import Scratch
    from mqdash.clock import Clock

MAX_PAGE: Final = 500
NAMES_PER_REQUEST: Final = 30
STATS_AGE_S: Final = 2.0
"""The API's own figures move every 5 s; asking it more often than this costs the broker and tells nothing."""
_QUEUE_COLUMNS: Final = (
    "name,type,durable,auto_delete,exclusive,arguments,effective_policy_definition,consumers,message_stats,"
    "messages_ready,messages_unacknowledged"
)


class Catalog:
    """Reads topology and levels for one connection life."""

    def __init__(self, link: Link, scratch: Scratch, management: Management, known: Known, *, clock: Clock) -> None:
        self._link = link
        self._scratch = scratch
        self._management = management
        self._known = known
        self._clock = clock
        self._stats: dict[str, dict[str, Any]] = {}
        self._stats_at: dict[str, float] = {}

    # --- what exists -------------------------------------------------------------------------------------------------

    async def page(self, *, prefix: str, after: str | None, limit: int) -> Page:
        """See `mqdash.brokers.base.Observer.catalog`. Destinations and bindings between them come on the first page."""
        if await self._management.reachable():
            try:
                return await self._told_page(prefix, int(after or 1), max(1, min(limit, MAX_PAGE)))
            except BrokerUnavailable as error:
                if isinstance(error, ConnectionLost):
                    raise
        return await self._declared_page(prefix)

    async def _told_page(self, prefix: str, number: int, limit: int) -> Page:
        api, vhost = self._management, self._management.vhost
        found = await api.get(
            f"/queues/{vhost}",
            {
                "page": number,
                "page_size": limit,
                "sort": "name",
                "columns": _QUEUE_COLUMNS,
                "name": f"^(?!{re.escape(moves.WAIT_PREFIX)}){re.escape(prefix)}",
                "use_regex": "true",
            },
        )
        queues = [queue_of(row) for row in found["items"]]
        for row in found["items"]:
            self._known.seen(queue_of(row))
        names = {queue.ref.name for queue in queues}
        bindings = [row for row in await api.get(f"/bindings/{vhost}") if row["source"]]
        entities: list[Entity] = []
        if number == 1:
            bound = {row["source"] for row in bindings}
            rows = await api.get(f"/exchanges/{vhost}", {"columns": "name,type,durable,internal,arguments"})
            entities += [
                destination_of(row)
                for row in rows
                if row["name"].startswith(prefix)
                and row["name"]
                and (row["name"] in bound or not _built_in(row["name"]))
            ]
            between = [row for row in bindings if row["destination_type"] == "exchange"]
            entities += [binding_of(row) for row in between if row["source"].startswith(prefix)]
        graves = {queue.dead_letter for queue in self._known.queues.values() if queue.dead_letter is not None}
        entities += [_marked(queue, bindings, graves) for queue in queues]
        to_queues = [row for row in bindings if row["destination_type"] == "queue"]
        entities += [binding_of(row) for row in to_queues if row["destination"] in names]
        entities += [one for one in await self._attendants() if one.queue.name in names]
        more = number < int(found.get("page_count", 1))
        return Page(entities=tuple(entities), after=str(number + 1) if more else None, source="management API")

    async def _attendants(self) -> list[Attendant]:
        api, vhost = self._management, self._management.vhost
        rows = await api.get(f"/consumers/{vhost}")
        channels = await api.get(
            f"/vhosts/{vhost}/channels", {"columns": "name,messages_unacknowledged,consumer_count"}
        )
        alone = {row["name"]: row.get("messages_unacknowledged") for row in channels if row.get("consumer_count") == 1}
        return [attendant_of(row, self._known.tags, alone) for row in rows]

    async def _declared_page(self, prefix: str) -> Page:
        known = self._known
        entities: list[Entity] = [one for one in known.destinations.values() if one.name.startswith(prefix)]
        names = sorted(name for name in {*known.queues, *known.asked} if name.startswith(prefix))
        present = [name for name in names if await self._depth(name) is not None]
        entities += [known.queues.get(name) or Queue(ref=QueueRef(name), known=False) for name in present]
        there = {one.ref.name for one in entities if isinstance(one, Queue)}
        entities += [one for one in known.bindings if one.queue is None or one.queue.name in there]
        why = f"passive declares of known names; management API: {self._management.missing}"
        return Page(entities=tuple(entities), source=why)

    # --- how full it is ----------------------------------------------------------------------------------------------

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """See `mqdash.brokers.base.Observer.measure`.

        Depth and consumers are live (passive declare); what is in flight and the totals come from the API, up to 5 s
        old, and are None without it.
        """
        self._known.asked.update(ref.name for ref in queues)
        stats = await self._statistics([ref.name for ref in queues])
        measured = []
        for ref in queues:
            depth = await self._depth(ref.name)
            if depth is None:
                continue
            delayed = await self._delayed(ref.name, stats)
            measured.append(_measurement(ref, depth, delayed, stats.get(ref.name), self._clock.now()))
        return measured

    async def _depth(self, name: str) -> tuple[int, int] | None:
        """(ready messages, consumers), or None when there is no such queue."""
        if "\r" in name or "\n" in name:
            return None  # the broker never answers a declare of such a name
        try:
            answer = await self._scratch.call("queue_declare", name, passive=True)
        except (NotFound, Conflict, AccessRefused):
            return None
        return answer.message_count, answer.consumer_count

    async def _delayed(self, name: str, stats: dict[str, dict[str, Any]]) -> int | None:
        """What sits in the queue's wait ladder; None where nobody can tell which rungs exist.

        A missing rung is never asked for: the broker logs every wrong question.
        """
        known = self._known
        rungs = [wait.ref.name for wait in moves.wait_queues(name)]
        if not stats and name not in known.declared_here and not known.rungs.intersection(rungs):
            return None
        waiting = 0
        for rung in rungs:
            if rung not in stats and rung not in known.rungs:
                continue
            depth = await self._depth(rung)
            if depth is None:
                known.rungs.discard(rung)
            else:
                waiting += depth[0]
        return waiting

    async def _statistics(self, names: list[str]) -> dict[str, dict[str, Any]]:
        if not await self._management.reachable():
            return {}
        now = self._clock.monotonic()
        old = [name for name in names if now - self._stats_at.get(name, -STATS_AGE_S) >= STATS_AGE_S]
        try:
            for start in range(0, len(old), NAMES_PER_REQUEST):
                await self._read_statistics(old[start : start + NAMES_PER_REQUEST])
        except BrokerUnavailable as error:
            if isinstance(error, ConnectionLost):
                raise
            return {}
        return self._stats

    async def _read_statistics(self, names: list[str]) -> None:
        alternatives = "|".join(re.escape(name) for name in names)
        rung_names = "|".join(re.escape(name) for name, _ in moves.RUNGS)
        pattern = f"^(?:(?:{alternatives})|{re.escape(moves.WAIT_PREFIX)}(?:{alternatives})\\.(?:{rung_names}))$"
        query: dict[str, str | int] = {"page": 1, "page_size": MAX_PAGE, "columns": _QUEUE_COLUMNS}
        query |= {"name": pattern, "use_regex": "true"}
        found = await self._management.get(f"/queues/{self._management.vhost}", query)
        now = self._clock.monotonic()
        for name in names:
            self._stats_at[name] = now
            for gone in (name, *(wait.ref.name for wait in moves.wait_queues(name))):
                self._stats.pop(gone, None)
        for row in found["items"]:
            self._stats[row["name"]] = row
            if not moves.is_wait_queue(row["name"]):
                self._known.seen(queue_of(row))


def _measurement(
    ref: QueueRef, depth: tuple[int, int], delayed: int | None, row: dict[str, Any] | None, now_s: float
) -> Measurement:
    waiting, consumers = depth
    if row is None:
        return Measurement(
            queue=ref,
            at_s=now_s,
            source=Source.TOLD,
            waiting=waiting,
            consumers=consumers,
            delayed=delayed,
            detail="passive declare",
        )
    stats = row.get("message_stats", {})
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=waiting,
        consumers=consumers,
        delayed=delayed,
        in_flight=row.get("messages_unacknowledged"),
        in_total=stats.get("publish"),
        out_total=_sum(stats, "ack", "deliver_no_ack", "get_no_ack"),
        redelivered_total=stats.get("redeliver"),
        detail="depth and consumers: passive declare; in flight and totals: management API, up to 5 s old",
    )


def _sum(stats: dict[str, Any], *names: str) -> int | None:
    """The sum of those that are there; None when none is (a fresh queue lacks them: missing is not 0)."""
    there = [stats[name] for name in names if name in stats]
    return sum(there) if there else None


def queue_of(row: dict[str, Any]) -> Queue:
    """A queue from the API's row; its arguments win over its policy."""
    limits = {**row.get("effective_policy_definition", {}), **_stripped(row.get("arguments", {}))}
    exchange = limits.get("dead-letter-exchange")
    return Queue(
        ref=QueueRef(row["name"]),
        kind=row.get("type") or str(limits.get("queue-type", "classic")),
        durable=bool(row.get("durable", True)),
        exclusive=bool(row.get("exclusive", False)),
        auto_delete=bool(row.get("auto_delete", False)),
        dead_letter=None if exchange is None else Route(exchange, str(limits.get("dead-letter-routing-key", ""))),
        ttl_s=_seconds(limits.get("message-ttl")),
        expires_s=_seconds(limits.get("expires")),
        max_length=_whole(limits.get("max-length")),
        max_length_bytes=_whole(limits.get("max-length-bytes")),
        overflow=limits.get("overflow"),
        max_priority=_whole(limits.get("max-priority")),
        delivery_limit=_whole(limits.get("delivery-limit")),
        single_active_consumer=limits.get("single-active-consumer") is True,
    )


def _stripped(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("x-"): value for name, value in arguments.items()}


def _seconds(value: object) -> float | None:
    return value / 1000 if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def destination_of(row: dict[str, Any]) -> Destination:
    """An exchange from the API's row."""
    return Destination(
        name=row["name"],
        kind=row["type"],
        durable=bool(row.get("durable", True)),
        internal=bool(row.get("internal", False)),
        alternate=row.get("arguments", {}).get("alternate-exchange"),
    )


def binding_of(row: dict[str, Any]) -> Binding:
    """A binding from the API's row."""
    to_queue = row["destination_type"] == "queue"
    return Binding(
        source=row["source"],
        queue=QueueRef(row["destination"]) if to_queue else None,
        destination=None if to_queue else row["destination"],
        key=row["routing_key"],
        headers=tuple((str(name), str(value)) for name, value in row.get("arguments", {}).items()),
    )


def attendant_of(row: dict[str, Any], ours: set[str], in_flight: dict[str, int | None]) -> Attendant:
    """A consumer from the API's row."""
    channel = row.get("channel_details", {})
    if not isinstance(channel, dict):
        channel = {}
    host, port = channel.get("peer_host"), channel.get("peer_port")
    return Attendant(
        queue=QueueRef(row["queue"]["name"]),
        name=row["consumer_tag"],
        address=f"{host}:{port}" if host and port else "",
        prefetch=row.get("prefetch_count"),
        in_flight=in_flight.get(str(channel.get("name", ""))),
        ours=row["consumer_tag"] in ours,
    )


def _built_in(name: str) -> bool:
    return not name or name.startswith("amq.")


def _marked(queue: Queue, bindings: list[dict[str, Any]], graves: set[Route]) -> Queue:
    """The queue, marked when dead letters go to it: named in a route, or bound to somebody's dead-letter exchange."""
    name = queue.ref.name
    behind = {row["source"] for row in bindings if row["destination"] == name and row["destination_type"] == "queue"}
    holds = any(route.key == name if not route.destination else route.destination in behind for route in graves)
    return msgspec.structs.replace(queue, holds_dead_letters=True) if holds else queue
