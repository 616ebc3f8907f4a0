"""What retention and compaction take, on the model and on a real Kafka that looks for it often."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.conformance.logs import MODEL, Logs, real_kafka
from tests.conformance.logs_kafka import RealLogs, logs_for
from tests.harness import require_target, start_or_skip
from tests.support import until

pytestmark = pytest.mark.timeout(120)

_EVERY = "log.retention.check.interval.ms"
# Each record closes the segment of the one before it.
_OWN_SEGMENTS = {"segment.ms": "1"}
_NEWEST_ONLY = {**_OWN_SEGMENTS, "retention.bytes": "1"}
_COMPACTED = {**_OWN_SEGMENTS, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0"}


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Callable[[str], str]]:
    """The URL of one of our own, started when first asked for."""
    with ExitStack() as until_the_end:
        yield cache(lambda name: until_the_end.enter_context(start_or_skip(name)).url)


async def _often(url: str) -> bool:
    """Whether that Kafka looks for old segments all the time: the harness's do, others every 5 minutes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    await admin.start()
    try:
        [broker] = (await admin.describe_cluster())["brokers"]
        resource = ConfigResource(ConfigResourceType.BROKER, str(broker["node_id"]), {_EVERY: None})
        answer: Any
        [answer] = await admin.describe_configs([resource])
        return int(answer.resources[0][4][0][1]) <= 1000
    finally:
        await admin.close()


@pytest.fixture
async def quick(
    request: pytest.FixtureRequest, own_kafka: Callable[[str], str], topic_config: dict[str, str]
) -> AsyncIterator[Logs]:
    """A topic whose retention leaves the newest record only, on a Kafka that looks often; its own one if need be."""
    name = request.param
    url = "" if name == MODEL else require_target(name).url
    if url and not await _often(url):
        url = own_kafka(name)
    async with logs_for(name, keeps=1, config=topic_config, url=url) as found:
        yield found


async def _one_by_one(logs: Logs, *values: bytes, key: bytes | None = None) -> None:
    for value in values:
        await logs.produce(value, key=key)
        await asyncio.sleep(0.003)  # older than segment.ms: the next record opens a new segment


@pytest.mark.parametrize("topic_config", [_NEWEST_ONLY])
@pytest.mark.parametrize("quick", [MODEL, *real_kafka()], indirect=True)
async def test_K21_K11_retention_takes_what_a_slow_group_has_not_read(quick: Logs) -> None:
    await _one_by_one(quick, b"0")
    slow = await quick.join("slow")
    assert await slow.take(1) == [(0, 0, b"0")]
    assert await slow.done(0, 0)
    await slow.leave()
    await _one_by_one(quick, b"1", b"2", b"3", b"4")

    async def gone() -> bool:
        return await quick.bounds() == (4, 5)

    await until(gone, 30, every_s=0.05, what="retention left the newest record only")
    assert await quick.committed() == 1  # 1, 2 and 3 are lost to it, and nobody says so
    assert await (await quick.join("slow")).take(1) == [(0, 4, b"4")]


@pytest.mark.parametrize("topic_config", [_COMPACTED])
@pytest.mark.parametrize("quick", real_kafka(), indirect=True)
async def test_K22_compaction_keeps_the_last_record_of_a_key_and_every_offset(quick: RealLogs) -> None:
    await _one_by_one(quick, b"a0", b"a1", b"a2", key=b"a")
    await _one_by_one(quick, b"b3", key=b"b")
    await _one_by_one(quick, b"a4", key=b"a")
    await quick.producer.send_and_wait(quick.topic, None, key=b"b", partition=0)
    await asyncio.sleep(0.003)
    await _one_by_one(quick, b"end", key=b"end")

    async def kept() -> list[tuple[int, bytes | None, bytes | None]] | None:
        found = [(one.offset, one.key, one.value) for one in await quick.read()]
        return found if len(found) <= 3 else None

    assert await until(kept, 40, every_s=0.1) == [
        (4, b"a", b"a4"),
        (5, b"b", None),  # a tombstone stays for delete.retention.ms
        (6, b"end", b"end"),  # the segment that is written to is not cleaned
    ]
