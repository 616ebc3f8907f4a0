"""Properties and header tables: byte for byte, whatever the tags."""

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqdash.brokers.rabbitmq.codec import Unsendable, decode_properties, encode_properties, encode_value
from mqdash.model.message import Amqp, Headers, Wire


def _with_table(table: bytes) -> bytes:
    return struct.pack(">HI", 1 << 13, len(table)) + table


def _round_trip(raw: bytes) -> bytes:
    return encode_properties(*decode_properties(raw))


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"d\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5),
        (b"f\x3f\xc0\x00\x00", 1.5),
        (b"b\xfe", -2),
        (b"B\xfe", 254),
        (b"s\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"i\xff\xff\xff\xfe", 4294967294),
        (b"l\x00\x00\x00\x00\x00\x00\x00\x05", 5),
        (b"T\x00\x00\x01\x8b\xcf\xe5\x68\x00", 1_700_000_000_000),
    ],
)
def test_typed_numbers_keep_value_tag_and_bytes(encoded: bytes, value: float) -> None:
    raw = _with_table(b"\x01n" + encoded)
    headers, _ = decode_properties(raw)
    assert headers == (("n", Wire(value=value, tag=chr(encoded[0]), raw=encoded)),)
    assert _round_trip(raw) == raw


@pytest.mark.parametrize(
    ("table", "headers"),
    [
        (b"\x01aI\xff\xff\xff\xfe", (("a", -2),)),
        (b"\x01at\x01\x01bt\x00", (("a", True), ("b", False))),
        (b"\x01aV", (("a", None),)),
        (b"\x01aS\x00\x00\x00\x03\xc3\xa4x", (("a", "äx"),)),
        (b"\x01ax\x00\x00\x00\x02\x00\xff", (("a", b"\x00\xff"),)),
        (b"\x01aD\x02\x00\x00\x04\xe2", (("a", Decimal("12.50")),)),
        (b"\x01aA\x00\x00\x00\x06t\x01VS\x00\x00\x00"[:-3] + b"V", None),
        (b"\x01aF\x00\x00\x00\x04\x01bt\x01", (("a", {"b": True}),)),
        (b"\x01a" + b"V" + b"\x01a" + b"t\x01", (("a", None), ("a", True))),
        (b"\x02\xff\xfeV", (("\udcff\udcfe", None),)),
    ],
)
def test_tables_come_back_byte_for_byte(table: bytes, headers: Headers | None) -> None:
    raw = _with_table(table)
    if headers is not None:
        assert decode_properties(raw)[0] == headers
    assert _round_trip(raw) == raw


@pytest.mark.parametrize(
    "table",
    [
        b"\x01aS\x00\x00\x00\x02\xff\xfe",  # text that is not UTF-8
        b"\x01aF\x00\x00\x00\x06\x01bV\x01bV",  # a table that repeats a name
        b"\x01aZ\x01\x02\x03\x01bV",  # an unknown tag: the rest cannot be read
        b"\x01aS\x00\x00\xff\xff",  # a length beyond the end
        b"\x01aT\x00",  # a number cut short
    ],
)
def test_73_what_cannot_be_read_is_kept_as_bytes(table: bytes) -> None:
    raw = _with_table(table)
    headers, _ = decode_properties(raw)
    [(name, value)] = headers
    assert name == "a"
    assert isinstance(value, Wire)
    assert isinstance(value.value, bytes)
    assert _round_trip(raw) == raw


def test_a_deep_table_costs_no_connection() -> None:
    table = b"V"
    for _ in range(3000):
        table = b"A" + struct.pack(">I", len(table)) + table
    raw = _with_table(b"\x01a" + table)
    assert _round_trip(raw) == raw


texts = st.text(max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
optional_texts = st.none() | texts


@given(
    headers=st.lists(st.tuples(texts, values), max_size=6).map(tuple),
    native=st.builds(
        Amqp,
        content_type=optional_texts,
        correlation_id=optional_texts,
        message_id=optional_texts,
        delivery_mode=st.none() | st.integers(0, 255),
        priority=st.none() | st.integers(0, 255),
        timestamp=st.none() | st.integers(0, 2**64 - 1),
        expiration=optional_texts,
    ),
)
def test_any_message_survives_two_round_trips(headers: Headers, native: Amqp) -> None:
    raw = encode_properties(headers, native)
    again, native_again = decode_properties(raw)
    assert native_again == native
    assert [name for name, _ in again] == [name for name, _ in headers]
    assert encode_properties(again, native_again) == raw


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**63, Decimal("1e20"), Decimal("NaN"), object(), {"a": [float("nan")]}]
)
def test_what_amqp_cannot_carry_is_unsendable(value: object) -> None:
    with pytest.raises(Unsendable, match=r"header 'h'|header 'a'"):
        encode_value(value, "h")


@pytest.mark.parametrize("native", [Amqp(priority=256), Amqp(timestamp=-1), Amqp(message_id="x" * 256)])
def test_properties_that_do_not_fit_are_unsendable(native: Amqp) -> None:
    with pytest.raises(Unsendable):
        encode_properties((), native)
