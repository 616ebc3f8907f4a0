"""A channel the broker closes, and rights that go in the middle: one thing ends, in the broker's words, the rest goes on."""

import asyncio
import contextlib
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mqdash.brokers.base import Broker, HoldsDeadLetters
from mqdash.brokers.rabbitmq import lease as leases
from mqdash.brokers.rabbitmq.lease import RabbitLease
from mqdash.brokers.rabbitmq.link import open_link
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.config import Config
from mqdash.errors import AccessRefused, BrokerUnavailable, Conflict, NotFound
from mqdash.model.broker import LinkState
from mqdash.model.delivery import DeadLetter, Outgoing, Sent, Settled
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Queue, QueueRef, Route, Topology
from mqdash.runtime import attach_targets, lab_target
from tests.brokers.rabbitmq.admin import ask, asked, user
from tests.conformance.helpers import ack, take
from tests.faults.dashboards import board
from tests.harness import Target, broker_targets
from tests.support import until

pytestmark = pytest.mark.timeout(60)


@contextlib.asynccontextmanager
async def life_on(url: str) -> AsyncIterator[Broker]:
    life = await connector_for(parse_url(url), clock=SystemClock()).connect()
    try:
        yield life
    finally:
        await life.close()


@contextlib.asynccontextmanager
async def place(target: Target) -> AsyncIterator[tuple[Broker, QueueRef]]:
    """A life, and a queue of its own."""
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    async with life_on(target.url) as life:
        await life.declare(Topology(queues=(Queue(ref=ref),)))
        try:
            yield life, ref
        finally:
            async with life_on(target.url) as last:  # the life of the test may be over
                await last.remove(Topology(queues=(Queue(ref=ref),)))


async def send(life: Broker, ref: QueueRef, *bodies: bytes) -> None:
    async with life.publisher(name="p") as publisher:
        batch = [Outgoing(Route("", ref.name), compose(Draft(body=body), Family.RABBITMQ)) for body in bodies]
        assert {receipt.sent for receipt in await publisher.send(batch)} == {Sent.CONFIRMED}


@broker_targets("rabbitmq")
async def test_9_R9_R10_a_channel_the_broker_closes_is_told_in_its_words_and_the_others_live(target: Target) -> None:
    async with place(target) as (life, ref), life.consume(ref, name="w", prefetch=1) as worker:
        stranger = await open_link(parse_url(target.url), name="stranger", on_end=lambda _link, _cause: None)
        own = await (await stranger.channel()).call("queue_declare", "", exclusive=True)
        with pytest.raises(Conflict, match=r"inequivalent arg .*max-length"):  # 406
            await life.declare(Topology(queues=(Queue(ref=ref, max_length=5),)))
        with pytest.raises(NotFound, match="no queue 'mqdash-test-none'"):  # 404
            async with life.consume(QueueRef("mqdash-test-none"), name="x", prefetch=1):
                pass
        with pytest.raises(Conflict, match="cannot obtain exclusive access"):  # 405
            async with life.consume(QueueRef(own.queue), name="x", prefetch=1):
                pass
        await stranger.close()
        with user(target, configure="^$") as (_, url):
            async with life_on(url) as limited:
                with pytest.raises(AccessRefused, match=r"access to queue .* refused for user"):  # 403
                    await limited.declare(Topology(queues=(Queue(ref=QueueRef(f"{ref.name}-2")),)))
                assert await limited.measure([ref])
        await send(life, ref, b"still")
        taken = await take(worker, 1)
        assert [one.message.body for one in taken] == [b"still"]
        await ack(worker, taken)


@broker_targets("rabbitmq")
async def test_9_letters_whose_channel_was_closed_are_told_as_returned(target: Target, tmp_path: Path) -> None:
    async with place(target) as (life, ref):
        await send(life, ref, b"1", b"2")
        [attached] = attach_targets([target.url], Config(), {}, write=True)
        async with board([attached], tmp_path) as shown:
            await until(lambda: shown.beside.state is LinkState.UP)
            box = await shown.runtime.control.open_letters(attached.name, ref)
            assert [letter.delivery.message.body for letter in box.letters] == [b"1", b"2"]
            assert box.returned() == ""
            lease = box._lease
            assert isinstance(lease, RabbitLease)
            with pytest.raises(NotFound):
                await lease._channel.call("queue_declare", f"{ref.name}-none", passive=True)
            assert "back in their queue: NOT_FOUND - no queue" in box.returned()
            await shown.tells("2 dead letters of", "were returned", "NOT_FOUND")
            assert shown.story.count("were returned") == 1
            report = await box.discard([letter.number for letter in box.letters])
            assert [outcome.moved for outcome in report.outcomes] == ["skipped", "skipped"]
            assert "open them again" in report.outcomes[0].detail
            assert shown.beside.state is LinkState.UP  # and everything else of this broker lives
            assert await shown.attachment(attached.name).life.measure([ref])
            await box.close()
            async with life.consume(ref, name="w", prefetch=2) as worker:
                assert {one.message.body for one in await take(worker, 2)} == {b"1", b"2"}


@broker_targets("rabbitmq")
async def test_10_an_ack_on_a_channel_that_is_being_closed_is_unknown_and_nothing_is_lost(target: Target) -> None:
    async with place(target) as (life, ref):
        await send(life, ref, b"letter")
        assert isinstance(life, HoldsDeadLetters)
        async with life.lease(ref) as lease:
            assert isinstance(lease, RabbitLease)
            # The broker closes the channel over the question that goes before the ack: it never sees the ack.
            asking = asyncio.ensure_future(lease._channel.call("queue_declare", f"{ref.name}-none", passive=True))
            await asyncio.sleep(0)
            [outcome] = await lease.remove(lease.letters)
            assert outcome.settled is Settled.UNKNOWN
            assert "NOT_FOUND" in outcome.detail
            with pytest.raises(NotFound):
                await asking
            [again] = await lease.remove(lease.letters) if lease.letters else [outcome]
            assert again.settled is not Settled.SETTLED
        async with life.consume(ref, name="w", prefetch=1) as worker:
            [taken] = await take(worker, 1)
            with pytest.raises(NotFound):
                await worker._channel.call("queue_declare", f"{ref.name}-none", passive=True)  # type: ignore[attr-defined]
            [outcome] = await worker.settle([(taken, DeadLetter("E"))])
            assert outcome.settled is Settled.STALE  # nothing was written: the broker gives it out again
        async with life.consume(ref, name="w2", prefetch=1) as worker:
            taken_again = await take(worker, 1)
            assert [one.message.body for one in taken_again] == [b"letter"]
            await ack(worker, taken_again)


@broker_targets("rabbitmq")
async def test_10_a_connection_closed_from_outside_in_the_middle_of_the_work_is_told_and_opened_again(
    target: Target, tmp_path: Path
) -> None:
    run = f"closed-{uuid.uuid4().hex[:8]}"
    with user(target) as (name, url):
        lab = await asyncio.to_thread(lab_target, "orders", url, Config(), {}, run=run, seed=7)
        async with board([lab], tmp_path) as shown:
            await until(lambda: shown.confirmed("orders") > 20, 30)
            await asyncio.to_thread(_close_one, target, name)
            await shown.tells("is gone: the broker closed the connection: 320", "trying again")
            await until(lambda: shown.state("orders") is LinkState.UP)
            before = shown.confirmed("orders")
            await until(lambda: shown.confirmed("orders") > before + 20, 30)
            assert shown.app.failures == []


def _close_one(target: Target, of: str) -> None:
    """Close a connection of that user, as rabbitmqctl close_connection does."""
    ends_s = time.monotonic() + 15
    while True:
        found = [one["name"] for one in asked(target, "/connections?columns=name,user") if one["user"] == of]
        if found:
            ask(target, "DELETE", f"/connections/{urllib.parse.quote(found[-1], safe='')}")
            return
        assert time.monotonic() < ends_s, "the API lists no connection of this user"
        time.sleep(0.2)


@broker_targets("rabbitmq")
async def test_14_a_right_to_write_that_goes_is_a_refusal_with_its_reason_and_reading_goes_on(
    target: Target, tmp_path: Path
) -> None:
    run = f"rights-{uuid.uuid4().hex[:8]}"
    with user(target) as (name, url):
        lab = await asyncio.to_thread(lab_target, "orders", url, Config(), {}, run=run, seed=7)
        async with board([lab], tmp_path) as shown:
            await until(lambda: shown.confirmed("orders") > 20, 30)
            rights = {"configure": ".*", "write": "^$", "read": ".*"}
            await asyncio.to_thread(ask, target, "PUT", f"/permissions/%2f/{name}", rights)
            # An open channel keeps the rights it has used; the next one, here of a person, has the new ones.
            route, draft = shown.runtime.control.draft_for("orders", "shop")
            receipt = await shown.runtime.control.publish("orders", route, draft)
            assert receipt.sent is Sent.REFUSED
            await shown.tells("you published", "refused: ACCESS_REFUSED - ", f"refused for user '{name}'")
            await shown.tells("takes nothing: ACCESS_REFUSED - ", f"refused for user '{name}'", timeout_s=20)
            assert shown.state("orders") is LinkState.UP
            assert (await shown.attachment("orders").life.catalog(limit=1)).entities
            assert shown.app.failures == []


@broker_targets("rabbitmq")
async def test_12_letters_are_given_back_before_the_broker_would_take_them(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_LIMIT_S", 0.3)
    async with place(target) as (life, ref):
        await send(life, ref, b"1", b"2")
        assert isinstance(life, HoldsDeadLetters)
        async with life.lease(ref) as lease, life.consume(ref, name="w", prefetch=2) as worker:
            held = list(lease.letters)
            assert (len(held), lease.info.returned) == (2, "")
            again = await take(worker, 2)
            assert [one.message.body for one in again] == [b"1", b"2"]  # in front and in order
            assert "given back before the broker's ack timeout" in lease.info.returned
            assert {outcome.settled for outcome in await lease.remove(held)} == {Settled.STALE}
            await ack(worker, again)


def test_12_a_lease_ends_at_half_of_the_brokers_ack_timeout() -> None:
    assert leases.LEASE_LIMIT_S == 0.5 * 30 * 60


@broker_targets("rabbitmq")
async def test_12_giving_back_in_time_failed_is_logged_and_the_end_gives_back(
    target: Target, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(lease: RabbitLease) -> None:
        monkeypatch.undo()
        raise BrokerUnavailable("orders", "no answer")

    async with place(target) as (life, ref):
        await send(life, ref, b"1")
        assert isinstance(life, HoldsDeadLetters)
        monkeypatch.setattr(leases, "LEASE_LIMIT_S", 0.05)
        monkeypatch.setattr(RabbitLease, "give_back", failing)
        async with life.lease(ref):
            await until(lambda: "not given back in time: orders: no answer" in caplog.text)
        async with life.consume(ref, name="w", prefetch=1) as worker:
            await ack(worker, await take(worker, 1))
