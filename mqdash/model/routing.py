"""Where a message goes: pure matching of a topology's bindings (R1-R4, R8; groups get every message; patterns P4).

Nothing is known here of queues' limits or consumers; publishing to a destination that does not exist routes nowhere.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict, deque
from typing import TYPE_CHECKING

import msgspec

from mqdash.model.message import Family
from mqdash.model.topology import Binding, QueueRef, Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mqdash.model.topology import Destination, Topology


class Hop(msgspec.Struct, frozen=True):
    """One step of a way: from a destination ("" = default exchange) to a queue or to another destination."""

    source: str
    queue: QueueRef | None = None
    destination: str | None = None


class Routed(msgspec.Struct, frozen=True):
    """Where one message goes: `queues` each once (R4), in binding order.

    `certain` is False where headers would decide and are not known.
    """

    queues: tuple[QueueRef, ...]
    hops: tuple[Hop, ...]
    certain: bool = True


@functools.lru_cache(maxsize=4096)
def topic_pattern(pattern: str) -> re.Pattern[str]:
    """A topic binding key as a regular expression: `*` is exactly one word, `#` zero or more (R2)."""
    split = pattern.split(".")
    words = [word for place, word in enumerate(split) if word != "#" or split[:place][-1:] != ["#"]]
    if words == ["#"]:
        return re.compile(r".*", re.DOTALL)
    parts: list[str] = []
    for place, word in enumerate(words):
        if word == "#":
            # The dot belongs to the words it stands for, so that `a.#` matches `a` and `#.a` matches `a`.
            parts.append(r"(?:[^.]*\.)*" if place == 0 else r"(?:\.[^.]*)*")
            continue
        before = "" if place == 0 or (place == 1 and words[0] == "#") else r"\."
        parts.append(before + (r"[^.]*" if word == "*" else re.escape(word)))
    return re.compile("".join(parts), re.DOTALL)


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a routing key matches a topic binding key (R2)."""
    if key == "":  # no word at all: `*` would want one
        return pattern.strip(".#") == "" and ".." not in pattern
    return topic_pattern(pattern).fullmatch(key) is not None


def headers_match(wanted: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Whether a message's headers match a headers binding (R3): all (default), any, all-with-x, any-with-x."""
    mode = wanted.get("x-match", "all")
    counted = {
        name: value
        for name, value in wanted.items()
        if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
    }
    hits = (headers.get(name) == value for name, value in counted.items())
    return any(hits) if mode.startswith("any") else all(hits)


@functools.lru_cache(maxsize=1024)
def channel_pattern(pattern: str) -> re.Pattern[str]:
    r"""A Redis PSUBSCRIBE pattern as a regular expression: `*`, `?`, `[a-c]`, `[^a]`, `\` escapes (P4)."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        end = pattern.find("]", at + 1) if letter == "[" else -1
        if letter == "*":
            parts.append(".*")
        elif letter == "?":
            parts.append(".")
        elif letter == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        elif end > at + 1:
            inner = pattern[at + 1 : end]
            negated = inner.startswith("^")
            letters = inner[1:] if negated else inner
            escaped = letters.replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            parts.append(f"[{'^' if negated else ''}{escaped}]" if letters else re.escape(pattern[at : end + 1]))
            at = end
        else:
            parts.append(re.escape(letter))
        at += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:  # a range such as [z-a]: Redis matches it in neither order we could promise
        return re.compile(re.escape(pattern))


def channel_matches(pattern: str, channel: str) -> bool:
    """Whether a channel matches a pattern or is named by it."""
    return pattern == channel or channel_pattern(pattern).fullmatch(channel) is not None


class Routing:
    """The bindings of one topology, ready to be asked. Build it once per topology; answers are not cached here."""

    def __init__(self, topology: Topology) -> None:
        self._destinations = {found.name: found for found in topology.destinations}
        self._queues = {queue.ref: queue for queue in topology.queues}
        self._by_name = {queue.ref.name: queue.ref for queue in topology.queues if not queue.ref.group}
        self._exact: defaultdict[tuple[str, str], list[Binding]] = defaultdict(list)
        self._bound: defaultdict[str, list[Binding]] = defaultdict(list)
        for binding in (*topology.bindings, *self._implied(topology)):
            self._bound[binding.source].append(binding)
            self._exact[binding.source, binding.key].append(binding)
        self._patterns = [
            queue.ref
            for queue in topology.queues
            if queue.family is Family.REDIS_PUBSUB and set(queue.ref.name) & set("*?[")
        ]

    @staticmethod
    def _implied(topology: Topology) -> Iterator[Binding]:
        """A group reads its topic or stream, a subscriber its channel, whether or not a binding says so."""
        said = {(binding.source, binding.queue) for binding in topology.bindings}
        for queue in topology.queues:
            if queue.family is not Family.RABBITMQ and (queue.ref.name, queue.ref) not in said:
                yield Binding(source=queue.ref.name, queue=queue.ref)

    def bound(self, destination: str) -> tuple[Binding, ...]:
        """All bindings of a destination, the implied ones too."""
        return tuple(self._bound.get(destination, ()))

    def route(self, route: Route, headers: Mapping[str, str] | None = None) -> Routed:
        """The queues a publish to `route` reaches, and the hops on the way; `headers` None = not known."""
        if route.destination == "" and "" not in self._destinations:
            ref = self._by_name.get(route.key)
            return Routed((), ()) if ref is None else Routed((ref,), (Hop("", queue=ref),))
        walk = _Walk(self, route.key, headers)
        walk.run(route.destination)
        return Routed(tuple(walk.queues), tuple(walk.hops), walk.certain)

    def kind(self, destination: str) -> Destination | None:
        """The destination of that name, or None."""
        return self._destinations.get(destination)

    def matching(self, source: str, key: str, headers: Mapping[str, str] | None) -> tuple[list[Binding], bool]:
        """The bindings of one destination that let the message through, and whether that is certain."""
        found = self._destinations.get(source)
        bound = self._bound.get(source, [])
        if found is None or found.family is not Family.RABBITMQ:
            # Only Pub/Sub has patterns; every group of a topic or stream gets every message.
            spoken = [Binding(source=source, queue=ref) for ref in self._patterns if channel_matches(ref.name, source)]
            return [*bound, *(binding for binding in spoken if binding not in bound)], True
        if found.kind == "fanout":
            return bound, True
        if found.kind == "topic":
            return [binding for binding in bound if topic_matches(binding.key, key)], True
        if found.kind == "headers":
            if headers is None:
                return [], not bound
            return [binding for binding in bound if headers_match(dict(binding.headers), headers)], True
        return self._exact.get((source, key), []), found.kind == "direct"


class _Walk:
    """One message on its way: exchange to exchange, each exchange once, each queue once."""

    def __init__(self, routing: Routing, key: str, headers: Mapping[str, str] | None) -> None:
        self.queues: dict[QueueRef, None] = {}
        self.hops: list[Hop] = []
        self.certain = True
        self._routing = routing
        self._key = key
        self._headers = headers
        self._seen: set[str] = set()

    def run(self, destination: str) -> None:
        pending = deque([destination])
        self._seen.add(destination)
        while pending:
            source = pending.popleft()
            bindings, certain = self._routing.matching(source, self._key, self._headers)
            self.certain = self.certain and certain
            pending.extend(self._follow(source, bindings))
            found = self._routing.kind(source)
            if not bindings and certain and found is not None and found.alternate is not None:
                pending.extend(self._follow(source, [Binding(source=source, destination=found.alternate)]))  # R8

    def _follow(self, source: str, bindings: list[Binding]) -> list[str]:
        onward: list[str] = []
        for binding in bindings:
            if binding.queue is not None and binding.queue not in self.queues:
                self.queues[binding.queue] = None
                self.hops.append(Hop(source, queue=binding.queue))
            elif binding.destination is not None and binding.destination not in self._seen:
                self._seen.add(binding.destination)
                self.hops.append(Hop(source, destination=binding.destination))
                onward.append(binding.destination)
        return onward
