"""Members of a run on Kafka: members of a consumer group named like the roster, which reads nothing (design §4.4)."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.kafka.way import stop
from mqdash.brokers.life import Link
from mqdash.errors import BrokerUnavailable

if TYPE_CHECKING:
    from mqdash.brokers.kafka.cluster import Cluster
    from mqdash.brokers.life import Life

SESSION_S: Final = 6.0
"""A member whose process died is forgotten after this long; brokers allow no less by default."""
JOIN_LIMIT_S: Final = 5.0
LOOK_EVERY_S: Final = 0.02


class KafkaMembership(Link):
    """See `mqdash.brokers.base.Membership`. The cluster forgets a group without members and offsets by itself.

    The subscription is a pattern that matches no topic: a name would be asked for, and a broker with
    auto.create.topics.enable would make the topic.
    """

    def __init__(self, life: Life, cluster: Cluster, client: Any, roster: str, name: str) -> None:
        super().__init__(life, f"roster {name}")
        self._cluster = cluster
        self._client = client
        self._roster = roster
        self._member = name

    async def enroll(self) -> None:
        """Join and return when the coordinator lists us.

        It lists a member as soon as it asks to join; the round that admits it waits for members that have died.

        Raises:
            BrokerError: it could not join in time.
        """
        self._client.subscribe(pattern=rf"^{re.escape(self._roster)}\Z")
        try:
            async with asyncio.timeout(JOIN_LIMIT_S):
                while self._member not in await self._listed():  # noqa: ASYNC110 - the cluster does not tell by itself
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise BrokerUnavailable(
                self.life.broker, f"the group {self._roster!r} did not admit us within {JOIN_LIMIT_S:g} s"
            ) from None

    async def leave(self) -> bool:
        """Leave the group; whether nobody else is in it."""
        if self.retire("left"):
            await stop(self._client)
        return not await self._listed() - {self._member}

    def dropped(self) -> None:
        """The life is over: the session ends or times out by itself."""
        self.life.start(stop(self._client), name=f"stop {self.name}")

    async def _listed(self) -> set[str]:
        members = await self._cluster.members(self._roster)
        if members is None:
            raise BrokerUnavailable(self.life.broker, f"the cluster does not tell who is in {self._roster!r}")
        return {member.client_id for member in members}
