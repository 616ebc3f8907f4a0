"""The embedded Redis as a whole: streams, channels, reply lists, and the scripts that move an entry. Pure.

A move is one script on one node: the copy is written first, the acknowledgement follows, nothing comes between (F6).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mqdash.brokers.embedded.pubsub import Channels
from mqdash.brokers.embedded.stream import Id, Stream, StreamGroup
from mqdash.model.message import Entry, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.brokers.embedded.kernel import Bounds


DETECTION_S: Final = 0.001
"""How long the broker takes to notice a socket that dropped without a goodbye (E4)."""


def dlq_name(stream: str) -> str:
    """Our dead-letter stream of a stream; the braces are literal, so that both share a cluster slot."""
    return f"{{{stream}}}:dlq"


def retry_name(stream: str, group: str) -> str:
    """The key of a group's retries; it names where a delivery came from."""
    return f"{{{stream}}}:retry:{group}"


def is_dlq(name: str) -> bool:
    """Ours, or a name other tools use for dead letters."""
    return name.endswith((":dlq", ":dead", ".dlq"))


def as_fields(message: Message) -> Message:
    """The message as a stream entry: field pairs as they are; a body and headers become fields."""
    if not isinstance(message.content, bytes):
        return message
    headers = tuple(
        (name.encode(), value if isinstance(value, bytes) else str(value).encode()) for name, value in message.headers
    )
    return Message(content=((b"body", message.content), *headers), native=Entry())


class Keyspace:
    """One node. Streams survive its restart, subscriptions and waiting askers do not."""

    def __init__(self, bounds: Bounds) -> None:
        self.streams: dict[str, Stream] = {}
        self.channels = Channels()
        self.declared_channels: set[str] = set()
        self.side_streams: set[str] = set()
        self._dropped: deque[tuple[float, Callable[[], None]]] = deque()
        self._bounds = bounds
        self._askers: dict[str, Callable[[Message], None]] = {}

    # --- streams ---

    def stream(self, name: str, *, max_length: int | None = None) -> Stream:
        """The stream of that name, made when it is missing."""
        found = self.streams.get(name)
        if found is None:
            found = self.streams[name] = Stream(name, self._bounds, max_length=max_length)
        return found

    def group(self, stream: str, name: str) -> StreamGroup | None:
        """The group, or None when it or its stream does not exist (NOGROUP)."""
        found = self.streams.get(stream)
        return None if found is None else found.groups.get(name)

    def delete(self, name: str) -> None:
        """DEL: the stream with its groups; blocked readers are woken (S15)."""
        stream = self.streams.pop(name, None)
        self.side_streams.discard(name)
        if stream is not None:
            stream.wake()

    def destroy_group(self, stream: str, name: str) -> None:
        """XGROUP DESTROY: its pending lists go, its consumers then get NOGROUP (S14)."""
        found = self.streams.get(stream)
        group = None if found is None else found.groups.pop(name, None)
        if group is not None:
            group.wake()

    def is_stream(self, name: str, message: Message) -> bool:
        """Whether a publish goes to a stream: it exists, or nothing is declared and the message is made of fields."""
        if name in self.streams:
            return True
        return name not in self.declared_channels and isinstance(message.native, Entry)

    def add(self, name: str, messages: list[Message], now_s: float) -> list[Id]:
        """XADD each, trim once, wake the readers."""
        stream = self.stream(name)
        ids = [stream.add(as_fields(message), now_s) for message in messages]
        stream.trim()
        stream.wake()
        return ids

    # --- scripts ---

    def settle(self, group: StreamGroup, owner: str, entry_id: Id, *, retry: bool) -> bool:
        """Acknowledge when `owner` still holds it: an entry, or with `retry` one of the group's retries."""
        if retry:
            return group.retries.settle(_text(entry_id), owner)
        return group.ack(entry_id, owner)

    def holds(self, group: StreamGroup, owner: str, entry_id: Id, *, retry: bool) -> bool:
        """Whether `owner` holds it."""
        if retry:
            return group.retries.held(_text(entry_id), owner) is not None
        pending = group.pending.get(entry_id)
        return pending is not None and pending.owner == owner

    def bury(self, target: str, copy: Message, now_s: float) -> None:
        """Copy to a dead-letter stream, made when it is missing; first half of the script, `settle` is the second."""
        if target not in self.streams:
            self.side_streams.add(target)
        self.add(target, [copy], now_s)

    def postpone(
        self, group: StreamGroup, owner: str, entry_id: Id, copy: Message, due_s: float, *, retry: bool
    ) -> None:
        """Copy to the retries of the group, then settle; a retry that is put off again stays the same retry."""
        key = _text(entry_id)
        if retry:
            held = group.retries.held(key, owner)
            group.retries.put(key, copy, due_s, count=1 if held is None else held.count)
        else:
            group.retries.put(key, copy, due_s, count=group.pending[entry_id].count)
            group.ack(entry_id, owner)

    # --- reply lists ---

    def ask(self, key: str, tell: Callable[[Message], None] | None) -> None:
        """Wait at a reply list; None ends it."""
        if tell is None:
            self._askers.pop(key, None)
        else:
            self._askers[key] = tell

    def answer(self, key: str, reply: Message) -> bool:
        """Push to a reply list; False when nobody waits there any more."""
        tell = self._askers.get(key)
        if tell is not None:
            tell(reply)
        return tell is not None

    # --- connections ---

    def drop(self, forget: Callable[[], None], now_s: float) -> None:
        """A socket dropped: `forget` its connection after the detection delay, and nothing happens before (E4)."""
        self._dropped.append((now_s + DETECTION_S, forget))

    # --- the kernel's Model ---

    def next_due_s(self) -> float | None:
        """The next retry of any group, the next slow subscriber's end, or the next dropped socket that is noticed."""
        due = [self.channels.next_due_s(), self._dropped[0][0] if self._dropped else None]
        due += [group.retries.next_due_s() for stream in self.streams.values() for group in stream.groups.values()]
        return min((at_s for at_s in due if at_s is not None), default=None)

    def advance(self, now_s: float) -> None:
        """Notice dropped sockets, tell readers of retries that are due, close subscribers that were slow for too long."""
        while self._dropped and self._dropped[0][0] <= now_s:
            self._dropped.popleft()[1]()
        self.channels.advance(now_s)
        for stream in self.streams.values():
            for group in stream.groups.values():
                if group.retries.advance(now_s):
                    group.wake()

    def restarted(self, now_s: float) -> None:
        """Streams, groups and pending lists are kept (as with appendfsync always); idle times go on (S6)."""
        del now_s
        self._askers.clear()
        while self._dropped:
            self._dropped.popleft()[1]()


def _text(entry_id: Id) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"
