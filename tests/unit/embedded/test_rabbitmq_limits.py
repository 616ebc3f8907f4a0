"""R31-R38 and the embedded bound: TTL, length, priority."""

import pytest

from mqdash.brokers.embedded.channel import ChannelClosed, Confirm
from mqdash.brokers.embedded.kernel import Bounds
from tests.unit.embedded.rabbit import Rabbit, texts


@pytest.mark.parametrize(
    ("queue_s", "own_ms", "lives_s"), [(5.0, "2000", 2), (2.0, "5000", 2), (2.0, None, 2), (None, "2000", 2)]
)
def test_R31_the_shorter_ttl_counts(queue_s: float | None, own_ms: str | None, lives_s: int) -> None:
    rabbit = Rabbit()
    rabbit.queue(ttl_s=queue_s)
    rabbit.publish(expiration=own_ms)
    rabbit.pass_time(lives_s - 0.001)
    assert rabbit.server.queues["q"].ready == 1
    rabbit.pass_time(0.001)
    assert rabbit.server.queues["q"].ready == 0
    assert rabbit.counts().expired == 1
    rabbit.check()


@pytest.mark.parametrize("bad", ["-1", "abc", "1.5", ""])
def test_R31_expiration_must_be_a_whole_number_as_text(bad: str) -> None:
    rabbit = Rabbit()
    rabbit.queue()
    with pytest.raises(ChannelClosed, match="406"):
        rabbit.publish(expiration=bad)


def test_R32_a_short_ttl_waits_behind_a_longer_one_and_is_never_delivered() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.publish("long", expiration="4000")
    rabbit.publish("short", expiration="200")
    rabbit.pass_time(1)
    assert rabbit.server.queues["q"].ready == 2, "still counted: it is not at the head"
    got = rabbit.server.get(rabbit.channel, "q", rabbit.now)
    assert got is not None
    assert got[1].message.body == b"long"
    assert rabbit.bodies() == []
    assert rabbit.counts().expired == 1


def test_R33_requeue_keeps_the_original_expiry() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.publish(expiration="1000")
    consumer = rabbit.consume()
    rabbit.pass_time(5)
    assert rabbit.counts().expired == 0, "what is out does not expire"
    rabbit.server.cancel(consumer, rabbit.now)
    rabbit.server.nack(consumer.channel, 1, rabbit.now, requeue=True)
    assert rabbit.bodies() == []
    assert rabbit.counts().expired == 1


def test_R34_ttl_zero_reaches_a_ready_consumer_or_nobody() -> None:
    rabbit = Rabbit()
    rabbit.exchange("dlx", "fanout")
    rabbit.queue("dead")
    rabbit.bind("dlx", "dead")
    rabbit.queue(dlx="dlx")
    assert rabbit.publish("late", expiration="0", mandatory=True) is Confirm.ACK
    assert rabbit.bodies("dead") == ["late"]
    consumer = rabbit.consume()
    rabbit.publish("now", expiration="0")
    assert texts(consumer) == ["now"]


def test_R35_drop_head_acks_and_drops_the_oldest_ready_message() -> None:
    rabbit = Rabbit()
    rabbit.queue(max_length=2)
    out = rabbit.consume(prefetch=1)
    for body in ("out", "a", "b", "c"):
        assert rabbit.publish(body) is Confirm.ACK
    assert texts(out) == ["out"], "unacked messages do not count"
    assert rabbit.bodies() == ["b", "c"]
    assert rabbit.counts().dropped == {"maxlen": 1}
    rabbit.check()


def test_R35_F14_reject_publish_nacks_and_its_dlx_form_also_dead_letters() -> None:
    rabbit = Rabbit()
    rabbit.exchange("dlx", "fanout")
    rabbit.queue("dead")
    rabbit.bind("dlx", "dead")
    rabbit.queue("plain", max_length=1, overflow="reject-publish", dlx="dlx")
    rabbit.queue("buries", max_length=1, overflow="reject-publish-dlx", dlx="dlx")
    for name in ("plain", "buries"):
        assert rabbit.publish("first", to=name) is Confirm.ACK
        assert rabbit.publish(f"second to {name}", to=name) is Confirm.NACK
        assert rabbit.counts(name).refused == {"maxlen": 1}
    assert rabbit.bodies("dead") == ["second to buries"]
    rabbit.check()


def test_R35_one_full_queue_nacks_though_others_took_it() -> None:
    rabbit = Rabbit()
    rabbit.exchange("x", "fanout")
    for name, limit in (("full", 0), ("free", None)):
        rabbit.queue(name, max_length=limit, overflow="reject-publish")
        rabbit.bind("x", name)
    assert rabbit.publish("m", exchange="x", to="") is Confirm.NACK
    assert rabbit.bodies("free") == ["m"]


@pytest.mark.parametrize(("kind", "taken"), [("classic", 3), ("quorum", 4)])
def test_R35_reject_publish_of_a_quorum_queue_is_one_late(kind: str, taken: int) -> None:
    rabbit = Rabbit()
    rabbit.queue(kind=kind, max_length=3, overflow="reject-publish")
    answers = [rabbit.publish() for _ in range(6)]
    assert answers == [Confirm.ACK] * taken + [Confirm.NACK] * (6 - taken)
    rabbit.check()


def test_R35_R37_drop_head_of_a_priority_queue_drops_the_highest() -> None:
    rabbit = Rabbit()
    rabbit.queue(max_priority=5, max_length=2)
    for body, priority in (("low1", 1), ("high", 5), ("low2", 1)):
        rabbit.publish(body, priority=priority)
    assert rabbit.bodies() == ["low1", "low2"]


def test_R35_max_length_bytes() -> None:
    rabbit = Rabbit()
    rabbit.queue(max_length_bytes=10)
    for body in ("12345", "67890", "x"):
        rabbit.publish(body)
    assert rabbit.bodies() == ["67890", "x"]


def test_R36_requeue_into_a_full_queue_drops_the_requeued() -> None:
    rabbit = Rabbit()
    rabbit.queue(max_length=1)
    rabbit.publish("old")
    consumer = rabbit.consume(prefetch=1)
    rabbit.publish("new")
    rabbit.server.cancel(consumer, rabbit.now)
    rabbit.server.nack(consumer.channel, 1, rabbit.now, requeue=True)
    assert rabbit.bodies() == ["new"]
    rabbit.check()


def test_R37_classic_priority() -> None:
    rabbit = Rabbit()
    rabbit.queue(max_priority=5)
    for body, priority in (("none", None), ("one", 1), ("nine", 9), ("five", 5), ("other one", 1)):
        rabbit.publish(body, priority=priority)
    assert rabbit.bodies() == ["nine", "five", "one", "other one", "none"]


def test_R37_a_requeued_message_keeps_its_place_in_its_priority() -> None:
    rabbit = Rabbit()
    rabbit.queue(max_priority=5)
    for body, priority in (("a", 1), ("b", 1), ("high", 5)):
        rabbit.publish(body, priority=priority)
    consumer = rabbit.consume(prefetch=2)
    rabbit.server.close_channel(consumer.channel, rabbit.now)
    assert rabbit.bodies() == ["high", "a", "b"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [((4, 0), ["h1", "h2", "n1", "h3", "h4", "n2"]), ((3, 10), ["n1", "n2", "h1", "h2", "h3", "h4"])],
)
def test_R38_quorum_priority_is_two_to_one_from_4_0(version: tuple[int, int], expected: list[str]) -> None:
    rabbit = Rabbit(version)
    rabbit.queue(kind="quorum")
    for body, priority in (("n1", 0), ("n2", 4), ("h1", 5), ("h2", 9), ("h3", 9), ("h4", 5)):
        rabbit.publish(body, priority=priority)
    assert rabbit.bodies() == expected


def test_R38_a_high_message_that_came_first_is_not_passed_by_a_normal_one() -> None:
    rabbit = Rabbit()
    rabbit.queue(kind="quorum")
    for body, priority in (("h1", 9), ("h2", 9), ("h3", 9), ("n1", 0), ("h4", 9)):
        rabbit.publish(body, priority=priority)
    assert rabbit.bodies() == ["h1", "h2", "h3", "h4", "n1"]


def test_R38_what_goes_straight_to_a_consumer_counts_for_the_mixing() -> None:
    rabbit = Rabbit()
    rabbit.queue(kind="quorum")
    rabbit.consume(prefetch=2)
    for body, priority in (("taken", 0), ("taken", 0), ("n1", 0), ("h1", 9), ("h2", 9)):
        rabbit.publish(body, priority=priority)
    assert rabbit.bodies() == ["n1", "h1", "h2"]


def test_R25_R38_what_came_back_to_a_quorum_queue_goes_before_all_priorities_in_the_order_it_came_back() -> None:
    rabbit = Rabbit()
    rabbit.queue(kind="quorum", delivery_limit=5)
    for body, priority in (("n1", 0), ("n2", 0), ("h1", 9)):
        rabbit.publish(body, priority=priority)
    holder = rabbit.consume(prefetch=2)
    assert texts(holder) == ["h1", "n1"]
    rabbit.publish("h2", priority=9)
    rabbit.server.cancel(holder, rabbit.now)
    for tag in (2, 1):
        rabbit.server.nack(holder.channel, tag, rabbit.now, requeue=True)
    assert rabbit.bodies()[:2] == ["n1", "h1"]


@pytest.mark.parametrize(("kind", "died"), [("classic", ["m0", "m1"]), ("quorum", ["m1", "m0"])])
def test_R36_several_dropped_at_once_are_dead_lettered_in_order_or_the_last_first(kind: str, died: list[str]) -> None:
    rabbit = Rabbit()
    rabbit.exchange("dlx", "fanout")
    rabbit.queue("dead")
    rabbit.bind("dlx", "dead")
    rabbit.queue(kind=kind, max_length=1, dlx="dlx")
    holder = rabbit.consume(prefetch=3)
    for number in range(3):
        rabbit.publish(f"m{number}")
    rabbit.server.close_channel(holder.channel, rabbit.now)
    assert rabbit.bodies("dead") == died
    assert rabbit.bodies() == ["m2"]


def test_a_full_embedded_queue_refuses_and_counts() -> None:
    rabbit = Rabbit(bounds=Bounds(3, 100))
    rabbit.queue()
    consumer = rabbit.consume(prefetch=1)
    answers = [rabbit.publish("x") for _ in range(4)]
    assert answers == [Confirm.ACK, Confirm.ACK, Confirm.ACK, Confirm.NACK]
    assert rabbit.counts().refused == {"full": 1}
    rabbit.server.ack(consumer.channel, 1, rabbit.now)
    assert rabbit.publish("x" * 99) is Confirm.NACK
    assert rabbit.publish("x" * 98) is Confirm.ACK
    rabbit.check()
