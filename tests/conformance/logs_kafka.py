"""One topic and its groups on a real Kafka, through aiokafka; `config` is the topic's."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    MessageSizeTooLargeError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.commit import OffsetCommitRequest

from mqdash.model.message import Headers
from tests.conformance.logs import MODEL, TAKE_LIMIT_S, Given, HasMembers, Logs, Member, ModelLogs, Read, TooLarge
from tests.harness import require_target
from tests.harness.kafka import run_tool
from tests.support import until

_CONSUMER_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
_OUT_OF_DATE = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
_LARGEST_REQUEST = 4_000_000
"""Above the broker's limit, so that the broker is who refuses."""


class RealMember(Member):
    """A consumer of aiokafka that commits when told to."""

    def __init__(self, consumer: Any, topic: str) -> None:
        self.consumer = consumer
        self._topic = topic
        self._generation = -1

    def partitions(self) -> list[int]:
        return sorted(place.partition for place in self.consumer.assignment())

    async def take(self, count: int) -> list[Given]:
        taken: list[Given] = []
        async with asyncio.timeout(TAKE_LIMIT_S):
            while len(taken) < count:
                found = await self.consumer.getmany(timeout_ms=200, max_records=count - len(taken))
                taken += [(one.partition, one.offset, one.value) for records in found.values() for one in records]
        self._generation = self.consumer._coordinator.generation
        return taken

    async def done(self, partition: int, offset: int) -> bool:
        # In the generation the record was given in: the library would not even send a commit of an older one.
        group = self.consumer._coordinator
        places = [(self._topic, [(partition, offset + 1, "")])]
        request = OffsetCommitRequest(group.group_id, self._generation, group.member_id, -1, places)
        answer = await self.consumer._client.send(group.coordinator_id, request)
        [(_, [(_, code)])] = answer.topics
        error = for_code(code)
        if error not in {NoError, *_OUT_OF_DATE}:
            raise error
        return error is NoError

    async def leave(self) -> None:
        await self.consumer.stop()


class RealLogs(Logs):
    """On a real Kafka; the topic is removed afterwards."""

    def __init__(self, url: str, config: Mapping[str, str] | None = None) -> None:
        self.host = url.removeprefix("kafka://")
        self.topic = f"mqdash-test-{uuid.uuid4().hex[:12]}"
        self.config = dict(config or {})
        self._until_the_end = contextlib.AsyncExitStack()
        self._looks: AIOKafkaConsumer | None = None

    async def begin(self) -> None:
        """Connect and make the topic."""
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.host)
        await self.admin.start()
        self._until_the_end.push_async_callback(self.admin.close)
        await self._make()
        self._until_the_end.push_async_callback(self._remove)
        self.producer = await self.producing(enable_idempotence=True)

    async def producing(self, **settings: Any) -> AIOKafkaProducer:
        """A producer, stopped at the end."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.host, max_request_size=_LARGEST_REQUEST, linger_ms=0, **settings
        )
        await producer.start()
        self._until_the_end.push_async_callback(producer.stop)
        return producer

    async def consuming(self, *topics: str, **settings: Any) -> AIOKafkaConsumer:
        """A consumer, stopped at the end."""
        consumer = AIOKafkaConsumer(
            *topics,
            **{
                "bootstrap_servers": self.host,
                "enable_auto_commit": False,
                "auto_offset_reset": "earliest",
                "heartbeat_interval_ms": 50,
                "metadata_max_age_ms": 200,
                "fetch_max_wait_ms": 50,
                **settings,
            },
        )
        await consumer.start()
        self._until_the_end.push_async_callback(consumer.stop)
        return consumer

    def place(self, partition: int = 0) -> TopicPartition:
        return TopicPartition(self.topic, partition)

    def group(self, name: str) -> str:
        """Its name on the cluster."""
        return f"{self.topic}-{name}"

    async def produce(
        self,
        *values: bytes,
        partition: int | None = 0,
        key: bytes | None = None,
        headers: Headers = (),
        times_ms: Sequence[int] = (),
    ) -> list[tuple[int, int]]:
        times: Sequence[int | None] = times_ms or [None] * len(values)
        sent = [
            await self.producer.send(
                self.topic, value, key=key, partition=partition, headers=list(headers), timestamp_ms=time_ms
            )
            for value, time_ms in zip(values, times, strict=True)
        ]
        try:
            told = [await one for one in sent]
        except MessageSizeTooLargeError:
            raise TooLarge from None
        return [(one.partition, one.offset) for one in told]

    async def read(self, partition: int = 0, start: int = 0) -> list[Read]:
        return await self.seen(partition, start)

    async def seen(self, partition: int = 0, start: int = 0, **settings: Any) -> list[Read]:
        """What a reader with such settings finds up to the end (the last stable one, when it reads what is committed)."""
        consumer = await self.consuming(**settings)
        place = self.place(partition)
        consumer.assign([place])
        ends = await consumer.end_offsets([place])
        consumer.seek(place, start)
        found: list[Read] = []
        async with asyncio.timeout(TAKE_LIMIT_S):
            while await consumer.position(place) < ends[place]:
                found += map(_as_read, (await consumer.getmany(timeout_ms=100)).get(place, []))
        return found

    async def bounds(self, partition: int = 0) -> tuple[int, int]:
        consumer = await self._onlooker()
        place = self.place(partition)
        starts, ends = await consumer.beginning_offsets([place]), await consumer.end_offsets([place])
        return starts[place], ends[place]

    async def grow(self, partitions: int) -> None:
        await self.admin.create_partitions({self.topic: NewPartitions(partitions)})
        await self._led(partitions)
        await self.producer.client.force_metadata_update()

    async def delete_before(self, offset: int, partition: int = 0) -> None:
        await self.admin.delete_records({self.place(partition): RecordsToDelete(before_offset=offset)})

    async def offset_for_time(self, time_ms: int) -> int | None:
        consumer = await self._onlooker()
        found = (await consumer.offsets_for_times({self.place(): time_ms}))[self.place()]
        return None if found is None else found.offset

    async def join(self, name: str, group: str = "g") -> RealMember:
        return await self.joined(name, group)

    async def joined(self, name: str, group: str = "g", **settings: Any) -> RealMember:
        """A member with settings of its own."""
        consumer = await self.consuming(self.topic, group_id=self.group(group), client_id=name, **settings)
        return RealMember(consumer, self.topic)

    async def committed(self, partition: int = 0, group: str = "g") -> int | None:
        found = await self.admin.list_consumer_group_offsets(self.group(group))
        offset = found[self.place(partition)].offset if self.place(partition) in found else -1
        return None if offset < 0 else offset

    async def set_offset(self, offset: int, partition: int = 0, group: str = "g") -> None:
        outsider = await self.consuming(group_id=self.group(group))
        outsider.assign([self.place(partition)])
        outsider.pause(self.place(partition))
        try:
            await outsider.commit({self.place(partition): offset})
        except CommitFailedError:
            raise HasMembers from None
        finally:
            await outsider.stop()

    async def reset(self, offset: int, partition: int = 0, group: str = "g") -> int:
        return (await self.reset_by("--to-offset", str(offset), "--execute", partition=partition, group=group))[0]

    async def reset_by(self, *words: str, partition: int = 0, group: str = "g") -> list[int]:
        """Apache's own tool: the offsets it tells."""
        where = ("--group", self.group(group), "--topic", f"{self.topic}:{partition}")
        told = await asyncio.to_thread(
            run_tool, _CONSUMER_GROUPS, "--bootstrap-server", self.host, "--reset-offsets", *where, *words
        )
        rows = [line.split() for line in told.splitlines() if self.topic in line]
        return [int(row[3]) for row in rows if len(row) == 4 and row[3].isdigit()]

    async def make_anew(self) -> None:
        await self._remove()
        await self._make()

    async def end(self) -> None:
        await self._until_the_end.aclose()

    async def _onlooker(self) -> AIOKafkaConsumer:
        if self._looks is None:
            self._looks = await self.consuming()
        self._looks.assign([self.place(number) for number in range(3)])
        self._looks.pause(*self._looks.assignment())
        return self._looks

    async def _make(self) -> None:
        answer: Any = await self.admin.create_topics([NewTopic(self.topic, 3, 1, topic_configs=self.config)])
        for error in answer.topic_errors:
            if error[1]:
                raise for_code(error[1])(error)
        await self._led(3)

    async def _remove(self) -> None:
        await self.admin.delete_topics([self.topic])

        async def gone() -> bool:
            return self.topic not in await self.admin.list_topics()

        await until(gone, 20, every_s=0.02, what=f"{self.topic} is gone")

    async def _led(self, partitions: int) -> None:
        async def all_of_them() -> bool:
            [told] = await self.admin.describe_topics([self.topic])
            return sum(one["leader"] >= 0 for one in told["partitions"]) == partitions

        await until(all_of_them, 20, every_s=0.02, what=f"{self.topic} has {partitions} partitions with a leader")
        # The metadata comes a moment before the leader itself knows: the library asks it again until it does.
        await (await self._onlooker()).end_offsets([self.place(number) for number in range(partitions)])


def _as_read(one: Any) -> Read:
    return Read(one.offset, one.value, one.key, tuple(one.headers), one.timestamp)


@contextlib.asynccontextmanager
async def logs_for(
    name: str, *, keeps: int | None = None, config: Mapping[str, str] | None = None, url: str = ""
) -> AsyncIterator[Logs]:
    """The topic on that target, removed afterwards."""
    if name == MODEL:
        yield ModelLogs(keeps)
        return
    real = RealLogs(url or require_target(name).url, config)
    try:
        await real.begin()
        yield real
    finally:
        await real.end()
