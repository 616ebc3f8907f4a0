"""R40-R49 as a bare client meets them: what dies, where it goes, and what it says about it."""

from typing import Any

import pytest

from tests.conformance.amqp import Amqp, Channel, Confirm, Got, natively


def _reject(channel: Channel, queue: str) -> None:
    got = channel.get(queue)
    assert got is not None
    channel.reject(got.tag, requeue=False)


def _send_again(amqp: Amqp, got: Got, to: str) -> None:
    """Publish what was received, with all its headers, as a client would."""
    assert amqp.publish(got.body, to, headers=got.headers) is Confirm.ACK


@natively
def test_R40_rejected_expired_maxlen_and_delivery_limit_and_no_other(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    rejects = amqp.queue("rejects", dlx=exchange)
    expires = amqp.queue("expires", dlx=exchange, ttl_s=0.05)
    short = amqp.queue("short", dlx=exchange, max_length=1)
    limited = amqp.queue("limited", dlx=exchange, kind="quorum", delivery_limit=0)
    channel = amqp.channel()
    amqp.fill(rejects, "a", "acked")
    _reject(channel, rejects)
    done = channel.get(rejects)
    assert done is not None
    channel.ack(done.tag)
    amqp.fill(short, "b", "stays")
    amqp.fill(limited, "c")
    got = channel.get(limited)
    assert got is not None
    channel.nack(got.tag, requeue=True)
    amqp.fill(expires, "d")
    amqp.holds(dead, 4)
    letters = [amqp.take(dead) for _ in range(4)]
    assert {letter.body: letter.deaths[0]["reason"] for letter in letters} == {
        "a": "rejected",
        "b": "maxlen",
        "c": "delivery_limit",
        "d": "expired",
    }


@natively
def test_R40_nack_is_a_reject_and_without_a_way_the_message_is_gone(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    with_way, without = amqp.queue("with", dlx=exchange), amqp.queue("without")
    channel = amqp.channel()
    for queue in (without, with_way):
        amqp.fill(queue, queue)
        got = channel.get(queue)
        assert got is not None
        channel.nack(got.tag, requeue=False)
    assert amqp.drain(dead, 1) == [with_way]
    assert amqp.ready(without) == 0


@natively
def test_R41_the_original_keys_with_cc_or_the_dead_letter_key_alone(amqp: Amqp) -> None:
    dlx = amqp.exchange("dlx")
    original, keyed = amqp.queue("original", dlx=dlx), amqp.queue("keyed", dlx=dlx, dlx_key="dead")
    queues = {}
    for word, key in (("by-original", original), ("by-keyed", keyed), ("by-cc", "extra"), ("by-dead", "dead")):
        queues[word] = amqp.queue(word)
        amqp.bind(dlx, queues[word], key)
    channel = amqp.channel()
    for queue in (original, keyed):
        amqp.fill(queue, queue, headers={"CC": ["extra"]})
        _reject(channel, queue)
    amqp.holds(queues["by-dead"], 1)
    letter = amqp.take(queues["by-dead"])
    assert (letter.body, letter.exchange, letter.key) == (keyed, dlx, "dead")
    assert letter.deaths[0]["routing-keys"] == [keyed, "extra"]
    assert ("CC" in letter.headers) == (amqp.version >= (4, 0)), "4.0.5 leaves the header, but does not route by it"
    assert amqp.drain(queues["by-cc"], 1) == [original]
    letter = amqp.take(queues["by-original"])
    assert (letter.body, letter.exchange, letter.key, letter.headers["CC"]) == (original, dlx, original, ["extra"])
    assert amqp.ready(queues["by-keyed"]) == 0


@natively
@pytest.mark.parametrize("declared", [False, True], ids=["missing", "unbound"])
def test_R42_a_dead_letter_exchange_that_leads_nowhere_drops_and_closes_nothing(amqp: Amqp, declared: bool) -> None:
    dlx = amqp.exchange("dlx", "fanout") if declared else amqp.name("dlx")
    queue = amqp.queue(dlx=dlx)
    channel = amqp.channel()
    amqp.fill(queue, "lost", "next")
    _reject(channel, queue)
    assert not channel.closed
    assert amqp.drain(queue, 1) == ["next"]
    if not declared:
        dlx = amqp.exchange("dlx", "fanout")
    dead = amqp.queue("dead")
    amqp.bind(dlx, dead)
    amqp.fill(queue, "later")
    _reject(channel, queue)
    assert amqp.drain(dead, 1) == ["later"], "looked up when it dies, not when it is declared"


@natively
def test_R43_a_dead_letter_that_its_queue_refuses_is_lost(amqp: Amqp) -> None:
    exchange = amqp.exchange("dead.x", "fanout")
    dead = amqp.queue("dead", max_length=1, overflow="reject-publish")
    amqp.bind(exchange, dead)
    queue = amqp.queue(dlx=exchange)
    amqp.fill(queue, "first", "second")
    channel = amqp.channel()
    _reject(channel, queue)
    amqp.holds(dead, 1)
    _reject(channel, queue)
    channel.close()
    assert amqp.drain(dead, 1) == ["first"]
    assert amqp.ready(queue) == 0


@natively
def test_R44_R45_R46_a_repeated_death_counts_and_the_first_one_stays(amqp: Amqp) -> None:
    work = amqp.name("work")
    wait = amqp.queue("wait", ttl_s=0.05, dlx="", dlx_key=work)
    work = amqp.queue("work", dlx="", dlx_key=wait)
    begun = amqp.now_s()
    amqp.fill(work, "m", headers={"mine": "kept"}, expiration="60000")
    channel = amqp.channel()
    for _ in range(3):
        _reject(channel, work)
        amqp.holds(work, 1)
    got = amqp.take(work)
    assert [(death["queue"], death["reason"], death["count"]) for death in got.deaths] == [
        (wait, "expired", 3),
        (work, "rejected", 3),
    ], "the newest first, one entry per queue and reason"
    first = got.deaths[1]
    assert first["exchange"] == ""
    assert first["routing-keys"] == [work]
    assert first["original-expiration"] == "60000"
    assert "original-expiration" not in got.deaths[0]
    assert begun - 2 <= first["time"] <= amqp.now_s() + 2
    assert got.expiration is None
    assert got.headers["mine"] == "kept"
    told = {name: got.headers.get(f"x-{name}") for name in ("first-death-queue", "first-death-reason")}
    assert told == {"first-death-queue": work, "first-death-reason": "rejected"}
    assert got.headers["x-first-death-exchange"] == ""
    last = None if amqp.version < (3, 13) else wait
    assert got.headers.get("x-last-death-queue") == last


@natively
def test_R47_a_circle_without_a_reject_loses_the_message_and_with_one_it_does_not(amqp: Amqp) -> None:
    _, over = amqp.grave("over")
    work = amqp.name("work")
    retry = amqp.queue("retry", ttl_s=0.05, dlx="", dlx_key=work)
    work = amqp.queue("work", ttl_s=0.05, dlx="", dlx_key=retry)
    clock = amqp.queue("clock", ttl_s=0.6, dlx="", dlx_key=over)
    amqp.fill(work, "lost")
    amqp.fill(clock, "tick")
    assert amqp.drain(over, 1) == ["tick"]
    assert amqp.ready(work) == amqp.ready(retry) == 0
    kept = amqp.name("kept")
    back = amqp.queue("back", ttl_s=0.05, dlx="", dlx_key=kept)
    kept = amqp.queue("kept", dlx="", dlx_key=back)
    amqp.fill(kept, "kept")
    channel = amqp.channel()
    for _ in range(3):
        _reject(channel, kept)
        amqp.holds(kept, 1)


@natively
def test_R48_the_deaths_that_a_client_publishes_count_only_before_4_0(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    queue = amqp.queue(dlx=exchange)
    channel = amqp.channel()
    amqp.fill(queue, "m")
    _reject(channel, queue)
    letter = amqp.take(dead)
    assert letter.deaths[0]["count"] == 1
    _send_again(amqp, letter, queue)
    _reject(channel, queue)
    again = amqp.take(dead)
    assert [death["count"] for death in again.deaths] == [2 if amqp.version < (4, 0) else 1]


@natively
def test_R45_R48_the_first_death_that_a_client_claims_is_believed_only_with_its_deaths_before_4_0(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    queue = amqp.queue(dlx=exchange)
    claimed = {f"x-first-death-{name}": "theirs" for name in ("queue", "reason", "exchange")}
    deaths = [{"queue": "theirs", "reason": "expired", "count": 1, "exchange": "", "routing-keys": ["theirs"]}]
    channel = amqp.channel()
    found = {}
    for body, headers in (("alone", claimed), ("both", {**claimed, "x-death": deaths}), ("none", {"x-death": deaths})):
        amqp.fill(queue, body, headers=headers)
        _reject(channel, queue)
        letter = amqp.take(dead)
        found[body] = letter.headers.get("x-first-death-queue"), [death["queue"] for death in letter.deaths]
    if amqp.version < (4, 0):
        assert found == {
            "alone": (queue, [queue]),
            "both": ("theirs", [queue, "theirs"]),
            "none": (None, [queue, "theirs"]),
        }
    else:
        assert found == dict.fromkeys(("alone", "both", "none"), (queue, [queue]))


def _give_back(amqp: Amqp, queue: str, by: str) -> Got:
    channel = amqp.channel()
    got: Any = amqp.until(lambda: channel.get(queue))
    assert isinstance(got, Got)
    if by == "close":
        channel.close()
    else:
        getattr(channel, by)(got.tag, requeue=True)
        channel.close()
    return got


@natively
@pytest.mark.parametrize("by", ["nack", "reject", "close"])
def test_R49_F1_beyond_its_delivery_limit_a_message_dies(amqp: Amqp, by: str) -> None:
    exchange, dead = amqp.grave()
    queue = amqp.queue(kind="quorum", delivery_limit=3, dlx=exchange)
    amqp.fill(queue, "m")
    taken = [_give_back(amqp, queue, by) for _ in range(4)]
    first = 0 if amqp.version < (4, 0) else None
    assert [got.headers.get("x-delivery-count") for got in taken] == [first, 1, 2, 3]
    assert amqp.drain(dead, 1) == ["m"]
    assert amqp.ready(queue) == 0


@natively
def test_R17_R40_in_3_10_a_death_by_the_delivery_limit_gives_its_consumer_one_more_each_time(amqp: Amqp) -> None:
    queue = amqp.queue(kind="quorum", delivery_limit=0)
    amqp.fill(queue, *(f"m{number}" for number in range(9)))
    channel = amqp.channel()
    tap = channel.consume(queue, prefetch=1)
    amqp.until(lambda: len(tap.got) == 1)
    channel.nack(tap.got[0].tag, requeue=True)
    more = 1 if amqp.version < (4, 0) else 0
    amqp.until(lambda: len(tap.got) == 2 + more)
    amqp.holds(queue, 7 - more)
    channel.nack(tap.got[-1].tag, requeue=True)
    amqp.until(lambda: len(tap.got) == 3 + 2 * more)
    amqp.holds(queue, 6 - 2 * more)


@natively
def test_R49_from_4_0_on_20_is_the_limit_that_nobody_set(amqp: Amqp) -> None:
    exchange, dead = amqp.grave()
    queue = amqp.queue(kind="quorum", dlx=exchange)
    amqp.fill(queue, "m")
    for _ in range(21):
        _give_back(amqp, queue, "nack")
    if amqp.version >= (4, 0):
        assert amqp.drain(dead, 1) == ["m"]
    else:
        assert amqp.drain(queue, 1) == ["m"]
