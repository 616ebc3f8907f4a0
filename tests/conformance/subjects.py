"""The brokers the bodies run on, what each can do, and a place of work on it."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from mqdash.brokers.base import Broker, Connector
from mqdash.brokers.registry import connector_for
from mqdash.brokers.url import parse_url
from mqdash.clock import SystemClock
from mqdash.model.message import Draft, Family, Message, compose
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology
from tests.conformance.proxy import Proxy
from tests.harness import require_target, target_names

_Test = TypeVar("_Test", bound=Callable[..., Any])

RABBITMQ = frozenset(
    {
        "publish",  # with receipts
        "settle",  # one by one, in any order
        "crash",  # what was held comes to somebody again
        "requeue",  # at once and in place, marked as redelivered
        "returns",  # a mandatory message that nobody takes comes back
        "refuses",  # a publish to what does not exist is refused
        "exchanges",
        "prefetch",
        "shares",  # consumers of one queue take turns
        "gives_back",  # what a consumer holds when it leaves waits again
        "cancels",  # the broker ends a subscription when its queue goes
        "dead_letters",
        "lease",
        "retry",
        "requests",
        "reply_queues",  # exclusive ones beside the native way
        "conflicts",
        "ttl",
        "max_length",
        "priority",
        "typed_headers",
        "pause",
        "measures",
        "catalog",
    }
)


# Settling behind an open offset is HELD on a log, and an entry of a dead consumer stays its own until it is claimed: bodies
# that ask for "settle" or "requeue" tell the story of a queue.
_LOGS = frozenset({"publish", "crash", "prefetch", "cancels", "dead_letters", "retry", "requests", "pause", "measures"})
KAFKA = _LOGS | {"refuses", "gives_back", "commits"}  # forward only, over a contiguous prefix
REDIS = _LOGS | {"settle", "shares", "claims", "channels"}  # takes over from others; Pub/Sub beside streams


@dataclass(frozen=True)
class Work:
    """A place of work: publish to `route`, take from `queue`, dead letters in `dead`; all of it is in `topology`."""

    route: Route
    queue: QueueRef
    dead: QueueRef
    topology: Topology


class Subject:
    """One broker under test. `connector` leads to it; `link()` to it through something that can be cut."""

    def __init__(self, name: str, family: Family, abilities: frozenset[str], url: str) -> None:
        self.name = name
        self.family = family
        self.abilities = abilities
        self.url = url
        self.connector = self._connector(url)

    @staticmethod
    def _connector(url: str) -> Connector:
        return connector_for(parse_url(url), clock=SystemClock(), bounded=False)

    @property
    def embedded(self) -> bool:
        return self.connector.url.embedded

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[Broker]:
        """One connection life, closed at the end."""
        broker = await self.connector.connect()
        try:
            yield broker
        finally:
            await broker.close()

    @contextlib.asynccontextmanager
    async def fragile_life(self) -> AsyncIterator[tuple[Broker, Callable[[], None]]]:
        """A life and what cuts it."""
        if self.embedded:
            server = self.connector.server  # type: ignore[attr-defined]
            broker = await self.connector.connect()
            try:
                yield broker, server.stop
            finally:
                await broker.close()
                server.start()
            return
        host, port = self.connector.url.hosts[0]
        async with Proxy(host, port) as proxy:
            broker = await self._connector(self.url.replace(f":{port}", f":{proxy.port}", 1)).connect()
            try:
                yield broker, proxy.cut
            finally:
                await broker.close()

    def message(self, body: bytes = b"hello", **draft: Any) -> Message:
        """A message of this family."""
        return compose(Draft(body=body, **draft), self.family)

    def work(self, **limits: Any) -> Work:
        """Names of a fresh place of work; `limits` are fields of its queue."""
        return _PLACES[self.family](f"mqdash-test-{uuid.uuid4().hex[:12]}", limits)


def _rabbit_work(name: str, limits: dict[str, Any]) -> Work:
    queue, dead = QueueRef(f"{name}.work"), QueueRef(f"{name}.dead")
    limits = {"dead_letter": Route(f"{name}.dlx"), **limits}
    topology = Topology(
        destinations=(
            Destination(name=f"{name}.direct", kind="direct"),
            Destination(name=f"{name}.dlx", kind="fanout"),
        ),
        queues=(Queue(ref=queue, **limits), Queue(ref=dead, holds_dead_letters=True)),
        bindings=(
            Binding(source=f"{name}.direct", queue=queue, key="work"),
            Binding(source=f"{name}.dlx", queue=dead),
        ),
    )
    return Work(Route(f"{name}.direct", "work"), queue, dead, topology)


def _kafka_work(name: str, limits: dict[str, Any]) -> Work:
    # One group name is one group on the whole cluster, whatever topics it reads.
    queue, dead = QueueRef(name, f"{name}-workers"), QueueRef(f"{name}.dlq", f"{name}-letters")
    return Work(Route(name), queue, dead, _log_topology("topic", Family.KAFKA, queue, dead, limits))


def _stream_work(name: str, limits: dict[str, Any]) -> Work:
    queue, dead = QueueRef(name, "workers"), QueueRef(f"{{{name}}}:dlq", "letters")
    return Work(Route(name), queue, dead, _log_topology("stream", Family.REDIS_STREAMS, queue, dead, limits))


def _log_topology(kind: str, family: Family, queue: QueueRef, dead: QueueRef, limits: dict[str, Any]) -> Topology:
    return Topology(
        destinations=tuple(Destination(name=ref.name, kind=kind, family=family) for ref in (queue, dead)),
        queues=(
            Queue(ref=queue, kind="group", family=family, **limits),
            Queue(ref=dead, kind="group", family=family, holds_dead_letters=True),
        ),
        bindings=(Binding(source=queue.name, queue=queue),),
    )


_PLACES: dict[Family, Callable[[str, dict[str, Any]], Work]] = {
    Family.RABBITMQ: _rabbit_work,
    Family.KAFKA: _kafka_work,
    Family.REDIS_STREAMS: _stream_work,
}

_EMBEDDED = {
    "embedded-rabbitmq-3.10": ("embedded://rabbitmq?version=3.10", Family.RABBITMQ, RABBITMQ),
    "embedded-rabbitmq-4": ("embedded://rabbitmq?version=4.0", Family.RABBITMQ, RABBITMQ),
    "embedded-kafka": ("embedded://kafka", Family.KAFKA, KAFKA | {"cuts"}),
    "embedded-redis": ("embedded://redis", Family.REDIS_STREAMS, REDIS | {"cuts"}),
}
# "cuts": a proxy before the broker can cut a life; a Kafka client goes on to the addresses the cluster tells it.
_WIRE_LIMITS = frozenset({"wire_limits"})  # what cannot be put on a wire is refused; the embedded brokers have none
_REAL = {
    "rabbitmq": (Family.RABBITMQ, RABBITMQ | _WIRE_LIMITS),
    "kafka": (Family.KAFKA, KAFKA),
    "redis": (Family.REDIS_STREAMS, REDIS | {"cuts"}),
}


def make_subject(name: str) -> Subject:
    """The subject of that name; skips the test when its broker is not there."""
    if name in _EMBEDDED:
        url, family, abilities = _EMBEDDED[name]
        return Subject(name, family, abilities, url)
    target = require_target(name)
    family, abilities = _REAL[target.family]
    url = target.url
    if target.management_url is not None and "management=" not in url:
        url += f"?management=http://{target.management_url.rpartition('@')[2]}"
    return Subject(name, family, abilities, url)


def conformance(*needs: str) -> Callable[[_Test], _Test]:
    """Run the body once per subject that has all these abilities; real ones are marked `broker`."""
    wanted = frozenset(needs)
    params: list[Any] = [name for name, (_, _, abilities) in _EMBEDDED.items() if wanted <= abilities]
    for family, (_, abilities) in _REAL.items():
        if wanted <= abilities:
            params += [pytest.param(name, marks=pytest.mark.broker) for name in target_names(family)]
    return pytest.mark.parametrize("subject", params, indirect=True)
