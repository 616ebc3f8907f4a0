"""mqdash attaches to somebody else's RabbitMQ, watches it, leaves: nothing there has changed, and it was all on screen."""

import asyncio
import base64
import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pika
import pytest

from mqdash.config import Config, Profile
from mqdash.model.broker import LinkState
from mqdash.runtime import attach_targets
from tests.faults.dashboards import Board, board
from tests.faults.ports import unused
from tests.harness import Target, broker_targets
from tests.support import until

WATCHED_S = 6.5
"""Longer than the time between two readings of what exists, and than the broker's own statistics are old."""
WORKER = "billing-7"


@dataclass
class Foreign:
    """Somebody's topology in a vhost of its own, with a worker that holds messages."""

    url: str
    management_url: str
    vhost: str = field(default_factory=lambda: f"shop-{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Self:
        self.api("PUT", f"/vhosts/{self.vhost}", {})
        self.api("PUT", f"/permissions/{self.vhost}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        self._connection = pika.BlockingConnection(pika.URLParameters(self.url.rstrip("/") + f"/{self.vhost}"))
        self._channel = channel = self._connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("shop", "topic", durable=True)
        channel.exchange_declare("shop.dead", "fanout", durable=True)
        channel.queue_declare("jobs", durable=True, arguments={"x-dead-letter-exchange": "shop.dead"})
        channel.queue_declare("graves", durable=True)
        channel.queue_declare("touched", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("jobs", "shop", "order.#")
        channel.queue_bind("graves", "shop.dead")
        for number in range(10):
            channel.basic_publish("shop", "order.new", f"job {number}".encode(), pika.BasicProperties(delivery_mode=2))
        for number in range(3):
            channel.basic_publish("", "touched", f"letter {number}".encode())
            channel.basic_publish("", "graves", b"dead")
        method, _, _ = channel.basic_get("touched")
        assert method is not None
        channel.basic_nack(method.delivery_tag, requeue=True)
        channel.basic_qos(prefetch_count=3)
        channel.basic_consume("jobs", lambda *_: None, consumer_tag=WORKER)
        self._connection.process_data_events(0.2)
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
        self.api("DELETE", f"/vhosts/{self.vhost}")

    def api(self, method: str, path: str, body: object = None) -> Any:
        """One request to the management API."""
        parts = urlsplit(self.management_url)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{parts.hostname}:{parts.port}/api{path}", data, method=method)
        login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def snapshot(self) -> dict[str, Any]:
        """Everything there is, as the broker tells it; the worker's connection is kept alive."""
        self._connection.process_data_events(0)
        columns = "name,type,arguments,messages_ready,messages_unacknowledged,consumers"
        told = self.api("GET", f"/definitions/{self.vhost}")
        return {
            "definitions": {name: told[name] for name in ("queues", "exchanges", "bindings", "policies", "parameters")},
            "queues": {row["name"]: row for row in self.api("GET", f"/queues/{self.vhost}?columns={columns}")},
            "consumers": [row["consumer_tag"] for row in self.api("GET", f"/consumers/{self.vhost}")],
        }

    def settled(self) -> dict[str, Any]:
        """The snapshot, once the broker's statistics know what the worker holds; {} before."""
        found = self.snapshot()
        expected = {"jobs": (7, 3, 1), "graves": (3, 0, 0), "touched": (3, 0, 0)}
        counts = ("messages_ready", "messages_unacknowledged", "consumers")
        told = {name: tuple(found["queues"][name].get(count) for count in counts) for name in expected}
        return found if told == expected and found["consumers"] else {}

    def left_over(self) -> dict[str, list[tuple[bytes, bool]]]:
        """Takes out what is ready: bodies in order, with their redelivered flags."""
        taken: dict[str, list[tuple[bytes, bool]]] = {}
        for queue in ("jobs", "graves", "touched"):
            taken[queue] = []
            while (found := self._channel.basic_get(queue, auto_ack=True))[0] is not None:
                taken[queue].append((found[2] or b"", found[0].redelivered))
        return taken


@pytest.fixture
def foreign(target: Target) -> Iterator[Foreign]:
    assert target.management_url is not None
    with Foreign(target.url, target.management_url) as made:
        yield made


def _attach_to(foreign: Foreign, *, writable: bool, management: str) -> tuple[list[Any], Config]:
    config = Config(
        profiles={"them": Profile(url=f"{foreign.url.rstrip('/')}/{foreign.vhost}?management={management}")}
    )
    return attach_targets(["@them"], config, {}, write=writable), config


async def _watch(shown: Board, foreign: Foreign) -> None:
    """Let the monitors look for a while, and keep the foreign worker's connection alive meanwhile."""
    await until(lambda: shown.state("them") is LinkState.UP)
    for _ in range(round(WATCHED_S)):
        await asyncio.sleep(1)
        await asyncio.to_thread(foreign.snapshot)


@broker_targets("rabbitmq")
@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False], ids=["writable", "read-only"])
async def test_attaching_shows_everything_and_changes_nothing(
    target: Target, foreign: Foreign, writable: bool, tmp_path: Path
) -> None:
    before = await until(lambda: asyncio.to_thread(foreign.settled), 20, every_s=0.3)
    targets, _ = _attach_to(foreign, writable=writable, management=foreign.management_url)
    async with board(targets, tmp_path) as shown:
        await shown.shows("shop", "order.#", "jobs", "shop.dead", "graves", "touched", timeout_s=15)
        await shown.shows(WORKER, timeout_s=15)
        await _watch(shown, foreign)
        [flow] = shown.runtime.store.view().flows
        depths = {node.name: (node.depth, node.in_flight) for node in flow.nodes if node.kind == "queue"}
        assert depths == {"jobs": (7, 3), "graves": (3, 0), "touched": (3, 0)}

        def workers() -> list[tuple[str, str, int | None]]:
            rows = shown.runtime.store.view().workers.rows
            return [(row.worker.name, row.worker.queue.name, row.worker.in_flight) for row in rows]

        await until(lambda: workers() == [(WORKER, "jobs", 3)], 15)  # what it holds comes from figures up to 5 s old
        assert ("read-only" in shown.text) is not writable
        assert await asyncio.to_thread(foreign.snapshot) == before
    after = await asyncio.to_thread(foreign.snapshot)
    assert after == before
    left = await asyncio.to_thread(foreign.left_over)
    assert left["jobs"] == [(f"job {number}".encode(), False) for number in range(3, 10)]
    assert left["graves"] == [(b"dead", False)] * 3
    assert dict(left["touched"]) == {b"letter 0": True, b"letter 1": False, b"letter 2": False}


@broker_targets("rabbitmq")
@pytest.mark.slow
async def test_without_the_management_api_it_says_what_it_cannot_see(
    target: Target, foreign: Foreign, tmp_path: Path
) -> None:
    before = await until(lambda: asyncio.to_thread(foreign.settled), 20, every_s=0.3)
    nobody = f"http://127.0.0.1:{unused()}"
    targets, _ = _attach_to(foreign, writable=False, management=nobody)
    async with board(targets, tmp_path) as shown:
        await shown.turn_to_next()
        await shown.shows("management API", nobody.removeprefix("http://"), "not reachable")
        await _watch(shown, foreign)
        assert "guest:guest" not in shown.text + shown.story
    assert await asyncio.to_thread(foreign.snapshot) == before
