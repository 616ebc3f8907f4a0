"""Where the figures come from, and that looking changes nothing."""

import uuid

from mqdash.brokers.rabbitmq import connector
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.topology import Queue, QueueRef, Topology
from tests.harness import Target, broker_targets


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
