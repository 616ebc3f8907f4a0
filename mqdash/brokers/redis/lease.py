"""Dead letters of a stream, read freely (S18); only removing writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.redis.errors import reason
from mqdash.brokers.redis.session import Lost
from mqdash.model.delivery import Delivery, EntryClaim, Outcome, Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.redis.session import Session
    from mqdash.model.broker import LeaseInfo


class RedisLease:
    """See `mqdash.brokers.base.Lease`: nothing is held, so nothing needs to be given back."""

    def __init__(self, info: LeaseInfo, letters: Sequence[Delivery], session: Session, stream: str) -> None:
        self.info = info
        self.letters = letters
        self._session = session
        self._stream = stream

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """XDEL each; its reply is the proof, also that it was gone before."""
        ids = [letter.claim.entry_id if isinstance(letter.claim, EntryClaim) else "0-0" for letter in letters]
        return [_outcome(result) for result in await self._session.run([("XDEL", self._stream, one) for one in ids])]


def _outcome(result: object) -> Outcome:
    if isinstance(result, Lost):
        return Outcome(Settled.UNKNOWN, str(result))
    if isinstance(result, Exception):
        return Outcome(Settled.FAILED, f"{reason(str(result))}; nothing was removed")
    return Outcome(Settled.SETTLED) if result else Outcome(Settled.SETTLED, "it was gone already")
