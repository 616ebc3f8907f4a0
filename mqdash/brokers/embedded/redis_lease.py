"""Dead letters of a stream of the embedded Redis: read freely, replayed by a script that copies and removes in one step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mqdash.brokers.embedded.keyspace import as_fields
from mqdash.brokers.embedded.stream import parse_id
from mqdash.model.delivery import Delivery, EntryClaim, Outcome, Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.embedded.kernel import Life
    from mqdash.brokers.embedded.keyspace import Keyspace
    from mqdash.model.broker import LeaseInfo
    from mqdash.model.delivery import Outgoing

IN_ONE = "one script on the node"
_GONE = Outcome(Settled.STALE, "it was moved or removed already; nothing was sent")


class RedisLease:
    """See `mqdash.brokers.base.Lease` and `MovesInOne`: nothing is held, the entry's id is what makes a repeat harmless."""

    def __init__(self, info: LeaseInfo, letters: Sequence[Delivery], life: Life[Keyspace]) -> None:
        self.info = info
        self.letters = letters
        self._life = life

    async def remove(self, letters: Sequence[Delivery]) -> Sequence[Outcome]:
        """XDEL, one outcome each; removing twice is fine."""
        await asyncio.sleep(0)
        return [self._removed(letter) for letter in letters]

    async def move(self, letters: Sequence[Delivery], copies: Sequence[Outgoing]) -> Sequence[Outcome] | None:
        """One script each: the copy first, then XDEL; a letter that is gone is not copied again (semantics §2.3)."""
        await asyncio.sleep(0)
        return [self._moved(letter, copy) for letter, copy in zip(letters, copies, strict=True)]

    def _removed(self, letter: Delivery) -> Outcome:
        if self._life.cause is not None:
            return Outcome(Settled.UNKNOWN, self._life.cause)
        return Outcome(Settled.SETTLED) if self._delete(letter) else Outcome(Settled.SETTLED, "it was gone already")

    def _moved(self, letter: Delivery, copy: Outgoing) -> Outcome:
        if self._life.cause is not None:
            return Outcome(Settled.UNKNOWN, self._life.cause)
        keys, target = self._life.server.model, copy.route.destination
        if target not in keys.streams:
            return Outcome(Settled.FAILED, f"there is no stream {target!r}; nothing was sent or removed")
        if not self._has(letter):
            return _GONE
        keys.add(target, [as_fields(copy.message)], self._life.server.step())
        self._delete(letter)
        self._life.server.rearm()
        return Outcome(Settled.SETTLED)

    def _has(self, letter: Delivery) -> bool:
        stream = self._life.server.model.streams.get(letter.route.destination)
        claim = letter.claim
        return stream is not None and isinstance(claim, EntryClaim) and parse_id(claim.entry_id) in stream.entries

    def _delete(self, letter: Delivery) -> bool:
        if not self._has(letter):
            return False
        assert isinstance(letter.claim, EntryClaim)
        stream, entry_id = self._life.server.model.streams[letter.route.destination], parse_id(letter.claim.entry_id)
        for group in stream.groups.values():
            group.ack(entry_id)  # a deleted entry would stay in pending lists (S11)
        return stream.delete(entry_id)
