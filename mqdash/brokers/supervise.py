"""The way to one broker: opens connection lives one after another, with backoff, and says on the bus how it stands.

Nothing else reconnects. Owners write `async for broker in link.lives():` and re-open what they had on each new life.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from mqdash.brokers.base import TellsBlocked, TellsSilence
from mqdash.errors import BrokerError, MqdashError
from mqdash.model.broker import LinkState
from mqdash.model.events import LinkChanged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mqdash.brokers.base import Observer
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock
    from mqdash.model.events import Event

log = logging.getLogger(__name__)

CONNECT_LIMIT_S: Final = 8.0
BACKOFF_S: Final = (0.5, 5.0)
"""First and longest wait between tries; each is jittered to 50-100 %."""
HEALTH_EVERY_S: Final = 0.5
STALE_AFTER_S: Final = 2.0
"""A probe that has waited this long is told on screen; when the life is over is its adapter's to say."""

Life = TypeVar("Life", bound="Observer")


class Link(Generic[Life]):
    """Keeps one connection life open while anybody needs it; `open` opens one (connect or observe, possibly wrapped)."""

    def __init__(
        self,
        name: str,
        url: BrokerUrl,
        open: Callable[[], Awaitable[Life]],  # noqa: A002 - what it does
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        lab: bool = False,
        jitter: random.Random | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self.state = LinkState.CONNECTING
        self.cause = ""
        self._open = open
        self._clock = clock
        self._emit = emit
        self._lab = lab
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads reconnects, no secret
        self._life: Life | None = None
        self._number = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    def start(self) -> None:
        """Begin connecting; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervise(), name=f"link {self.name}")

    async def close(self) -> None:
        """End the life and stop; waits at most 2 s."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._end_life()
        self._tell(LinkState.CLOSED)

    def retry_now(self) -> None:
        """Try again at once, also after a refusal."""
        self._again.set()

    @property
    def life(self) -> Life | None:
        """The life that is open now, if any."""
        return self._life

    async def lives(self) -> AsyncIterator[Life]:
        """Each new life when it is there, until the link is closed. Asking for the next one waits until this one is over."""
        seen = 0
        while self.state is not LinkState.CLOSED:
            if self._life is not None and self._number > seen:
                seen = self._number
                yield self._life
            else:
                await self._changed.wait()

    async def opened(self, *, patient: bool = True) -> Life:
        """The open life, as soon as there is one. Not `patient`: the first try counts.

        Raises:
            BrokerError: the link was refused for good or closed, or (not patient) could not be opened at once.
        """
        hopeless = {LinkState.REFUSED, LinkState.CLOSED} | (set() if patient else {LinkState.DOWN})
        while self._life is None:
            if self.state in hopeless:
                raise BrokerError(self.name, self.cause or "closed")
            await self._changed.wait()
        return self._life

    async def _supervise(self) -> None:
        attempt = 0
        while True:
            self._tell(LinkState.CONNECTING, self.cause)
            try:
                async with asyncio.timeout(CONNECT_LIMIT_S):
                    life = await self._open()
            except MqdashError as error:
                attempt = await self._wait_after(error, attempt)
                continue
            except TimeoutError:
                late = BrokerError(self.name, f"no answer from {self.url.address} within {CONNECT_LIMIT_S:g} s")
                attempt = await self._wait_after(late, attempt, retry=True)
                continue
            except Exception as error:  # a bug of ours or of a library must not end the screen
                log.exception("connecting %s", self.name)
                unknown = BrokerError(self.name, f"could not connect: {type(error).__name__}")
                attempt = await self._wait_after(unknown, attempt, retry=True)
                continue
            attempt = 0
            self._life, self._number = life, self._number + 1
            self._tell(LinkState.UP)
            cause = await self._watched(life)
            log.info("%s: connection lost: %s; connecting again", self.name, cause)
            await self._end_life()
            self._tell(LinkState.DOWN, cause)

    async def _watched(self, life: Observer) -> str:
        """Tell how the life is until it is lost; returns the cause."""
        if not isinstance(life, TellsSilence | TellsBlocked):
            return await life.lost()
        watching = asyncio.create_task(self._watch(life), name=f"health {self.name}")
        try:
            return await life.lost()
        finally:
            watching.cancel()

    async def _watch(self, life: object) -> None:
        blocked = ""
        while True:
            await self._clock.sleep(HEALTH_EVERY_S)
            silent_s = life.silent_s if isinstance(life, TellsSilence) else 0.0
            state = LinkState.UP if silent_s < STALE_AFTER_S else LinkState.STALE
            before, blocked = blocked, life.blocked if isinstance(life, TellsBlocked) else ""
            if (state, blocked) != (self.state, before):
                cause = f"no answer for {silent_s:.0f} s" if state is LinkState.STALE else ""
                self._tell(state, cause, blocked=blocked)

    async def _wait_after(self, error: MqdashError, attempt: int, *, retry: bool = False) -> int:
        cause = error.text if isinstance(error, BrokerError) else str(error)
        self._again.clear()
        if not (retry or error.retryable):
            self._tell(LinkState.REFUSED, cause)
            await self._again.wait()
            return 0
        first, longest = BACKOFF_S
        delay_s = min(longest, first * 2**attempt) * self._jitter.uniform(0.5, 1.0)
        self._tell(LinkState.DOWN, cause, retry_at_s=self._clock.now() + delay_s)
        sleeping = asyncio.ensure_future(self._clock.sleep(delay_s))
        asked = asyncio.ensure_future(self._again.wait())
        try:
            await asyncio.wait({sleeping, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            asked.cancel()
        return attempt + 1

    async def _end_life(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            try:
                async with asyncio.timeout(2.0):
                    await life.close()
            except (TimeoutError, MqdashError):
                log.warning("%s: the old connection did not close in time", self.name)

    def _tell(self, state: LinkState, cause: str = "", *, retry_at_s: float | None = None, blocked: str = "") -> None:
        self.state, self.cause = state, cause
        self._emit(
            LinkChanged(
                broker=self.name,
                at_s=self._clock.now(),
                state=state,
                family=self.url.family,
                url=self.url.safe,
                cause=cause,
                retry_at_s=retry_at_s,
                info=None if self._life is None else self._life.info,
                lab=self._lab,
                blocked=blocked,
            )
        )
        self._changed.set()
        self._changed = asyncio.Event()
