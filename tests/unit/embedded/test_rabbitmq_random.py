"""E1-E3 under random operations: nothing is lost or held twice, and equal seeds give equal logs."""

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqdash.brokers.embedded.kernel import Bounds
from tests.unit.embedded.rabbit import Rabbit

if TYPE_CHECKING:
    from mqdash.brokers.embedded.channel import Channel, Subscriber

QUEUES = ("plain", "short", "priority", "quorum", "timed", "dead")


def make(version: tuple[int, int]) -> Rabbit:
    rabbit = Rabbit(version, Bounds(50, None))
    rabbit.exchange("dlx", "fanout")
    rabbit.exchange("x", "topic", alternate="dlx")
    rabbit.queue("plain")
    rabbit.queue("short", max_length=3, dlx="dlx")
    rabbit.queue("priority", max_priority=3, dlx="dlx", max_length=5, overflow="reject-publish-dlx")
    rabbit.queue("quorum", kind="quorum", delivery_limit=2, dlx="x", dlx_key="plain.again")
    rabbit.queue("timed", ttl_s=2.0, dlx="", dlx_key="short")
    rabbit.queue("dead", max_length=20)
    rabbit.bind("dlx", "dead")
    for queue in QUEUES:
        rabbit.bind("x", queue, f"{queue}.#")
    rabbit.bind("x", "timed", "#.again")
    return rabbit


class Chaos:
    """Random but lawful clients; every choice comes from one RNG."""

    def __init__(self, rabbit: Rabbit, rng: random.Random) -> None:
        self.rabbit = rabbit
        self.rng = rng
        self.channels: list[Channel] = []
        self.consumers: list[Subscriber] = []
        self.acked: set[tuple[str, int]] = set()

    def step(self) -> None:
        pick = self.rng.choice(
            [self.publish] * 6 + [self.settle] * 5 + [self.wait] * 2 + [self.consume] * 2
            + [self.get, self.close, self.drop, self.cancel, self.restart]
        )  # fmt: skip
        pick()
        self.rabbit.check()
        for name, queue in self.rabbit.server.queues.items():
            assert not self.acked & {(name, entry.position) for entry in queue.entries()}, "acked and ready again"

    def publish(self) -> None:
        key = f"{self.rng.choice(QUEUES)}.{self.rng.choice('ab')}"
        expiration = self.rng.choice([None, None, "500", "0"])
        priority = self.rng.choice([None, 1, 9])
        mode = self.rng.choice([1, 2])
        self.rabbit.publish(exchange="x", to=key, expiration=expiration, priority=priority, delivery_mode=mode)

    def consume(self) -> None:
        queue, prefetch = self.rng.choice(QUEUES), self.rng.choice([0, 1, 3])
        consumer = self.rabbit.consume(queue, prefetch=prefetch, no_ack=self.rng.random() < 0.1)
        self.consumers.append(consumer)
        self.channels.append(consumer.channel)

    def get(self) -> None:
        self.rabbit.server.get(self.rabbit.channel, self.rng.choice(QUEUES), self.rabbit.now)

    def settle(self) -> None:
        channels = [channel for channel in (*self.channels, self.rabbit.channel) if channel.unacked]
        if not channels:
            return
        channel = self.rng.choice(channels)
        tag = self.rng.choice(sorted(channel.unacked))
        multiple = self.rng.random() < 0.3
        if self.rng.random() < 0.5:
            acked = [held for known, held in channel.unacked.items() if known == tag or (multiple and known <= tag)]
            self.acked |= {(queue.name, entry.position) for entry, queue, _ in acked}
            self.rabbit.server.ack(channel, tag, self.rabbit.now, multiple=multiple)
        else:
            self.rabbit.server.nack(channel, tag, self.rabbit.now, requeue=self.rng.random() < 0.6, multiple=multiple)

    def wait(self) -> None:
        self.rabbit.pass_time(self.rng.choice([0.0005, 0.3, 2.5]))

    def close(self) -> None:
        if self.channels:
            channel = self.channels.pop(self.rng.randrange(len(self.channels)))
            self.rabbit.server.close_channel(channel, self.rabbit.now)

    def drop(self) -> None:
        if self.channels:
            self.rabbit.server.drop_connection(self.rng.choice(self.channels).connection, self.rabbit.now)

    def cancel(self) -> None:
        if self.consumers:
            self.rabbit.server.cancel(self.rng.choice(self.consumers), self.rabbit.now)

    def restart(self) -> None:
        if self.rng.random() < 0.1:
            self.rabbit.server.restarted(self.rabbit.now)
            self.channels.clear()
            self.consumers.clear()
            self.rabbit.channel = self.rabbit.new_channel()


def run(seed: int, steps: int, version: tuple[int, int]) -> Rabbit:
    rabbit = make(version)
    chaos = Chaos(rabbit, random.Random(seed))
    for _ in range(steps):
        chaos.step()
    return rabbit


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), version=st.sampled_from([(3, 10), (4, 0)]))
def test_E2_E3_conservation_holds_at_every_step(seed: int, version: tuple[int, int]) -> None:
    run(seed, 120, version)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_E1_equal_seeds_give_equal_event_logs(seed: int) -> None:
    first, second = run(seed, 300, (4, 0)), run(seed, 300, (4, 0))
    assert first.log == second.log
    assert len(first.log) > 300
    assert run(seed + 10, 300, (4, 0)).log != first.log


def test_E2_after_everybody_left_nothing_is_out() -> None:
    rabbit = run(5, 400, (4, 0))
    for connection in list(rabbit.server.connections.values()):
        rabbit.server.close_connection(connection, rabbit.now)
    rabbit.check()
    assert all(queue.unacked == 0 for queue in rabbit.server.queues.values())
    assert sum(queue.counts.published for queue in rabbit.server.queues.values()) > 50
