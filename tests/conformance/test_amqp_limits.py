"""R31-R39 and R50 as a bare client meets them: time to live, length, priority, size."""

from typing import Any

import pytest

from tests.conformance.amqp import Amqp, Closed, Confirm, natively


@natively
def test_R31_the_shorter_time_to_live_counts(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    slow, quick = amqp.queue("slow", ttl_s=60.0, dlx=exchange), amqp.queue("quick", ttl_s=0.2, dlx=exchange)
    amqp.fill(slow, "own", expiration="200")
    amqp.fill(quick, "queue's", expiration="60000")
    assert sorted(amqp.drain(dead, 2)) == ["own", "queue's"]
    assert amqp.ready(slow) == amqp.ready(quick) == 0


@natively
@pytest.mark.parametrize("bad", ["-1", "abc", "1.5", ""])
def test_R31_an_expiration_that_is_no_whole_number_is_refused(amqp: Amqp, bad: str) -> None:
    queue = amqp.queue()
    with pytest.raises(Closed, match=r"^406 "):
        amqp.channel().publish("m", queue, expiration=bad)
    assert amqp.ready(queue) == 0


@natively
def test_R32_a_short_time_waits_behind_a_long_one_and_is_never_delivered(amqp: Amqp) -> None:
    queue, clock = amqp.queue(), amqp.queue("clock", ttl_s=0.4)
    amqp.fill(queue, "long", expiration="60000")
    amqp.fill(queue, "short", expiration="100")
    amqp.fill(clock, "tick")
    amqp.holds(clock, 0)
    assert amqp.ready(queue) == 2, "over its time, but not at the head"
    assert amqp.take(queue).body == "long"
    assert amqp.own().get(queue) is None


@natively
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_R33_giving_back_does_not_start_the_time_again(amqp: Amqp, kind: str) -> None:
    exchange, dead = amqp.grave()
    queue, clock = amqp.queue(kind=kind, dlx=exchange), amqp.queue("clock", ttl_s=0.5)
    amqp.fill(queue, "m", expiration="300")
    channel = amqp.channel()
    got = channel.get(queue)
    assert got is not None
    amqp.fill(clock, "tick")
    amqp.holds(clock, 0)
    assert amqp.ready(dead) == 0, "what is out does not expire"
    channel.nack(got.tag, requeue=True)
    amqp.holds(dead, 1)
    letter = amqp.take(dead)
    assert letter.deaths[0]["reason"] == "expired"
    assert amqp.ready(queue) == 0


@natively
def test_R34_no_time_at_all_reaches_a_ready_consumer_or_nobody(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    queue = amqp.queue(dlx=exchange)
    assert amqp.publish("late", queue, expiration="0", mandatory=True) is Confirm.ACK
    assert amqp.drain(dead, 1) == ["late"]
    tap = amqp.channel().consume(queue)
    assert amqp.publish("now", queue, expiration="0") is Confirm.ACK
    amqp.until(lambda: tap.bodies == ["now"])


@natively
def test_R35_F14_drop_head_confirms_and_counts_only_what_is_ready(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    queue = amqp.queue(max_length=2, dlx=exchange)
    held = amqp.channel()
    amqp.fill(queue, "held")
    assert held.get(queue) is not None
    amqp.fill(queue, "a", "b")
    assert amqp.ready(dead) == 0
    amqp.fill(queue, "c")
    assert amqp.drain(dead, 1) == ["a"]
    assert amqp.drain(queue, 2) == ["b", "c"]


@natively
def test_R35_the_maximum_in_bytes(amqp: Amqp) -> None:
    queue = amqp.queue(max_length_bytes=10)
    amqp.fill(queue, "12345", "67890", "x")
    assert amqp.drain(queue, 2) == ["67890", "x"]


@natively
def test_R35_F14_reject_publish_nacks_and_its_dead_letter_form_buries_as_well(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    for overflow, buried in (("reject-publish", []), ("reject-publish-dlx", ["refused"])):
        queue = amqp.queue(overflow, max_length=1, overflow=overflow, dlx=exchange)
        amqp.fill(queue, "taken")
        assert amqp.publish("refused", queue) is Confirm.NACK
        assert amqp.drain(queue, 1) == ["taken"]
        assert amqp.drain(dead, len(buried)) == buried


@natively
def test_R35_a_quorum_queue_takes_at_least_one_more_before_it_refuses(amqp: Amqp) -> None:
    queue = amqp.queue(kind="quorum", max_length=3, overflow="reject-publish")
    answers = [amqp.publish("m", queue) for _ in range(8)]
    taken = answers.count(Confirm.ACK)
    assert taken > 3
    assert answers == [Confirm.ACK] * taken + [Confirm.NACK] * (8 - taken)
    amqp.holds(queue, taken)


@natively
def test_R35_one_full_queue_refuses_for_all_though_others_took_it(amqp: Amqp) -> None:
    exchange = amqp.exchange("x", "fanout")
    full, free = amqp.queue("full", max_length=0, overflow="reject-publish"), amqp.queue("free")
    for queue in (full, free):
        amqp.bind(exchange, queue)
    assert amqp.publish("m", "", exchange=exchange) is Confirm.NACK
    assert amqp.drain(free, 1) == ["m"]


@natively
def test_R36_what_is_given_back_to_a_full_queue_is_what_it_drops(amqp: Amqp) -> None:
    queue = amqp.queue(max_length=1)
    channel = amqp.channel()
    amqp.fill(queue, "old")
    got = channel.get(queue)
    assert got is not None
    amqp.fill(queue, "new")
    channel.nack(got.tag, requeue=True)
    assert amqp.drain(queue, 1) == ["new"]


@natively
def test_R37_priorities_are_clamped_and_in_order_within(amqp: Amqp) -> None:
    queue = amqp.queue(max_priority=5)
    plan: list[tuple[str, dict[str, Any]]] = [
        ("none", {}),
        ("1a", {"priority": 1}),
        ("9", {"priority": 9}),
        ("5", {"priority": 5}),
        ("1b", {"priority": 1}),
        ("0", {"priority": 0}),
    ]
    for body, properties in plan:
        amqp.fill(queue, body, **properties)
    assert amqp.drain(queue, 6) == ["9", "5", "1a", "1b", "none", "0"]


@natively
def test_R35_R37_the_head_of_a_priority_queue_is_its_highest_and_goes_first(amqp: Amqp) -> None:
    queue = amqp.queue(max_priority=5, max_length=2)
    for body, priority in (("low1", 1), ("high", 5), ("low2", 1)):
        amqp.fill(queue, body, priority=priority)
    assert amqp.drain(queue, 2) == ["low1", "low2"]


@natively
def test_R38_a_quorum_queue_of_4_0_gives_two_high_ones_for_each_normal_one(amqp: Amqp) -> None:
    queue = amqp.queue(kind="quorum")
    for body, priority in (("n1", 0), ("n2", 4), ("h1", 5), ("h2", 9), ("h3", 9), ("h4", 5)):
        amqp.fill(queue, body, priority=priority)
    by_class = ["h1", "h2", "n1", "h3", "h4", "n2"]
    assert amqp.drain(queue, 6) == (by_class if amqp.version >= (4, 0) else ["n1", "n2", "h1", "h2", "h3", "h4"])


@natively
def test_R39_a_delay_is_a_queue_with_a_time_to_live_whose_dead_letters_come_back(amqp: Amqp) -> None:
    work = amqp.queue("work")
    wait = amqp.queue("wait", ttl_s=0.3, dlx="", dlx_key=work)
    amqp.fill(wait, "first", "second")
    assert amqp.ready(work) == 0
    assert amqp.drain(work, 2) == ["first", "second"]


@natively
def test_R50_above_16_MiB_only_before_4_0(amqp: Amqp) -> None:
    queue = amqp.queue()
    channel = amqp.channel()
    too_big = "x" * (16 * 2**20 + 1)
    if amqp.version < (4, 0):
        assert channel.publish(too_big, queue) is Confirm.ACK
        amqp.holds(queue, 1)
        return
    assert channel.publish("x" * 16 * 2**20, queue) is Confirm.ACK
    with pytest.raises(Closed, match=r"^406 .*larger than"):
        channel.publish(too_big, queue)
    amqp.holds(queue, 1)
