"""How full queues are: live from passive declares where those change nothing, else from the management API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mqdash.brokers import moves
from mqdash.brokers.rabbitmq.rows import queue_of
from mqdash.errors import AccessRefused, BrokerUnavailable, Conflict, ConnectionLost, NotFound
from mqdash.model.delivery import Measurement, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.rabbitmq.known import Known
    from mqdash.brokers.rabbitmq.management import Management
    from mqdash.brokers.rabbitmq.scratch import Scratch
    from mqdash.clock import Clock
    from mqdash.model.topology import QueueRef

MAX_PAGE: Final = 500
NAMES_PER_REQUEST: Final = 30
STATS_AGE_S: Final = 2.0
"""The API's own figures move every 5 s; asking it more often than this costs the broker and tells nothing."""
STATS_KEPT_S: Final = 60.0
ASK_REFUSED_AGAIN_S: Final = 60.0
QUEUE_COLUMNS: Final = (
    "name,type,durable,auto_delete,exclusive,arguments,effective_policy_definition,consumers,message_stats,"
    "messages,messages_ready,messages_unacknowledged"
)
_STILL_THERE: Final = "down or inaccessible"
"""In a 404: the queue exists, its node does not answer."""


class Level(NamedTuple):
    """Ready messages and consumers of a queue that exists; None = nobody tells. `source` says who told."""

    waiting: int | None
    consumers: int | None
    source: str


class Levels:
    """Reads depths and totals for one connection life."""

    def __init__(self, scratch: Scratch, management: Management, known: Known, *, clock: Clock) -> None:
        self._scratch = scratch
        self._management = management
        self._known = known
        self._clock = clock
        self._stats: dict[str, dict[str, Any]] = {}
        self._stats_at: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}

    async def measure(self, queues: Sequence[QueueRef]) -> Sequence[Measurement]:
        """See `mqdash.brokers.base.Observer.measure`.

        Depth and consumers are live (passive declare); what is in flight and the totals come from the API, up to 5 s
        old, and are None without it. A queue that a passive declare would keep alive (`x-expires`, R30) or that is
        another connection's own is measured by the API alone.
        """
        self._known.asked.update(ref.name for ref in queues)
        stats = await self._statistics([ref.name for ref in queues])
        measured = []
        for ref in queues:
            level = await self._level(ref.name, stats)
            if level is None:
                continue
            delayed = await self._delayed(ref.name, stats or {})
            measured.append(_measurement(ref, level, delayed, (stats or {}).get(ref.name), self._clock.now()))
        return measured

    async def exists(self, name: str) -> bool:
        """Whether the queue is there, without the API; one that may not be asked counts as there."""
        return await self._level(name, None) is not None

    async def _level(self, name: str, stats: dict[str, dict[str, Any]] | None) -> Level | None:
        """None when there is no such queue; `stats` None = no API."""
        reason = self._reason_not_to_ask(name)
        if not reason:
            try:
                depth = await self._depth(name)
            except (Conflict, AccessRefused):
                self._refused_at[name] = self._clock.monotonic()
                reason = self._reason_not_to_ask(name)
            else:
                return None if depth is None else Level(*depth, "passive declare")
        if stats is None:
            return Level(None, None, f"not measured: {reason}, and the management API is not in use")
        row = stats.get(name)
        if row is None:
            return None
        return Level(row.get("messages_ready"), row.get("consumers"), f"management API, up to 5 s old: {reason}")

    def _reason_not_to_ask(self, name: str) -> str:
        """Why no passive declare is sent; "" when one may be."""
        kept = self._known.queues.get(name)
        if kept is not None and kept.expires_s is not None:
            return f"it expires after {kept.expires_s:g} s unused, and a passive declare counts as use"
        if kept is not None and kept.exclusive and name not in self._known.declared_here:
            return "it is exclusive to another connection"
        if self._clock.monotonic() - self._refused_at.get(name, -ASK_REFUSED_AGAIN_S) < ASK_REFUSED_AGAIN_S:
            return "the broker refuses a passive declare of it"
        return ""

    async def _depth(self, name: str) -> tuple[int, int] | None:
        """(ready messages, consumers), or None when there is no such queue.

        Raises:
            Conflict, AccessRefused: it may not be asked.
        """
        if "\r" in name or "\n" in name:
            return None  # the broker never answers a declare of such a name
        try:
            answer = await self._scratch.call("queue_declare", name, passive=True)
        except NotFound as error:
            if _STILL_THERE not in error.text:
                self._forget(name)
            return None
        return answer.message_count, answer.consumer_count

    def _forget(self, name: str) -> None:
        """It is gone: it is not asked for again before somebody names it."""
        self._known.gone(name)
        self._drop_statistics(name)
        self._refused_at.pop(name, None)

    async def _delayed(self, name: str, stats: dict[str, dict[str, Any]]) -> int | None:
        """What sits in the queue's wait ladder or is being handed back from it; None where nobody can tell which rungs exist.

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
            try:
                depth = await self._depth(rung)
            except (Conflict, AccessRefused):
                depth = None
            if depth is None:
                known.rung_gone(rung)
            else:
                waiting += depth[0] + (_in_flight(stats.get(rung, {})) or 0)
        return waiting

    # --- what the API says -------------------------------------------------------------------------------------------

    async def _statistics(self, names: list[str]) -> dict[str, dict[str, Any]] | None:
        """Rows by name; None without the API."""
        if not await self._management.reachable():
            return None
        now = self._clock.monotonic()
        old = [name for name in names if now - self._stats_at.get(name, -STATS_AGE_S) >= STATS_AGE_S]
        try:
            for start in range(0, len(old), NAMES_PER_REQUEST):
                await self._read_statistics(old[start : start + NAMES_PER_REQUEST])
        except BrokerUnavailable as error:
            if isinstance(error, ConnectionLost):
                raise
            return None
        for name in [name for name, at in self._stats_at.items() if now - at > STATS_KEPT_S]:
            self._drop_statistics(name)
        return self._stats

    async def _read_statistics(self, names: list[str]) -> None:
        alternatives = "|".join(re.escape(name) for name in names)
        rung_names = "|".join(re.escape(name) for name, _ in moves.RUNGS)
        pattern = f"^(?:(?:{alternatives})|{re.escape(moves.WAIT_PREFIX)}(?:{alternatives})\\.(?:{rung_names}))$"
        query: dict[str, str | int] = {"page": 1, "page_size": MAX_PAGE, "columns": QUEUE_COLUMNS}
        query |= {"name": pattern, "use_regex": "true"}
        found = await self._management.get(f"/queues/{self._management.vhost}", query)
        now = self._clock.monotonic()
        for name in names:
            self._drop_statistics(name)
            self._stats_at[name] = now
        for row in found["items"]:
            self._stats[row["name"]] = row
            if not moves.is_wait_queue(row["name"]):
                self._known.seen(queue_of(row))

    def _drop_statistics(self, name: str) -> None:
        self._stats_at.pop(name, None)
        for one in (name, *(wait.ref.name for wait in moves.wait_queues(name))):
            self._stats.pop(one, None)


def _measurement(
    ref: QueueRef, level: Level, delayed: int | None, row: dict[str, Any] | None, now_s: float
) -> Measurement:
    if row is None:
        return Measurement(
            queue=ref,
            at_s=now_s,
            source=Source.TOLD,
            waiting=level.waiting,
            consumers=level.consumers,
            delayed=delayed,
            detail=level.source,
        )
    stats = row.get("message_stats", {})
    return Measurement(
        queue=ref,
        at_s=now_s,
        source=Source.TOLD,
        waiting=level.waiting,
        consumers=level.consumers,
        delayed=delayed,
        in_flight=_in_flight(row),
        in_total=stats.get("publish"),
        out_total=_sum(stats, "ack", "deliver_no_ack", "get_no_ack"),
        redelivered_total=stats.get("redeliver"),
        detail=f"depth and consumers: {level.source}; in flight and totals: management API, up to 5 s old",
    )


def _in_flight(row: dict[str, Any]) -> int | None:
    """With consumers, or on the way to a dead-letter target that has not confirmed yet (R43: neither ready nor unacked)."""
    if "messages" in row and "messages_ready" in row:
        return max(0, int(row["messages"]) - int(row["messages_ready"]))
    return row.get("messages_unacknowledged")


def _sum(stats: dict[str, Any], *names: str) -> int | None:
    """The sum of those that are there; None when none is (a fresh queue lacks them: missing is not 0)."""
    there = [stats[name] for name in names if name in stats]
    return sum(there) if there else None
