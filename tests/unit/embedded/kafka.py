"""The Kafka model driven by hand: a cluster whose time is a number, and the conservation check (E2)."""

import random

from mqdash.brokers.embedded.cluster import Cluster
from mqdash.brokers.embedded.group import Group, Member
from mqdash.brokers.embedded.kernel import UNBOUNDED, Bounds
from mqdash.model.message import Headers, Message, Record


def record(body: str = "m", key: str | None = None, headers: Headers = (), timestamp_ms: int | None = None) -> Message:
    native = Record(key=None if key is None else key.encode(), timestamp_ms=timestamp_ms)
    return Message(content=body.encode(), headers=headers, native=native)


class Kafka:
    """One topic `t` and its groups; `now` is the time."""

    def __init__(self, partitions: int = 3, bounds: Bounds = UNBOUNDED, seed: int = 7) -> None:
        self.now = 1000.0
        self.cluster = Cluster(random.Random(seed), bounds)
        self.topic = self.cluster.create("t", partitions)
        self.woken: list[str] = []

    def produce(self, *bodies: str, partition: int | None = 0, key: str | None = None) -> list[tuple[int, int]]:
        return self.cluster.append("t", [(record(body, key), partition) for body in bodies], self.now)

    def group(self, name: str = "g") -> Group:
        return self.cluster.group("t", name)

    def join(self, name: str, *, group: str = "g", prefetch: int = 0, session_timeout_s: float = 6.0) -> Member:
        def wake() -> None:
            self.woken.append(name)

        member = Member(name, prefetch=prefetch, session_timeout_s=session_timeout_s, wake=wake)
        self.group(group).join(member, self.now)
        return member

    def fetch(self, member: Member, limit: int = 100, *, group: str = "g") -> list[tuple[int, int, str]]:
        """(partition, offset, body) of what is given."""
        return [
            (run.partition, offset, stored.message.body.decode())
            for run in self.group(group).fetch(member, limit, self.now)
            for offset, stored in enumerate(run.records, run.first)
        ]

    def settle(self, member: Member, partition: int, offset: int, *, group: str = "g", assignment: int = 0) -> bool:
        """As the port does it: only what is open in an assignment that is still ours."""
        found = self.group(group)
        cursor = found.held(member, assignment or found.assignment, "t", partition)
        if cursor is None or not cursor.settle(offset):
            return False
        member.unsettled -= 1
        return True

    def committed(self, partition: int = 0, *, group: str = "g") -> int | None:
        return self.group(group).cursors["t", partition].committed

    def advance(self, by_s: float) -> None:
        self.now += by_s
        self.cluster.advance(self.now)

    def owners(self, *, group: str = "g") -> list[str]:
        return ["" if owner is None else owner.name for owner in self.group(group).owners]

    def check_conserved(self, *, group: str = "g") -> None:
        """E2 per partition: written = committed past + held + waiting + forgotten before the group had them."""
        for number, log in enumerate(self.topic.partitions):
            cursor = self.group(group).cursors["t", number]
            waiting = log.end - cursor.position
            assert waiting >= 0
            assert log.end - cursor.origin == cursor.out + len(cursor.window) + waiting + cursor.lost
