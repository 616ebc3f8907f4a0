"""A message keeps what its broker gave, exactly."""

from decimal import Decimal

import pytest

from mqdash.brokers.base import Broker
from mqdash.model.delivery import Outgoing, Sent
from mqdash.model.message import Amqp, Headers, Message, Wire
from tests.conformance.helpers import ack, publish, take
from tests.conformance.subjects import Subject, Work, conformance

TYPED: Headers = (
    ("bool", True),
    ("bytes", b"\x00\xff"),
    ("decimal", Decimal("12.50")),
    ("double", Wire(value=1.5, tag="d", raw=b"d\x3f\xf8\x00\x00\x00\x00\x00\x00")),
    ("float", Wire(value=1.5, tag="f", raw=b"f\x3f\xc0\x00\x00")),
    ("int8", Wire(value=-2, tag="b", raw=b"b\xfe")),
    ("int16", Wire(value=-300, tag="s", raw=b"s\xfe\xd4")),
    ("int32", -70_000),
    ("int64", Wire(value=5, tag="l", raw=b"l\x00\x00\x00\x00\x00\x00\x00\x05")),
    ("list", [1, "two", None, [True]]),
    ("nothing", None),
    ("table", {"a": 1, "b": {"c": "d"}}),
    ("text", "schön"),
    ("time", Wire(value=1_700_000_000_000, tag="T", raw=b"T" + (1_700_000_000_000).to_bytes(8, "big"))),
    ("uint8", Wire(value=200, tag="B", raw=b"B\xc8")),
    ("uint32", Wire(value=4_000_000_000, tag="i", raw=b"i\xee\x6b\x28\x00")),
)
ALL_PROPERTIES = Amqp(
    content_type="application/x-odd",
    content_encoding="identity",
    delivery_mode=2,
    priority=3,
    correlation_id="c-1",
    reply_to="somewhere",
    message_id="m-1",
    timestamp=1_700_000_000,
    type="order",
    app_id="test",
    cluster_id="",
)


@conformance("publish")
@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", b"x" * 300_000], ids=["empty", "binary", "300kB"])
async def test_a_body_comes_out_as_it_went_in(subject: Subject, broker: Broker, work: Work, body: bytes) -> None:
    await publish(broker, work, [subject.message(body)])
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        [delivery] = await take(consumer, 1)
        assert delivery.message.body == body
        await ack(consumer, [delivery])


@conformance("typed_headers")
async def test_headers_of_every_type_come_out_as_they_went_in(subject: Subject, broker: Broker, work: Work) -> None:
    sent = Message(content=b"typed", headers=TYPED, native=ALL_PROPERTIES)
    await publish(broker, work, [sent])
    async with broker.consume(work.queue, name="w", prefetch=1) as consumer:
        [delivery] = await take(consumer, 1)
        got = delivery.message
        # RabbitMQ 4 sorts the names of a table; every value keeps its type and bytes.
        assert sorted(got.headers, key=lambda pair: pair[0]) == sorted(TYPED, key=lambda pair: pair[0])
        assert got.native == ALL_PROPERTIES
        await ack(consumer, [delivery])
        await publish(broker, work, [got])  # and once more round, from what was received
        [again] = await take(consumer, 1)
        assert again.message == got
        await ack(consumer, [again])


@conformance("typed_headers", "wire_limits")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_a_header_without_a_number_is_refused_and_costs_no_connection(
    subject: Subject, broker: Broker, work: Work, value: float
) -> None:
    bad = Outgoing(work.route, subject.message().with_headers((("n", value),)))
    good = Outgoing(work.route, subject.message())
    async with broker.publisher(name="p") as publisher:
        receipts = await publisher.send([good, bad, good])
    assert [receipt.sent for receipt in receipts] == [Sent.CONFIRMED, Sent.REFUSED, Sent.CONFIRMED]


@conformance("typed_headers", "wire_limits")
async def test_names_that_do_not_fit_are_refused(subject: Subject, broker: Broker, work: Work) -> None:
    long = subject.message().with_headers((("x" * 300, 1),))
    async with broker.publisher(name="p") as publisher:
        [receipt] = await publisher.send([Outgoing(work.route, long)])
    assert receipt.sent is Sent.REFUSED
    assert "255" in receipt.detail
