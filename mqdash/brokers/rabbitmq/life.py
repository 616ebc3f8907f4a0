"""One connection life: all connections opened in it end together when one of them ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from mqdash.brokers.rabbitmq.link import open_link
from mqdash.errors import BrokerError, ConnectionLost

if TYPE_CHECKING:
    from mqdash.brokers.rabbitmq.known import Known
    from mqdash.brokers.rabbitmq.link import Channel, Link
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock

PROBE_EVERY_S: Final = 2.0
PROBE_TIMEOUT_S: Final = 4.0
CLOSE_TIMEOUT_S: Final = 1.8


class Life:
    """Connections of one life. `control` is the first and carries the staleness probe: heartbeats are too slow (F8)."""

    def __init__(self, url: BrokerUrl, known: Known, *, clock: Clock) -> None:
        self.url = url
        self.known = known
        self.control: Link
        self._clock = clock
        self._links: set[Link] = set()
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._probe: asyncio.Task[None] | None = None
        self._asked_s: float | None = None  # monotonic, while a probe waits for its answer

    async def start(self) -> None:
        """Open the control connection and begin to probe it.

        Raises:
            BrokerUnavailable, LoginRefused, AccessRefused, NotFound, WrongProtocol, TlsFailed: with the cause in words.
        """
        self.control = await self.open("control")
        try:
            channel = await self.control.channel()
        except BaseException:
            self._closed = True
            self.control.kill("its first channel did not open")
            raise
        self._probe = asyncio.get_running_loop().create_task(self._watch(channel), name=f"probe {self.url.safe}")

    async def open(self, name: str) -> Link:
        """Another connection of this life.

        Raises:
            ConnectionLost: the life is over.
            BrokerError: as `open_link`.
        """
        self._refuse_when_over()
        link = await open_link(self.url, name=name, on_end=self._link_ended)
        if self._closed or self._lost.done():
            link.kill()
            self._refuse_when_over()
        self._links.add(link)
        return link

    def _refuse_when_over(self) -> None:
        if self._lost.done():
            raise ConnectionLost(self.url.safe, self._lost.result())
        if self._closed:
            raise ConnectionLost(self.url.safe, "the connection was closed by mqdash")

    @property
    def silent_s(self) -> float:
        """How long the probe has been waiting for its answer."""
        return 0.0 if self._asked_s is None else self._clock.monotonic() - self._asked_s

    async def lost(self) -> str:
        """The cause, once this life has ended by itself."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """End all connections politely, within 2 s."""
        if self._closed:
            return
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
        links = list(self._links)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.gather(*(link.close() for link in links))
        for link in links:
            link.kill("closed")

    def _link_ended(self, link: Link, cause: str) -> None:
        self._links.discard(link)
        if not link.wanted and not self._closed:
            self._end(cause)

    def _end(self, cause: str) -> None:
        if self._lost.done():
            return
        self._lost.set_result(cause)
        if self._probe is not None and self._probe is not asyncio.current_task():
            self._probe.cancel()
        for link in list(self._links):
            link.kill(cause, wanted=False)

    async def _watch(self, channel: Channel) -> None:
        while True:
            await self._clock.sleep(PROBE_EVERY_S)
            self._asked_s = self._clock.monotonic()
            try:
                await channel.call("basic_qos", prefetch_count=0, timeout_s=PROBE_TIMEOUT_S)
            except ConnectionLost:
                return  # told by the connection itself
            except BrokerError as error:
                self._end(error.text)
                return
            self._asked_s = None
