"""Log and group rules that the embedded broker does not model, on real Kafka."""

import asyncio
import socket
import struct
import time
from typing import Any

import pytest
from aiokafka.errors import OffsetOutOfRangeError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Route
from tests.conformance.logs import logs_really
from tests.conformance.logs_kafka import RealLogs
from tests.support import until

_COMMITTED: dict[str, Any] = {"isolation_level": "read_committed"}


async def _values(logs: RealLogs, **settings: Any) -> list[bytes | None]:
    return [one.value for one in await logs.seen(**settings)]


def _batch(value: bytes, producer_id: int, sequence: int) -> bytes:
    """One record as a producer with that id puts it on the wire."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=producer_id,
        producer_epoch=0 if producer_id >= 0 else -1,
        base_sequence=sequence,
        batch_size=1000,
    )
    assert builder.append(0, timestamp=int(time.time() * 1000), key=None, value=value, headers=[]) is not None
    return bytes(builder.build())


@logs_really
async def test_K6_a_repeat_is_recognised_in_its_producers_session_only(logs: RealLogs) -> None:
    client = logs.producer.client
    [node] = client.cluster.brokers()

    async def session() -> int:
        no_transactions: Any = None
        answer = await client.send(node.nodeId, InitProducerIdRequest(no_transactions, 1000))
        return int(answer.producer_id)

    async def write(batch: bytes) -> int:
        """As once more after an answer that was lost; the offset it is told."""
        answer = await client.send(node.nodeId, ProduceRequest(None, -1, 5000, [(logs.topic, [(0, batch)])]))
        [(_, [(_, code, offset, *_)])] = answer.topics
        if code:
            raise for_code(code)(code)
        return int(offset)

    mine = await session()
    twice = _batch(b"mine", mine, 0)
    assert [await write(twice), await write(twice)] == [0, 0]
    assert await write(_batch(b"mine", await session(), 0)) == 1  # after a restart of the producer: a duplicate
    plain = _batch(b"plain", -1, -1)
    assert [await write(plain), await write(plain)] == [2, 3]
    assert await _values(logs) == [b"mine", b"mine", b"plain", b"plain"]


@logs_really
async def test_K10_auto_commit_commits_what_was_polled_before_not_what_was_done(logs: RealLogs) -> None:
    await logs.produce(*(b"%d" % number for number in range(4)))
    member = await logs.joined("w", enable_auto_commit=True, auto_commit_interval_ms=50)
    assert len(await member.take(2)) == 2  # and nothing is done with them

    async def committed() -> bool:
        await member.consumer.getmany(timeout_ms=0, max_records=1)
        return (await logs.committed() or 0) >= 2

    await until(committed, every_s=0.02)


@logs_really
async def test_K11_latest_skips_silently_and_none_is_an_error(logs: RealLogs) -> None:
    await logs.produce(b"before")
    latest = await logs.joined("w", "latest", auto_offset_reset="latest")
    await until(lambda: len(latest.partitions()) == 3)
    assert await latest.consumer.position(logs.place()) == 1
    await logs.produce(b"after")
    assert await latest.take(1) == [(0, 1, b"after")]
    await logs.set_offset(9, group="beyond")
    beyond = await logs.joined("w", "beyond")
    assert await beyond.take(2) == [(0, 0, b"before"), (0, 1, b"after")]  # beyond the end: all of it again
    await logs.set_offset(9, group="none")
    strict = await logs.joined("w", "none", auto_offset_reset="none")
    with pytest.raises(OffsetOutOfRangeError):
        await strict.consumer.getmany(logs.place(), timeout_ms=10_000)


@logs_really
async def test_K16_a_static_member_that_comes_back_in_time_moves_nothing(logs: RealLogs) -> None:
    other = await logs.joined("other")
    static = await logs.joined("static", group_instance_id="one")
    await until(lambda: sorted([len(other.partitions()), len(static.partitions())]) == [1, 2])
    mine = static.partitions()
    generation = other.consumer._coordinator.generation
    await static.leave()
    again = await logs.joined("static", group_instance_id="one")
    await until(lambda: again.partitions() == mine)
    await logs.produce(b"x", partition=mine[0])
    assert await again.take(1) == [(mine[0], 0, b"x")]
    assert again.consumer._coordinator.generation == other.consumer._coordinator.generation == generation


@logs_really
async def test_K19_a_reset_is_a_dry_run_by_default_and_knows_more_forms(logs: RealLogs) -> None:
    times = [int(time.time() * 1000) - 600_000 + 100_000 * number for number in range(5)]
    for time_ms in times:
        await logs.produce(b"v", times_ms=[time_ms])
    await logs.set_offset(4, group="dry")
    await logs.set_offset(4, group="shift")
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(times[2] // 1000)) + f".{times[2] % 1000:03d}"
    told = await asyncio.gather(
        logs.reset_by("--to-earliest", group="dry"),
        logs.reset_by("--shift-by", "-3", "--execute", group="shift"),
        logs.reset_by("--to-datetime", at, "--execute", group="time"),
        logs.reset_by("--by-duration", "PT350S", "--execute", group="ago"),
    )
    assert list(told) == [[0], [1], [2], [3]]
    assert [await logs.committed(group=group) for group in ("dry", "shift", "time", "ago")] == [4, 1, 2, 3]


@pytest.mark.parametrize("topic_config", [{"message.timestamp.type": "LogAppendTime"}])
@logs_really
async def test_K25_a_topic_may_put_its_own_time_on_records(logs: RealLogs) -> None:
    begun_ms = int(time.time() * 1000) - 1
    await logs.produce(b"v", times_ms=[begun_ms - 60_000])
    [found] = await logs.read()
    assert found.timestamp_ms is not None
    assert found.timestamp_ms >= begun_ms
    assert await logs.offset_for_time(begun_ms) == 0


@logs_really
async def test_K26_K1_what_is_open_or_aborted_is_hidden_and_leaves_gaps(logs: RealLogs) -> None:
    await logs.produce(b"plain")
    producer = await logs.producing(transactional_id=logs.topic)
    await producer.begin_transaction()
    await producer.send_and_wait(logs.topic, b"aborted", partition=0)
    await logs.produce(b"behind")
    assert await _values(logs, **_COMMITTED) == [b"plain"]  # not even what lies behind the open one
    assert await _values(logs) == [b"plain", b"aborted", b"behind"]
    await producer.abort_transaction()
    await producer.begin_transaction()
    await producer.send_and_wait(logs.topic, b"committed", partition=0)
    await producer.commit_transaction()

    async def seen() -> bool:
        return len(await logs.seen(**_COMMITTED)) == 3

    await until(seen, every_s=0.02)  # the marker is written a moment after the answer
    assert [(one.offset, one.value) for one in await logs.seen(**_COMMITTED)] == [
        (0, b"plain"),
        (2, b"behind"),
        (4, b"committed"),  # offset 3 is the marker of the abort
    ]
    assert await _values(logs) == [b"plain", b"aborted", b"behind", b"committed"]


@logs_really
async def test_K28_a_record_beyond_the_fetch_limits_comes_alone(logs: RealLogs) -> None:
    await logs.produce(b"x" * 100_000)
    await logs.produce(b"y" * 100_000)
    limits: dict[str, Any] = {"max_partition_fetch_bytes": 1000, "fetch_max_bytes": 1000}
    assert await _values(logs, **limits) == [b"x" * 100_000, b"y" * 100_000]


@pytest.mark.parametrize("topic_config", [{"max.message.bytes": "100000"}])
@logs_really
async def test_K28_what_follows_a_record_that_the_broker_refused_is_confirmed(logs: RealLogs) -> None:
    life = await connector_for(parse_url(f"kafka://{logs.host}"), clock=SystemClock()).connect()
    try:
        async with life.publisher(name="p") as publisher:

            async def sent(*sizes: int) -> set[Sent]:
                batch = [Outgoing(Route(logs.topic, "", 0), compose(Draft(body=b"x" * n), Family.KAFKA)) for n in sizes]
                return {receipt.sent for receipt in await publisher.send(batch)}

            for sizes in ((10,), (10,) * 90):  # one by one, and in batches of our own
                assert await sent(*sizes) == {Sent.CONFIRMED}
                assert await sent(200_000) == {Sent.REFUSED}
                assert await sent(*sizes) == {Sent.CONFIRMED}
    finally:
        await life.close()


@pytest.mark.parametrize("topic_config", [{"max.message.bytes": "75000"}])
@logs_really
async def test_K28_of_a_batch_the_topic_does_not_take_only_the_records_that_are_too_large_are_refused(
    logs: RealLogs,
) -> None:
    life = await connector_for(parse_url(f"kafka://{logs.host}"), clock=SystemClock()).connect()
    small = [b"%03d" % number + b"x" * 2000 for number in range(150)]  # more than a batch of 256 KiB
    fits = [b"%03d" % number + b"y" * 70_000 for number in range(4)]  # and goes through the library
    too_large = b"z" * 80_000
    try:
        async with life.publisher(name="p") as publisher:

            async def sent(bodies: list[bytes]) -> list[int]:
                """The offsets of what was confirmed: all that fits, each once."""
                _, begun = await logs.bounds()
                batch = [Outgoing(Route(logs.topic, "", 0), compose(Draft(body=one), Family.KAFKA)) for one in bodies]
                receipts = await publisher.send(batch)
                expected = [Sent.REFUSED if body == too_large else Sent.CONFIRMED for body in bodies]
                assert [receipt.sent for receipt in receipts] == expected
                offsets = [int(one.position.partition("/")[2]) for one in receipts if one.sent is Sent.CONFIRMED]
                kept = dict(enumerate([one.value for one in await logs.seen(0, begun)], begun))
                assert [kept.pop(offset) for offset in offsets] == [body for body in bodies if body != too_large]
                assert not kept
                return offsets

            await sent(small)  # to a topic that is new to it
            await sent([*small[:9], too_large, *small[9:20]])
            await sent([*fits[:3], too_large, fits[3]])
            await sent(small)
            offsets = await sent(small)
            assert offsets == sorted(offsets)  # by now it knows how large a batch the topic takes
    finally:
        await life.close()


@logs_really
async def test_K33_old_request_versions_are_gone(logs: RealLogs) -> None:
    host, _, port = logs.host.rpartition(":")

    def asked(key: int, version: int, body: bytes = b"") -> bytes:
        request = struct.pack(">hhih", key, version, 7, -1) + body
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            told = connection.recv(65_536)
            while told and len(told) < 4 + struct.unpack(">i", told[:4])[0]:
                told += connection.recv(65_536)
            return told[4:]

    produce, fetch, commit, create = 0, 1, 8, 19
    told = await asyncio.to_thread(asked, 18, 0)
    lowest = {key: low for key, low, _ in struct.iter_unpack(">hhh", told[10:])}
    assert [lowest[key] for key in (fetch, commit, create)] == [4, 2, 2]
    assert await asyncio.to_thread(asked, fetch, 3, b"\0" * 64) == b""  # the connection ends
    assert lowest[produce] == 0  # told for an old client that gives up without it, and not true:
    nothing = struct.pack(">hii", -1, 1000, 0)
    assert await asyncio.to_thread(asked, produce, 2, nothing) == b""
    assert await asyncio.to_thread(asked, produce, 3, b"\xff\xff" + nothing) != b""
