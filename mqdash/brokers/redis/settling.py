"""Settling a consumer's deliveries by scripts that check the owner; a batch of acks is one script call (semantics §2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.moves import copied, dead_letter_copy
from mqdash.brokers.redis import scripts
from mqdash.brokers.redis.entries import fields_of, packed, retry_keys
from mqdash.brokers.redis.errors import reason
from mqdash.brokers.redis.session import Lost
from mqdash.model.delivery import Ack, DeadLetter, Delivery, EntryClaim, Outcome, Retry, Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.redis.scripts import Script
    from mqdash.brokers.redis.session import Session
    from mqdash.model.delivery import Verdict
    from mqdash.model.topology import QueueRef, Route

ACKS_PER_CALL: Final = 100
SETTLED: Final = Outcome(Settled.SETTLED)
STALE: Final = Outcome(Settled.STALE, "another consumer owns it now, or it is settled already")
_Call = tuple["Script", tuple[str, ...], tuple[Any, ...]]


class Settler:
    """Settles what `owner` holds of one group, on the writing session of its consumer."""

    def __init__(self, session: Session, queue: QueueRef, owner: str, *, dead_letter: Route) -> None:
        self._session = session
        self._queue = queue
        self._owner = owner
        self._dead_letter = dead_letter
        self._retry_keys = retry_keys(queue)

    def is_retry(self, delivery: Delivery) -> bool:
        """Whether it came from the group's retries rather than from the stream."""
        return delivery.route.destination == self._retry_keys[0]

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> list[Outcome]:
        """One outcome each, in order; acks first, then the moves, each of which is a script of its own."""
        outcomes: list[Outcome] = [STALE] * len(verdicts)
        acks: dict[bool, list[int]] = {False: [], True: []}
        moves: list[int] = []
        for index, (delivery, verdict) in enumerate(verdicts):
            claim = delivery.claim
            if not isinstance(claim, EntryClaim) or claim.owner != self._owner:
                continue
            (acks[self.is_retry(delivery)] if isinstance(verdict, Ack) else moves).append(index)
        for retry, indexes in acks.items():
            for at in range(0, len(indexes), ACKS_PER_CALL):
                part = indexes[at : at + ACKS_PER_CALL]
                await self._ack([verdicts[index][0] for index in part], part, outcomes, retry=retry)
        for index in moves:
            outcomes[index] = await self._move(*verdicts[index])
        return outcomes

    async def _ack(
        self, deliveries: list[Delivery], indexes: list[int], outcomes: list[Outcome], *, retry: bool
    ) -> None:
        ids = [delivery.claim.entry_id for delivery in deliveries if isinstance(delivery.claim, EntryClaim)]
        if retry:
            call: tuple[Any, Any] = (self._retry_keys, (self._owner, *ids))
        else:
            call = ((self._queue.name,), (self._queue.group, self._owner, *ids))
        result = (await self._session.scripts(scripts.RETRY_ACK if retry else scripts.ACK, [call]))[0]
        for place, index in enumerate(indexes):
            done = result if isinstance(result, Exception) else bool(result[place])
            outcomes[index] = _outcome(done)

    async def _move(self, delivery: Delivery, verdict: Verdict) -> Outcome:
        script, keys, arguments = (
            self._bury(delivery, verdict) if isinstance(verdict, DeadLetter) else self._postpone(delivery, verdict)
        )
        return _outcome((await self._session.scripts(script, [(keys, arguments)]))[0])

    def _bury(self, delivery: Delivery, verdict: DeadLetter) -> _Call:
        copy = dead_letter_copy(delivery, verdict, worker=self._owner, to=self._dead_letter)
        target, fields = copy.route.destination, fields_of(copy.message)
        entry_id = _entry_id(delivery)
        if self.is_retry(delivery):
            return scripts.RETRY_BURY, (*self._retry_keys, target), (self._owner, entry_id, *fields)
        held = (self._queue.group, self._owner, entry_id)
        return scripts.BURY, (self._queue.name, target), (*held, *fields)

    def _postpone(self, delivery: Delivery, verdict: Verdict) -> _Call:
        assert isinstance(verdict, Retry)
        copy = packed(copied(delivery, verdict.error, verdict.error_text, worker=self._owner))
        entry_id, after_ms = _entry_id(delivery), max(round(verdict.after_s * 1000), 0)
        if self.is_retry(delivery):
            return scripts.RETRY_POSTPONE, self._retry_keys, (self._owner, entry_id, after_ms, copy)
        held = (self._queue.group, self._owner, entry_id)
        keys = (self._queue.name, *self._retry_keys)
        return scripts.POSTPONE, keys, (*held, after_ms, delivery.delivery_count or 1, copy)


def _entry_id(delivery: Delivery) -> str:
    assert isinstance(delivery.claim, EntryClaim)
    return delivery.claim.entry_id


def _outcome(result: Any) -> Outcome:
    """A script's reply: something = done, nothing = not ours, an error = refused before anything was removed."""
    if isinstance(result, Lost):
        return Outcome(Settled.UNKNOWN, str(result))
    if isinstance(result, Exception):
        return Outcome(Settled.FAILED, f"{reason(result)}; nothing was removed")
    return SETTLED if result else STALE
