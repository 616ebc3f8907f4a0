"""Watches one broker: what exists (`TopologySeen`) and how full it is (`Measured`). Reads only, and never faster than it is told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import MqdashError
from mqdash.lab.members import MEMBERS
from mqdash.model.events import Measured, Noted, TopologySeen
from mqdash.model.topology import Attendant, Binding, Destination, Entity, Queue, Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.brokers.base import Observer
    from mqdash.clock import Clock
    from mqdash.control.attachment import Attachment
    from mqdash.model.events import Event

log = logging.getLogger(__name__)

EMBEDDED_EVERY_S: Final = 0.25
REAL_EVERY_S: Final = 1.0
CATALOG_EVERY_S: Final = 5.0
CATALOG_AGAIN_S: Final = 1.0
"""After the first look on a connection: what a lab declares meanwhile (dead-letter streams) is seen soon."""
CATALOG_LIMIT: Final = 20_000
"""Entities read at most; more are said to be left out."""


class Monitor:
    """One per attachment; `run` until cancelled."""

    def __init__(self, attachment: Attachment, *, clock: Clock, emit: Callable[[Event], None]) -> None:
        self._attachment = attachment
        self._clock = clock
        self._emit = emit
        self._catalog_due_s = float("-inf")
        self._looked = False
        self._complained = ""

    async def run(self) -> None:
        """Watch each connection life until the link is closed."""
        every_s = EMBEDDED_EVERY_S if self._attachment.url.embedded else REAL_EVERY_S
        life: Observer
        async for life in self._attachment.link.lives():
            self._catalog_due_s, self._looked = float("-inf"), False
            while self._attachment.link.life is life:
                problem = ""
                try:
                    await self.look(life)
                    self._complained = ""
                except MqdashError as error:
                    problem = str(error)
                except Exception as error:  # a broker may answer anything; the next look may go well
                    log.exception("looking at %s", self._attachment.name)
                    problem = f"an answer nobody expected ({type(error).__name__})"
                await self._clock.sleep(every_s)
                if problem and self._attachment.link.life is life:  # the end of a life is told by its link
                    self._complain(problem)

    async def look(self, life: Observer) -> None:
        """Read the catalogue when it is due, and measure every queue of it once."""
        attachment, now = self._attachment, self._clock.monotonic()
        if now >= self._catalog_due_s:
            self._catalog_due_s = now + (CATALOG_EVERY_S if self._looked else CATALOG_AGAIN_S)
            self._looked = True
            await self._read_catalog(life)
        if attachment.topology is not None and attachment.topology.queues:
            measurements = await life.measure([queue.ref for queue in attachment.topology.queues])
            self._emit(Measured(broker=attachment.name, at_s=self._clock.now(), measurements=tuple(measurements)))

    async def _read_catalog(self, life: Observer) -> None:
        entities: list[Entity] = []
        after, source = None, ""
        while len(entities) < CATALOG_LIMIT:
            page = await life.catalog(after=after)
            entities += page.entities
            after, source = page.after, page.source
            if after is None:
                break
            await asyncio.sleep(0)
        attendants = tuple(entity for entity in entities if isinstance(entity, Attendant))
        topology = Topology(
            destinations=tuple(entity for entity in entities if isinstance(entity, Destination)),
            queues=tuple(entity for entity in entities if isinstance(entity, Queue)),
            bindings=tuple(entity for entity in entities if isinstance(entity, Binding)),
        )
        lab = self._attachment.lab
        if lab is not None:
            topology = merged(lab.topology, without_ours(topology))
            attendants = tuple(one for one in attendants if one.queue != MEMBERS)
        self._attachment.topology = topology
        self._emit(
            TopologySeen(
                broker=self._attachment.name,
                at_s=self._clock.now(),
                topology=topology,
                attendants=attendants,
                source=source,
            )
        )

    def _complain(self, text: str) -> None:
        if text != self._complained:
            self._complained = text
            log.warning("%s: %s", self._attachment.name, text)
            self._emit(
                Noted(broker=self._attachment.name, at_s=self._clock.now(), text=f"cannot look: {text}", level="look")
            )


def without_ours(topology: Topology) -> Topology:
    """A run's topology without the queue its members register on: bookkeeping, not traffic."""
    return msgspec.structs.replace(topology, queues=tuple(q for q in topology.queues if q.ref != MEMBERS))


def merged(declared: Topology, found: Topology) -> Topology:
    """What was declared, plus what was found beside it: a broker asked by passive declares tells no bindings or limits."""
    queues = {queue.ref for queue in declared.queues}
    names = {destination.name for destination in declared.destinations}
    bindings = {(b.source, b.queue, b.destination, b.key) for b in declared.bindings}
    return Topology(
        destinations=declared.destinations + tuple(d for d in found.destinations if d.name not in names),
        queues=declared.queues + tuple(q for q in found.queues if q.ref not in queues),
        bindings=declared.bindings
        + tuple(b for b in found.bindings if b.source and (b.source, b.queue, b.destination, b.key) not in bindings),
    )
