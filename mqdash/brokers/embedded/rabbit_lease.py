"""Dead letters of the embedded RabbitMQ in hand: taken, kept unacked, given back in place (semantics §2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.embedded.channel import ChannelClosed
from mqdash.brokers.embedded.queue import NEVER
from mqdash.brokers.embedded.rabbit_links import POLITE, SETTLED, STALE, RabbitLink, delivery_of, translated
from mqdash.errors import BrokerError
from mqdash.model.broker import LeaseInfo
from mqdash.model.delivery import AmqpClaim, Delivery, Outcome
from mqdash.model.topology import QueueRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.embedded.kernel import Life
    from mqdash.brokers.embedded.queue import ReadyQueue
    from mqdash.brokers.embedded.rabbitmq import RabbitServer

MAX_LETTERS = 10_000
MAX_BYTES = 64 * 2**20
FEWEST_RETURNS = 2


class RabbitLease(RabbitLink):
    """The oldest letters of one queue, held unacked on a connection of its own."""

    def __init__(self, life: Life[RabbitServer], queue: QueueRef, *, limit: int) -> None:
        super().__init__(life, "dead letters")
        try:
            self._take(QueueRef(queue.name), min(limit, MAX_LETTERS))
        except ChannelClosed as error:
            self.end(POLITE)
            raise translated(self._server.name, error) from None
        except BrokerError:
            self.end(POLITE)
            raise

    def _take(self, queue: QueueRef, limit: int) -> None:
        now_s = self._server.step()
        held = self._model.queue_for(self._channel, queue.name, now_s)
        total = held.ready
        returns_left = self._check_cost(held, limit)
        letters: list[Delivery] = []
        size_bytes = 0
        while len(letters) < limit and size_bytes < MAX_BYTES:
            got = self._model.get(self._channel, queue.name, now_s)
            if got is None:
                break
            tag, entry = got
            size_bytes += entry.size_bytes
            claim = AmqpClaim(self._life_number, self._channel.number, tag)
            letters.append(delivery_of(entry, held, queue, claim, redelivered=entry.redelivered, pulled=True))
        self.letters: Sequence[Delivery] = letters
        self._returned_by_close = held.quorum and held.delivery_limit is None
        self.info = LeaseInfo(
            total=total, order="oldest", held=True, cost=_cost(held, returns_left), returns_left=returns_left
        )

    def _check_cost(self, queue: ReadyQueue, limit: int) -> int | None:
        """Refuse what would cost messages (F1, F3); how many returns the tightest letter has left, if counted."""
        if queue.limited and not queue.rejects:
            self._refuse(queue, "it has a maximum length: giving letters back into it while it is full drops them (F3)")
        entries = [entry for entry, _ in zip(queue.entries(), range(limit), strict=False)]
        if queue.ttl_s is not None or any(entry.expires_s != NEVER for entry in entries):
            self._refuse(queue, "its messages expire: what runs out while it is held is gone when given back (F3)")
        if queue.delivery_limit is None:
            return None
        left = queue.delivery_limit - max((entry.returns for entry in entries), default=0)
        if left <= FEWEST_RETURNS:
            self._refuse(queue, f"a message of it is dropped after {left} more returns (delivery limit, F1)")
        return left

    def _refuse(self, queue: ReadyQueue, why: str) -> None:
        raise BrokerError(self._server.name, f"not opened: queue '{queue.name}' would lose messages; {why}")

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """Acknowledge them: gone for good."""
        outcomes = []
        for letter in letters:
            claim = letter.claim
            ours = isinstance(claim, AmqpClaim) and claim.channel == self._channel.number
            if self.cause is None and ours and isinstance(claim, AmqpClaim) and claim.tag in self._channel.unacked:
                self._model.ack(self._channel, claim.tag, self._server.step())
                outcomes.append(SETTLED)
            else:
                outcomes.append(STALE)
        return outcomes

    def release(self) -> None:
        """Give back what is left, in place: by nack where that keeps the order, else by closing the channel."""
        if self.cause is None and self._channel.unacked and not self._returned_by_close:
            last = max(self._channel.unacked)
            self._model.nack(self._channel, last, self._server.step(), requeue=True, multiple=True)
        self.end(POLITE)


def _cost(queue: ReadyQueue, returns_left: int | None) -> str:
    costs = ["held letters are marked redelivered"]
    if returns_left is not None:
        costs.append(f"each look counts as a return: {returns_left} left before a letter is dropped")
    if queue.subscribers:
        costs.append("others consume from this queue too")
    return "; ".join(costs)
