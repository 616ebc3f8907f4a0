"""Which dead letters are no messages: told by what they hold, not by the name of their error (fault 30)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.dead_letters.dialects import read_letter
from mqdash.dead_letters.files import NdjsonFile
from mqdash.dead_letters.redrive import UNREADABLE, Moved, Redrive
from mqdash.model.causes import CANNOT_DECODE
from mqdash.model.delivery import DeadLetter, Outgoing
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Queue, QueueRef, Route, Topology

if TYPE_CHECKING:
    from pathlib import Path

ORDERS, DLQ = QueueRef("orders", "billing"), QueueRef("orders.dlq")
TOPOLOGY = Topology(
    destinations=(Destination(name="orders", kind="topic", family=Family.KAFKA),),
    queues=(Queue(ref=ORDERS, kind="group", family=Family.KAFKA),),
)


def _batch() -> bytes:
    """A compressed batch as a broker keeps it."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=1, is_transactional=0,
        producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=4096,
    )  # fmt: skip
    builder.append(0, timestamp=1, key=None, value=b"x" * 200, headers=[])
    return bytes(builder.build())


@pytest.mark.parametrize(
    ("body", "end"),
    [
        pytest.param(_batch(), (Moved.SKIPPED, UNREADABLE), id="a batch"),
        pytest.param(b'{"order": 1, "total": "12.50"}', (Moved.DONE, ""), id="JSON"),
        pytest.param(b"", (Moved.DONE, ""), id="empty"),
    ],
)
async def test_30_a_letter_whose_error_is_named_cannot_decode_stays_only_when_it_is_a_batch(
    tmp_path: Path, body: bytes, end: tuple[Moved, str]
) -> None:
    clock = SystemClock()
    broker = await connector_for(parse_url("embedded://kafka"), clock=clock, bounded=False).connect()
    await broker.declare(TOPOLOGY)
    async with broker.publisher(name="shop") as publisher:
        await publisher.send([Outgoing(Route("orders"), compose(Draft(body=body), Family.KAFKA))])
        async with broker.consume(ORDERS, name="W1", prefetch=1) as worker:
            (taken,) = await worker.take(1)
            await worker.settle([(taken, DeadLetter(CANNOT_DECODE, "an avro schema is missing"))])
        async with broker.lease(DLQ, limit=10) as lease:  # type: ignore[attr-defined]
            letters = [read_letter(n, found) for n, found in enumerate(lease.letters)]
            assert [letter.cause for letter in letters] == [CANNOT_DECODE]
            journal = NdjsonFile(tmp_path / "journal.ndjson")
            async with Redrive(op="op", lease=lease, queue=DLQ, journal=journal, clock=clock) as redrive:
                (outcome,) = (await redrive.replay(letters, publisher)).outcomes
    await broker.close()
    assert (outcome.moved, outcome.detail) == end
