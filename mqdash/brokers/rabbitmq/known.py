"""What one connector has learnt of its broker: shared by its connection lives, so that a reconnect forgets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.moves import is_wait_queue

if TYPE_CHECKING:
    from mqdash.model.topology import Binding, Destination, Queue, Topology


class Known:
    """Names and arguments seen or declared.

    `asked`: queues somebody asked for; `declared_here`: queues this connector declared; `tags`: consumers of ours;
    `rungs`: wait queues that exist, `rungs_since_s` when this life declared them (monotonic); `returns_left`: how often
    a quorum queue's worst message may still be given back (F1); `asked_about`: queues whose entry is what the broker
    said to questions, without policies.
    """

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.destinations: dict[str, Destination] = {}
        self.bindings: dict[Binding, None] = {}
        self.asked: set[str] = set()
        self.tags: set[str] = set()
        self.rungs: set[str] = set()
        self.rungs_since_s: dict[str, float] = {}
        self.declared_here: set[str] = set()
        self.returns_left: dict[str, int] = {}
        self.asked_about: set[str] = set()

    def declared(self, topology: Topology) -> None:
        """All of it exists."""
        self.queues.update((queue.ref.name, queue) for queue in topology.queues)
        self.declared_here.update(queue.ref.name for queue in topology.queues)
        self.asked_about.difference_update(queue.ref.name for queue in topology.queues)
        self.destinations.update((one.name, one) for one in topology.destinations)
        self.bindings.update(dict.fromkeys(topology.bindings))

    def rung_seen(self, name: str, at_s: float) -> None:
        """A wait queue was declared; the first time in a life tells how old it is at least."""
        self.rungs.add(name)
        self.rungs_since_s.setdefault(name, at_s)

    def rung_gone(self, name: str) -> None:
        """There is no such wait queue; the next of this name is a new one."""
        self.rungs.discard(name)
        self.rungs_since_s.pop(name, None)

    def began(self) -> None:
        """A new life: the broker may have forgotten what was new, so every wait queue may be a new one."""
        self.rungs_since_s.clear()

    def seen(self, queue: Queue) -> None:
        """The broker told of it."""
        if not is_wait_queue(queue.ref.name):
            self.queues[queue.ref.name] = queue
            self.asked_about.discard(queue.ref.name)

    def answered(self, queue: Queue) -> None:
        """The broker said what it was declared with."""
        self.seen(queue)
        self.asked_about.add(queue.ref.name)

    def gone(self, name: str) -> None:
        """There is no such queue."""
        self.queues.pop(name, None)
        self.returns_left.pop(name, None)
        for names in (self.asked, self.declared_here, self.asked_about):
            names.discard(name)

    def keep_only(self, names: set[str], prefix: str) -> None:
        """Of the queues that begin with `prefix`, only `names` and those declared here are there."""
        listed = [name for name in {*self.queues, *self.asked} if name.startswith(prefix)]
        for name in listed:
            if name not in names and name not in self.declared_here:
                self.gone(name)

    def removed(self, topology: Topology) -> None:
        """None of it exists any more."""
        for queue in topology.queues:
            self.gone(queue.ref.name)
        for one in topology.destinations:
            self.destinations.pop(one.name, None)
        names = {one.name for one in topology.destinations}
        refs = {queue.ref for queue in topology.queues}
        gone = [one for one in self.bindings if one.source in names or one.destination in names or one.queue in refs]
        for binding in gone:
            del self.bindings[binding]
