"""What a publisher remembers of what was confirmed long ago: nothing."""

import uuid

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.rabbitmq.publisher import ConfirmingPublisher
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Queue, QueueRef, Route, Topology
from tests.harness import Target, broker_targets


@broker_targets("rabbitmq")
async def test_R7_a_return_is_not_looked_for_among_what_was_confirmed_one_by_one(target: Target) -> None:
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    broker = await connector(parse_url(f"{target.url}?management=http://127.0.0.1:1"), clock=SystemClock()).connect()
    await broker.declare(Topology(queues=(Queue(ref=ref),)))
    message = compose(Draft(body=b"x"), Family.RABBITMQ)
    try:
        async with broker.publisher(name="p") as publisher:
            assert isinstance(publisher, ConfirmingPublisher)
            for _ in range(50):
                await publisher.send([Outgoing(Route("", ref.name), message)])
            assert publisher._first == publisher._next == 51
            kept, lost = Outgoing(Route("", ref.name), message), Outgoing(Route("", "no-such-queue"), message)
            receipts = await publisher.send([kept, lost, kept, lost])
            assert [one.sent for one in receipts] == [Sent.CONFIRMED, Sent.RETURNED] * 2
            assert publisher._first == publisher._next == 55
    finally:
        await broker.remove(Topology(queues=(Queue(ref=ref),)))
        await broker.close()
