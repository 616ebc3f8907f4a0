"""Faults of Kafka that a member of a group meets: a client that got stuck, a codec that is missing, records that are gone."""

import asyncio
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, codec
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import NoOffsetForPartitionError
from aiokafka.record.memory_records import MemoryRecords

from mqdash.brokers.base import TellsGone
from mqdash.brokers.kafka.broker import KafkaBroker
from mqdash.brokers.kafka.stalls import Stall
from mqdash.clock import ManualClock
from mqdash.config import Config
from mqdash.errors import BrokerUnavailable, ConsumerStalled
from mqdash.model.delivery import Ack, DeadLetter, Delivery, RecordsGone, Settled
from mqdash.model.topology import QueueRef
from mqdash.runtime import lab_target
from tests.faults.dashboards import board
from tests.faults.kafka_places import SESSION_S, admin_of, level, place, publish
from tests.harness import Target, broker_targets
from tests.support import until

LIMIT_S = 1.0


def _client(consumer: Any) -> Any:
    """aiokafka's consumer at the bottom of our wrappers."""
    while hasattr(consumer, "_inner"):
        consumer = consumer._inner
    return consumer._client


def _get_stuck(client: Any) -> None:
    """What aiokafka #1154 looks like from outside: heartbeats go on, and nothing is fetched any more."""
    client._fetcher._fetch_task.cancel()


async def _take(worker: Any, n: int) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < n:
        taken += await asyncio.wait_for(worker.take(n - len(taken)), 15)
    return taken


async def test_27_a_member_is_stuck_only_after_30_s_with_something_to_read_and_nothing_coming() -> None:
    clock, unread, asked = ManualClock(), 0, 0

    async def look() -> int:
        nonlocal asked
        asked += 1
        if unread < 0:
            raise BrokerUnavailable("kafka", "no answer")
        return unread

    stall = Stall(clock, 30.0, look)

    async def after(seconds: float) -> int:
        """The answer that many seconds later, asked once a second as a poll does."""
        found = 0
        for _ in range(round(seconds)):
            await clock.advance(1)
            found = found or await stall.stuck()
        return found

    assert await after(300) == 0  # nothing to read
    assert asked <= 61
    unread = 7
    assert await after(34) == 0
    assert await after(2) == 7
    stall.moved()  # a record came
    assert await after(34) == 0
    unread = -1  # whether there is something cannot be told: not its fault
    assert await after(60) == 0
    unread = 7
    assert await after(29) == 0


@pytest.mark.broker
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_27_a_stuck_member_says_so_and_a_new_one_gets_the_rest(target: Target) -> None:
    async with place(target.url) as (life, ref):
        assert isinstance(life, KafkaBroker)
        life.stall_limit_s = LIMIT_S
        await publish(life, ref.name, range(3))
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            await worker.settle([(one, Ack()) for one in await _take(worker, 3)])
            _get_stuck(_client(worker))
            await publish(life, ref.name, range(3, 7))
            with pytest.raises(ConsumerStalled, match="no record for 1 s though 4 are there"):
                await asyncio.wait_for(worker.take(10), 20)
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            assert [one.message.body for one in await _take(worker, 4)] == [b"3", b"4", b"5", b"6"]


@pytest.mark.broker
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_27_a_slow_member_and_an_idle_one_are_left_alone(target: Target) -> None:
    """Slow: it holds its one message for longer than the limit. Idle: nothing to read but a transaction's marker, or no partition."""
    async with place(target.url) as (life, ref):
        assert isinstance(life, KafkaBroker)
        life.stall_limit_s = LIMIT_S
        async with (
            life.consume(ref, name="w1", prefetch=1, session_timeout_s=2.0) as first,
            life.consume(ref, name="w2", prefetch=1, session_timeout_s=2.0) as second,
        ):
            takes = {asyncio.ensure_future(worker.take(1)): worker for worker in (first, second)}

            async def joined() -> bool:
                [partition] = (await level(life, ref)).partitions
                return (await level(life, ref)).consumers == 2 and bool(partition.owner)

            await until(joined, 20)
            await publish(life, ref.name, range(2))
            done, spare = await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED, timeout=15)
            [taken] = done
            slow = takes[taken]
            taking = asyncio.ensure_future(
                slow.take(1)
            )  # the next one is asked for while it works, as a lab's worker does
            await asyncio.sleep(1.5 * LIMIT_S)  # the work, not a condition
            assert not taking.done()
            await slow.settle([(taken.result()[0], Ack())])
            await slow.settle([(one, Ack()) for one in await asyncio.wait_for(taking, 15)])
            await _abort_one(target.url, ref.name)
            taking = asyncio.ensure_future(slow.take(1))
            await asyncio.sleep(2.5 * LIMIT_S)
            assert not taking.done()
            await publish(life, ref.name, range(2, 3))
            assert (await asyncio.wait_for(taking, 15))[0].message.body == b"2"
            for other in spare:
                assert not other.done()
                other.cancel()
            await asyncio.wait(spare)


async def _abort_one(url: str, topic: str) -> None:
    """Records nobody will see, and a marker behind them."""
    producer = AIOKafkaProducer(bootstrap_servers=url.removeprefix("kafka://"), transactional_id=f"{topic}-tx")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"never", partition=0)
        await producer.abort_transaction()
    finally:
        await producer.stop()


@pytest.mark.broker
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_28_K11_a_member_told_of_no_commit_asks_the_group_before_it_starts_at_the_earliest(
    target: Target,
) -> None:
    """A coordinator that has just taken over answers "no commits" for a moment."""
    async with place(target.url) as (life, ref):
        await publish(life, ref.name, range(3))
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            await worker.settle([(one, Ack()) for one in (await _take(worker, 3))[:2]])
            partition = TopicPartition(ref.name, 0)
            starts: Any = worker._starts  # type: ignore[attr-defined]
            await starts.find(NoOffsetForPartitionError(partition), ours=lambda: False)
            assert await _client(worker).position(partition) == 3
            await starts.find(NoOffsetForPartitionError(partition), ours=lambda: True)
            assert await _client(worker).position(partition) == 2


@pytest.mark.broker
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_29_K11_records_gone_before_they_were_read_are_told_never_jumped_over(target: Target) -> None:
    async with place(target.url) as (life, ref), admin_of(target.url) as admin:
        await publish(life, ref.name, range(10))
        async with life.consume(ref, name="w", prefetch=2, session_timeout_s=SESSION_S) as worker:
            assert isinstance(worker, TellsGone)
            await worker.settle([(one, Ack()) for one in await _take(worker, 2)])
            assert worker.gone() == []  # a group without a commit starts at the earliest record: nothing was lost
        await admin.delete_records({TopicPartition(ref.name, 0): RecordsToDelete(before_offset=7)})
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            assert isinstance(worker, TellsGone)
            taken = await _take(worker, 3)
            assert [one.message.body for one in taken] == [b"7", b"8", b"9"]
            gone = RecordsGone(topic=ref.name, partition=0, first=2, end=7, reads_from=7)
            assert worker.gone() == [gone]
            assert worker.gone() == []  # told once
            await worker.settle([(one, Ack()) for one in taken])
        # A commit behind the end of the log: it was cut, or made anew.
        await _commit(target.url, ref, 40)
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            assert isinstance(worker, TellsGone)
            assert [one.message.body for one in await _take(worker, 3)] == [b"7", b"8", b"9"]
            assert worker.gone() == [RecordsGone(topic=ref.name, partition=0, first=10, end=40, reads_from=7)]


async def _commit(url: str, ref: QueueRef, offset: int) -> None:
    """As an admin does: the group has to be empty (K18)."""
    client = AIOKafkaConsumer(
        bootstrap_servers=url.removeprefix("kafka://"), group_id=ref.group, enable_auto_commit=False
    )
    await client.start()
    try:
        client.assign([TopicPartition(ref.name, 0)])
        await client.commit({TopicPartition(ref.name, 0): offset})
    finally:
        await client.stop()


async def _produce_zstd(url: str, topic: str, bodies: list[bytes]) -> None:
    """One compressed batch."""
    producer = AIOKafkaProducer(bootstrap_servers=url.removeprefix("kafka://"), compression_type="zstd", linger_ms=200)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, body, partition=0) for body in bodies])
    finally:
        await producer.stop()


WHY = "zstd, cannot decode (install cramjam): records [2, 5)"


@pytest.mark.broker
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_30_a_batch_without_its_codec_is_one_row_kept_whole_and_stops_nothing(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(target.url) as (life, ref):
        await publish(life, ref.name, range(2))
        await _produce_zstd(target.url, ref.name, [b"a", b"b", b"c"])
        await publish(life, ref.name, range(2, 4))
        monkeypatch.setattr(codec, "cramjam", None)
        rows = await life.browse(ref, newest=10)  # type: ignore[attr-defined]
        assert [one.message.undecoded or one.message.body for one in rows] == [b"0", b"1", WHY, b"2", b"3"]
        async with life.consume(ref, name="w", prefetch=10, session_timeout_s=SESSION_S) as worker:
            taken = await _take(worker, 5)
            assert [one.message.undecoded for one in taken] == ["", "", WHY, "", ""]
            batch = taken[2].message.content
            verdicts = [
                (one, DeadLetter("CannotDecode", one.message.undecoded) if one.message.undecoded else Ack())
                for one in taken
            ]
            assert {outcome.settled for outcome in await worker.settle(verdicts)} == {Settled.SETTLED}
        [partition] = (await level(life, ref)).partitions
        assert (partition.committed, partition.end) == (7, 7)
        monkeypatch.undo()
        [letter] = await life.browse(QueueRef(f"{ref.name}.dlq"), newest=10)  # type: ignore[attr-defined]
        assert letter.message.content == batch
        assert _bodies(letter.message.content) == [b"a", b"b", b"c"]  # with the codec at hand all of it can be read


def _bodies(batch: Any) -> list[bytes | None]:
    """The records of a batch as the broker keeps it."""
    assert struct.unpack_from(">q", batch)[0] == 2  # its first offset
    found = MemoryRecords(bytes(batch)).next_batch()
    assert found is not None
    return [record.value for record in found]


@pytest.mark.broker
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_30_a_dead_letter_that_cannot_be_decoded_is_listed_once_not_replayed_and_discarded_whole(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(target.url) as (life, ref):
        await _produce_zstd(target.url, ref.name, [b"a", b"b"])
        monkeypatch.setattr(codec, "cramjam", None)
        queue = QueueRef(ref.name)
        async with life.lease(queue) as lease:  # type: ignore[attr-defined]
            [letter] = lease.letters
            assert "cannot decode" in letter.message.undecoded
            assert (await lease.remove([letter]))[0].settled is Settled.SETTLED
        async with life.lease(queue) as lease:  # type: ignore[attr-defined]
            assert (lease.letters, lease.info.total) == ([], 0)


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(120)
@broker_targets("kafka")
async def test_27_29_30_the_story_tells_of_a_stuck_member_gone_records_and_a_missing_codec(
    target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(KafkaBroker, "stall_limit_s", 2 * LIMIT_S)
    run = f"members-{uuid.uuid4().hex[:8]}"
    clicks = await asyncio.to_thread(lab_target, "clicks", target.url, Config(), {}, run=run, seed=7)
    async with board([clicks], tmp_path) as shown, admin_of(target.url) as admin:
        control = shown.runtime.control
        lab = shown.attachment("clicks").lab
        assert lab is not None
        await until(lambda: shown.confirmed("clicks") > 50, 30)
        await until(lambda: all(worker._consumer is not None for worker in lab.workers.values()), 30)
        _get_stuck(_client(lab.workers["C1"]._consumer))  # in the middle of its join, or behind it
        await shown.tells("C1 starts over", "no record for 2 s", timeout_s=30)
        control.scale("clicks", "C", -3)
        await until(lambda: all(worker._consumer is None for worker in lab.workers.values()), 20)
        topic = f"mqdash.{run}.clicks"
        await _produce_zstd(target.url, topic, [b'{"a": 1}', b'{"b": 2}'])
        await admin.delete_records({TopicPartition(topic, 1): RecordsToDelete(before_offset=-1)})  # all that is there
        monkeypatch.setattr(codec, "cramjam", None)
        control.scale("clicks", "C", 2)
        await shown.tells("records [", "p1 are gone", "clicks-app had not read them", timeout_s=20)
        await shown.tells("dead-lettered by C", "CannotDecode: zstd, cannot decode (install cramjam)", timeout_s=20)
