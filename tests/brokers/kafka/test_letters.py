"""Dead letters on a real Kafka: read freely, removed by a cursor, replayed in one transaction (semantics §2.2)."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from mqdash import failpoints
from mqdash.brokers.base import Broker, HoldsDeadLetters, MovesInOne
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.dead_letters.dialects import read_letter
from mqdash.dead_letters.files import NdjsonFile
from mqdash.dead_letters.redrive import Moved, Redrive, Report
from mqdash.model.delivery import DeadLetter, Outgoing, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology
from tests.harness import Target, broker_targets


class Dies(Exception):
    """Stands for the end of the process at a failpoint."""


def _die() -> None:
    raise Dies


@dataclass
class Place:
    """A topic of three partitions, its group, its dead letters, and two connection lives on the cluster."""

    url: str
    broker: Broker
    topic: str
    state: Path

    @property
    def queue(self) -> QueueRef:
        return QueueRef(self.topic, f"{self.topic}-group")

    @property
    def dead(self) -> QueueRef:
        return QueueRef(f"{self.topic}.dlq")

    @property
    def topology(self) -> Topology:
        return Topology(
            destinations=(Destination(name=self.topic, kind="topic", family=Family.KAFKA, partitions=3),),
            queues=(Queue(ref=self.queue, kind="group", family=Family.KAFKA),),
        )

    async def bury(self, count: int) -> None:
        """Publish so many records and let a worker dead-letter them all."""
        records = [compose(Draft(body=b"%d" % n, id=f"m{n}", key=f"k{n}"), Family.KAFKA) for n in range(count)]
        async with self.broker.publisher(name="p") as publisher:
            await publisher.send([Outgoing(Route(self.topic), record) for record in records])
        async with self.broker.consume(self.queue, name="W1", prefetch=count, session_timeout_s=1.0) as worker:
            done = 0
            while done < count:
                taken = await worker.take(count)
                outcomes = await worker.settle([(one, DeadLetter("Timeout", "no answer")) for one in taken])
                assert {one.settled for one in outcomes} == {Settled.SETTLED}
                done += len(taken)

    async def waiting(self) -> int:
        [measured] = await self.broker.measure([self.dead])
        assert measured.waiting is not None
        return measured.waiting

    async def replay(
        self, choose: Callable[[int], bool] = lambda _: True, *, armed: str = "", steps: int = 1
    ) -> Report | None:
        """Replay the letters whose body is chosen, on a life of its own; None when it died at the failpoint.

        `steps` 2: as on a broker without transactions.
        """
        life = await _connect(self.url)
        failpoints.armed.update({armed: _die} if armed else {})
        try:
            assert isinstance(life, HoldsDeadLetters)
            async with life.lease(self.dead, limit=100) as lease:
                assert isinstance(lease, MovesInOne)
                if steps == 2:
                    lease._transactions = None  # type: ignore[attr-defined]
                letters = [read_letter(number, one) for number, one in enumerate(lease.letters)]
                chosen = [one for one in letters if choose(int(one.delivery.message.body))]
                journal = NdjsonFile(self.state / f"{uuid.uuid4().hex}.ndjson")
                async with (
                    Redrive(op="OP", lease=lease, queue=self.dead, journal=journal, clock=SystemClock()) as redrive,
                    life.publisher(name="replay") as publisher,
                ):
                    return await redrive.replay(chosen, publisher, rate_per_s=5000)
        except Dies:
            return None
        finally:
            failpoints.armed.clear()
            await life.close()

    async def committed_bodies(self) -> list[int]:
        """What readers of committed records find in the topic, the first publishes included."""
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.url.removeprefix("kafka://"),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await reader.start()
        try:
            reader.subscribe([self.topic])
            found: list[int] = []
            while got := await reader.getmany(timeout_ms=1200):
                found += [int(record.value or b"-1") for records in got.values() for record in records]
            return sorted(found)
        finally:
            await reader.stop()


async def _connect(url: str) -> Broker:
    return await connector_for(parse_url(url), clock=SystemClock()).connect()


@pytest.fixture
async def place(target: Target, tmp_path: Path) -> AsyncIterator[Place]:
    life = await _connect(target.url)
    made = Place(target.url, life, f"mqdash-test-{uuid.uuid4().hex[:12]}", tmp_path)
    await life.declare(made.topology)
    yield made
    await life.remove(made.topology)
    await life.close()


@broker_targets("kafka")
async def test_K4_letters_are_read_newest_first_and_nobody_notices(place: Place) -> None:
    await place.bury(6)
    assert isinstance(place.broker, HoldsDeadLetters)
    async with place.broker.lease(place.dead, limit=4) as lease:
        assert (lease.info.total, lease.info.order, lease.info.held) == (6, "newest", False)
        stamps = [one.message.native.timestamp_ms or 0 for one in lease.letters]  # type: ignore[union-attr]
        assert len(stamps) == 4
        assert stamps == sorted(stamps, reverse=True)
        letter = read_letter(0, lease.letters[0])
        assert (letter.cause, letter.text, letter.by, letter.origin) == ("Timeout", "no answer", "W1", place.queue)
    assert await place.waiting() == 6


@broker_targets("kafka")
async def test_K23_removing_is_a_cursor_with_marks_that_every_machine_sees(place: Place) -> None:
    await place.bury(9)
    assert isinstance(place.broker, HoldsDeadLetters)
    async with place.broker.lease(place.dead, limit=100) as lease:
        chosen = [one for one in lease.letters if int(one.message.body) % 2]
        assert {one.settled for one in await lease.remove(chosen)} == {Settled.SETTLED}
        again = await lease.remove(chosen[:1])
        assert [(one.settled, one.detail) for one in again] == [(Settled.SETTLED, "it was gone already")]
    assert await place.waiting() == 5
    other = await _connect(place.url)
    try:
        assert isinstance(other, HoldsDeadLetters)
        async with other.lease(place.dead, limit=100) as lease:
            assert sorted(int(one.message.body) for one in lease.letters) == [0, 2, 4, 6, 8]
            assert lease.info.total == 5
    finally:
        await other.close()


@broker_targets("kafka")
async def test_a_replay_is_one_transaction_and_keeps_the_record(place: Place) -> None:
    await place.bury(8)
    report = await place.replay(lambda body: body < 5)
    assert report is not None
    assert (report.count(Moved.DONE), report.taken) == (5, 5)
    assert await place.waiting() == 3
    assert await place.committed_bodies() == sorted([*range(8), *range(5)])
    async with place.broker.consume(place.queue, name="W2", prefetch=10, session_timeout_s=1.0) as worker:
        copies = list(await worker.take(5))
        while len(copies) < 5:
            copies += await worker.take(5)
    one = next(copy for copy in copies if copy.message.body == b"3")
    assert (one.message.key, one.message.id, one.message.attempt) == ("k3", "m3", 1)
    names = [name for name, _ in one.message.headers]
    assert {"x-mqdash-op", "x-mqdash-src", "x-mqdash-n", "x-mqdash-history"} <= set(names)
    assert not [name for name in names if name.startswith(("x-mqdash-error", "x-mqdash-timestamp"))]
    assert (one.message.header_text("x-mqdash-src") or "").startswith(f"kafka:{place.dead.name}/")


@broker_targets("kafka")
@pytest.mark.parametrize(
    ("armed", "moved"),
    [
        ("redrive.after_plan", False),
        ("kafka.after_copies", False),
        ("kafka.before_commit", False),
        ("kafka.after_commit", True),
        ("redrive.after_move", True),
    ],
)
async def test_a_death_at_any_step_of_a_transaction_neither_loses_nor_duplicates(
    place: Place, armed: str, moved: bool
) -> None:
    await place.bury(4)
    assert await place.replay(armed=armed) is None
    report = await place.replay()
    assert report is not None
    assert report.count(Moved.DONE) == (0 if moved else 4)
    assert await place.waiting() == 0
    assert await place.committed_bodies() == sorted([*range(4), *range(4)])


@broker_targets("kafka")
@pytest.mark.parametrize(
    ("armed", "copies"),
    [
        ("redrive.after_plan", 1),
        ("redrive.after_confirm", 2),
        ("redrive.after_copied", 2),
        ("kafka.before_cursor", 2),
        ("redrive.after_remove", 1),
    ],
)
async def test_a_death_at_any_of_the_two_steps_loses_nothing(place: Place, armed: str, copies: int) -> None:
    await place.bury(2)
    assert await place.replay(armed=armed, steps=2) is None
    assert await place.replay(steps=2) is not None
    assert await place.waiting() == 0
    assert await place.committed_bodies() == sorted([*range(2)] * (1 + copies))


@broker_targets("kafka")
async def test_fault_58_two_dashboards_on_one_topic_replay_every_letter_once(place: Place) -> None:
    await place.bury(30)
    reports = await asyncio.gather(place.replay(), place.replay())
    done = sum(report.count(Moved.DONE) for report in reports if report is not None)
    rest = await place.replay()
    assert rest is not None
    assert done + rest.count(Moved.DONE) == 30
    assert await place.waiting() == 0
    assert await place.committed_bodies() == sorted([*range(30)] * 2)


@broker_targets("kafka")
async def test_a_letter_that_cannot_be_sent_fails_alone(place: Place) -> None:
    await place.bury(3)
    life = await _connect(place.url)
    try:
        assert isinstance(life, HoldsDeadLetters)
        async with life.lease(place.dead, limit=10) as lease:
            assert isinstance(lease, MovesInOne)
            big = compose(Draft(body=b"x" * 1_100_000), Family.KAFKA)
            copies = [Outgoing(Route(place.topic), one.message) for one in lease.letters]
            copies[1] = Outgoing(Route(place.topic), big)
            outcomes = await lease.move(lease.letters, copies)
            assert outcomes is not None
            assert [one.settled for one in outcomes] == [Settled.SETTLED, Settled.FAILED, Settled.SETTLED]
            assert "larger" in outcomes[1].detail
    finally:
        await life.close()
    assert await place.waiting() == 1
