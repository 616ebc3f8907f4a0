"""Records go in batches of our own: every one has its receipt, keys and order stay."""

import asyncio
import uuid

import pytest

from mqdash.brokers.base import Broker, CanBrowse
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Outgoing, Receipt, RecordClaim, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, QueueRef, Route, Topology
from tests.harness import Target, broker_targets


@broker_targets("kafka")
@pytest.mark.parametrize("size_bytes", [20, 60_000])
async def test_K1_K2_a_burst_keeps_keys_order_and_offsets(target: Target, size_bytes: int) -> None:
    broker: Broker = await connector_for(parse_url(target.url), clock=SystemClock()).connect()
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    topology = Topology(destinations=(Destination(name=name, kind="topic", family=Family.KAFKA, partitions=3),))
    await broker.declare(topology)
    try:
        drafts = [Draft(body=b"%d " % n + b"x" * size_bytes, id=f"m{n}", key=f"k{n % 7}") for n in range(200)]
        batch = [Outgoing(Route(name), compose(draft, Family.KAFKA)) for draft in drafts]
        few = batch[:20]
        async with broker.publisher(name="p") as publisher:
            receipts = [*await publisher.send(few), *await publisher.send(batch)]
        assert {receipt.sent for receipt in receipts} == {Sent.CONFIRMED}
        assert isinstance(broker, CanBrowse)
        found = await broker.browse(QueueRef(name), newest=1000)
        at = {}
        for one in found:
            assert isinstance(one.claim, RecordClaim)
            at[f"{one.claim.partition}/{one.claim.offset}"] = one.message
        sent = [outgoing.message for outgoing in (*few, *batch)]
        assert len(at) == len(receipts)
        for message, receipt in zip(sent, receipts, strict=True):
            assert (at[receipt.position].id, at[receipt.position].body) == (message.id, message.body)
        for key in {message.key for message in sent}:
            places = [r.position.split("/") for m, r in zip(sent, receipts, strict=True) if m.key == key]
            assert len({partition for partition, _ in places}) == 1
            offsets = [int(offset) for _, offset in places]
            assert offsets == sorted(offsets)
    finally:
        await broker.remove(topology)
        await broker.close()


@broker_targets("kafka")
async def test_K1_sends_side_by_side_share_batches_and_keep_their_own_order(target: Target) -> None:
    broker: Broker = await connector_for(parse_url(target.url), clock=SystemClock()).connect()
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    topology = Topology(destinations=(Destination(name=name, kind="topic", family=Family.KAFKA),))
    await broker.declare(topology)
    try:
        async with broker.publisher(name="p", window=100) as publisher:

            async def sends(sender: int) -> list[Receipt]:
                receipts: list[Receipt] = []
                for part in range(4):
                    # One large record between small ones does not go in a batch.
                    size_bytes = 100_000 if (sender, part) == (0, 2) else 20
                    drafts = [Draft(body=b"x" * size_bytes, id=f"{sender}-{part}-{n}") for n in range(8)]
                    receipts += await publisher.send([Outgoing(Route(name), compose(d, Family.KAFKA)) for d in drafts])
                return receipts

            found = await asyncio.gather(*(sends(sender) for sender in range(20)))
        assert {receipt.sent for receipts in found for receipt in receipts} == {Sent.CONFIRMED}
        for receipts in found:
            offsets = [int(receipt.position.split("/")[1]) for receipt in receipts]
            assert offsets == sorted(offsets)
        assert len({receipt.position for receipts in found for receipt in receipts}) == 640
    finally:
        await broker.remove(topology)
        await broker.close()


@broker_targets("kafka")
async def test_a_burst_to_no_topic_or_no_partition_is_refused(target: Target) -> None:
    broker: Broker = await connector_for(parse_url(target.url), clock=SystemClock()).connect()
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    topology = Topology(destinations=(Destination(name=name, kind="topic", family=Family.KAFKA),))
    await broker.declare(topology)
    try:
        message = compose(Draft(body=b"x"), Family.KAFKA)
        async with broker.publisher(name="p") as publisher:
            nowhere = await publisher.send([Outgoing(Route(f"{name}.missing"), message)] * 100)
            mixed = await publisher.send(
                [Outgoing(Route(name), message)] * 99 + [Outgoing(Route(name, "", 9), message)]
            )
        assert {receipt.sent for receipt in nowhere} == {Sent.REFUSED}
        assert [receipt.sent for receipt in mixed] == [Sent.CONFIRMED] * 99 + [Sent.REFUSED]
    finally:
        await broker.remove(topology)
        await broker.close()
