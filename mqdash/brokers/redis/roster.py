"""Members of a run on Redis: a sorted set of names, scored with the end of their lease, renewed every 5 s (design §4.4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from mqdash.brokers.redis import scripts
from mqdash.brokers.redis.errors import translated
from mqdash.brokers.redis.session import Lost
from mqdash.errors import BrokerError, ConnectionLost

if TYPE_CHECKING:
    from mqdash.brokers.life import Life
    from mqdash.brokers.redis.session import Session

log = logging.getLogger(__name__)

RENEW_EVERY_S: Final = 5.0
LEASE_S: Final = 16.0
"""Three renewals may go missing: a member whose process died is forgotten after this long."""


class RedisMembership:
    """See `mqdash.brokers.base.Membership`. The set is gone with its last member."""

    def __init__(self, life: Life, session: Session, roster: str, name: str) -> None:
        self._life = life
        self._session = session
        self._roster = roster
        self._name = name
        self._left = False

    async def enroll(self) -> None:
        """Register and keep the lease until the life ends or the membership is left.

        Raises:
            BrokerError: it could not be registered.
        """
        await self._renew()
        self._life.start(self._keep(), name=f"probe roster {self._roster}")  # like a probe, cancelled with its life

    async def leave(self) -> bool:
        """Unregister; whether nobody else is there."""
        self._left = True
        return bool(await self._told(scripts.UNENROLL, (self._name,)) == 0)

    async def _renew(self) -> None:
        await self._told(scripts.ENROLL, (self._name, round(LEASE_S * 1000)))

    async def _keep(self) -> None:
        while True:
            await self._life.clock.sleep(RENEW_EVERY_S)
            if self._left or self._life.cause is not None:
                return
            try:
                await self._renew()
            except ConnectionLost:
                return
            except BrokerError as error:  # out of memory, no right: the lease may still last
                log.warning("the membership was not renewed: %s", error)

    async def _told(self, script: scripts.Script, arguments: tuple[object, ...]) -> int:
        result = (await self._session.scripts(script, [((self._roster,), arguments)]))[0]
        if isinstance(result, Lost):
            raise ConnectionLost(self._session.broker, str(result))
        if isinstance(result, Exception):
            raise translated(self._session.broker, result, what=self._roster)
        return int(result)
