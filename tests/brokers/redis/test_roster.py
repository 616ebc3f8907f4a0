"""Members of a run on a real Redis: who leaves last knows it, and a member that died is forgotten."""

import uuid

from mqdash.brokers.base import KeepsMembers
from mqdash.brokers.redis import scripts
from mqdash.brokers.redis.session import Session
from mqdash.brokers.registry import connector_for
from mqdash.brokers.scoped import Scope, scoped
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from tests.harness import Target, broker_targets


@broker_targets("redis")
async def test_whoever_leaves_a_run_last_knows_it_and_leaves_nothing(target: Target) -> None:
    url, run = parse_url(target.url), f"test{uuid.uuid4().hex[:8]}"
    lives = [scoped(await connector_for(url, clock=SystemClock()).connect(), Scope(run)) for _ in range(2)]
    session = await Session.open(url, "test")
    try:
        keepers = [life for life in lives if isinstance(life, KeepsMembers)]
        first, second = [await life.enroll("members", name=name) for life, name in zip(keepers, "ab", strict=True)]
        assert await session.call("ZCARD", f"mqdash.{run}.members") == 2
        assert not await first.leave()
        assert await second.leave()
        assert await second.leave()
        assert not await session.call("EXISTS", f"mqdash.{run}.members")
    finally:
        for life in lives:
            await life.close()
        await session.close()


@broker_targets("redis")
async def test_a_member_that_died_is_forgotten_when_its_lease_ran_out(target: Target) -> None:
    session, roster = await Session.open(parse_url(target.url), "test"), f"mqdash-test-{uuid.uuid4().hex[:8]}"
    try:
        assert await session.scripts(scripts.ENROLL, [((roster,), ("dead", -1)), ((roster,), ("me", 9000))]) == [1, 2]
        assert await session.scripts(scripts.UNENROLL, [((roster,), ("me",))]) == [0]
    finally:
        await session.call("DEL", roster)
        await session.close()
