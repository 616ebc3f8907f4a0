"""Members of a run on a real Kafka: who leaves last knows it, and a member that died is forgotten with its session."""

import uuid

from aiokafka.admin import AIOKafkaAdminClient

from mqdash.brokers.base import KeepsMembers
from mqdash.brokers.registry import connector_for
from mqdash.brokers.scoped import Scope, scoped
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from tests.harness import Target, broker_targets


@broker_targets("kafka")
async def test_whoever_leaves_a_run_last_knows_it_and_leaves_no_topic(target: Target) -> None:
    url, run = parse_url(target.url), f"test{uuid.uuid4().hex[:8]}"
    lives = [scoped(await connector_for(url, clock=SystemClock()).connect(), Scope(run)) for _ in range(2)]
    admin = AIOKafkaAdminClient(bootstrap_servers=target.url.removeprefix("kafka://"))
    await admin.start()
    try:
        assert all(isinstance(life, KeepsMembers) for life in lives)
        first, second = [await life.enroll("members", name=name) for life, name in zip(lives, "ab", strict=True)]  # type: ignore[attr-defined]
        assert not await first.leave()
        assert await second.leave()
        assert await second.leave()
        assert not [name for name in await admin.list_topics() if run in name]
    finally:
        for life in lives:
            await life.close()
        await admin.close()


@broker_targets("kafka")
async def test_a_member_on_a_new_life_is_the_same_member(target: Target) -> None:
    connector, roster = connector_for(parse_url(target.url), clock=SystemClock()), f"mqdash-test-{uuid.uuid4().hex[:8]}"
    before, after = await connector.connect(), await connector.connect()
    try:
        assert isinstance(before, KeepsMembers)
        assert isinstance(after, KeepsMembers)
        await before.enroll(roster, name="a")
        again = await after.enroll(roster, name="a")
        assert await again.leave()
    finally:
        await before.close()
        await after.close()
