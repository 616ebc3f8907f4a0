"""What exists and how full it is: from the management API when it answers, else from passive declares of known names.

Nothing here changes anything on the broker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mqdash.brokers import moves
from mqdash.brokers.rabbitmq.levels import MAX_PAGE, QUEUE_COLUMNS
from mqdash.brokers.rabbitmq.rows import attendant_of, binding_of, built_in, destination_of, marked, queue_of
from mqdash.errors import BrokerUnavailable, ConnectionLost
from mqdash.model.topology import Attendant, Entity, Page, Queue, QueueRef

if TYPE_CHECKING:
    from mqdash.brokers.rabbitmq.known import Known
    from mqdash.brokers.rabbitmq.levels import Levels
    from mqdash.brokers.rabbitmq.management import Management


class Catalog:
    """Reads topology for one connection life."""

    def __init__(self, levels: Levels, management: Management, known: Known) -> None:
        self._levels = levels
        self._management = management
        self._known = known
        self._listed: set[str] = set()  # the queues on the pages of one reading so far

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
                "columns": QUEUE_COLUMNS,
                "name": f"^(?!{re.escape(moves.WAIT_PREFIX)}){re.escape(prefix)}",
                "use_regex": "true",
            },
        )
        queues = [queue_of(row) for row in found["items"]]
        for row in found["items"]:
            self._known.seen(queue_of(row))
        names = {queue.ref.name for queue in queues}
        more = number < int(found.get("page_count", 1))
        self._forget_the_deleted(names, prefix, first=number == 1, last=not more)
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
                and (row["name"] in bound or not built_in(row["name"]))
            ]
            between = [row for row in bindings if row["destination_type"] == "exchange"]
            entities += [binding_of(row) for row in between if row["source"].startswith(prefix)]
        graves = {queue.dead_letter for queue in self._known.queues.values() if queue.dead_letter is not None}
        entities += [marked(queue, bindings, graves) for queue in queues]
        to_queues = [row for row in bindings if row["destination_type"] == "queue"]
        entities += [binding_of(row) for row in to_queues if row["destination"] in names]
        entities += [one for one in await self._attendants() if one.queue.name in names]
        return Page(entities=tuple(entities), after=str(number + 1) if more else None, source="management API")

    def _forget_the_deleted(self, names: set[str], prefix: str, *, first: bool, last: bool) -> None:
        """What a whole reading did not list is gone, save what was declared here meanwhile."""
        self._listed = names if first else self._listed | names
        if last:
            self._known.keep_only(self._listed, prefix)
            self._listed = set()

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
        present = [name for name in names if await self._levels.exists(name)]
        entities += [known.queues.get(name) or Queue(ref=QueueRef(name), known=False) for name in present]
        there = {one.ref.name for one in entities if isinstance(one, Queue)}
        entities += [one for one in known.bindings if one.queue is None or one.queue.name in there]
        why = f"passive declares of known names; management API: {self._management.missing}"
        return Page(entities=tuple(entities), source=why)
