"""Records as messages and back, byte for byte: value, key, headers in order (K27), timestamp and its type (K25)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.kafka.undecoded import Undecoded
from mqdash.brokers.moves import RUNGS, rung_for
from mqdash.model.message import Message, Record, Wire

if TYPE_CHECKING:
    from mqdash.model.message import HeaderValue

DLQ_SUFFIX: Final = ".dlq"
REPLY_PREFIX: Final = "mqdash.reply."
LETTERS_PREFIX: Final = "mqdash.dlq."
AT_ONCE: Final = "0s"
DELAYS_S: Final = {AT_ONCE: 0.0} | dict(RUNGS)
"""Label and seconds of every retry topic of a group."""
_RETRY_NAME = re.compile(r"\.retry\.(?P<label>" + "|".join(DELAYS_S) + r")\Z")


def retry_topic(topic: str, group: str, after_s: float) -> str:
    """The retry topic whose records wait at least `after_s` (0 = none: a log cannot give a record back behind later ones)."""
    return f"{topic}.{group}.retry.{RUNGS[rung_for(after_s)][0] if after_s > 0 else AT_ONCE}"


def retry_topics(topic: str, group: str) -> tuple[str, ...]:
    """All of them."""
    return tuple(f"{topic}.{group}.retry.{label}" for label in DELAYS_S)


def is_side_topic(name: str) -> bool:
    """Whether a topic is a retry or reply topic of ours, or Kafka's own: never shown as a destination."""
    return name.startswith((REPLY_PREFIX, "__")) or _RETRY_NAME.search(name) is not None


def delay_s_of(topic: str) -> float:
    """How long records of a retry topic wait; 0 for every other topic."""
    found = _RETRY_NAME.search(topic)
    return DELAYS_S[found["label"]] if found else 0.0


def message_of(record: Any) -> Message:
    """A fetched record; a null value (tombstone, K22) becomes an empty body, a batch nobody can read stays one (fault 30)."""
    whole = record.checksum if isinstance(record.checksum, Undecoded) else None
    return Message(
        content=record.value if record.value is not None else b"",
        headers=tuple(record.headers),
        native=Record(key=record.key, timestamp_ms=record.timestamp, timestamp_type=record.timestamp_type)
        if whole is None
        else _undecoded(record, whole),
    )


def _undecoded(record: Any, whole: Undecoded) -> Record:
    return Record(
        timestamp_ms=record.timestamp,
        timestamp_type=record.timestamp_type,
        undecoded=f"{whole.why}: records [{whole.first}, {whole.first + whole.n})",
        batch_size=whole.n,
    )


def header_bytes(value: HeaderValue) -> bytes | None:
    """A header value as Kafka carries it: bytes or null, other values as UTF-8 text."""
    if value is None or isinstance(value, bytes):
        return value
    return str(value.value if isinstance(value, Wire) else value).encode()


def wire_headers(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers of an outgoing record."""
    return [(name, header_bytes(value)) for name, value in message.headers]
