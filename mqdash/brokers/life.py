"""Connection lives of adapters without one of their own: a probe that notices silence, links that end with their life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mqdash.errors import BrokerError, ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from mqdash.clock import Clock

log = logging.getLogger(__name__)

CONNECT_LIMIT_S: Final = 7.5
PROBE_EVERY_S: Final = 2.0
PROBE_LIMIT_S: Final = 4.0
CLOSE_LIMIT_S: Final = 2.0

Result = TypeVar("Result")


class Life:
    """One life on a broker called `broker`; ends once. Background tasks started through it never outlive it unseen."""

    def __init__(self, broker: str, clock: Clock) -> None:
        self.broker = broker
        self.clock = clock
        self.cause: str | None = None
        self.links: set[Link] = set()
        self._lost = asyncio.Event()
        self._asked_s: float | None = None  # monotonic, while a probe waits for its answer
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Ask the broker something cheap every 2 s; the first failure, or 4 s of silence, ends the life (F8)."""
        self.start(self._watch(probe), name=f"probe {self.broker}")

    async def _watch(self, probe: Callable[[], Awaitable[object]]) -> None:
        while self.cause is None:
            await self.clock.sleep(PROBE_EVERY_S)
            self._asked_s = self.clock.monotonic()
            try:
                async with asyncio.timeout(PROBE_LIMIT_S):
                    await probe()
            except TimeoutError:
                self.end(f"no answer for {PROBE_LIMIT_S:g} s")
            except BrokerError as error:
                self.end(error.text)
            except Exception as error:  # a damaged answer can fail anywhere in a client library
                log.exception("probing %s", self.broker)
                self.end(f"protocol error: an answer nobody can read ({type(error).__name__})")
            self._asked_s = None

    @property
    def silent_s(self) -> float:
        """How long the probe has been waiting for its answer; 0 when it waits for none."""
        return 0.0 if self._asked_s is None else self.clock.monotonic() - self._asked_s

    def start(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Run `work` in the background; `finish` waits for it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def end(self, cause: str) -> None:
        """The life was lost: all that was opened from it ends with the same cause."""
        if self.cause is None:
            self._over(cause)
            self._lost.set()

    def check(self) -> None:
        """Raise ConnectionLost when this life is over."""
        if self.cause is not None:
            raise ConnectionLost(self.broker, self.cause)

    async def lost(self) -> str:
        """Return the cause when the life was lost; never for a close of our own."""
        await self._lost.wait()
        assert self.cause is not None
        return self.cause

    async def finish(self, *goodbyes: Callable[[], Awaitable[object]]) -> None:
        """Close: end the links, run the goodbyes and what still cleans up; 2 s for all. Twice does nothing."""
        if self.cause is None:
            self._over("closed")
        own = asyncio.current_task()
        for task in list(self._tasks):
            if task.get_name().startswith("probe "):
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await asyncio.gather(
                    *(goodbye() for goodbye in goodbyes),
                    *(task for task in self._tasks if task is not own),
                    return_exceptions=True,
                )

    def _over(self, cause: str) -> None:
        self.cause = cause
        for link in sorted(self.links, key=lambda link: link.name):
            link.end(cause)


class Link:
    """A connection opened from a life: a publisher's, a consumer's, a requester's. It ends once, with a cause in words."""

    def __init__(self, life: Life, name: str) -> None:
        life.check()
        self.life = life
        self.name = name
        self.cause: str | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        life.links.add(self)

    def end(self, cause: str) -> None:
        """The connection is gone; whoever waits through `unless_ended` gets ConnectionLost."""
        if self.retire(cause):
            self.dropped()

    def retire(self, cause: str) -> bool:
        """End without dropping the sockets, for a polite goodbye by the caller; False when it has ended before."""
        if self.cause is not None:
            return False
        self.cause = cause
        self.life.links.discard(self)
        self._ended.set_result(None)
        return True

    def dropped(self) -> None:
        """Drop the sockets, without a goodbye; subclasses say how."""

    def check(self) -> None:
        """Raise ConnectionLost when ended."""
        if self.cause is not None:
            raise ConnectionLost(self.life.broker, self.cause)

    async def unless_ended(self, task: asyncio.Future[Result]) -> Result:
        """The task's result. The task is not cancelled when this wait is.

        Raises:
            ConnectionLost: the link ended first.
        """
        first: tuple[asyncio.Future[Any], ...] = (task, self._ended)
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        self.check()
        raise AssertionError("neither done nor ended")
