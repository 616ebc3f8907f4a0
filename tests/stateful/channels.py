"""Redis Pub/Sub: subscribers that come, crash and go; whoever is there gets each message once per subscription."""

from contextlib import AsyncExitStack

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mqdash.brokers.base import CanSubscribe, Publisher
from mqdash.brokers.embedded.keyspace import DETECTION_S
from mqdash.model.delivery import Delivery, Outgoing
from mqdash.model.message import Draft, Family, PubSub, compose
from mqdash.model.topology import Destination, QueueRef, Route, Topology
from tests.stateful.crew import Worker
from tests.stateful.machine import Machine
from tests.stateful.worlds import Seen, World

CHANNELS = ("ops.eu", "ops.us", "ops.eu.db", "news", "n[1]")
NAMES = {
    "ops.eu": ("ops.eu",),
    "news": ("news",),
    "n\\[1]": ("n[1]",),
    "ops.*": ("ops.eu", "ops.us", "ops.eu.db"),
    "ops.?u": ("ops.eu",),
    "ops.[a-f]*": ("ops.eu", "ops.eu.db"),
    "*": CHANNELS,
}
"""What can be subscribed to, and which channels that covers."""
_Copy = tuple[str, str, str, str | None]


class ChannelWorld(World):
    """What each subscriber heard, beside what it must have heard: `due`."""

    family = Family.REDIS_PUBSUB

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.subscribers: dict[str, Worker] = {}
        self.asked: dict[str, tuple[str, ...]] = {}
        self.heard: dict[str, list[_Copy]] = {}
        self.due: dict[str, list[_Copy]] = {}
        self.publisher: Publisher

    def topology(self) -> Topology:
        channels = (Destination(name=f"{self.prefix}:{name}", kind="channel", family=self.family) for name in CHANNELS)
        return Topology(destinations=tuple(channels))

    async def open(self) -> None:
        await self.broker.declare(self.topology())
        self.publisher = await self.stack.enter_async_context(self.broker.publisher(name="p"))

    async def subscribe(self, name: str, asked: tuple[str, ...]) -> None:
        assert isinstance(self.broker, CanSubscribe)
        context = AsyncExitStack()
        # A channel of its own tells when the broker has noticed that it is gone: patterns have no count of listeners.
        names = [f"{self.prefix}:{one}" for one in (*asked, f"only {name}")]
        source = await context.enter_async_context(self.broker.subscribe(names, name=name))
        self.heard[name], self.due[name], self.asked[name] = [], [], asked
        self.subscribers[name] = Worker(name, source, context, self._arrived)

    def _arrived(self, subscriber: str, delivery: Delivery) -> None:
        assert delivery.claim is None
        native = delivery.message.native
        assert isinstance(native, PubSub)
        asked, channel = (self.plain(name)[1:] for name in (delivery.queue.name, delivery.route.destination))
        pattern = None if native.pattern is None else self.plain(native.pattern)[1:]
        self.heard[subscriber].append((asked, channel, delivery.message.body.decode(), pattern))

    async def end(self, name: str, *, crash: bool) -> None:
        worker = self.subscribers.pop(name)
        await (worker.crash() if crash else worker.leave())
        if crash:
            await self.pass_time(2 * DETECTION_S)
        del self.due[name], self.heard[name], self.asked[name]

    async def publish(self, bodies: list[str], channel: str) -> list[tuple[str, str, str]]:
        message = [compose(Draft(body=body.encode()), self.family) for body in bodies]
        receipts = await self.publisher.send([Outgoing(Route(f"{self.prefix}:{channel}"), one) for one in message])
        for body in bodies:
            for name, asked in self.asked.items():
                self.due[name] += [
                    (one, channel, body, one if set("*?[\\") & set(one) else None)
                    for one in asked
                    if channel in NAMES[one]
                ]
        return [(receipt.sent, receipt.detail, receipt.position) for receipt in receipts]

    async def seen(self) -> Seen:
        watched = [QueueRef(f"{self.prefix}:{name}") for name in (*CHANNELS, *(f"only s{n}" for n in range(1, 31)))]
        seen: Seen = {
            self.plain(one.queue.name): one.consumers for one in await self.broker.measure(watched) if one.consumers
        }
        for name, worker in self.subscribers.items():
            worker.check()
            seen[name] = sorted(self.heard[name]), [copy for copy in self.heard[name] if copy[3] is None]
        return seen

    async def check(self) -> None:
        """P1-P4, P6: exactly what was published while it was there, each channel's in order."""
        for name, due in self.due.items():
            for asked in self.asked[name]:
                heard = [copy for copy in self.heard[name] if copy[0] == asked]
                assert heard == [copy for copy in due if copy[0] == asked]

    async def remove(self) -> None:
        for worker in self.subscribers.values():
            await worker.leave()
        self.subscribers.clear()
        await self.broker.remove(self.topology())


class ChannelMachine(Machine[ChannelWorld]):
    """The steps on channels."""

    def __init__(self) -> None:
        super().__init__(ChannelWorld)
        self._messages = 0
        self._subscribers = 0

    @initialize()
    def open(self) -> None:
        self.step(lambda world: world.open())

    @rule(channel=st.sampled_from(CHANNELS), count=st.integers(1, 4))
    def publish(self, channel: str, count: int) -> None:
        bodies = [f"m{number}" for number in range(self._messages, self._messages + count)]
        self._messages += count
        self.step(lambda world: world.publish(bodies, channel))

    @precondition(lambda self: len(self.model.subscribers) < 4)
    @rule(names=st.lists(st.sampled_from(sorted(NAMES)), min_size=1, max_size=3, unique=True))
    def subscribe(self, names: list[str]) -> None:
        self._subscribers += 1
        name = f"s{self._subscribers}"
        self.step(lambda world: world.subscribe(name, tuple(names)))

    @precondition(lambda self: self.model.subscribers)
    @rule(who=st.integers(0, 3), crash=st.booleans())
    def end(self, who: int, crash: bool) -> None:
        names = sorted(self.model.subscribers)
        name = names[who % len(names)]
        self.step(lambda world: world.end(name, crash=crash))

    @precondition(lambda self: self.declares_left)
    @rule()
    def declare(self) -> None:
        self.declares_left -= 1
        self.step(lambda world: world.broker.declare(world.topology()))

    def _end(self, name: str) -> None:
        self.step(lambda world: world.end(name, crash=False))

    def finish(self) -> None:
        for name in list(self.model.subscribers):
            self._end(name)
