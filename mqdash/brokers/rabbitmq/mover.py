"""The copying half of a consumer's retries and dead letters: a publishing connection, opened when first needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mqdash.brokers import moves
from mqdash.brokers.rabbitmq.declare import declare_wait_queue
from mqdash.brokers.rabbitmq.publisher import ConfirmingPublisher
from mqdash.errors import BrokerError
from mqdash.model.delivery import DeadLetter, Outcome, Outgoing, Retry, Sent, Settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mqdash.brokers.rabbitmq.known import Known
    from mqdash.brokers.rabbitmq.link import Link
    from mqdash.clock import Clock
    from mqdash.model.delivery import Delivery, Receipt
    from mqdash.model.topology import Route

WINDOW: Final = 1000
DECLARE_AGAIN_S: Final = 10.0


class Mover:
    """Makes copies and sends them with mandatory and confirm; alarms block it and leave the consumer alone."""

    def __init__(
        self,
        *,
        worker: str,
        open_link: Callable[[str], Awaitable[Link]],
        dead_letter: Callable[[], Awaitable[Route | None]],
        known: Known,
        clock: Clock,
    ) -> None:
        self.worker = worker
        self._open_link = open_link
        self._dead_letter = dead_letter
        self._known = known
        self._clock = clock
        self._link: Link | None = None
        self._publisher: ConfirmingPublisher | None = None
        self._opening = asyncio.Lock()
        self._declared_at: dict[str, float] = {}

    async def copy(self, delivery: Delivery, verdict: Retry | DeadLetter) -> Outgoing | Outcome:
        """What to publish for the verdict, or FAILED with the reason why nothing can be."""
        if isinstance(verdict, Retry):
            return moves.retry_copy(delivery, verdict, worker=self.worker)
        target = await self._dead_letter()
        if target is None:
            text = f"no dead-letter route is known for {delivery.queue}: declare one, or name it for this consumer"
            return Outcome(Settled.FAILED, text)
        return moves.dead_letter_copy(delivery, verdict, worker=self.worker, to=target, at_s=self._clock.now())

    async def send(self, copies: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Publish the copies; wait queues are declared before their first use and again when one has gone.

        A wait queue that may be new is left to settle first (`moves.FRESH_S`): what goes there is settled on its confirm.

        Raises:
            BrokerError: a wait queue cannot be declared, or there is no connection; nothing was sent.
        """
        publisher = await self._ready()
        await self._declare_rungs(copies)
        receipts = list(await publisher.send(copies))
        # A returned copy was certainly not stored: a wait queue was deleted under us, so make it and send again, once.
        again = [
            index
            for index, (copy, receipt) in enumerate(zip(copies, receipts, strict=True))
            if receipt.sent is Sent.RETURNED and moves.is_wait_queue(copy.route.key) and not copy.route.destination
        ]
        if again:
            self._declared_at.clear()
            for index in again:
                self._known.rung_gone(copies[index].route.key)
            try:
                await self._declare_rungs([copies[index] for index in again])
            except BrokerError:
                return receipts  # RETURNED stands: nothing was stored
            for index, receipt in zip(again, await publisher.send([copies[index] for index in again]), strict=True):
                receipts[index] = receipt
        return receipts

    async def _declare_rungs(self, copies: Sequence[Outgoing]) -> None:
        assert self._link is not None
        now = self._clock.monotonic()
        names = {
            copy.route.key for copy in copies if not copy.route.destination and moves.is_wait_queue(copy.route.key)
        }
        for name in names:
            if now - self._declared_at.get(name, -DECLARE_AGAIN_S) < DECLARE_AGAIN_S:
                continue
            wait = next(wait for wait in moves.wait_queues(_served(name)) if wait.ref.name == name)
            await declare_wait_queue(self._link, wait)
            self._declared_at[name] = now
            self._known.rung_seen(name, self._clock.monotonic())
        since_s = max((self._known.rungs_since_s.get(name, now) for name in names), default=now - moves.FRESH_S)
        await self._clock.sleep(max(0.0, since_s + moves.FRESH_S - now))

    async def _ready(self) -> ConfirmingPublisher:
        async with self._opening:
            if self._publisher is None:
                self._link = await self._open_link(f"{self.worker} (moves)")
                self._publisher = ConfirmingPublisher(self._link, window=WINDOW)
                await self._publisher.open()
            if self._link is not None and self._link.error is not None:
                raise BrokerError(self._link.url.safe, self._link.error.text)
            return self._publisher

    def kill(self) -> None:
        """Drop the socket."""
        if self._publisher is not None:
            self._publisher.close()
        if self._link is not None:
            self._link.kill()

    async def close(self) -> None:
        """Close the connection."""
        if self._publisher is not None:
            self._publisher.close()
        if self._link is not None:
            await self._link.close()


def _served(rung: str) -> str:
    """The queue that a wait queue's name belongs to."""
    return rung.removeprefix(moves.WAIT_PREFIX).rpartition(".")[0]
