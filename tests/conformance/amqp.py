"""RabbitMQ as a bare client meets it: for rules that the port does not show (tags, channel errors, death records).

The same bodies run on the embedded model (`amqp_model.py`, whose time is a number) and on real brokers (`amqp_pika.py`)::

    @natively
    def test_R19_prefetch_never_limits_a_get(amqp: Amqp) -> None: ...

Bodies are plain functions: nothing here needs an event loop. Everything declared through `Amqp` has a name of its own and
is deleted at the end.
"""

import contextlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from mqdash.brokers.embedded.channel import Confirm
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route
from tests.harness import target_names

__all__ = ["Amqp", "Channel", "Closed", "Confirm", "Connection", "Got", "Tap", "natively", "natively_real"]

_Test = TypeVar("_Test", bound=Callable[..., Any])
MODELS = {"embedded-rabbitmq-3.10": (3, 10), "embedded-rabbitmq-4": (4, 0)}


class Closed(Exception):
    """The broker closed the channel (or its connection) with this code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


@dataclass(frozen=True)
class Got:
    """One message as it came. Header values are plain: typed numbers are numbers, times are Unix seconds."""

    tag: int
    body: str
    redelivered: bool
    exchange: str
    key: str
    headers: dict[str, Any]
    expiration: str | None = None
    reply_to: str | None = None

    @property
    def deaths(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.headers.get("x-death", [])
        return found


@dataclass
class Tap:
    """A consumer and what came to it so far."""

    tag: str
    got: list[Got] = field(default_factory=list)
    cancelled: bool = False  # by the broker (R27)

    @property
    def bodies(self) -> list[str]:
        return [one.body for one in self.got]


class Channel(ABC):
    """One channel. Every call has taken effect on the broker when it returns; Closed says that the broker objected."""

    @property
    @abstractmethod
    def closed(self) -> int:
        """0, or the code the broker closed it with."""

    @abstractmethod
    def declare_exchange(self, exchange: Destination) -> None: ...

    @abstractmethod
    def declare_queue(self, queue: Queue, more: dict[str, Any] | None = None) -> None:
        """`more`: arguments that the port does not know."""

    @abstractmethod
    def ready(self, queue: str) -> int:
        """How many wait, by a passive declare."""

    @abstractmethod
    def bind(self, binding: Binding) -> None: ...

    @abstractmethod
    def purge(self, queue: str) -> None: ...

    @abstractmethod
    def delete_queue(self, queue: str) -> None: ...

    @abstractmethod
    def delete_exchange(self, exchange: str) -> None: ...

    @abstractmethod
    def publish(
        self,
        body: str,
        to: str,
        *,
        exchange: str = "",
        mandatory: bool = False,
        headers: dict[str, Any] | None = None,
        **properties: Any,
    ) -> Confirm:
        """Publish and wait for the confirm."""

    @abstractmethod
    def get(self, queue: str, *, no_ack: bool = False) -> Got | None: ...

    @abstractmethod
    def consume(
        self, queue: str, *, prefetch: int = 0, no_ack: bool = False, exclusive: bool = False, priority: int = 0
    ) -> Tap: ...

    @abstractmethod
    def cancel(self, tap: Tap) -> None: ...

    @abstractmethod
    def ack(self, tag: int, *, multiple: bool = False) -> None: ...

    @abstractmethod
    def nack(self, tag: int, *, requeue: bool, multiple: bool = False) -> None: ...

    @abstractmethod
    def reject(self, tag: int, *, requeue: bool) -> None: ...

    @abstractmethod
    def consume_replies(self) -> Tap:
        """Consume from the direct reply-to pseudo queue (C2)."""

    @abstractmethod
    def close(self) -> None: ...


class Connection(ABC):
    """One connection."""

    @abstractmethod
    def channel(self) -> Channel: ...

    @abstractmethod
    def close(self) -> None:
        """Politely."""

    @abstractmethod
    def drop(self) -> None:
        """The socket drops without a goodbye."""


class Amqp(ABC):
    """One broker, and names on it that are this test's own."""

    def __init__(self, version: tuple[int, int]) -> None:
        self.version = version
        self._prefix = f"mqdash-test-{uuid.uuid4().hex[:12]}"
        self._queues: list[str] = []
        self._exchanges: list[str] = []
        self._own: Channel | None = None
        self._own_connection: Connection | None = None

    @abstractmethod
    def connect(self) -> Connection:
        """A connection, dropped at the end if it is still there."""

    @abstractmethod
    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Wait until it is true, receiving what comes meanwhile, and return its value; AssertionError when it never is."""

    @abstractmethod
    def now_s(self) -> float:
        """Unix seconds of the broker's clock."""

    def channel(self) -> Channel:
        """A channel on a connection of its own."""
        return self.connect().channel()

    def name(self, word: str) -> str:
        return f"{self._prefix}.{word}"

    def own(self) -> Channel:
        """The channel on which the test itself declares and looks; a new one after an error."""
        if self._own is None or self._own.closed:
            self._own_connection = self._own_connection or self.connect()
            self._own = self._own_connection.channel()
        return self._own

    def queue(self, word: str = "q", *, dlx: str | None = None, dlx_key: str = "", **options: Any) -> str:
        """Declare a queue; its name."""
        more = options.pop("more", None)
        name = self.name(word)
        self._queues.append(name)
        dead_letter = None if dlx is None else Route(dlx, dlx_key)
        self.own().declare_queue(Queue(ref=QueueRef(name), dead_letter=dead_letter, **options), more)
        return name

    def exchange(self, word: str, kind: str = "direct", *, alternate: str | None = None) -> str:
        """Declare an exchange; its name."""
        name = self.name(word)
        self._exchanges.append(name)
        self.own().declare_exchange(Destination(name=name, kind=kind, alternate=alternate))
        return name

    def bind(self, source: str, queue: str, key: str = "", headers: Sequence[tuple[str, str]] = ()) -> None:
        self.own().bind(Binding(source=source, queue=QueueRef(queue), key=key, headers=tuple(headers)))

    def grave(self, word: str = "dead") -> tuple[str, str]:
        """A fanout exchange and a queue behind it: (exchange, queue)."""
        exchange, queue = self.exchange(f"{word}.x", "fanout"), self.queue(word)
        self.bind(exchange, queue)
        return exchange, queue

    def publish(self, body: str, to: str, **options: Any) -> Confirm:
        """Publish on the test's own channel."""
        return self.own().publish(body, to, **options)

    def fill(self, queue: str, *bodies: str, **options: Any) -> None:
        """Publish these; each must be confirmed."""
        assert [self.publish(body, queue, **options) for body in bodies] == [Confirm.ACK] * len(bodies)

    def ready(self, queue: str) -> int:
        return self.own().ready(queue)

    def holds(self, queue: str, count: int) -> None:
        """Wait until exactly so many messages wait."""
        self.until(lambda: self.ready(queue) == count)

    def exists(self, queue: str) -> bool:
        with contextlib.suppress(Closed):
            self.own().ready(queue)
            return True
        return False

    def take(self, queue: str) -> Got:
        """Take one for good; there must be one soon."""
        got = self.until(lambda: self.own().get(queue, no_ack=True))
        assert isinstance(got, Got)
        return got

    def drain(self, queue: str, count: int) -> list[str]:
        """Wait until exactly `count` wait, then take them all."""
        self.holds(queue, count)
        taken = [self.take(queue).body for _ in range(count)]
        assert self.own().get(queue, no_ack=True) is None
        return taken

    def clean_up(self) -> None:
        """Delete what was declared by name."""
        for queue in self._queues:
            with contextlib.suppress(Closed):
                self.own().delete_queue(queue)
        for exchange in self._exchanges:
            with contextlib.suppress(Closed):
                self.own().delete_exchange(exchange)

    @abstractmethod
    def end(self) -> None:
        """Drop every connection that is left."""


def real_names() -> list[Any]:
    """The real brokers these bodies run on."""
    return [pytest.param(name, marks=pytest.mark.broker) for name in target_names("rabbitmq")]


def natively(test: _Test) -> _Test:
    """Run the body on both models and on every real RabbitMQ; it receives `amqp: Amqp`."""
    decorated: _Test = pytest.mark.parametrize("amqp", [*MODELS, *real_names()], indirect=True)(test)
    return decorated


def natively_real(test: _Test) -> _Test:
    """Run it on every real RabbitMQ only: the model does not have it (the reason stands in `rules.py`)."""
    decorated: _Test = pytest.mark.parametrize("amqp", real_names(), indirect=True)(test)
    return decorated


@contextlib.contextmanager
def amqp_for(name: str) -> Iterator[Amqp]:
    """The broker of that name, cleaned up afterwards."""
    from tests.conformance.amqp_model import ModelAmqp
    from tests.conformance.amqp_pika import PikaAmqp
    from tests.harness import require_target

    amqp: Amqp = ModelAmqp(MODELS[name]) if name in MODELS else PikaAmqp(require_target(name).url)
    try:
        yield amqp
    finally:
        amqp.clean_up()
        amqp.end()
