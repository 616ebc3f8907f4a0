"""What a cluster tells: topics, offsets, groups with their members. Looks only; nothing here can create a topic.

Metadata is always asked for all topics: asked for one that is missing, a broker with auto.create.topics.enable makes it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from mqdash.brokers.kafka.cursor import Cursor
from mqdash.brokers.kafka.errors import translated
from mqdash.brokers.kafka.records import LETTERS_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import AIOKafkaAdminClient

log = logging.getLogger(__name__)

_DEAD = "Dead"
_REBALANCING = frozenset({"PreparingRebalance", "CompletingRebalance"})
_MOVING = (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, GroupLoadInProgressError)
_DEAD_NODE = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError)
COORDINATOR_LIMIT_S: Final = 4.0
"""How long a group may be without a coordinator before that is an error: a new cluster makes its offsets topic first."""
TAKES_OVER_S: Final = 2.0
COORDINATOR_EVERY_S: Final = 0.1
ASKED_PER_NODE: Final = 4
ANOTHER_AFTER_S: Final = 0.05
Answer = TypeVar("Answer")


class GroupMember(msgspec.Struct, frozen=True):
    """A member: `id` is made by the coordinator, `client_id` is what it calls itself, `topics` it subscribed to.

    `address` is without the leading slash of Java.
    """

    id: str
    client_id: str
    address: str
    topics: frozenset[str]
    places: frozenset[tuple[str, int]]


class Ends(msgspec.Struct, frozen=True):
    """Log start and end of a partition; `end` is the offset the next record gets."""

    start: int
    end: int


class Cluster:
    """Questions to one cluster through an admin client and a reader without a group."""

    def __init__(self, broker: str, admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer) -> None:
        self.broker = broker
        self.admin: Any = admin
        self._reader: Any = reader
        self._asking = asyncio.Lock()
        self._connections: set[Any] = set()
        self._coordinators: dict[str, tuple[int, float | None]] = {}

    async def alive(self) -> None:
        """The cheapest question: metadata of no topic at all.

        Raises:
            BrokerError: no broker answers.
        """
        await self._from_any([])

    @asynccontextmanager
    async def translated(self, what: str = "") -> AsyncIterator[None]:
        """Errors of the library as ours; `what` names the thing asked about."""
        try:
            yield
        except (KafkaError, OSError, TimeoutError) as error:
            raise translated(self.broker, error, what=what) from None

    async def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        found = await self._from_any(None)
        return {topic["topic"]: len(topic["partitions"]) for topic in found if not topic["error_code"]}

    async def _from_any(self, topics: list[str] | None) -> Any:
        """Ask a node at random, and when it does not answer another one: a cluster lives on without one of its nodes."""
        nodes = self._nodes()
        self._tell_dropped()
        async with self.translated():
            for _ in range(ASKED_PER_NODE * nodes if nodes > 1 else 0):
                try:
                    return await self.admin.describe_topics(topics)
                except (KafkaError, OSError):
                    await asyncio.sleep(ANOTHER_AFTER_S)
            return await self.admin.describe_topics(topics)

    def _tell_dropped(self) -> None:
        """The library opens a dropped connection again by itself, without a word: the log has a line of it (fault 20)."""
        for dropped in [one for one in self._connections if not one.connected()]:
            log.info(
                "%s: the connection to %s:%s dropped, opening another one", self.broker, dropped.host, dropped.port
            )
        open_now = self.admin._client._conns.values()  # noqa: SLF001 - there is no public list of connections
        self._connections = {one for one in open_now if one.connected()}

    async def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, Ends]:
        """Start and end of these partitions."""
        if not places:
            return {}
        async with self._asking, self.translated():
            starts = await self._reader.beginning_offsets(places)
            ends = await self._reader.end_offsets(places)
        return {place: Ends(starts[place], ends[place]) for place in places if place in starts and place in ends}

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """The group's committed offsets, of all topics; partitions without one are left out."""
        found = await self._asked(group, self._offsets)
        return {place: committed.offset for place, committed in found.items() if committed.offset >= 0}

    async def cursors(self, topic: str, ends: Mapping[TopicPartition, Ends]) -> dict[TopicPartition, Cursor]:
        """What is removed of each partition of a dead-letter topic."""
        group = LETTERS_PREFIX + topic
        found = await self._asked(group, self._offsets)
        committed = {place: found[place] for place in ends if place in found and found[place].offset >= 0}
        return {
            place: Cursor.read(committed[place].offset, committed[place].metadata, start=bounds.start, end=bounds.end)
            if place in committed
            else Cursor(bounds.start)
            for place, bounds in ends.items()
        }

    async def members(self, group: str) -> tuple[GroupMember, ...] | None:
        """Who is in the group; None when the cluster cannot tell us (F13: a new-protocol group reads as dead).

        One group per question: aiokafka 0.14 misreads answers about two.
        """
        for _ in range(2):  # a group that was made between the two questions is described by the third
            error, _, state, _, _, members = (await self._asked(group, self._described))[:6]
            if not error and (state != _DEAD or group not in await self.groups()):
                return tuple(_member(member) for member in members)
        return None

    async def rebalancing(self, group: str) -> bool:
        """Whether its partitions are being given out anew this moment."""
        return (await self._asked(group, self._described))[2] in _REBALANCING

    async def _offsets(self, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
        """Asked here: the library takes "not the coordinator" and "still loading" for a group without any commit."""
        node = await self.admin.find_coordinator(group)
        answer = await self.admin._send_request(OffsetFetchRequest(group, None), node)  # noqa: SLF001
        found: dict[TopicPartition, OffsetAndMetadata] = {}
        errors = [answer.error_code]
        for topic, partitions in answer.topics:
            for partition, offset, metadata, error in partitions:
                errors.append(error)
                found[TopicPartition(topic, partition)] = OffsetAndMetadata(offset, metadata)
        for error in filter(None, errors):
            raise for_code(error)
        self._believe(group, node, empty=not found)
        return found

    def _believe(self, group: str, node: int, *, empty: bool) -> None:
        """A coordinator that has just taken over answers "no commits" for a moment, without an error (seen on 4.3: 0.2 s).

        Raises:
            GroupLoadInProgressError: the group had commits, and this node was not asked long enough.
        """
        now_s = asyncio.get_running_loop().time()
        if not empty:
            self._coordinators[group] = node, None
        elif group in self._coordinators:
            known, since_s = self._coordinators[group]
            if known == node and since_s is None:
                del self._coordinators[group]
            elif known != node:
                self._coordinators[group] = node, now_s
                raise GroupLoadInProgressError
            elif since_s is not None and now_s - since_s < TAKES_OVER_S:
                raise GroupLoadInProgressError

    async def _described(self, group: str) -> Any:
        answer = (await self.admin.describe_consumer_groups([group]))[0].groups[0]
        if for_code(answer[0]) in _MOVING:
            raise for_code(answer[0])
        return answer

    async def _asked(self, group: str, question: Callable[[str], Awaitable[Answer]]) -> Answer:
        """Ask about a group; while its coordinator moves, starts or is dead, ask again (fault 28).

        Raises:
            BrokerError: nobody coordinates it yet: "coordinator unknown".
        """
        moving = (*_MOVING, *_DEAD_NODE) if self._nodes() > 1 else _MOVING
        ends_s = asyncio.get_running_loop().time() + COORDINATOR_LIMIT_S
        async with self.translated(group):
            while True:
                try:
                    return await question(group)
                except moving as error:
                    if asyncio.get_running_loop().time() >= ends_s:
                        raise GroupCoordinatorNotAvailableError from error
                    if isinstance(error, _DEAD_NODE):
                        self.admin._client.force_metadata_update()  # noqa: SLF001 - it asks by its list of nodes
                    await asyncio.sleep(COORDINATOR_EVERY_S)

    def _nodes(self) -> int:
        return max(len(self.admin._client.cluster.brokers()), 1)  # noqa: SLF001 - there is no public list of nodes

    async def groups(self) -> list[str]:
        """Names of all groups, by name: every node is asked for those it coordinates."""
        found = await self._asked("", self._listed)
        return sorted({group[0] for group in found})

    async def _listed(self, _: str) -> list[tuple[str, str]]:
        listed: list[tuple[str, str]] = await self.admin.list_consumer_groups()
        return listed


def places_of(topics: dict[str, int], *names: str) -> list[TopicPartition]:
    """All partitions of these topics, as far as they exist."""
    return [TopicPartition(name, partition) for name in names for partition in range(topics.get(name, 0))]


def _member(member: Any) -> GroupMember:
    member_id, client_id, address, subscription, assignment = member[:5]
    topics = ConsumerProtocol.METADATA.decode(subscription).subscription if subscription else ()
    places: frozenset[tuple[str, int]] = frozenset()
    if assignment:
        decoded = ConsumerProtocol.ASSIGNMENT.decode(assignment)
        places = frozenset((topic, partition) for topic, partitions in decoded.assignment for partition in partitions)
    return GroupMember(member_id, client_id, address.lstrip("/"), frozenset(topics), places)
