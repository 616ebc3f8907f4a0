"""What a worker's Retry and DeadLetter verdicts send: the same for every adapter."""

import json

import pytest

from mqdash.brokers import moves
from mqdash.model.delivery import DeadLetter, Delivery, Retry
from mqdash.model.message import Amqp, Entry, Headers, HeaderValue, Message, Record, Wire
from mqdash.model.topology import QueueRef, Route


def delivery(headers: Headers = (), *, route: Route | None = None, **native: object) -> Delivery:
    message = Message(content=b"body", headers=headers, native=Amqp(**native))  # type: ignore[arg-type]
    return Delivery(message=message, queue=QueueRef("orders"), route=route or Route("orders.direct", "new"))


def death(queue: str, reason: str = "expired") -> dict[str, HeaderValue]:
    return {"queue": queue, "reason": reason, "count": Wire(1, "l", b"l\0\0\0\0\0\0\0\1")}


@pytest.mark.parametrize(
    ("after_s", "rung"), [(0.05, "100ms"), (0.1, "100ms"), (0.2, "1s"), (1, "1s"), (3, "5s"), (31, "5m"), (9999, "5m")]
)
def test_the_shortest_rung_that_waits_long_enough(after_s: float, rung: str) -> None:
    copy = moves.retry_copy(delivery(), Retry(after_s), worker="W1")
    assert copy.route == Route("", f"mqdash.wait.orders.{rung}")
    assert copy.mandatory


def test_wait_queues_lead_back_and_never_expire() -> None:
    for rung, (_, rung_s) in zip(moves.wait_queues("orders"), moves.RUNGS, strict=True):
        assert rung.dead_letter == Route("", "orders")
        assert (rung.ttl_s, rung.expires_s, rung.durable) == (rung_s, None, True)
        assert moves.is_wait_queue(rung.ref.name)


def test_a_copy_keeps_body_headers_and_properties_but_for_what_would_harm_it() -> None:
    got = delivery(
        (("a", 1), ("CC", ["other"])), message_id="7", priority=3, expiration="500", user_id="guest", delivery_mode=1
    )
    copy = moves.dead_letter_copy(got, DeadLetter("Bad", "why"), worker="W", to=Route("dlx", "k")).message
    assert copy.content == b"body"
    assert copy.native == Amqp(message_id="7", priority=3, delivery_mode=2)
    assert copy.header("a") == 1
    assert copy.header("CC") is None
    assert json.loads(copy.header("x-mqdash-history")) == {"CC": ["other"], "expiration": "500"}


def test_an_empty_key_means_the_messages_own_also_after_the_ladder() -> None:
    first = moves.retry_copy(delivery(), Retry(1, "Busy"), worker="W").message
    back = Delivery(message=first, queue=QueueRef("orders"), route=Route("", "orders"))
    assert back.message.attempt == 2
    copy = moves.dead_letter_copy(back, DeadLetter("Bad"), worker="W", to=Route("dlx"))
    assert copy.route == Route("dlx", "new")
    assert copy.message.header("x-mqdash-attempt") == "2"
    assert (copy.message.header("x-mqdash-error"), copy.message.header("x-mqdash-error-text")) == ("Bad", None)
    assert [name for name, _ in copy.message.headers].count("x-mqdash-queue") == 1


def test_the_origin_of_another_queue_is_not_taken_for_ours() -> None:
    got = delivery((("x-mqdash-queue", "elsewhere"), ("x-mqdash-exchange", "old"), ("x-mqdash-key", "old")))
    assert moves.origin_route(got) == Route("orders.direct", "new")


def test_R47_deaths_are_taken_off_and_kept_as_history_but_for_the_ladders() -> None:
    foreign = [death("mqdash.wait.orders.1s"), death("payments", "rejected")]
    headers: Headers = (("x-death", foreign), ("x-first-death-queue", "payments"), ("x-delivery-count", 2))
    copy = moves.retry_copy(delivery(headers), Retry(1), worker="W").message
    assert {name for name, _ in copy.headers} & moves.BROKER_HEADERS == set()
    history = json.loads(copy.header("x-mqdash-history"))
    assert history == {
        "x-death": [{"queue": "payments", "reason": "rejected", "count": 1}],
        "x-first-death-queue": "payments",
    }
    again = moves.retry_copy(
        Delivery(message=copy, queue=QueueRef("orders"), route=Route("", "orders")), Retry(1), worker="W"
    )
    assert json.loads(again.message.header("x-mqdash-history")) == history, "history is not lost by the next move"
    only_ladder: Headers = (
        ("x-death", [death("mqdash.wait.orders.1s")]),
        ("x-first-death-queue", "mqdash.wait.orders.1s"),
        ("x-first-death-reason", "expired"),
    )
    assert moves.retry_copy(delivery(only_ladder), Retry(1), worker="W").message.header("x-mqdash-history") is None


def test_headers_are_bounded_in_bytes() -> None:
    got = delivery((("x-death", [death("q" * 200) for _ in range(100)]),))
    copy = moves.dead_letter_copy(got, DeadLetter("E" * 5000, "ü" * 5000), worker="W" * 5000, to=Route("dlx")).message
    sizes = {name: len(str(value).encode()) for name, value in copy.headers}
    assert sizes["x-mqdash-error"] <= 1024
    assert sizes["x-mqdash-error-text"] <= 2048
    assert sizes["x-mqdash-worker"] <= 1024
    assert sizes["x-mqdash-history"] <= 4096


def test_an_error_text_with_a_lone_surrogate_can_be_sent() -> None:
    copy = moves.dead_letter_copy(delivery(), DeadLetter("E", "\ud800"), worker="W", to=Route("dlx")).message
    assert str(copy.header("x-mqdash-error-text")).encode("utf-8") == b"\\ud800"


def test_other_families_carry_the_same_names_in_their_own_shape() -> None:
    record = Delivery(
        message=Message(content=b"r", headers=(("x", b"1"),), native=Record(key=b"k")),
        queue=QueueRef("clicks", "stats"),
        route=Route("clicks"),
    )
    copy = moves.copied(record, "Bad", "", worker="W")
    assert copy.native == Record(key=b"k")
    assert copy.headers[0] == ("x", b"1")
    assert (copy.header("x-mqdash-error"), copy.header("x-mqdash-group")) == (b"Bad", b"stats")
    assert copy.attempt == 2
    entry = Delivery(
        message=Message(content=((b"body", b"b"),), native=Entry(entry_id="1-1")),
        queue=QueueRef("s", "g"),
        route=Route("s"),
    )
    copied = moves.copied(entry, "Bad", "", worker="W")
    assert copied.native == Entry()
    assert copied.field("x-mqdash-error") == b"Bad"
    assert copied.body == b"b"


def test_a_history_that_grows_too_long_stays_valid_and_names_what_it_left_out() -> None:
    long = delivery((("x-mqdash-history", json.dumps({"first": "kept", "stack": "x" * 3900})),))
    history = json.loads(moves.history_with(long.message, {"x-mqdash-error": "Boom", "note": "y" * 300}))
    assert history == {"first": "kept", "x-mqdash-error": "Boom", "note": "y" * 300, "cut": ["stack"]}
    flood = json.loads(moves.history_with(delivery().message, {f"name-{n}-{'z' * 200}": "v" for n in range(100)}))
    assert flood == {"cut": 100}
