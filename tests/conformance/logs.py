"""One topic and its groups, by bare commands: the embedded broker's own methods, and real Kafka through aiokafka."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from mqdash.brokers.embedded.cluster import Cluster
from mqdash.brokers.embedded.group import Group
from mqdash.brokers.embedded.group import Member as GroupMember
from mqdash.brokers.embedded.kernel import UNBOUNDED, Bounds
from mqdash.model.message import Headers, Message, Record
from tests.harness import target_names

_Test = TypeVar("_Test", bound=Callable[..., Any])
Given = tuple[int, int, bytes]
"""Partition, offset and value of a record a member was given."""
MODEL = "embedded-kafka"
SOME_TIME_MS = 1_700_000_000_000
TAKE_LIMIT_S = 20.0


class HasMembers(Exception):
    """The group has members: its offsets are not set from outside."""


class TooLarge(Exception):
    """MESSAGE_TOO_LARGE."""


@dataclass(frozen=True)
class Read:
    """A record as a reader without a group finds it."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None


class Member(ABC):
    """A member of a group that begins at the earliest record."""

    @abstractmethod
    def partitions(self) -> list[int]:
        """What it is assigned now, in order."""

    @abstractmethod
    async def take(self, count: int) -> list[Given]:
        """Exactly so many records, as they come."""

    @abstractmethod
    async def done(self, partition: int, offset: int) -> bool:
        """Commit the offset after this record; False when the group refuses."""

    @abstractmethod
    async def leave(self) -> None:
        """Go politely."""


class Logs(ABC):
    """A fresh topic of three partitions; groups by short names."""

    @abstractmethod
    async def produce(
        self,
        *values: bytes,
        partition: int | None = 0,
        key: bytes | None = None,
        headers: Headers = (),
        times_ms: Sequence[int] = (),
    ) -> list[tuple[int, int]]:
        """Write in this order; partition and offset of each. TooLarge."""

    @abstractmethod
    async def read(self, partition: int = 0, start: int = 0) -> list[Read]:
        """All from that offset on to the end, without a group."""

    @abstractmethod
    async def bounds(self, partition: int = 0) -> tuple[int, int]:
        """Log start and log end."""

    @abstractmethod
    async def grow(self, partitions: int) -> None:
        """Add partitions up to that number."""

    @abstractmethod
    async def delete_before(self, offset: int, partition: int = 0) -> None:
        """DeleteRecords."""

    @abstractmethod
    async def offset_for_time(self, time_ms: int) -> int | None:
        """Of partition 0."""

    @abstractmethod
    async def join(self, name: str, group: str = "g") -> Member:
        """A new member, assigned or not."""

    @abstractmethod
    async def committed(self, partition: int = 0, group: str = "g") -> int | None:
        """What the group has committed."""

    @abstractmethod
    async def set_offset(self, offset: int, partition: int = 0, group: str = "g") -> None:
        """Commit from outside, within the log. HasMembers."""

    @abstractmethod
    async def reset(self, offset: int, partition: int = 0, group: str = "g") -> int:
        """As `kafka-consumer-groups --reset-offsets --to-offset` does it; what was set."""

    @abstractmethod
    async def make_anew(self) -> None:
        """Delete the topic and make it again."""

    @abstractmethod
    async def end(self) -> None:
        """Close everything, remove the topic."""


class ModelMember(Member):
    """On the embedded broker's state machine."""

    def __init__(self, group: Group, name: str, now_s: float) -> None:
        self._group, self._now_s = group, now_s
        self._assignments: dict[tuple[int, int], int] = {}
        self._member = GroupMember(name, prefetch=0, session_timeout_s=6.0, wake=lambda: None)
        group.join(self._member, now_s)

    def partitions(self) -> list[int]:
        return list(self._member.partitions)

    async def take(self, count: int) -> list[Given]:
        given = [
            (run.partition, offset, stored.message.body)
            for run in self._group.fetch(self._member, count, self._now_s)
            for offset, stored in enumerate(run.records, run.first)
        ]
        assert len(given) == count, given
        self._assignments |= {(partition, offset): self._group.assignment for partition, offset, _ in given}
        return given

    async def done(self, partition: int, offset: int) -> bool:
        assignment = self._assignments[partition, offset]
        cursor = self._group.held(self._member, assignment, self._group.topic.name, partition)
        return cursor is not None and cursor.settle(offset)

    async def leave(self) -> None:
        self._group.leave(self._member, self._now_s)


class ModelLogs(Logs):
    """On the embedded broker's state machine; `keeps`: how many records its retention leaves."""

    def __init__(self, keeps: int | None = None) -> None:
        self._now_s = SOME_TIME_MS / 1000
        bounds = UNBOUNDED if keeps is None else Bounds(messages=keeps, size_bytes=None)
        self._cluster = Cluster(random.Random(7), bounds)
        self._cluster.create("t", 3)

    async def produce(
        self,
        *values: bytes,
        partition: int | None = 0,
        key: bytes | None = None,
        headers: Headers = (),
        times_ms: Sequence[int] = (),
    ) -> list[tuple[int, int]]:
        times: Sequence[int | None] = times_ms or [None] * len(values)
        messages = [
            Message(content=value, headers=headers, native=Record(key=key, timestamp_ms=time_ms))
            for value, time_ms in zip(values, times, strict=True)
        ]
        if any("larger than" in self._cluster.refusal("t", message, partition) for message in messages):
            raise TooLarge
        return self._cluster.append("t", [(message, partition) for message in messages], self._now_s)

    async def read(self, partition: int = 0, start: int = 0) -> list[Read]:
        log = self._cluster.topics["t"].partitions[partition]
        first = max(start, log.start)
        return [
            _as_read(offset, stored.message) for offset, stored in enumerate(log.read(first, log.end - first), first)
        ]

    async def bounds(self, partition: int = 0) -> tuple[int, int]:
        log = self._cluster.topics["t"].partitions[partition]
        return log.start, log.end

    async def grow(self, partitions: int) -> None:
        self._cluster.grow("t", partitions, self._now_s)

    async def delete_before(self, offset: int, partition: int = 0) -> None:
        self._cluster.delete_records("t", partition, offset)

    async def offset_for_time(self, time_ms: int) -> int | None:
        return self._cluster.topics["t"].partitions[0].offset_for_time(time_ms)

    async def join(self, name: str, group: str = "g") -> Member:
        return ModelMember(self._cluster.group("t", group), name, self._now_s)

    async def committed(self, partition: int = 0, group: str = "g") -> int | None:
        return self._cluster.group("t", group).cursors["t", partition].committed

    async def set_offset(self, offset: int, partition: int = 0, group: str = "g") -> None:
        await self.reset(offset, partition, group)

    async def reset(self, offset: int, partition: int = 0, group: str = "g") -> int:
        found = self._cluster.group("t", group)
        if found.members:
            with pytest.raises(ValueError, match="has members"):
                found.reset(partition, offset)
            raise HasMembers
        return found.reset(partition, offset)

    async def make_anew(self) -> None:
        self._cluster.delete("t")
        self._cluster.create("t", 3)

    async def end(self) -> None:
        """Nothing is left of it."""


def _as_read(offset: int, message: Message) -> Read:
    native = message.native
    assert isinstance(native, Record)
    return Read(offset, message.body, native.key, message.headers, native.timestamp_ms)


def logs_natively(test: _Test) -> _Test:
    """Run the body on the model and on every real Kafka; it receives `logs: Logs`."""
    decorated: _Test = pytest.mark.parametrize("logs", [MODEL, *real_kafka()], indirect=True)(test)
    return decorated


def logs_really(test: _Test) -> _Test:
    """Run it on every real Kafka only; it receives `logs: RealLogs`."""
    decorated: _Test = pytest.mark.parametrize("logs", real_kafka(), indirect=True)(test)
    return decorated


def real_kafka() -> Sequence[Any]:
    """The real ones."""
    return [pytest.param(name, marks=pytest.mark.broker) for name in target_names("kafka")]
