"""AMQP basic properties and header tables, byte for byte: what comes in goes out unchanged.

pika's own codec reads 1.5 as 1, cannot send a float, turns text that is not UTF-8 into another type, forgets repeated
names and dies on a timestamp past the year 9999. This one keeps numbers of all types as `Wire` records, decimals with
their scale, and what it cannot read as raw bytes, so no header costs the connection.
"""

from __future__ import annotations

import math
import struct
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mqdash.model.message import Amqp, Wire

if TYPE_CHECKING:
    from mqdash.model.message import Headers, HeaderValue

FIXED = {
    ord(tag): (tag, struct.Struct(shape))
    for tag, shape in (
        *(("f", ">f"), ("d", ">d"), ("T", ">Q"), ("b", ">b"), ("B", ">B")),
        *(("s", ">h"), ("u", ">H"), ("i", ">I"), ("l", ">q")),
    )
}
"""Tags whose values come as `Wire`: the two floats, the timestamp and every integer but the plain 32-bit one."""
OPAQUE = "?"
"""The tag of a `Wire` that holds the unreadable rest of a table; its `raw` is written back as it is."""

_U32, _I32, _I64, _U64 = struct.Struct(">I"), struct.Struct(">i"), struct.Struct(">q"), struct.Struct(">Q")
_FLAGS, _DECIMAL = struct.Struct(">H"), struct.Struct(">Bi")
_HAS_HEADERS = 1 << 13
_TEXT, _OCTET, _TIME = "text", "octet", "time"
_PROPERTIES = (
    (1 << 15, "content_type", _TEXT),
    (1 << 14, "content_encoding", _TEXT),
    (_HAS_HEADERS, "headers", ""),
    (1 << 12, "delivery_mode", _OCTET),
    (1 << 11, "priority", _OCTET),
    (1 << 10, "correlation_id", _TEXT),
    (1 << 9, "reply_to", _TEXT),
    (1 << 8, "expiration", _TEXT),
    (1 << 7, "message_id", _TEXT),
    (1 << 6, "timestamp", _TIME),
    (1 << 5, "type", _TEXT),
    (1 << 4, "user_id", _TEXT),
    (1 << 3, "app_id", _TEXT),
    (1 << 2, "cluster_id", _TEXT),
)


class Unsendable(ValueError):
    """A message that AMQP cannot carry, or that would cost the connection; the text says which part and why."""


def encode_properties(headers: Headers, native: Amqp) -> bytes:
    """The property flags and values of a content header frame.

    Raises:
        Unsendable: a value does not fit its field, or a header has no AMQP form (NaN and infinity among them:
            RabbitMQ 3.10 drops the connection over them).
    """
    flags = 0
    pieces: list[bytes] = []
    for flag, name, kind in _PROPERTIES:
        if flag == _HAS_HEADERS:
            if headers:
                flags |= flag
                pieces.append(_table(headers))
            continue
        value = getattr(native, name)
        if value is None:
            continue
        flags |= flag
        if kind is _TEXT:
            pieces.append(short_string(value, name))
        elif kind is _OCTET:
            pieces.append(_number(name, value, 1))
        else:
            pieces.append(_number(name, value, 8))
    return _FLAGS.pack(flags) + b"".join(pieces)


def decode_properties(raw: bytes) -> tuple[Headers, Amqp]:
    """Headers and the other properties of a content header frame's payload after its twelve fixed bytes."""
    flags = _FLAGS.unpack_from(raw)[0]
    at = 2
    headers: Headers = ()
    found: dict[str, Any] = {}
    for flag, name, kind in _PROPERTIES:
        if not flags & flag:
            continue
        if kind is _TEXT:
            end = at + 1 + raw[at]
            found[name] = raw[at + 1 : end].decode("utf-8", "surrogateescape")
            at = end
        elif kind is _OCTET:
            found[name] = raw[at]
            at += 1
        elif kind is _TIME:
            found[name] = _U64.unpack_from(raw, at)[0]
            at += 8
        else:
            end = at + 4 + _U32.unpack_from(raw, at)[0]
            headers = decode_pairs(raw, at + 4, end)
            at = end
    return headers, Amqp(**found)


def short_string(text: str, what: str) -> bytes:
    """A length octet and up to 255 bytes.

    Raises:
        Unsendable: longer than that; `what` names it.
    """
    encoded = text.encode("utf-8", "surrogateescape")
    if len(encoded) > 255:
        raise Unsendable(f"{what} is {len(encoded)} bytes long; AMQP allows 255")
    return bytes((len(encoded),)) + encoded


def _number(name: str, value: int, width_bytes: int) -> bytes:
    try:
        return value.to_bytes(width_bytes, "big")
    except (OverflowError, AttributeError):
        raise Unsendable(f"{name} {value!r} does not fit {width_bytes * 8} bits") from None


def _table(pairs: Headers) -> bytes:
    body = b"".join(short_string(name, "a header name") + encode_value(value, name) for name, value in pairs)
    return _U32.pack(len(body)) + body


def encode_value(value: HeaderValue, name: str) -> bytes:
    """One header value with its tag.

    Raises:
        Unsendable: AMQP has no form for it.
    """
    match value:
        case str():
            encoded = value.encode("utf-8", "surrogateescape")
            return b"S" + _U32.pack(len(encoded)) + encoded
        case bytes():
            return b"x" + _U32.pack(len(value)) + value
        case bool():
            return b"t\x01" if value else b"t\x00"
        case int():
            return _integer(value, name)
        case float():
            _finite(value, name)
            return b"d" + struct.pack(">d", value)
        case Wire():
            if value.tag in {"f", "d"}:
                _finite(value.value, name)
            return value.raw
        case None:
            return b"V"
        case dict():
            return b"F" + _table(tuple(value.items()))
        case list() | tuple():
            body = b"".join(encode_value(item, name) for item in value)
            return b"A" + _U32.pack(len(body)) + body
        case Decimal():
            return _decimal(value, name)
        case datetime():
            return b"T" + _number(name, int(value.timestamp()), 8)
    raise Unsendable(f"header {name!r}: AMQP has no form for a {type(value).__name__}")


def _finite(value: object, name: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Unsendable(f"header {name!r} is {value}: RabbitMQ 3.10 drops the connection over it")


def _integer(value: int, name: str) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"I" + _I32.pack(value)
    if -(1 << 63) <= value < 1 << 63:
        return b"l" + _I64.pack(value)
    raise Unsendable(f"header {name!r}: {value} does not fit 64 bits")


def _decimal(value: Decimal, name: str) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -255 <= exponent <= 9:
        raise Unsendable(f"header {name!r}: {value} is no AMQP decimal")
    whole = int("".join(map(str, digits))) * (-1 if sign else 1) * 10 ** max(exponent, 0)
    if not -(1 << 31) <= whole < 1 << 31:
        raise Unsendable(f"header {name!r}: {value} does not fit an AMQP decimal")
    return b"D" + _DECIMAL.pack(max(-exponent, 0), whole)


def decode_pairs(raw: bytes, at: int, end: int) -> Headers:
    """The pairs of a table's bytes; what cannot be read becomes one last pair with an OPAQUE value."""
    pairs: list[tuple[str, HeaderValue]] = []
    while at < end:
        stop = at + 1 + raw[at]
        name = raw[at + 1 : stop].decode("utf-8", "surrogateescape")
        try:
            value, at = _decode_value(raw, stop, end)
        except (LookupError, struct.error, RecursionError):
            rest = raw[stop:end]
            pairs.append((name, Wire(value=rest, tag=OPAQUE, raw=rest)))
            break
        pairs.append((name, value))
    return tuple(pairs)


def _decode_value(raw: bytes, at: int, end: int) -> tuple[HeaderValue, int]:
    """The value whose tag is at `at`, and where the next begins. Raises LookupError: an unknown tag or a bad length."""
    tag = raw[at]
    fixed = FIXED.get(tag)
    if fixed is not None:
        stop = at + 1 + fixed[1].size
        return Wire(value=fixed[1].unpack_from(raw, at + 1)[0], tag=fixed[0], raw=raw[at:stop]), stop
    if tag in b"SxAF":
        stop = at + 5 + _U32.unpack_from(raw, at + 1)[0]
        if stop > end:
            raise IndexError(stop)
        return _decode_sized(tag, raw, at, stop), stop
    if tag == ord("I"):
        return _I32.unpack_from(raw, at + 1)[0], at + 5
    if tag == ord("t"):
        return bool(raw[at + 1]), at + 2
    if tag == ord("V"):
        return None, at + 1
    if tag == ord("D"):
        decimals, whole = _DECIMAL.unpack_from(raw, at + 1)
        return Decimal(whole).scaleb(-decimals), at + 6
    raise LookupError(tag)


def _decode_sized(tag: int, raw: bytes, at: int, stop: int) -> HeaderValue:
    if tag == ord("x"):
        return raw[at + 5 : stop]
    if tag == ord("S"):
        value = raw[at + 5 : stop]
        try:
            return value.decode()
        except UnicodeDecodeError:
            return Wire(value=value, tag="S", raw=raw[at:stop])
    if tag == ord("A"):
        items = []
        at += 5
        while at < stop:
            item, at = _decode_value(raw, at, stop)
            items.append(item)
        return items
    pairs = decode_pairs(raw, at + 5, stop)
    table = dict(pairs)
    if len(table) != len(pairs):  # repeated names: a dict would lose some
        return Wire(value=raw[at + 5 : stop], tag="F", raw=raw[at:stop])
    return table
