"""Stream entries as messages and back, and the names of the side keys."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from mqdash.model.message import Entry, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.model.topology import QueueRef


def dlq_name(stream: str) -> str:
    """Our dead-letter stream of a stream; the braces are literal: in a cluster both share a slot."""
    return f"{{{stream}}}:dlq"


def is_dlq(name: str) -> bool:
    """Ours, or a name other tools use for dead letters."""
    return name.endswith((":dlq", ":dead", ".dlq"))


def retry_name(queue: QueueRef) -> str:
    """The sorted set of a group's retries; it names where such a delivery came from."""
    return f"{{{queue.name}}}:retry:{queue.group}"


def retry_keys(queue: QueueRef) -> tuple[str, str]:
    """The sorted set of due times and the hash of copies."""
    return retry_name(queue), f"{retry_name(queue)}:entries"


def same_slot(first: str, second: str) -> bool:
    """Whether a cluster keeps both keys on one node: what stands in their first braces decides, else the whole name."""
    return _tag(first) == _tag(second)


def _tag(key: str) -> str:
    inner, closed, _ = key.partition("{")[2].partition("}")
    return inner if closed and inner else key


def is_pattern(channel: str) -> bool:
    """Whether a channel name is a pattern."""
    return any(letter in channel for letter in "*?[")


def covers(pattern: str, channel: str) -> bool:
    """Whether a pattern subscription gets what is published on a channel."""
    return fnmatchcase(channel, pattern.replace("[^", "[!"))


def message_of(entry_id: str, fields: Sequence[bytes]) -> Message:
    """An entry as Redis gives it: names and values in turn, order and repeats kept (S2)."""
    return Message(content=_pairs(fields), native=Entry(entry_id=entry_id))


def fields_of(message: Message) -> list[bytes]:
    """Names and values in turn; a body with headers becomes the field `body` and one per header."""
    if isinstance(message.content, bytes):
        headers = [(name.encode(), _bytes(value)) for name, value in message.headers]
        pairs: Sequence[tuple[bytes, bytes]] = [(b"body", message.content), *headers]
    else:
        pairs = message.content
    return [part for pair in pairs for part in pair]


def packed(message: Message) -> bytes:
    """The fields as one value, for a reply list or a retry."""
    return msgspec.msgpack.encode(fields_of(message))


def unpacked(data: bytes, entry_id: str | None = None) -> Message:
    """The reverse; a value somebody else wrote is a `body` field."""
    try:
        fields = msgspec.msgpack.decode(data, type=list[bytes])
    except msgspec.MsgspecError:
        fields = [b"body", data]
    return Message(content=_pairs(fields), native=Entry(entry_id=entry_id))


def flat(reply: Sequence[Any]) -> dict[str, Any]:
    """A reply of names and values in turn (XINFO) as a dict."""
    return {name.decode(): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _pairs(fields: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    if len(fields) == 2:  # a body and nothing else
        return ((fields[0], fields[1]),)
    return tuple(zip(fields[::2], fields[1::2], strict=False))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
