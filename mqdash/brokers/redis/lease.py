"""Dead letters of a stream, read freely (S18); replayed by a script that copies and removes in one step (semantics §2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.redis import scripts
from mqdash.brokers.redis.entries import fields_of, same_slot
from mqdash.brokers.redis.errors import reason
from mqdash.brokers.redis.session import Lost
from mqdash.model.delivery import Delivery, EntryClaim, Outcome, Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.redis.session import Session
    from mqdash.model.broker import LeaseInfo
    from mqdash.model.delivery import Outgoing

IN_ONE: Final = "one script on the node"
GONE: Final = "it was moved or removed already; nothing was sent"


class RedisLease:
    """See `mqdash.brokers.base.Lease` and `MovesInOne`: nothing is held, so nothing needs to be given back.

    The letter's entry id makes a repeat harmless: after a lost reply, replaying again moves what is still there and nothing twice.
    """

    def __init__(
        self, info: LeaseInfo, letters: Sequence[Delivery], session: Session, stream: str, *, slots: bool
    ) -> None:
        self.info = info
        self.letters = letters
        self._session = session
        self._stream = stream
        self._slots = slots

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """Delete each, also from the pending lists of groups; the reply is the proof, also that it was gone before."""
        calls = [((self._stream,), (_entry_id(letter),)) for letter in letters]
        return [_removed(result) for result in await self._session.scripts(scripts.REMOVE, calls)]

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        """One script each, the write first. None in a cluster when a target is in another slot: two steps then."""
        targets = [copy.route.destination for copy in copies]
        if self._slots and not all(same_slot(self._stream, target) for target in targets):
            return None
        calls = [
            ((self._stream, target), (_entry_id(letter), *fields_of(copy.message)))
            for letter, copy, target in zip(letters, copies, targets, strict=True)
        ]
        results = await self._session.scripts(scripts.MOVE, calls)
        return [_moved(result, target) for result, target in zip(results, targets, strict=True)]


def _entry_id(letter: Delivery) -> str:
    return letter.claim.entry_id if isinstance(letter.claim, EntryClaim) else "0-0"


def _moved(result: Any, target: str) -> Outcome:
    if isinstance(result, Lost):
        return Outcome(Settled.UNKNOWN, f"{result}; replaying it again cannot make a duplicate")
    if isinstance(result, Exception):
        why = f"there is no stream {target!r}" if "NOTARGET" in str(result) else reason(result)
        return Outcome(Settled.FAILED, f"{why}; nothing was sent or removed")
    return Outcome(Settled.SETTLED) if result else Outcome(Settled.STALE, GONE)


def _removed(result: Any) -> Outcome:
    if isinstance(result, Lost):
        return Outcome(Settled.UNKNOWN, str(result))
    if isinstance(result, Exception):
        return Outcome(Settled.FAILED, f"{reason(result)}; nothing was removed")
    return Outcome(Settled.SETTLED) if result else Outcome(Settled.SETTLED, "it was gone already")
