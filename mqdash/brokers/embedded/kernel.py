"""What the embedded brokers share: bounds, the clock of their models, timers, connection lives and faults.

The models themselves are pure state machines: time is passed in, chance is an injected RNG, and "later" is a due time
they name. This module is their only contact with asyncio: it moves them when the injected clock reaches their next due
time, and ends connections when a fault is asked for.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import msgspec

from mqdash.errors import BrokerUnavailable, ConnectionLost

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from mqdash.clock import Clock


class Bounds(msgspec.Struct, frozen=True):
    """How much one queue, log partition or stream may hold; None = no bound."""

    messages: int | None = 10_000
    size_bytes: int | None = 64 * 2**20

    def exceeded(self, messages: int, size_bytes: int) -> bool:
        """Whether holding this much would be too much."""
        too_many = self.messages is not None and messages > self.messages
        return too_many or (self.size_bytes is not None and size_bytes > self.size_bytes)


UNBOUNDED = Bounds(None, None)


def bounds(*, bounded: bool) -> Bounds:
    """The default bound (10,000 messages or 64 MiB), or none for conformance runs."""
    return Bounds() if bounded else UNBOUNDED


class Model(Protocol):
    """A pure state machine. All times are Unix seconds of a clock that never steps back."""

    def next_due_s(self) -> float | None:
        """When it wants to be advanced next, or None."""
        ...

    def advance(self, now_s: float) -> None:
        """Do all that is due until `now_s`, in order of due time."""
        ...

    def restarted(self, now_s: float) -> None:
        """The broker process died: forget every connection and whatever was not durable."""
        ...


M = TypeVar("M", bound=Model)


class Server(Generic[M]):
    """One running embedded broker: its model, its time, and the lives opened on it.

    `stop`, `start`, `alarm` and `cut` are the faults a lab or a test asks for.
    """

    def __init__(self, name: str, model: M, *, clock: Clock, rng: random.Random) -> None:
        self.name = name
        self.model = model
        self.rng = rng
        self.running = True
        self.alarm_reason = ""
        self.clock = clock
        self._epoch_s = clock.now() - clock.monotonic()
        self._lives: dict[int, Life[M]] = {}
        self._numbers = itertools.count(1)
        self._calm: set[Callable[[], None]] = set()
        self._driver: asyncio.Task[None] | None = None
        self._until_s: float | None = None

    def now_s(self) -> float:
        """Unix seconds that never step back: the clock's start plus what its monotonic side counted."""
        return self._epoch_s + self.clock.monotonic()

    def step(self) -> float:
        """Catch up with timers that are due and return the time; call before every operation on the model."""
        now_s = self.now_s()
        due_s = self.model.next_due_s()
        if due_s is not None and due_s <= now_s:
            self.model.advance(now_s)
        return now_s

    def rearm(self) -> None:
        """Let the timer driver look at the next due time; call after operations that can set timers."""
        due_s = self.model.next_due_s()
        if due_s is None or not self._lives or (self._until_s is not None and self._until_s <= due_s):
            return
        if self._driver is not None:
            self._driver.cancel()
        self._until_s = due_s
        self._driver = asyncio.get_running_loop().create_task(self._drive(), name=f"{self.name} timers")

    async def _drive(self) -> None:
        while self._until_s is not None:
            await self.clock.sleep(max(self._until_s - self.now_s(), 0.0))
            self.model.advance(max(self.now_s(), self._until_s))
            self._until_s = self.model.next_due_s()
        self._driver = None

    def enter(self, life: Life[M]) -> int:
        """Register a new life and return its number.

        Raises:
            BrokerUnavailable: the server is stopped.
        """
        if not self.running:
            raise BrokerUnavailable(self.name, "connection refused: the embedded broker is stopped")
        number = next(self._numbers)
        self._lives[number] = life
        self.step()
        self.rearm()
        return number

    def leave(self, number: int) -> None:
        """Forget a life; without any, no timer runs (the model catches up at the next one)."""
        self._lives.pop(number, None)
        if not self._lives and self._driver is not None:
            self._driver.cancel()
            self._driver = self._until_s = None

    def stop(self, cause: str = "the broker was stopped") -> None:
        """The broker process dies: every life is lost, what is not durable is gone (R13, R14)."""
        if not self.running:
            return
        self.running = False
        self.step()
        for life in list(self._lives.values()):
            life.end(cause)
        self.model.restarted(self.now_s())
        self.alarm(None)

    def start(self) -> None:
        """The broker is back."""
        self.running = True

    def alarm(self, reason: str | None) -> None:
        """Raise an alarm that blocks publishers and nobody else (R15), or clear it with None."""
        self.alarm_reason = reason or ""
        if not self.alarm_reason:
            waiting, self._calm = list(self._calm), set()
            for call in waiting:
                call()

    def when_calm(self, call: Callable[[], None]) -> None:
        """Call once when the alarm is cleared."""
        self._calm.add(call)

    def forget_calm(self, call: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._calm.discard(call)

    def cut(self, name: str = "", cause: str = "the connection was cut") -> int:
        """Drop the sockets of the connections of that name ("" = every life with all of its); how many were cut."""
        if not name:
            lives = list(self._lives.values())
            for life in lives:
                life.end(cause)
            return len(lives)
        links = [link for life in self._lives.values() for link in life.links if link.name == name]
        for link in links:
            link.end(cause)
        return len(links)


class Link:
    """An embedded connection opened from a life (a publisher's, a consumer's …); ends once, with a cause in words."""

    def __init__(self, life: Life[Any], name: str) -> None:
        self.name = name
        self.cause: str | None = None
        self._broker = life.server.name
        self._wake = asyncio.Event()
        self._links = life.links
        if life.cause is not None:
            raise ConnectionLost(self._broker, life.cause)
        self._links[self] = None

    def end(self, cause: str) -> None:
        """The socket dropped: whoever waits is woken and gets ConnectionLost. Ending twice does nothing."""
        if self.cause is None:
            self.cause = cause
            self._links.pop(self, None)
            self._dropped()
            self._wake.set()

    def _dropped(self) -> None:
        """What the broker's side does about a dropped socket; subclasses say."""

    def wake(self) -> None:
        """Something changed for whoever waits in `changed`."""
        self._wake.set()

    def check(self) -> None:
        """Raise ConnectionLost when ended."""
        if self.cause is not None:
            raise ConnectionLost(self._broker, self.cause)

    async def changed(self) -> None:
        """Wait for `wake` or the end.

        Raises:
            ConnectionLost: ended.
        """
        self._wake.clear()
        self.check()
        await self._wake.wait()
        self.check()


class Life(Generic[M]):
    """One connection life on an embedded server: the base of its Observer and Broker classes."""

    def __init__(self, server: Server[M]) -> None:
        self.server = server
        self.cause: str | None = None
        self.links: dict[Link, None] = {}  # in order of opening: ends come in that order, every time
        self._lost = asyncio.Event()
        self.number = server.enter(self)

    def end(self, cause: str) -> None:
        """Lost: everything opened from it ends with it."""
        if self.cause is not None:
            return
        self.cause = cause
        self.server.leave(self.number)
        for link in list(self.links):
            link.end(cause)
        self._lost.set()

    def check(self) -> None:
        """Raise ConnectionLost when this life is over."""
        if self.cause is not None:
            raise ConnectionLost(self.server.name, self.cause)

    async def lost(self) -> str:
        """Return when the life was lost, with the cause; never for a close of our own."""
        await self._lost.wait()
        assert self.cause is not None
        return self.cause

    async def close(self) -> None:
        """End politely. Closing twice does nothing."""
        if self.cause is not None:
            return
        self.cause = "closed"
        for link in list(self.links):
            link.end("closed")
        self.server.leave(self.number)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def ended_within(clock: Clock, future: asyncio.Future[Any], limit_s: float) -> bool:
    """Wait for the future, at most so long on that clock; whether it ended. It is not cancelled."""
    limit = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait((future, limit), return_when=asyncio.FIRST_COMPLETED)
    finally:
        limit.cancel()
    return future.done()
