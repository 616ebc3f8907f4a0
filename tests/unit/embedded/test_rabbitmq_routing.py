"""R1-R12: where a message goes, and what its publisher is told."""

import pytest

from mqdash.brokers.embedded.channel import ChannelClosed, Confirm
from mqdash.model.message import Wire
from mqdash.model.topology import Binding
from tests.unit.embedded.rabbit import Rabbit, tags


def test_R1_default_exchange_routes_by_queue_name_and_cannot_be_bound() -> None:
    rabbit = Rabbit()
    rabbit.queue("orders")
    rabbit.publish("a", to="orders")
    assert rabbit.bodies("orders") == ["a"]
    with pytest.raises(ChannelClosed, match=r"403"):
        rabbit.bind("", "orders", "x")


@pytest.mark.parametrize(
    ("kind", "binding_key", "key", "arrives"),
    [
        ("direct", "a.b", "a.b", True),
        ("direct", "a.b", "a.c", False),
        ("fanout", "a", "anything", True),
        ("topic", "a.*", "a.b", True),
        ("topic", "a.*", "a", False),
        ("topic", "a.*", "a.b.c", False),
        ("topic", "a.#", "a", True),
        ("topic", "#", "a.b.c", True),
        ("topic", "#.c", "a.b.c", True),
        ("topic", "*", "", False),
        ("topic", "a.#.d", "a.b.c.d", True),
    ],
)
def test_R2_kinds_of_exchange(kind: str, binding_key: str, key: str, arrives: bool) -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.exchange("x", kind)
    rabbit.bind("x", "q", binding_key)
    rabbit.publish("m", exchange="x", to=key)
    assert rabbit.bodies() == (["m"] if arrives else [])


@pytest.mark.parametrize(
    ("mode", "headers", "arrives"),
    [
        ("all", (("a", "1"), ("b", "2"), ("more", "3")), True),
        ("all", (("a", "1"),), False),
        ("any", (("a", "1"),), True),
        ("any", (("c", "1"),), False),
        ("all", (("a", Wire(1, "I", b"I\x00\x00\x00\x01")), ("b", "2")), True),
    ],
)
def test_R3_headers_exchange(mode: str, headers: tuple[tuple[str, object], ...], arrives: bool) -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.exchange("x", "headers")
    rabbit.bind(
        "x",
        "q",
        headers=(("x-match", mode), ("a", "1"), ("b", "2"), ("x-ignored", "9"))
        if mode == "all"
        else (("x-match", mode), ("a", "1"), ("b", "2")),
    )
    rabbit.publish("m", exchange="x", to="", headers=headers)
    assert rabbit.bodies() == (["m"] if arrives else [])


def test_R4_a_queue_matched_by_several_bindings_gets_one_copy() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.exchange("x", "topic")
    rabbit.bind("x", "q", "a.*")
    rabbit.bind("x", "q", "#")
    rabbit.publish(exchange="x", to="a.b")
    assert len(rabbit.bodies()) == 1


def test_R5_cc_and_bcc_add_keys_and_only_bcc_is_removed() -> None:
    rabbit = Rabbit()
    for name in "abc":
        rabbit.queue(name)
    rabbit.publish(to="a", headers=(("CC", ["b"]), ("BCC", ["c"]), ("kept", "yes")))
    for name in "abc":
        got = rabbit.get(name)
        assert got is not None
        assert got.headers == (("CC", ["b"]), ("kept", "yes"))


def test_R6_R7_unroutable_is_acked_or_returned() -> None:
    rabbit = Rabbit()
    rabbit.exchange("x")
    assert rabbit.publish(exchange="x", to="nowhere") is Confirm.ACK
    assert rabbit.publish(exchange="x", to="nowhere", mandatory=True) is Confirm.RETURNED
    assert rabbit.publish(to="no queue", mandatory=True) is Confirm.RETURNED


def test_R8_alternate_exchange_counts_as_routed_and_chains_end() -> None:
    rabbit = Rabbit()
    rabbit.queue("rest")
    rabbit.exchange("x", "direct", alternate="y")
    rabbit.exchange("y", "direct", alternate="x")
    assert rabbit.publish(exchange="x", to="k", mandatory=True) is Confirm.RETURNED, "the chain stops at x"
    rabbit.exchange("z", "fanout")
    rabbit.exchange("w", "direct", alternate="z")
    rabbit.bind("z", "rest")
    assert rabbit.publish("odd", exchange="w", to="k", mandatory=True) is Confirm.ACK
    assert rabbit.bodies("rest") == ["odd"]


def test_exchange_to_exchange_reaches_a_queue_once() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    for name in ("x", "y"):
        rabbit.exchange(name, "fanout")
        rabbit.bind(name, "q")
    rabbit.server.bind(rabbit.channel, Binding(source="x", destination="y"), rabbit.now)
    rabbit.server.bind(rabbit.channel, Binding(source="y", destination="x"), rabbit.now)
    rabbit.publish(exchange="x", to="")
    assert len(rabbit.bodies()) == 1


def test_R9_missing_exchange_or_queue_closes_the_channel_not_the_connection() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.publish("held")
    held = rabbit.consume(channel=rabbit.channel)
    assert tags(held) == [1]
    with pytest.raises(ChannelClosed, match=r"404"):
        rabbit.publish(exchange="none", to="k")
    with pytest.raises(ChannelClosed):
        rabbit.publish(to="q")
    assert not rabbit.channel.connection.closed
    rabbit.channel = rabbit.server.open_channel(rabbit.channel.connection)
    assert rabbit.bodies() == ["held"], "what the channel held is ready again"
    with pytest.raises(ChannelClosed, match=r"404"):
        rabbit.consume("none")


def test_R10_a_quorum_queue_compares_no_argument_it_does_not_know() -> None:
    rabbit = Rabbit()
    rabbit.queue("q", kind="quorum")
    rabbit.queue("q", kind="quorum", max_priority=5)  # 3.10.8 and 4.0.5 take it
    with pytest.raises(ChannelClosed, match=r"406.*max_length"):
        rabbit.queue("q", kind="quorum", max_length=5)


def test_R10_other_arguments_406_foreign_exclusive_405_exclusive_consumer_403() -> None:
    rabbit = Rabbit()
    rabbit.queue("q", ttl_s=1.0)
    rabbit.queue("q", ttl_s=1.0, holds_dead_letters=True)  # what mqdash only guesses is not compared
    with pytest.raises(ChannelClosed, match=r"406.*ttl_s: exists with 1\.0, asked for None"):
        rabbit.queue("q")
    rabbit.channel = rabbit.new_channel()
    rabbit.exchange("x", "direct")
    with pytest.raises(ChannelClosed, match=r"406.*kind"):
        rabbit.exchange("x", "topic")
    rabbit.channel = rabbit.new_channel()
    rabbit.queue("mine", exclusive=True, durable=False)
    with pytest.raises(ChannelClosed, match=r"405"):
        rabbit.consume("mine", channel=rabbit.new_channel("another"))
    rabbit.consume("q", exclusive=True)
    with pytest.raises(ChannelClosed, match=r"403"):
        rabbit.consume("q")


def test_C7_an_exclusive_queue_goes_with_its_connection() -> None:
    rabbit = Rabbit()
    rabbit.queue("mine", exclusive=True, durable=False)
    rabbit.server.close_connection(rabbit.channel.connection, rabbit.now)
    assert "mine" not in rabbit.server.queues


def test_R27_deleting_a_queue_ends_its_consumers_and_leaves_their_channel_open() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.exchange("x", "fanout")
    rabbit.bind("x", "q")
    consumer = rabbit.consume()
    rabbit.server.delete_queue("q", rabbit.now)
    assert "deleted" in consumer.cancelled
    assert not consumer.channel.closed
    assert list(rabbit.server.exchanges.bindings()) == []


def test_R50_messages_above_the_maximum_size_close_the_channel() -> None:
    rabbit = Rabbit((4, 0))
    rabbit.queue()
    with pytest.raises(ChannelClosed, match=r"406.*larger than max size"):
        rabbit.publish("x" * (16 * 2**20 + 1))
    older = Rabbit((3, 10))
    older.queue()
    assert older.publish("x" * (16 * 2**20 + 1)) is Confirm.ACK


def test_E5_what_is_not_modelled_is_refused() -> None:
    rabbit = Rabbit()
    with pytest.raises(ChannelClosed, match=r"540.*stream"):
        rabbit.queue("s", kind="stream")
    rabbit.channel = rabbit.new_channel()
    with pytest.raises(ChannelClosed, match=r"540.*x-delayed-message"):
        rabbit.exchange("x", "x-delayed-message")
    assert rabbit.server.queues == {}
