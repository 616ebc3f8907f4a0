"""Everything a person may do, in one place: each action checks the right to do it, does it, and tells it with its native command.

Methods that only change the lab return at once; those that talk to a broker are awaited. Every refusal is a MqdashError whose
text is the sentence to show.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.brokers.moves import FRESH_S, holding_queue
from mqdash.control.commands import native_command
from mqdash.control.letters import LetterBox
from mqdash.errors import MqdashError, NotFound, Unsupported
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.names import tag
from mqdash.model.routing import Routing
from mqdash.model.topology import Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mqdash.clock import Clock
    from mqdash.control.attachment import Attachment
    from mqdash.control.audit import Audit
    from mqdash.lab.lab import Lab
    from mqdash.lab.producers import Producer
    from mqdash.lab.workers import Worker
    from mqdash.model.delivery import Receipt
    from mqdash.model.events import Event

log = logging.getLogger(__name__)

BULK: Final = 100
TIDY_AFTER_S: Final = 10.0
"""After a delayed message came due: what the management API tells of its queue is older than that by then."""
"""More than this many messages at once is a bulk: the name is typed (semantics §5.2)."""


class Control:
    """The actions on all attachments."""

    def __init__(
        self,
        attachments: Iterable[Attachment],
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        audit: Audit,
        state_dir: Path,
    ) -> None:
        self.attachments: dict[str, Attachment] = {found.name: found for found in attachments}
        self._clock = clock
        self._emit = emit
        self._audit = audit
        self._state_dir = state_dir
        self._last_published: dict[tuple[str, str], tuple[Route, Draft]] = {}
        self._tidying: dict[str, asyncio.Task[None]] = {}
        self._own = secrets.token_hex(3)  # wait queues of another mqdash are not ours to delete

    # --- what asks first ------------------------------------------------------------------------------------------

    def asks(self, action: str, broker: str, subject: str = "", n: int = 1) -> str:
        """How to ask before an action: '' not at all, 'confirm' a second key, 'typed:NAME' the name is to be typed.

        Own workers in the lab die at once. The embedded lab asks only for discard and bulk; any other broker asks for every
        write, and production profiles a second time (design §2, semantics §5.2).
        """
        attachment = self._of(broker)
        if action == "open_letters":  # only a lease holds them back from others; a log is read freely
            return "" if attachment.url.embedded or attachment.url.family is not Family.RABBITMQ else "confirm"
        if action == "discard":
            return f"typed:{subject}" if n > BULK or not attachment.url.embedded else "confirm"
        if n > BULK:
            return f"typed:{subject}"
        if attachment.production:
            return f"typed:{broker}"  # beside whatever dialog the action has of its own
        if attachment.lab is not None and action in _LAB_ACTIONS:
            return ""
        return "" if attachment.url.embedded else "confirm"

    def refusal(self, action: str, broker: str, subject: str = "") -> str:
        """Why an action cannot be done now, as a sentence, or ''. Asked before the person is asked to confirm anything."""
        attachment = self._of(broker)
        try:
            if action in _WORKER_ACTIONS | {"scale"} and attachment.lab is None:
                return f"{subject} belongs to somebody else's process: mqdash cannot steer it"
            if action in _WORKER_ACTIONS:
                return _ended(self._worker(broker, subject))
            if action in _PRODUCER_ACTIONS:
                self._producer(broker, subject)
            elif action != "scale":
                _ = attachment.broker
        except MqdashError as error:
            return str(error)
        return ""

    # --- publishing -----------------------------------------------------------------------------------------------

    def destinations(self, broker: str) -> list[Route]:
        """Where one can publish to on this broker, for the form: the lab's own routes first."""
        attachment = self._of(broker)
        routes = [producer.record.route for producer in self._producers(broker).values()]
        topology = attachment.topology or (attachment.lab.topology if attachment.lab is not None else Topology())
        for destination in topology.destinations:
            keys = [b.key for b in topology.bindings if b.source == destination.name] or [""]
            routes += [Route(destination.name, key) for key in keys]
        if attachment.url.family is Family.RABBITMQ:
            routes += [Route("", queue.ref.name) for queue in topology.queues if not queue.holds_dead_letters]
        return list(dict.fromkeys(routes))

    def draft_for(self, broker: str, producer: str = "") -> tuple[Route, Draft]:
        """What the publish form starts with: the producer's next message, or an empty JSON body."""
        if producer:
            return self._producer(broker, producer).draft()
        routes = self.destinations(broker)
        return (routes[0] if routes else Route("")), Draft(body=b'{"hello": "world"}')

    async def publish(self, broker: str, route: Route, draft: Draft, *, producer: str = "") -> Receipt:
        """Publish one message and tell how it ended.

        Raises:
            MqdashError: read-only, not connected, or the family cannot carry what the draft asks for.
        """
        attachment = self._of(broker)
        port, family = attachment.broker, attachment.url.family
        kinds = {found.name: found.kind for found in (attachment.topology or Topology()).destinations}
        if kinds.get(route.destination) == "channel":
            family = Family.REDIS_PUBSUB
        try:
            message = compose(draft, family)
        except ValueError as error:
            raise Unsupported(broker, str(error)) from None
        self._last_published[broker, producer] = (route, draft)
        by = producer or "you"
        waiting = await self._wait_queue(attachment, route, draft.delay_s) if draft.delay_s else None
        target = route if waiting is None else Route("", waiting.ref.name)
        try:
            async with port.publisher(name=by, window=1) as publisher:
                receipt = (await publisher.send([Outgoing(target, message)]))[0]
        finally:
            if waiting is not None:
                self._tidy_later(attachment, waiting, draft.delay_s or 0.0)
        ended = {
            Sent.CONFIRMED: f"held, due in {draft.delay_s:g} s" if draft.delay_s else "confirmed",
            Sent.RETURNED: "returned: nobody is bound for it",
            Sent.REFUSED: f"refused: {receipt.detail}",
            Sent.UNKNOWN: f"no proof either way: {receipt.detail}",
        }[receipt.sent]
        known = message.id or ""
        sent = (known,) if known and receipt.sent is Sent.CONFIRMED else ()
        self._tell(broker, f"you published {tag(known)} to {route}: {ended}", "publish", str(route), sent)
        return receipt

    async def publish_again(self, broker: str, producer: str = "") -> Receipt:
        """The same as last time (or a first one), under an id of its own: it is another message, not a duplicate.

        Raises:
            MqdashError: as `publish`.
        """
        route, draft = self._last_published.get((broker, producer)) or self.draft_for(broker, producer)
        draft = msgspec.structs.replace(draft, id=None if draft.id is None else f"again-{secrets.token_hex(3)}")
        return await self.publish(broker, route, draft, producer=producer)

    async def _wait_queue(self, attachment: Attachment, route: Route, delay_s: float) -> Queue:
        """A queue whose messages come to `route` after the delay, old enough to survive a kill (R13); deleted once they have.

        Raises:
            Unsupported: the family has no such thing, or the broker would drop the message when it is due (R42).
        """
        if attachment.url.family is not Family.RABBITMQ:
            raise Unsupported(attachment.name, f"{attachment.url.family} cannot delay a single message")
        await self._check_reachable(attachment, route)
        name = f"mqdash.wait.{self._own}.{route.destination or 'default'}.{route.key}.{round(delay_s * 1000)}ms"
        waiting = holding_queue(name, delay_s, route)
        self._stop_tidying(name)
        await attachment.broker.declare(Topology(queues=(waiting,)))
        await self._clock.sleep(FRESH_S)
        return waiting

    def _tidy_later(self, attachment: Attachment, waiting: Queue, delay_s: float) -> None:
        name = waiting.ref.name
        self._stop_tidying(name)
        self._tidying[name] = asyncio.create_task(self._tidy(attachment, waiting, delay_s), name=f"tidy {name}")

    def _stop_tidying(self, name: str) -> None:
        """Whoever publishes once more also tidies later."""
        earlier = self._tidying.pop(name, None)
        if earlier is not None:
            earlier.cancel()

    async def _check_reachable(self, attachment: Attachment, route: Route) -> None:
        """A message that comes due for nobody is dropped without a word, so ask before it is held."""
        if not route.destination:
            if not await attachment.life.measure([QueueRef(route.key)]):
                raise NotFound(attachment.name, f"there is no queue {route.key}: the message would be dropped when due")
            return
        topology = attachment.topology or (attachment.lab.topology if attachment.lab is not None else Topology())
        found = topology.destination(route.destination)
        if found is None:
            raise NotFound(attachment.name, f"no exchange {route.destination} is known here")
        if not route.key and found.kind != "fanout":
            raise Unsupported(
                attachment.name, "a delayed message needs a routing key: without one it would come as another"
            )
        routed = Routing(topology).route(route)
        if routed.certain and not routed.queues:
            text = (
                f"nobody is bound to {route.destination} for key {route.key!r}: the message would be dropped when due"
            )
            raise NotFound(attachment.name, text)

    async def _tidy(self, attachment: Attachment, waiting: Queue, delay_s: float) -> None:
        """Remove a wait queue when it is surely empty; a queue that stays behind loses nothing.

        Empty is not enough: it keeps what its target has not confirmed yet, and only the management API tells of that,
        late. So it has to be found empty twice, longer apart than the API's figures are old.
        """
        name = waiting.ref.name
        try:
            await self._clock.sleep(delay_s)
            empty = 0
            while empty < 2:
                await self._clock.sleep(TIDY_AFTER_S)
                measured = await attachment.life.measure([waiting.ref])
                if any(found.in_flight is None for found in measured):
                    return
                empty = empty + 1 if all(found.waiting == found.in_flight == 0 for found in measured) else 0
            await attachment.broker.remove(Topology(queues=(waiting,)))
        except MqdashError as error:
            log.info("wait queue of %s stays: %s", attachment.name, error)
        finally:
            if self._tidying.get(name) is asyncio.current_task():
                del self._tidying[name]

    # --- producers ------------------------------------------------------------------------------------------------

    def toggle(self, broker: str, producer: str) -> None:
        """Start a producer that is off, stop one that is on."""
        found = self._producer(broker, producer)
        if found.record.state == "off":
            found.start()
            self._tell(broker, f"you started {producer} at {found.record.rate_per_s:g}/s", "start", producer)
        else:
            found.stop()
            self._tell(broker, f"you stopped {producer}", "stop", producer)

    def set_rate(self, broker: str, producer: str, rate_per_s: float) -> None:
        """Aim at this many messages a second."""
        found = self._producer(broker, producer)
        before = found.record.rate_per_s
        found.set_rate(rate_per_s)
        verb = "raised" if rate_per_s > before else "lowered"
        self._tell(broker, f"you {verb} {producer} from {before:g}/s to {rate_per_s:g}/s", "rate", producer)

    def change_rate(self, broker: str, producer: str, factor: float) -> None:
        """`+` and `-`: the next step of 1, 2, 5, 10, 20, 50 … up (factor > 1) or down."""
        self.set_rate(broker, producer, next_step(self._producer(broker, producer).record.rate_per_s, up=factor > 1))

    def burst(self, broker: str, producer: str, n: int | None = None) -> None:
        """Send a number of messages as fast as the broker takes them (default: the producer's burst size)."""
        found = self._producer(broker, producer)
        size = n or found.record.burst_size
        found.burst(size)
        self._tell(broker, f"you sent a burst of {size:,} from {producer}", "burst", producer)

    # --- workers --------------------------------------------------------------------------------------------------

    def kill(self, broker: str, worker: str) -> None:
        """Drop the worker's socket: no goodbye, nothing acknowledged."""
        self._worker(broker, worker).kill()
        self._tell(broker, f"you killed {worker}", "kill", worker)

    def hang(self, broker: str, worker: str) -> None:
        """Let it hold what it has and do nothing, connection alive; again wakes it."""
        found = self._worker(broker, worker)
        if found.record.state == "hung":
            found.resume()
            self._tell(broker, f"you woke {worker}", "wake", worker)
        else:
            found.hang()
            self._tell(broker, f"you hung {worker}: it keeps what it holds", "hang", worker)

    def crash_next(self, broker: str, worker: str) -> None:
        """Let it crash on the next message."""
        self._worker(broker, worker).crash_next()
        self._tell(broker, f"{worker} will crash on its next message", "crash", worker)

    def finish(self, broker: str, worker: str) -> None:
        """Let it finish what it holds and leave."""
        self._worker(broker, worker).finish()
        self._tell(broker, f"you asked {worker} to finish and leave", "finish", worker)

    def pause(self, broker: str, worker: str) -> None:
        """Take nothing more, or go on."""
        found = self._worker(broker, worker)
        if found.record.state in {"paused", "hung"}:
            found.resume()
            self._tell(broker, f"you let {worker} go on", "resume", worker)
        else:
            found.pause()
            self._tell(broker, f"you paused {worker}", "pause", worker)

    def set_prefetch(self, broker: str, worker: str, prefetch: int) -> None:
        """Let it hold up to this many messages."""
        self._worker(broker, worker).set_prefetch(prefetch)
        self._tell(broker, f"{worker} now holds up to {prefetch}", "prefetch", worker)

    def set_work(
        self, broker: str, worker: str, *, time_s: float | None = None, failure_rate: float | None = None
    ) -> None:
        """Change how long it works on a message and how often it fails."""
        self._worker(broker, worker).set_work(time_s=time_s, failure_rate=failure_rate)
        parts = [] if time_s is None else [f"{time_s * 1000:g} ms per message"]
        parts += [] if failure_rate is None else [f"{failure_rate:.0%} failures"]
        self._tell(broker, f"{worker} now works with {' and '.join(parts)}", "work", worker)

    def scale(self, broker: str, subject: str, delta: int) -> None:
        """One worker more or fewer in the pool of that name, or of that worker's pool."""
        lab = self._lab(broker)
        pool = subject if subject in lab.pools else self._worker(broker, subject).record.pool
        living = lab.living(pool)
        wanted = max(0, living + delta)
        lab.scale(pool, wanted)
        self._tell(broker, f"you scaled {pool} from {living} to {wanted} workers", "scale", pool)

    # --- dead letters and links -----------------------------------------------------------------------------------

    async def open_letters(self, broker: str, queue: QueueRef, *, limit: int = 200) -> LetterBox:
        """Open a window on a dead-letter queue; the caller closes it.

        Raises:
            MqdashError: it cannot be opened; the text says what would be needed.
        """
        attachment = self._of(broker)
        box = LetterBox(
            attachment,
            queue,
            clock=self._clock,
            emit=self._emit,
            audit=self._audit,
            state_dir=self._state_dir,
        )
        await box.open(limit=limit)
        return box

    def retry_now(self, broker: str) -> None:
        """Try to connect again at once."""
        self._of(broker).link.retry_now()

    # --- finding --------------------------------------------------------------------------------------------------

    def _of(self, broker: str) -> Attachment:
        if broker not in self.attachments:
            msg = f"no broker called {broker}"
            raise MqdashError(msg)
        return self.attachments[broker]

    def _lab(self, broker: str) -> Lab:
        lab = self._of(broker).lab
        if lab is None:
            msg = f"{broker} is not a lab: its producers and workers are other people's processes"
            raise MqdashError(msg)
        return lab

    def _producers(self, broker: str) -> dict[str, Producer]:
        lab = self._of(broker).lab
        return lab.producers if lab is not None else {}

    def _producer(self, broker: str, name: str) -> Producer:
        producers = self._lab(broker).producers
        if name not in producers:
            msg = f"no producer called {name} on {broker}; there are {', '.join(producers) or 'none'}"
            raise MqdashError(msg)
        return producers[name]

    def _worker(self, broker: str, name: str) -> Worker:
        workers = self._lab(broker).workers
        if name not in workers:
            msg = f"no worker called {name} on {broker}; there are {', '.join(workers) or 'none'}"
            raise MqdashError(msg)
        return workers[name]

    def _tell(self, broker: str, text: str, action: str, subject: str, ids: tuple[str, ...] = ()) -> None:
        self._audit.told(broker, text, native_command(self._of(broker).url, action, subject), ids)


def _ended(worker: Worker) -> str:
    """Why nothing can be done with a worker that is dead or gone, or ''."""
    record = worker.record
    if record.controls:
        return ""
    return f"{record.name} is {record.state}: it can do nothing any more; + in Workers adds another one"


_WORKER_ACTIONS = frozenset({"kill", "hang", "crash", "finish", "pause", "prefetch", "work"})
_PRODUCER_ACTIONS = frozenset({"toggle", "rate", "burst"})
_LAB_ACTIONS = _WORKER_ACTIONS | _PRODUCER_ACTIONS | {"scale", "publish"}


def next_step(value: float, *, up: bool) -> float:
    """The next of 0, 1, 2, 5, 10, 20, 50 … above or below a value.

    >>> [next_step(v, up=True) for v in (0, 1, 60, 100)], next_step(60, up=False)
    ([1.0, 2.0, 100.0, 200.0], 50.0)
    """
    steps = [0.0, *(base * 10.0**power for power in range(6) for base in (1, 2, 5))]
    if up:
        return next((step for step in steps if step > value), steps[-1])
    return next((step for step in reversed(steps) if step < value), 0)
