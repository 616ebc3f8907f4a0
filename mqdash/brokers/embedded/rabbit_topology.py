"""The embedded RabbitMQ: what exists on it. Pure (E1); `rabbit_clients.py` and `rabbitmq.py` build on it."""

from __future__ import annotations

import heapq
import itertools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn

import msgspec

from mqdash.brokers.embedded.channel import (
    ACCESS_REFUSED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    Channel,
    ChannelClosed,
)
from mqdash.brokers.embedded.exchange import KINDS, Exchanges
from mqdash.brokers.embedded.queue import ReadyQueue
from mqdash.model.topology import Binding, Destination, Queue, QueueRef

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from typing import Any

    from mqdash.brokers.embedded.kernel import Bounds


class TopologyServer(ABC):
    """Exchanges, queues, bindings and timers.

    `log`, when given, gets a line for everything that happens: equal seeds give equal lines. `note` writes one.
    """

    def __init__(
        self,
        *,
        version: tuple[int, int],
        bounds: Bounds,
        rng: random.Random,
        log: list[str] | None = None,
    ) -> None:
        self.version = version
        self.bounds = bounds
        self.rng = rng
        self.log = log
        self.honours_deaths = version < (4, 0)  # R48
        self.max_message_bytes = 128 * 2**20 if version < (4, 0) else 16 * 2**20  # R50
        self.exchanges = Exchanges()
        self.queues: dict[str, ReadyQueue] = {}
        self.timers: list[tuple[float, int, Callable[[Any, float], None], Any]] = []
        self._timer_order = itertools.count()

    def note(self, now_s: float, *words: object) -> None:
        """One line of the event log, when somebody keeps one."""
        if self.log is not None:
            self.log.append(f"{now_s:.6f} {' '.join(map(str, words))}")

    @abstractmethod
    def close_channel(self, channel: Channel, now_s: float, why: str = "closed") -> None:
        """Its consumers go, then everything unacked on it goes back (R24)."""

    def at(self, due_s: float, call: Callable[[Any, float], None], subject: object) -> None:
        """Have `call(subject, now)` called when due."""
        heapq.heappush(self.timers, (due_s, next(self._timer_order), call, subject))

    def next_due_s(self) -> float | None:
        """When `advance` wants to be called next."""
        return self.timers[0][0] if self.timers else None

    def advance(self, now_s: float) -> None:
        """Do what is due, in order; each at its own time."""
        while self.timers and self.timers[0][0] <= now_s:
            due_s, _, call, subject = heapq.heappop(self.timers)
            call(subject, due_s)

    def declare_exchange(self, channel: Channel, wanted: Destination, now_s: float) -> None:
        """Create, or check that it is the same (R10)."""
        channel.check()
        if wanted.kind not in KINDS:
            self.fail(channel, NOT_IMPLEMENTED, f"unknown exchange type '{wanted.kind}'", now_s)
        found = self.exchanges.get(wanted.name)
        if found is None:
            if not wanted.name or wanted.name.startswith("amq."):
                self.fail(channel, ACCESS_REFUSED, f"exchange name '{wanted.name}' is reserved", now_s)
            self.exchanges.add(wanted)
            self.note(now_s, "exchange", wanted.name, wanted.kind)
        elif found != wanted:
            self._fail_unequal(channel, "exchange", found, wanted, now_s)

    def declare_queue(self, channel: Channel, wanted: Queue, now_s: float) -> ReadyQueue:
        """Create, or check that it is the same (R10); an exclusive one belongs to this connection (C7)."""
        channel.check()
        name = wanted.ref.name
        if name in self.queues:
            queue = self.queue_for(channel, name, now_s)
            queue.used_s = now_s
            if wanted.kind == queue.spec.kind == "quorum":
                # Compared are only the arguments a quorum queue knows: this one is ignored (measured on 3.10.8 and 4.0.5).
                wanted = msgspec.structs.replace(wanted, max_priority=None)
            found = _compared(queue.spec)
            if found != _compared(wanted):
                self._fail_unequal(channel, "queue", found, _compared(wanted), now_s)
            return queue
        self._check_queue(channel, wanted, now_s)
        limit = wanted.delivery_limit
        if limit is None and self.version >= (4, 0):
            limit = 20  # R49
        if wanted.kind != "quorum" or limit == -1:
            limit = None
        owner = channel.connection.number if wanted.exclusive else None
        queue = self.queues[name] = ReadyQueue(wanted, version=self.version, delivery_limit=limit, owner=owner)
        queue.used_s = now_s
        if wanted.expires_s is not None:
            self.at(now_s + wanted.expires_s, self._unused_due, queue)
        self.note(now_s, "queue", name, wanted.kind)
        return queue

    def _check_queue(self, channel: Channel, wanted: Queue, now_s: float) -> None:
        name = wanted.ref.name
        if not name or name.startswith("amq."):
            self.fail(channel, ACCESS_REFUSED, f"queue name '{name}' is reserved", now_s)
        if wanted.kind not in {"classic", "quorum"}:
            self.fail(channel, NOT_IMPLEMENTED, f"queue type '{wanted.kind}' is not modelled", now_s)
        if wanted.kind == "quorum":
            bad = {
                "durable=false": not wanted.durable,
                "exclusive": wanted.exclusive,
                "auto-delete": wanted.auto_delete,
                "x-max-priority": wanted.max_priority is not None,
            }
            wrong = [what for what, asked in bad.items() if asked]
            if wrong:
                self.fail(channel, PRECONDITION_FAILED, f"{', '.join(wrong)} for quorum queue '{name}'", now_s)
        if wanted.overflow not in {None, "drop-head", "reject-publish", "reject-publish-dlx"}:
            self.fail(channel, PRECONDITION_FAILED, f"invalid x-overflow '{wanted.overflow}' for '{name}'", now_s)

    def _fail_unequal(
        self, channel: Channel, what: str, found: msgspec.Struct, wanted: msgspec.Struct, now_s: float
    ) -> None:
        differing = [
            f"{field}: exists with {getattr(found, field)!r}, asked for {getattr(wanted, field)!r}"
            for field in found.__struct_fields__
            if getattr(found, field) != getattr(wanted, field)
        ]
        name = wanted.name if isinstance(wanted, Destination) else str(getattr(wanted, "ref", ""))
        self.fail(channel, PRECONDITION_FAILED, f"inequivalent {what} '{name}': {'; '.join(differing)}", now_s)

    def bind(self, channel: Channel, binding: Binding, now_s: float) -> None:
        """Bind a queue or an exchange; the default exchange cannot be bound (R1)."""
        channel.check()
        if not binding.source or binding.destination == "":
            self.fail(channel, ACCESS_REFUSED, "operation not permitted on the default exchange", now_s)
        if self.exchanges.get(binding.source) is None:
            self.fail(channel, NOT_FOUND, f"no exchange '{binding.source}' in vhost '/'", now_s)
        if binding.queue is not None:
            self.queue_for(channel, binding.queue.name, now_s)
        elif binding.destination is None or self.exchanges.get(binding.destination) is None:
            self.fail(channel, NOT_FOUND, f"no exchange '{binding.destination}' in vhost '/'", now_s)
        self.exchanges.bind(binding)

    def delete_exchange(self, name: str, now_s: float) -> None:
        """Delete it; one that is not there is fine."""
        self.exchanges.delete(name)
        self.note(now_s, "exchange deleted", name)

    def delete_queue(self, name: str, now_s: float) -> None:
        """Delete it with what is in it (never dead-lettered, R30); its consumers are told (R27)."""
        queue = self.queues.pop(name, None)
        if queue is None:
            return
        self.exchanges.unbind_queue(name)
        dropped = len(queue.clear())
        queue.counts.dropped["queue deleted"] += dropped
        self.note(now_s, "queue deleted", name, dropped)
        for subscriber in list(queue.subscribers):
            subscriber.cancelled = f"queue '{name}' was deleted"
            subscriber.channel.subscribers.pop(subscriber.tag, None)
            subscriber.wake()
        queue.subscribers.clear()
        queue.active.clear()

    def purge(self, channel: Channel, name: str, now_s: float) -> int:
        """Drop what is ready (never dead-lettered, R30); how many."""
        queue = self.queue_for(channel, name, now_s)
        dropped = len(queue.clear())
        queue.counts.dropped["purged"] += dropped
        return dropped

    def queue_for(self, channel: Channel, name: str, now_s: float) -> ReadyQueue:
        """The queue, if it exists (R9) and this connection may use it (R10)."""
        queue = self.queues.get(name)
        if queue is None:
            self.fail(channel, NOT_FOUND, f"no queue '{name}' in vhost '/'", now_s)
        if queue.owner is not None and queue.owner != channel.connection.number:
            self.fail(channel, RESOURCE_LOCKED, f"cannot obtain exclusive access to locked queue '{name}'", now_s)
        return queue

    def _unused_due(self, queue: ReadyQueue, now_s: float) -> None:
        """x-expires: used is consumed from, got from or declared again; publishing is not (R30)."""
        if self.queues.get(queue.name) is not queue:
            return
        assert queue.spec.expires_s is not None
        since_s = now_s if queue.subscribers else queue.used_s
        if since_s + queue.spec.expires_s <= now_s:
            self.delete_queue(queue.name, now_s)
        else:
            self.at(since_s + queue.spec.expires_s, self._unused_due, queue)

    def fail(self, channel: Channel, code: int, text: str, now_s: float) -> NoReturn:
        """Close the channel with an error; the connection stays open (R9)."""
        self.close_channel(channel, now_s, text)
        raise ChannelClosed(code, text)


def _compared(queue: Queue) -> Queue:
    """What must be equal: not what mqdash itself knows or guesses about it."""
    return msgspec.structs.replace(queue, known=True, holds_dead_letters=False, ref=QueueRef(queue.ref.name))
