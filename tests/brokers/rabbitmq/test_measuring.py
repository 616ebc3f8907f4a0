"""Where the figures come from, and that looking changes nothing."""

import uuid

import pytest

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.rabbitmq.broker import RabbitBroker, RabbitObserver
from mqdash.brokers.rabbitmq.link import Channel
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.errors import BrokerError
from mqdash.model.topology import Queue, QueueRef, Topology
from tests.harness import Target, broker_targets
from tests.support import until


@broker_targets("rabbitmq")
async def test_without_the_api_depth_is_live_and_the_rest_is_not_made_up(target: Target) -> None:
    way = connector(parse_url(f"{target.url}?management=http://127.0.0.1:1"), clock=SystemClock())
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    topology = Topology(queues=(Queue(ref=ref),))
    broker = await way.connect()
    await broker.declare(topology)
    try:
        [measured] = await broker.measure([ref])
        assert (measured.waiting, measured.consumers, measured.delayed) == (0, 0, 0)
        assert (measured.in_flight, measured.in_total, measured.out_total) == (None, None, None)
        assert measured.detail == "passive declare"
        page = await broker.catalog(prefix=ref.name)
        assert [one.ref for one in page.entities if isinstance(one, Queue)] == [ref]
        assert "passive" in page.source
        assert "not in use" in broker.info.notes[0]
        other = connector(parse_url(f"{target.url}?management=http://127.0.0.1:1"), clock=SystemClock())
        observer = await other.observe()
        [seen] = await observer.measure([ref])
        assert seen.delayed is None  # somebody else's ladder cannot be known without the API
        assert (await observer.catalog()).entities == (Queue(ref=ref, known=False),)
        await observer.close()
    finally:
        await broker.remove(topology)
        await broker.close()


async def _writer(target: Target) -> RabbitBroker:
    way = connector(parse_url(f"{target.url}?management=http://127.0.0.1:1"), clock=SystemClock())
    broker = await way.connect()
    assert isinstance(broker, RabbitBroker)
    return broker


async def _observer(target: Target) -> RabbitObserver:
    if target.management_url is None:
        pytest.skip(f"{target.name} has no management API")
    way = connector(parse_url(f"{target.url}?management={target.management_url}"), clock=SystemClock())
    observer = await way.observe()
    assert isinstance(observer, RabbitObserver)
    return observer


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[BrokerError]:
    """Every end of a channel from now on."""
    ends: list[BrokerError] = []
    told = Channel._was_closed

    def closed(self: Channel, pika_channel: object, reason: BaseException) -> None:
        told(self, pika_channel, reason)
        assert self.error is not None
        ends.append(self.error)

    monkeypatch.setattr(Channel, "_was_closed", closed)
    return ends


@broker_targets("rabbitmq")
async def test_R30_measuring_keeps_no_expiring_queue_alive(target: Target) -> None:
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    observer = await _observer(target)
    writer = await _writer(target)
    try:
        await writer.declare(Topology(queues=(Queue(ref=ref, expires_s=1.5),)))
        [measured] = await observer.measure([ref])
        assert "expires after 1.5 s" in measured.detail
        [unseen] = await writer.measure([ref])  # without the API nobody can look without renewing it
        assert (unseen.waiting, unseen.consumers) == (None, None)
        assert unseen.detail.startswith("not measured")

        async def gone() -> bool:
            return not await observer.measure([ref])

        await until(gone, 10, every_s=0.3)
    finally:
        await writer.remove(Topology(queues=(Queue(ref=ref),)))
        await writer.close()
        await observer.close()


@broker_targets("rabbitmq")
async def test_somebody_elses_exclusive_queue_is_measured_without_a_refusal_a_second(
    target: Target, refusals: list[BrokerError]
) -> None:
    ref = QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}")
    owner, stranger = await _writer(target), await _writer(target)
    observer = await _observer(target)
    try:
        await owner.declare(Topology(queues=(Queue(ref=ref, exclusive=True, durable=False),)))
        assert (await owner.measure([ref]))[0].waiting == 0  # its own may be asked
        refusals.clear()
        for _ in range(3):
            [measured] = await observer.measure([ref])
            assert "exclusive" in measured.detail
        assert refusals == []
        for _ in range(3):
            [unseen] = await stranger.measure([ref])
            assert unseen.waiting is None
        assert [type(error).__name__ for error in refusals] == ["Conflict"]
    finally:
        await observer.close()
        await stranger.close()
        await owner.close()


@broker_targets("rabbitmq")
async def test_deleted_queues_are_asked_for_once_and_then_forgotten(
    target: Target, refusals: list[BrokerError]
) -> None:
    refs = [QueueRef(f"mqdash-test-{uuid.uuid4().hex[:12]}") for _ in range(4)]
    topology = Topology(queues=tuple(Queue(ref=ref) for ref in refs))
    watching, deleting = await _writer(target), await _writer(target)
    observer = await _observer(target)
    try:
        await watching.declare(topology)
        await watching.measure(refs)
        await observer.measure(refs)
        await observer.catalog(prefix="mqdash-test-")
        assert {ref.name for ref in refs} <= observer._life.known.queues.keys()
        await deleting.remove(topology)
        refusals.clear()
        await watching.catalog(prefix="mqdash-test-")
        asked = len([error for error in refusals if "no queue" in error.text])
        await watching.catalog(prefix="mqdash-test-")
        assert asked == len(refs)
        assert len([error for error in refusals if "no queue" in error.text]) == asked
        await observer.catalog(prefix="mqdash-test-")
        assert not {ref.name for ref in refs} & {*observer._life.known.queues, *observer._life.known.asked}
    finally:
        await observer.close()
        await deleting.close()
        await watching.close()
