"""What one connector has learnt of its broker: shared by its connection lives, so that a reconnect forgets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.moves import is_wait_queue

if TYPE_CHECKING:
    from mqdash.model.topology import Binding, Destination, Queue, Topology


class Known:
    """Names and arguments seen or declared.

    `asked`: queues somebody asked for; `declared_here`: queues this connector declared; `tags`: consumers of ours;
    `rungs`: wait queues that exist; `returns_left`: how often a quorum queue's worst message may still be given back
    (F1).
    """

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.destinations: dict[str, Destination] = {}
        self.bindings: dict[Binding, None] = {}
        self.asked: set[str] = set()
        self.tags: set[str] = set()
        self.rungs: set[str] = set()
        self.declared_here: set[str] = set()
        self.returns_left: dict[str, int] = {}

    def declared(self, topology: Topology) -> None:
        """All of it exists."""
        self.queues.update((queue.ref.name, queue) for queue in topology.queues)
        self.declared_here.update(queue.ref.name for queue in topology.queues)
        self.destinations.update((one.name, one) for one in topology.destinations)
        self.bindings.update(dict.fromkeys(topology.bindings))

    def seen(self, queue: Queue) -> None:
        """The broker told of it."""
        if not is_wait_queue(queue.ref.name):
            self.queues[queue.ref.name] = queue

    def removed(self, topology: Topology) -> None:
        """None of it exists any more."""
        for queue in topology.queues:
            self.queues.pop(queue.ref.name, None)
            self.asked.discard(queue.ref.name)
            self.declared_here.discard(queue.ref.name)
            self.returns_left.pop(queue.ref.name, None)
        for one in topology.destinations:
            self.destinations.pop(one.name, None)
        names = {one.name for one in topology.destinations}
        refs = {queue.ref for queue in topology.queues}
        gone = [one for one in self.bindings if one.source in names or one.destination in names or one.queue in refs]
        for binding in gone:
            del self.bindings[binding]
