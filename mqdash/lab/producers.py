"""A producer: makes messages from its template and publishes them at a rate, in bursts, or one by one."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import BrokerError
from mqdash.lab.backoff import Backoff
from mqdash.lab.template import Fields, Template
from mqdash.model.actors import ProducerRecord, ProducerState
from mqdash.model.delivery import Outgoing, Receipt, Sent
from mqdash.model.events import Noted, ProducerChanged
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Route

if TYPE_CHECKING:
    import random

    from mqdash.brokers.base import Publisher
    from mqdash.lab.crew import Crew
    from mqdash.lab.scenario import ProducerSpec

TICK_S: Final = 0.02
LONGEST_WAIT_S: Final = 0.05
WINDOW: Final = 2000
BURST_BATCH: Final = 250
BACKLOG_S: Final = 1.0
"""What could not be sent for longer than this is not made up for: a rate is an aim, not a debt."""
REFUSED_TOLD_S: Final = 60.0
"""A refusal for the same reason is told again after so long."""


class Composer:
    """Drafts from a template: the n-th message of a seed is always the same."""

    def __init__(self, spec: ProducerSpec, *, rng: random.Random, instance: str) -> None:
        self._spec = spec
        self._rng = rng
        self._prefix = spec.prefix + instance
        self._next = spec.first
        self._to, self._key, self._body = Template(spec.to), Template(spec.key), Template(spec.body)
        self._headers = [(name, Template(text)) for name, text in spec.headers.items()]
        templates = (self._to, self._key, self._body, *(template for _, template in self._headers))
        self._fields = Fields(spec.fields, templates)
        self.pattern = Route(self._to.pattern, self._key.pattern)

    @property
    def prefix(self) -> str:
        """What its ids begin with."""
        return self._prefix

    def issued(self, number: int) -> bool:
        """Whether it has given out this number."""
        return self._spec.first <= number < self._next

    def draft(self) -> tuple[str, Draft]:
        """The next message and its destination."""
        number, self._next = self._next, self._next + 1
        values = self._fields.draw(self._rng)
        message_id = values["id"] = f"{self._prefix}-{number}" if self._prefix else str(number)
        values["seq"], values["producer"] = str(number), self._spec.name
        spec = self._spec
        body = self._body.render(values)
        if spec.spoil_rate and self._rng.random() < spec.spoil_rate and len(body) > 1:
            body = body[: self._rng.randrange(1, len(body))]
        data = body.encode()
        if len(data) < spec.size_bytes:
            data = data.ljust(spec.size_bytes)
        return self._to.render(values), Draft(
            body=data,
            headers=tuple((name, template.render(values)) for name, template in self._headers),
            key=self._key.render(values),
            id=message_id,
            priority=spec.priority,
            ttl_s=spec.ttl_s,
            content_type=spec.content_type,
            persistent=spec.persistent,
        )


class Producer:
    """One publisher of the lab. `start`, `stop`, `set_rate` and `burst` act at once and never wait."""

    def __init__(self, spec: ProducerSpec, family: Family, crew: Crew) -> None:
        self.spec = spec
        self.name = spec.name
        self._family = family
        self._crew = crew
        self._composer = Composer(spec, rng=crew.rng(f"producer {spec.name}"), instance=crew.instance)
        crew.ledger.issued_by(self._composer.prefix, self._composer.issued)
        self._began_s: float | None = None  # the swing starts with the producer, so that runs are alike
        self._flurries = 0
        self._on = spec.on
        self._rate_per_s = spec.rate_per_s
        self._burst_left = 0
        self._open = 0
        self._owed = 0.0
        self._note = ""
        self._refusal, self._refusal_told_s = "", 0.0
        self._publisher: Publisher | None = None
        self._broken = False
        self._sends: set[asyncio.Task[None]] = set()
        self._told: ProducerRecord | None = None

    # --- what a person may do -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Publish at the rate again."""
        self._on, self._owed = True, 0.0
        self.flush()

    def stop(self) -> None:
        """Publish nothing more by itself; a burst that runs ends as well."""
        self._on, self._burst_left = False, 0
        self.flush()

    def set_rate(self, per_s: float) -> None:
        """Aim at this many messages a second."""
        self._rate_per_s, self._owed = max(0.0, per_s), 0.0
        self.flush()

    def burst(self, n: int) -> None:
        """Send `n` messages as fast as the broker confirms them, besides the rate."""
        self._burst_left += max(0, n)
        self.flush()

    def draft(self) -> tuple[Route, Draft]:
        """The next message of the template and where it goes, no pattern; it is not made again."""
        to, draft = self._composer.draft()
        return self._route(to, draft), draft

    def _route(self, to: str, draft: Draft) -> Route:
        # A record's key travels in the record (K2); on AMQP it is the routing key.
        return Route(to, draft.key if self._family is Family.RABBITMQ else "")

    async def publish(self, draft: Draft, route: Route | None = None) -> Receipt:
        """Publish one message (default route: the producer's own with the draft's key) and wait for its end."""
        publisher = self._publisher
        if publisher is None:
            return Receipt(Sent.REFUSED, f"{self._crew.broker} is not connected: nothing was sent")
        outgoing = self._outgoing(self.spec.to, draft)
        if route is not None:
            outgoing = msgspec.structs.replace(outgoing, route=route)
        return (await self._confirmed(publisher, [outgoing]))[0]

    @property
    def record(self) -> ProducerRecord:
        """How it stands."""
        return ProducerRecord(
            name=self.name,
            broker=self._crew.broker,
            route=self._composer.pattern,
            state=self._state,
            rate_per_s=self._rate_per_s,
            burst_size=self.spec.burst,
            burst_left=self._burst_left,
            open=self._open,
            note=self._note,
        )

    @property
    def _state(self) -> ProducerState:
        wants = self._on or self._burst_left > 0
        if wants and (self._publisher is None or self._publisher.blocked):
            return ProducerState.BLOCKED
        if self._burst_left:
            return ProducerState.BURST
        return ProducerState.ON if self._on else ProducerState.OFF

    @property
    def open(self) -> int:
        """Publishes whose end is not known yet."""
        return self._open

    def flush(self) -> None:
        """Tell the record when it changed; called a few times a second."""
        record = self.record
        if record != self._told:
            self._told = record
            self._crew.emit(ProducerChanged(broker=self._crew.broker, at_s=self._crew.clock.now(), producer=record))

    # --- its life -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish until cancelled, on one connection life after another."""
        backoff = Backoff(self._crew.clock, self._crew.lives)
        while True:
            broker = await self._crew.lives.current()
            opened_s = self._crew.clock.monotonic()
            try:
                async with broker.publisher(name=self.name, window=WINDOW) as publisher:
                    self._publisher, self._note = publisher, ""
                    lost = asyncio.create_task(broker.lost(), name=f"{self.name} watches")
                    try:
                        await self._publish_until(lost)
                    finally:
                        lost.cancel()
                        self._publisher = None
            except BrokerError as error:
                self._note = error.text
            self.flush()
            await backoff.wait(lasted_s=self._crew.clock.monotonic() - opened_s)

    async def stopped(self) -> None:
        """Stop and wait until every open publish has its end."""
        self.stop()
        while self._sends or self._open:
            await self._crew.clock.sleep(TICK_S)

    async def _publish_until(self, lost: asyncio.Task[str]) -> None:
        clock = self._crew.clock
        last_s = clock.monotonic()
        self._began_s = last_s if self._began_s is None else self._began_s
        self._broken = False
        while not (lost.done() or self._broken):
            now_s = clock.monotonic()
            self._owe(now_s - self._began_s, now_s - last_s)
            last_s = now_s
            publisher = self._publisher
            assert publisher is not None
            if not publisher.blocked:
                self._send_due(publisher)
            await clock.sleep(self._wait_s())

    def _owe(self, age_s: float, passed_s: float) -> None:
        if not self._on:
            self._owed = 0.0
            return
        rate_per_s = self._rate_per_s
        if self.spec.sway:
            rate_per_s *= 1 + self.spec.sway * math.sin(2 * math.pi * age_s / self.spec.sway_period_s)
        self._owed = min(self._owed + rate_per_s * passed_s, max(1.0, rate_per_s * BACKLOG_S))
        flurries = int(age_s / self.spec.flurry_every_s)
        if flurries > self._flurries and self._rate_per_s > 0:  # those of a time without connection are not made up for
            self._owed += self.spec.flurry
        self._flurries = flurries

    def _send_due(self, publisher: Publisher) -> None:
        room = WINDOW - self._open
        n = min(int(self._owed), room)
        if n > 0:
            self._owed -= n
            self._send(publisher, n)
        while self._burst_left and self._open <= WINDOW - BURST_BATCH:
            n = min(self._burst_left, BURST_BATCH)
            self._burst_left -= n
            self._send(publisher, n)

    def _send(self, publisher: Publisher, n: int) -> None:
        batch = [self._outgoing(*self._composer.draft()) for _ in range(n)]
        self._open += n
        task = asyncio.create_task(self._sent(publisher, batch), name=f"{self.name} sends")
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _sent(self, publisher: Publisher, batch: list[Outgoing]) -> None:
        try:
            await self._confirmed(publisher, batch)
        except BrokerError as error:
            # The port answers with receipts; an adapter that raises all the same has proved nothing.
            self._note = error.text
            self._crew.ledger.unknown += len(batch)
        finally:
            self._open -= len(batch)

    async def _confirmed(self, publisher: Publisher, batch: list[Outgoing]) -> list[Receipt]:
        receipts = list(await publisher.send(batch))
        for outgoing, receipt in zip(batch, receipts, strict=True):
            self._crew.published(outgoing, receipt)
            self._broken = self._broken or receipt.sent is Sent.UNKNOWN
        refused = next((receipt for receipt in receipts if receipt.sent is Sent.REFUSED), None)
        self._note = "" if refused is None else f"refused: {refused.detail}"
        if refused is not None:
            self._tell_refused(refused.detail)
        return receipts

    def _tell_refused(self, why: str) -> None:
        """Say why the broker takes nothing of this producer: a right that is gone, a full queue."""
        now_s = self._crew.clock.monotonic()
        if why == self._refusal and now_s - self._refusal_told_s < REFUSED_TOLD_S:
            return
        self._refusal, self._refusal_told_s = why, now_s
        text = f"{self.name} cannot publish: {why}"
        self._crew.emit(Noted(broker=self._crew.broker, at_s=self._crew.clock.now(), text=text, level="broken"))

    def _outgoing(self, to: str, draft: Draft) -> Outgoing:
        return Outgoing(self._route(to, draft), compose(draft, self._family))

    def _wait_s(self) -> float:
        """Until the next message is due, between one tick and what a change of rate may wait."""
        if self._burst_left:
            return TICK_S
        if not self._on or self._rate_per_s <= 0:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(TICK_S, (1.0 - self._owed) / self._rate_per_s))
