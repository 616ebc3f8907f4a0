"""R13-R28: delivery, prefetch, acknowledgement, what comes back and where."""

import pytest

from mqdash.brokers.embedded.channel import ChannelClosed
from tests.unit.embedded.rabbit import Rabbit, tags, texts


def three() -> Rabbit:
    rabbit = Rabbit()
    rabbit.queue()
    for body in ("m0", "m1", "m2"):
        rabbit.publish(body)
    return rabbit


def test_R13_R14_R24_restart_keeps_persistent_messages_in_durable_queues() -> None:
    rabbit = Rabbit()
    rabbit.queue("q")
    rabbit.queue("quorum", kind="quorum")
    rabbit.queue("gone", durable=False)
    for name in ("q", "quorum", "gone"):
        rabbit.publish("transient", to=name)
        rabbit.publish("persistent", to=name, delivery_mode=2)
    held = rabbit.consume("q")
    assert texts(held) == ["transient", "persistent"]
    rabbit.server.restarted(rabbit.now)
    rabbit.channel = rabbit.new_channel()
    assert "gone" not in rabbit.server.queues
    assert rabbit.counts("q").dropped == {"transient, broker restarted": 1}
    again = rabbit.consume("q")
    assert [(entry.message.body, redelivered) for _, entry, redelivered in again.outbox] == [(b"persistent", True)]
    assert rabbit.bodies("quorum") == ["transient", "persistent"]
    rabbit.check()


def test_R16_fifo() -> None:
    assert texts(three().consume()) == ["m0", "m1", "m2"]


def test_R17_prefetch_limits_each_consumer_and_zero_does_not() -> None:
    rabbit = three()
    first, second = rabbit.consume(prefetch=1), rabbit.consume(prefetch=1)
    assert (texts(first), texts(second)) == (["m0"], ["m1"])
    assert rabbit.server.queues["q"].ready == 1
    rabbit.server.ack(second.channel, 1, rabbit.now)
    assert texts(second) == ["m1", "m2"]
    assert len(texts(three().consume(prefetch=0))) == 3
    capped = Rabbit()
    capped.queue(kind="quorum")
    assert capped.consume(prefetch=0).prefetch == 2000


def test_R19_prefetch_does_not_limit_get() -> None:
    rabbit = three()
    channel = rabbit.new_channel()
    rabbit.consume(prefetch=1, channel=channel)
    got = [rabbit.server.get(channel, "q", rabbit.now) for _ in range(3)]
    assert [None if pair is None else pair[1].message.body for pair in got] == [b"m1", b"m2", None]


def test_R20_unknown_or_repeated_tag_closes_the_channel_and_requeues() -> None:
    rabbit = three()
    consumer = rabbit.consume()
    rabbit.server.ack(consumer.channel, 1, rabbit.now)
    with pytest.raises(ChannelClosed, match="unknown delivery tag 1"):
        rabbit.server.ack(consumer.channel, 1, rabbit.now)
    assert consumer.channel.closed
    assert rabbit.bodies() == ["m1", "m2"]
    rabbit.check()


def test_R21_multiple_covers_all_lower_tags_of_the_channel() -> None:
    rabbit = three()
    consumer = rabbit.consume()
    rabbit.server.ack(consumer.channel, 2, rabbit.now, multiple=True)
    assert list(consumer.channel.unacked) == [3]
    assert rabbit.counts().acked == 2
    again = three()
    other = again.consume(prefetch=3)
    again.server.cancel(other, again.now)
    again.server.nack(other.channel, 2, again.now, requeue=True, multiple=True)
    assert again.bodies() == ["m0", "m1"]


def test_R22_round_robin_and_priority() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    first, second = rabbit.consume(), rabbit.consume()
    for body in "abcd":
        rabbit.publish(body)
    assert (texts(first), texts(second)) == (["a", "c"], ["b", "d"])
    important = rabbit.consume(priority=10, prefetch=2)
    for body in "efg":
        rabbit.publish(body)
    assert texts(important) == ["e", "f"]
    assert sorted(texts(first) + texts(second)) == ["a", "b", "c", "d", "g"]


def test_R23_auto_ack_is_counted_as_done_when_written() -> None:
    rabbit = three()
    consumer = rabbit.consume(no_ack=True)
    rabbit.server.close_channel(consumer.channel, rabbit.now)
    assert rabbit.counts().acked == 3
    assert rabbit.bodies() == []


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_R24_R25_close_requeues_in_original_position_marked_redelivered(kind: str) -> None:
    rabbit = Rabbit()
    rabbit.queue(kind=kind)
    for body in ("m0", "m1", "m2", "m3"):
        rabbit.publish(body)
    first, second = rabbit.consume(prefetch=2), rabbit.consume(prefetch=1)
    assert (texts(first), texts(second)) == (["m0", "m1"], ["m2"])
    assert not any(redelivered for _, _, redelivered in first.outbox)
    rabbit.server.close_channel(second.channel, rabbit.now)
    rabbit.server.close_channel(first.channel, rabbit.now)
    again = rabbit.consume()
    # A quorum queue keeps what comes back before all others, but in the order it came back (3.10.8, 4.0.5).
    back = ["m0", "m1", "m2"] if kind == "classic" else ["m2", "m0", "m1"]
    assert [(e.message.body.decode(), r) for _, e, r in again.outbox] == [*((m, True) for m in back), ("m3", False)]
    rabbit.check()


@pytest.mark.parametrize(("kind", "third"), [("classic", 0), ("quorum", 1)])
def test_R22_a_full_consumer_of_a_classic_queue_keeps_its_turn_when_it_acks_in_time(kind: str, third: int) -> None:
    rabbit = Rabbit()
    rabbit.queue(kind=kind)
    consumers = [rabbit.consume(prefetch=1) for _ in range(3)]
    for body in ("m0", "m1"):
        rabbit.publish(body)
    for consumer in (consumers[1], consumers[0]):
        rabbit.server.ack(consumer.channel, 1, rabbit.now)
    for body in ("m2", "m3"):
        rabbit.publish(body)
    assert texts(consumers[2]) == ["m2"]
    assert texts(consumers[third])[-1] == "m3"


def test_R25_quorum_nack_goes_last_without_a_limit_and_first_with_one() -> None:
    for limit, expected in ((-1, ["m1", "m2", "m0"]), (5, ["m0", "m1", "m2"])):
        rabbit = Rabbit()
        rabbit.queue(kind="quorum", delivery_limit=limit)
        for body in ("m0", "m1", "m2"):
            rabbit.publish(body)
        got = rabbit.server.get(rabbit.channel, "q", rabbit.now)
        assert got is not None
        rabbit.server.nack(rabbit.channel, got[0], rabbit.now, requeue=True)
        assert rabbit.bodies() == expected


def test_E4_a_dropped_socket_is_noticed_only_after_the_detection_delay() -> None:
    rabbit = three()
    dying = rabbit.consume(prefetch=2)
    other = rabbit.consume(prefetch=5)
    rabbit.server.drop_connection(dying.channel.connection, rabbit.now)
    assert texts(other) == ["m2"], "nothing has been noticed yet"
    rabbit.pass_time(0.0005)
    assert texts(other) == ["m2"]
    rabbit.pass_time(0.001)
    assert sorted(texts(other)) == ["m0", "m1", "m2"]
    rabbit.check()


def test_R26_cancel_keeps_what_is_unacked_until_the_channel_closes() -> None:
    rabbit = three()
    consumer = rabbit.consume(prefetch=2)
    rabbit.server.cancel(consumer, rabbit.now)
    rabbit.publish("m3")
    assert tags(consumer) == [1, 2]
    assert len(consumer.channel.unacked) == 2
    rabbit.server.ack(consumer.channel, 1, rabbit.now)
    rabbit.server.close_channel(consumer.channel, rabbit.now)
    assert rabbit.bodies() == ["m1", "m2", "m3"]


def test_R28_single_active_consumer_hands_over_with_redelivery() -> None:
    rabbit = Rabbit()
    rabbit.queue(single_active_consumer=True)
    first, second = rabbit.consume(), rabbit.consume()
    rabbit.publish("a")
    rabbit.publish("b")
    assert (texts(first), texts(second)) == (["a", "b"], [])
    rabbit.server.close_channel(first.channel, rabbit.now)
    assert [(e.message.body, r) for _, e, r in second.outbox] == [(b"a", True), (b"b", True)]


def test_R30_auto_delete_goes_with_its_last_consumer_never_without_one() -> None:
    rabbit = Rabbit()
    rabbit.exchange("dlx", "fanout")
    rabbit.queue("dead")
    rabbit.bind("dlx", "dead")
    rabbit.queue(auto_delete=True, dlx="dlx")
    rabbit.publish("m")
    rabbit.pass_time(1000)
    assert "q" in rabbit.server.queues
    consumer = rabbit.consume()
    rabbit.server.cancel(consumer, rabbit.now)
    assert "q" not in rabbit.server.queues
    assert rabbit.bodies("dead") == [], "a deleted queue dead-letters nothing"


def test_R30_expires_deletes_an_unused_queue_and_publishing_is_no_use() -> None:
    rabbit = Rabbit()
    rabbit.queue(expires_s=10.0)
    rabbit.pass_time(6)
    rabbit.publish()
    rabbit.pass_time(5)
    assert "q" not in rabbit.server.queues
    rabbit.queue("used", expires_s=10.0)
    consumer = rabbit.consume("used")
    rabbit.pass_time(25)
    assert "used" in rabbit.server.queues
    rabbit.server.close_channel(consumer.channel, rabbit.now)
    rabbit.pass_time(9)
    assert "used" in rabbit.server.queues
    rabbit.pass_time(1)
    assert "used" not in rabbit.server.queues


def test_acking_after_the_queue_was_deleted_is_harmless() -> None:
    rabbit = three()
    consumer = rabbit.consume()
    rabbit.server.delete_queue("q", rabbit.now)
    rabbit.server.ack(consumer.channel, 1, rabbit.now)
    rabbit.server.nack(consumer.channel, 2, rabbit.now, requeue=True)
    rabbit.server.close_channel(consumer.channel, rabbit.now)
    assert rabbit.server.queues == {}
