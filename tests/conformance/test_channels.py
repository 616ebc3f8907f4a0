"""Channels: what nobody hears is gone, whatever the connection does."""

import asyncio
import uuid

from mqdash.brokers.base import Broker, CanSubscribe
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Destination, Route, Topology
from tests.conformance.helpers import bodies
from tests.conformance.streams import RealStreams, streams_really
from tests.conformance.subjects import Subject, conformance
from tests.support import until


@conformance("channels")
async def test_P6_what_is_said_between_two_subscriptions_is_lost(subject: Subject, broker: Broker) -> None:
    channel = f"mqdash-test-{uuid.uuid4().hex[:12]}.news"
    news = Topology(
        destinations=(Destination(name=channel, kind="channel", family=Family.REDIS_PUBSUB, durable=False),)
    )
    await broker.declare(news)
    assert isinstance(broker, CanSubscribe)
    async with broker.publisher(name="p") as publisher:

        async def say(body: bytes) -> str:
            [receipt] = await publisher.send([Outgoing(Route(channel), compose(Draft(body=body), Family.REDIS_PUBSUB))])
            assert receipt.sent is Sent.CONFIRMED
            return receipt.position or ""

        async with broker.subscribe([channel], name="first") as first:
            assert await say(b"heard") == "1"
            assert bodies(await asyncio.wait_for(first.take(1), 5)) == [b"heard"]
            first.crash()

            async def alone() -> bool:
                return await say(b"into the gap") == "0"

            await until(alone, what="the broker noticed that the subscriber went")
        async with broker.subscribe([channel], name="second") as second:
            await say(b"after")
            assert bodies(await asyncio.wait_for(second.take(10), 5)) == [b"after"]
    await broker.remove(news)


@streams_really
def test_P7_channels_ignore_the_database_number(streams: RealStreams) -> None:
    listener = streams.client.pubsub(ignore_subscribe_messages=False)
    listener.subscribe(streams.key)
    assert listener.get_message(timeout=5)["type"] == "subscribe"
    script = "redis.call('SELECT', 5) return redis.call('PUBLISH', KEYS[1], 'hello')"
    assert streams.ask("EVAL", script, 1, streams.key) == 1
    heard = listener.get_message(timeout=5)
    listener.close()
    assert heard["data"] == b"hello"
