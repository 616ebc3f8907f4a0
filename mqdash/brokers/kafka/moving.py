"""A consumer's moves: retries and dead letters as copies, proved before anything is committed (semantics §2.1, §2.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mqdash.brokers.kafka.records import retry_topic
from mqdash.brokers.moves import copied, dead_letter_copy
from mqdash.errors import BrokerError
from mqdash.model.delivery import DeadLetter, Outcome, Outgoing, RecordClaim, Retry, Sent, Settled
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mqdash.brokers.kafka.publisher import KafkaPublisher
    from mqdash.model.delivery import Delivery, Receipt, Verdict
    from mqdash.model.topology import QueueRef


class Mover:
    """Makes the copies on a producer of its own, opened at the first move.

    `make_retry_topics` creates the group's retry topics; afterwards `made_topics` is true until somebody looks.
    """

    def __init__(
        self,
        ref: QueueRef,
        *,
        worker: str,
        dead_letter: Route,
        open_publisher: Callable[[], Awaitable[KafkaPublisher]],
        make_retry_topics: Callable[[], Awaitable[None]],
    ) -> None:
        self.made_topics = False
        self._ref = ref
        self._worker = worker
        self._dead_letter = dead_letter
        self._open_publisher = open_publisher
        self._make_retry_topics = make_retry_topics
        self._publisher: KafkaPublisher | None = None
        self._opening = asyncio.Lock()

    async def move(self, moves: Sequence[tuple[Delivery, Verdict]]) -> list[Outcome | None]:
        """One entry per move: None = the copy is proved, else FAILED or UNKNOWN and the original is still held."""
        try:
            publisher = await self._ready()
            copies = [await self._copy(publisher, delivery, verdict) for delivery, verdict in moves]
        except BrokerError as error:
            return [Outcome(Settled.FAILED, error.text)] * len(moves)
        return [_outcome(receipt) for receipt in await publisher.send(copies)]

    async def close(self) -> None:
        """Close the producer, if there ever was one."""
        if self._publisher is not None:
            self._publisher.end("closed")

    async def _ready(self) -> KafkaPublisher:
        async with self._opening:
            if self._publisher is None or self._publisher.cause is not None:
                self._publisher = await self._open_publisher()
            return self._publisher

    async def _copy(self, publisher: KafkaPublisher, delivery: Delivery, verdict: Verdict) -> Outgoing:
        claim = delivery.claim
        assert isinstance(claim, RecordClaim)
        if isinstance(verdict, DeadLetter):
            copy = dead_letter_copy(delivery, verdict, worker=self._worker, to=self._dead_letter)
            route = copy.route
            # The same partition as the original where that exists: order within it stays.
            if route.partition is None and await publisher.partitions(route.destination) == await publisher.partitions(
                self._ref.name
            ):
                route = Route(route.destination, route.key, claim.partition)
            return Outgoing(route, copy.message)
        assert isinstance(verdict, Retry)
        topic = retry_topic(self._ref.name, self._ref.group, verdict.after_s)
        if not await publisher.knows(topic):
            await self._make_retry_topics()
            self.made_topics = True
        message = copied(delivery, verdict.error, verdict.error_text, worker=self._worker)
        return Outgoing(Route(topic), message)


def _outcome(receipt: Receipt) -> Outcome | None:
    if receipt.sent is Sent.CONFIRMED:
        return None
    if receipt.sent is Sent.UNKNOWN:
        return Outcome(Settled.UNKNOWN, f"the copy: {receipt.detail}; the original is kept")
    return Outcome(Settled.FAILED, f"the copy was refused: {receipt.detail}; nothing was removed")
