"""A message exactly as its broker gave it, and the neutral way to read and to compose one.

`content`, `headers` and `native` are the whole message; the neutral accessors (id, key, …) are derived from them, never
stored beside them, so what comes in goes out byte for byte.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Family(enum.StrEnum):
    """The four kinds of broker mqdash speaks to."""

    RABBITMQ = "rabbitmq"
    KAFKA = "kafka"
    REDIS_STREAMS = "redis-streams"
    REDIS_PUBSUB = "redis-pubsub"


class Wire(msgspec.Struct, frozen=True, tag="wire"):
    """A typed AMQP header number: its value, the wire tag it came with (`f d T b B s u i l`) and its exact bytes, tag included.

    Bytes stand where no number or text could: text that is not UTF-8 (`S`), a table with repeated names (`F`), and the
    unreadable rest of a table (`?`).
    """

    value: int | float | bytes
    tag: str
    raw: bytes


# None | bool | int | float | str | bytes | Wire | Decimal | datetime | list[HeaderValue] | dict[str, HeaderValue]
HeaderValue = Any
Headers = tuple[tuple[str, HeaderValue], ...]
"""Ordered pairs: Kafka repeats keys (K27), AMQP values are typed. Kafka and Redis header values are bytes or None."""
Fields = tuple[tuple[bytes, bytes], ...]
"""The ordered field/value pairs of a Redis Streams entry (S2)."""


class Amqp(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="native", tag="amqp"):
    """AMQP 0-9-1 basic properties but for headers. `expiration` is a string of milliseconds (R31), `timestamp` seconds."""

    content_type: str | None = None
    content_encoding: str | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="native", tag="record"):
    """What a Kafka record has beside value and headers. `timestamp_type`: 0 = producer's, 1 = log append time (K25).

    `undecoded` says why a batch could not be read ("zstd, cannot decode (install …)"): this record then stands for
    `batch_size` of them, its offset is the last one's, and its value is the batch as the broker keeps it (fault 30).
    """

    key: bytes | None = None
    timestamp_ms: int | None = None
    timestamp_type: int | None = None
    undecoded: str | None = None
    batch_size: int | None = None


class Entry(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="native", tag="entry"):
    """What a Redis stream entry has beside its fields: its id `ms-seq`, absent before it was added."""

    entry_id: str | None = None


class PubSub(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="native", tag="pubsub"):
    """What a Pub/Sub message has beside its body: the pattern that matched, when it came by a pattern (P4)."""

    pattern: str | None = None


Native = Amqp | Record | Entry | PubSub

ID_HEADER = "message-id"
"""Where mqdash itself puts a message's id on families without a property for it (Kafka header, stream field)."""


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A message: `content` (body bytes, or field pairs on Redis Streams), ordered headers, and the family's own record.

    On Redis Streams headers live in the fields; adapters leave `headers` empty there and the accessors read the fields
    (the body is the field `body` when there is one, see `body`).
    """

    content: bytes | Fields
    headers: Headers = ()
    native: Native = Amqp()

    @property
    def body(self) -> bytes:
        """The body bytes; of a stream entry its `body` field, else its fields as `name=value` lines."""
        if isinstance(self.content, bytes):
            return self.content
        body = self.field("body")
        return body if body is not None else b"\n".join(name + b"=" + value for name, value in self.content)

    @property
    def undecoded(self) -> str:
        """Why the body is not what was sent but a compressed batch, in words; "" when it is (fault 30)."""
        return self.native.undecoded or "" if isinstance(self.native, Record) else ""

    @property
    def size_bytes(self) -> int:
        """Bytes of the content, headers not counted."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return sum(len(name) + len(value) for name, value in self.content)

    def field(self, name: str) -> bytes | None:
        """The last field of that name of a stream entry, or None."""
        if isinstance(self.content, bytes):
            return None
        wanted = name.encode()
        return next((value for key, value in reversed(self.content) if key == wanted), None)

    def header(self, name: str) -> HeaderValue:
        """The last header of that name (K27), or the stream field of that name, or None."""
        if isinstance(self.native, Entry):
            return self.field(name)
        return next((value for key, value in reversed(self.headers) if key == name), None)

    def header_text(self, name: str) -> str | None:
        """The header as text (bytes decoded, numbers written out), or None when it is absent."""
        value = self.header(name)
        if value is None:
            return None
        if isinstance(value, Wire):
            value = value.value
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    @property
    def id(self) -> str | None:
        """AMQP message_id, else our id header or field, else a stream entry's own id."""
        if isinstance(self.native, Amqp):
            return self.native.message_id
        known = self.header_text(ID_HEADER)
        return self.native.entry_id if known is None and isinstance(self.native, Entry) else known

    @property
    def key(self) -> str | None:
        """A Kafka record's key as text, or the `key` field of a stream entry; on AMQP the key is the route's."""
        if isinstance(self.native, Record):
            return None if self.native.key is None else self.native.key.decode("utf-8", "replace")
        return self.header_text("key") if isinstance(self.native, Entry) else None

    @property
    def correlation_id(self) -> str | None:
        """What a reply is matched by (C1)."""
        if isinstance(self.native, Amqp):
            return self.native.correlation_id
        return self.header_text("correlation-id")

    @property
    def reply_to(self) -> str | None:
        """Where the asker wants its reply: an AMQP queue, a Kafka topic, a Redis list."""
        return self.native.reply_to if isinstance(self.native, Amqp) else self.header_text("reply-to")

    @property
    def content_type(self) -> str | None:
        """The MIME type, when somebody said it."""
        return self.native.content_type if isinstance(self.native, Amqp) else self.header_text("content-type")

    @property
    def priority(self) -> int | None:
        """AMQP priority 0-255; None where the family has none."""
        return self.native.priority if isinstance(self.native, Amqp) else None

    @property
    def ttl_s(self) -> float | None:
        """AMQP per-message TTL in seconds (R31), else None."""
        if (
            not isinstance(self.native, Amqp)
            or self.native.expiration is None
            or not self.native.expiration.isdecimal()
        ):
            return None
        return int(self.native.expiration) / 1000

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1: `x-mqdash-attempt` counts the retries and dead letters made by mqdash workers."""
        text = self.header_text("x-mqdash-attempt")
        return int(text) + 1 if text is not None and text.isdecimal() else 1

    def with_headers(self, extra: Headers, *, without: frozenset[str] = frozenset()) -> Message:
        """A copy with `extra` set (replacing the same names) and the names in `without` gone; order is kept otherwise.

        On stream entries headers are fields, so the same is done to the fields.
        """
        gone = without | {name for name, _ in extra}
        if not isinstance(self.native, Entry):
            kept = tuple(pair for pair in self.headers if pair[0] not in gone)
            return msgspec.structs.replace(self, headers=kept + extra)
        assert not isinstance(self.content, bytes)
        names = {name.encode() for name in gone}
        fields = tuple(pair for pair in self.content if pair[0] not in names)
        added = tuple(
            (name.encode(), value if isinstance(value, bytes) else str(value).encode()) for name, value in extra
        )
        return msgspec.structs.replace(self, content=fields + added)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or a producer wants to send, before a family gives it its shape (see `compose`)."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    key: str = ""
    id: str | None = None
    priority: int | None = None
    ttl_s: float | None = None
    delay_s: float | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = "application/json"
    persistent: bool = True
    sent_at_s: float | None = None


def compose(draft: Draft, family: Family) -> Message:
    """The draft as a message of that family. Delay is not part of a message: it is a wait before the destination.

    Raises:
        ValueError: the family cannot carry what the draft asks for (priority or TTL outside RabbitMQ); the text says why.
    """
    if family is not Family.RABBITMQ:
        for name, value in (("priority", draft.priority), ("TTL per message", draft.ttl_s)):
            if value is not None:
                msg = f"{family} has no {name}"
                raise ValueError(msg)
    if family is Family.RABBITMQ:
        return Message(
            content=draft.body,
            headers=draft.headers,
            native=Amqp(
                content_type=draft.content_type,
                delivery_mode=2 if draft.persistent else 1,
                priority=draft.priority,
                correlation_id=draft.correlation_id,
                reply_to=draft.reply_to,
                expiration=None if draft.ttl_s is None else str(round(draft.ttl_s * 1000)),
                message_id=draft.id,
                timestamp=None if draft.sent_at_s is None else int(draft.sent_at_s),
            ),
        )
    if family is Family.REDIS_PUBSUB:
        return Message(content=draft.body, native=PubSub())
    named = (
        (ID_HEADER, draft.id),
        ("correlation-id", draft.correlation_id),
        ("reply-to", draft.reply_to),
        ("content-type", draft.content_type),
    )
    pairs = tuple((name, value.encode()) for name, value in (*named, *draft.headers) if value is not None)
    if family is Family.KAFKA:
        timestamp_ms = None if draft.sent_at_s is None else int(draft.sent_at_s * 1000)
        key = draft.key.encode() if draft.key else None
        return Message(content=draft.body, headers=pairs, native=Record(key=key, timestamp_ms=timestamp_ms))
    key_field = (("key", draft.key.encode()),) if draft.key else ()
    fields = tuple((name.encode(), value) for name, value in (("body", draft.body), *key_field, *pairs))
    return Message(content=fields, native=Entry())
