"""The copy a replay sends: what is stripped, what is kept, and the headers that make a duplicate findable (semantics §2)."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import msgspec

from mqdash.brokers.moves import history_with
from mqdash.model.delivery import EntryClaim, RecordClaim
from mqdash.model.message import Amqp, Entry, Headers, HeaderValue, Message, Record

if TYPE_CHECKING:
    from mqdash.dead_letters.letter import Letter

_ULID = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_STRIPPED = ("x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC")
_STRIPPED_PREFIXES = (
    "x-first-death-",
    "x-last-death-",
    "x-mqdash-error",
    "x-mqdash-queue",
    "x-mqdash-exchange",
    "x-mqdash-key",
    "x-mqdash-worker",
    "x-mqdash-attempt",
    "x-mqdash-at",
    "x-mqdash-timestamp",
    "x-mqdash-group",
    "x-mqdash-op",
    "x-mqdash-src",
    "kafka_dlt-",
    "kafka_exception",
    "retry_topic-",
    "springDeserializerException",
)


def new_operation_id(now_s: float) -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits, sortable by time."""
    number = (int(now_s * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_ULID[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_stripped(name: str) -> bool:
    """Whether a replay takes this header off the copy (it goes into `x-mqdash-history`)."""
    return name in _STRIPPED or name.startswith(_STRIPPED_PREFIXES)


def header_names(message: Message) -> list[str]:
    """The names of a message's headers; of a stream entry, whose headers are fields, of all its fields."""
    if isinstance(message.native, Entry) and not isinstance(message.content, bytes):
        return [name.decode("utf-8", "replace") for name, _ in message.content]
    return [name for name, _ in message.headers]


def source_id(letter: Letter, op: str, vhost: str = "/") -> str:
    """`x-mqdash-src`: which dead letter this copy is of. Evidence for people, never acted on."""
    claim, message = letter.delivery.claim, letter.delivery.message
    if isinstance(claim, RecordClaim):
        return f"kafka:{letter.delivery.queue.name}/{claim.partition}/{claim.offset}"
    if isinstance(claim, EntryClaim):
        return f"redis:{letter.delivery.queue.name}/{claim.entry_id}"
    parts = (
        message.body,
        (message.id or "").encode(),
        str(letter.died_at_s or "").encode(),
        letter.delivery.route.key.encode(),
    )
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return f"amqp:{vhost}/{letter.delivery.queue.name}#{digest}#{op}-{letter.number}"


def replayed_copy(letter: Letter, op: str, *, vhost: str = "/", body: bytes | None = None) -> Message:
    """The message to publish in place of this dead letter; `body` replaces its body (an edit, marked as such)."""
    message = letter.delivery.message
    gone = frozenset(name for name in header_names(message) if is_stripped(name))
    ours: list[tuple[str, HeaderValue]] = [
        ("x-mqdash-op", op),
        ("x-mqdash-src", source_id(letter, op, vhost)),
        ("x-mqdash-n", letter.replays + 1),
        ("x-mqdash-history", _history(message, gone)),
    ]
    if body is not None:
        ours.append(("x-mqdash-edited", hashlib.sha256(message.body).hexdigest()[:16]))
    copy = message.with_headers(_encoded(tuple(ours), message), without=gone)
    return msgspec.structs.replace(copy, native=_native(copy)) if body is None else _edited(copy, body)


def _edited(copy: Message, body: bytes) -> Message:
    if isinstance(copy.content, bytes):
        return msgspec.structs.replace(copy, content=body, native=_native(copy))
    fields = tuple((name, body if name == b"body" else value) for name, value in copy.content)
    return msgspec.structs.replace(copy, content=fields, native=_native(copy))


def _native(message: Message) -> Amqp | Record | Entry:
    """Properties of the copy: persistent, not to expire again, no stale reply address, no user id the broker would check."""
    native = message.native
    if isinstance(native, Amqp):
        reply_to = native.reply_to
        stale = reply_to is not None and reply_to.startswith("amq.rabbitmq.reply-to.")
        return msgspec.structs.replace(
            native, delivery_mode=2, expiration=None, user_id=None, reply_to=None if stale else reply_to
        )
    # A new time on the log: retention would delete the copy of an old record at once.
    return Record(key=native.key) if isinstance(native, Record) else Entry()


def _encoded(headers: Headers, message: Message) -> Headers:
    """Kafka header values are bytes; AMQP takes them typed; fields are written by `with_headers`."""
    if isinstance(message.native, Record):
        return tuple((name, str(value).encode()) for name, value in headers)
    return headers


def _history(message: Message, gone: frozenset[str]) -> str:
    """The stripped headers, added to the history there is; deaths keep their structure."""
    kept = {name: message.header(name) if name == "x-death" else message.header_text(name) for name in sorted(gone)}
    return history_with(message, kept)
