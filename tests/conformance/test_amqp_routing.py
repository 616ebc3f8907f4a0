"""R1-R12 as a bare client meets them: where a message goes, and what its publisher is told."""

import pytest

from mqdash.model.topology import Binding, Destination, Queue, QueueRef
from tests.conformance.amqp import Amqp, Closed, Confirm, natively


def _refused(code: int) -> "pytest.RaisesExc[Closed]":
    return pytest.raises(Closed, match=rf"^{code} ")


@natively
def test_R1_the_default_exchange_leads_to_the_queue_of_that_name_and_cannot_be_bound(amqp: Amqp) -> None:
    queue = amqp.queue()
    channel = amqp.channel()
    assert channel.publish("a", queue) is Confirm.ACK
    with _refused(403):
        channel.bind(Binding(source="", queue=QueueRef(queue), key="other"))
    assert channel.closed == 403
    assert amqp.drain(queue, 1) == ["a"]


@natively
def test_R2_direct_fanout_and_topic(amqp: Amqp) -> None:
    rows = [
        ("direct", "a.b", {"a.b": 1, "a.c": 0, "a": 0}),
        ("fanout", "a", {"a": 1, "anything": 1, "": 1}),
        ("topic", "a.*", {"a.b": 1, "a": 0, "a.b.c": 0, "a.": 1}),
        ("topic", "a.#", {"a": 1, "a.b": 1, "a.b.c": 1, "b.a": 0}),
        ("topic", "#", {"": 1, "a.b.c": 1}),
        ("topic", "#.c", {"c": 1, "a.b.c": 1, "a.c.b": 0}),
        ("topic", "a.#.d", {"a.d": 1, "a.b.c.d": 1, "a.b": 0}),
    ]
    for number, (kind, binding_key, arrivals) in enumerate(rows):
        exchange = amqp.exchange(f"x{number}", kind)
        queue = amqp.queue(f"q{number}")
        amqp.bind(exchange, queue, binding_key)
        for key in arrivals:
            amqp.publish(key, key, exchange=exchange)
        expected = [key for key, count in arrivals.items() if count]
        assert amqp.drain(queue, len(expected)) == expected, (kind, binding_key)


@natively
def test_R3_headers_all_any_and_names_that_begin_with_x(amqp: Amqp) -> None:
    exchange = amqp.exchange("x", "headers")
    wanted = (("a", "1"), ("b", "2"), ("x-c", "3"))
    queues = {}
    for mode in ("all", "any", "all-with-x", "any-with-x"):
        queues[mode] = amqp.queue(mode)
        amqp.bind(exchange, queues[mode], headers=(("x-match", mode), *wanted))
    messages = {
        "both": {"a": "1", "b": "2", "more": "9"},
        "one": {"a": "1"},
        "other value": {"a": "2"},
        "only x": {"x-c": "3"},
        "everything": {"a": "1", "b": "2", "x-c": "3"},
    }
    for body, headers in messages.items():
        amqp.publish(body, "", exchange=exchange, headers=headers)
    assert amqp.drain(queues["all"], 2) == ["both", "everything"]
    assert amqp.drain(queues["any"], 3) == ["both", "one", "everything"]
    assert amqp.drain(queues["all-with-x"], 1) == ["everything"]
    assert amqp.drain(queues["any-with-x"], 4) == ["both", "one", "only x", "everything"]


@natively
def test_R4_two_bindings_that_match_give_one_copy(amqp: Amqp) -> None:
    exchange, queue = amqp.exchange("x", "topic"), amqp.queue()
    for key in ("a.*", "#", "a.b"):
        amqp.bind(exchange, queue, key)
    amqp.publish("once", "a.b", exchange=exchange)
    assert amqp.drain(queue, 1) == ["once"]


@natively
def test_R5_cc_and_bcc_add_keys_and_only_bcc_is_taken_off(amqp: Amqp) -> None:
    queues = [amqp.queue(word) for word in ("to", "cc", "bcc")]
    headers = {"CC": [queues[1]], "BCC": [queues[2]], "kept": "yes"}
    assert amqp.publish("m", queues[0], headers=headers) is Confirm.ACK
    for queue in queues:
        assert amqp.take(queue).headers == {"CC": [queues[1]], "kept": "yes"}


@natively
def test_R6_R7_the_unroutable_is_confirmed_and_only_a_mandatory_one_returned(amqp: Amqp) -> None:
    exchange = amqp.exchange("x")
    assert amqp.publish("m", "nobody", exchange=exchange) is Confirm.ACK
    assert amqp.publish("m", "nobody", exchange=exchange, mandatory=True) is Confirm.RETURNED
    assert amqp.publish("m", amqp.name("no such queue"), mandatory=True) is Confirm.RETURNED


@natively
def test_R8_alternate_exchanges_count_as_routed_and_a_circle_of_them_ends(amqp: Amqp) -> None:
    taker, rest = amqp.grave("rest")
    first = amqp.exchange("first", alternate=taker)
    assert amqp.publish("odd", "nobody", exchange=first, mandatory=True) is Confirm.ACK
    assert amqp.drain(rest, 1) == ["odd"]
    x = amqp.exchange("x", alternate=amqp.name("y"))
    amqp.exchange("y", alternate=x)
    assert amqp.publish("lost", "nobody", exchange=x, mandatory=True) is Confirm.RETURNED


@natively
def test_R9_what_is_missing_closes_the_channel_and_not_the_connection(amqp: Amqp) -> None:
    connection = amqp.connect()
    missing = amqp.name("missing")
    channel = connection.channel()
    with _refused(404):
        channel.publish("m", "k", exchange=missing)
    with _refused(404):
        connection.channel().consume(missing)
    with _refused(404):
        connection.channel().ready(missing)
    assert channel.closed == 404
    queue = amqp.queue()
    assert connection.channel().publish("m", queue) is Confirm.ACK


@natively
def test_R10_other_arguments_406_somebody_elses_exclusive_queue_405_an_exclusive_consumer_403(amqp: Amqp) -> None:
    queue = amqp.queue(ttl_s=100.0)
    exchange = amqp.exchange("x")
    with _refused(406):
        amqp.channel().declare_queue(Queue(ref=QueueRef(queue), ttl_s=200.0))
    with _refused(406):
        amqp.channel().declare_exchange(Destination(name=exchange, kind="topic"))
    mine = amqp.queue("mine", exclusive=True, durable=False)
    with _refused(405):
        amqp.channel().ready(mine)
    amqp.channel().consume(queue, exclusive=True)
    with _refused(403):
        amqp.channel().consume(queue)


@natively
def test_R11_R12_a_confirmed_message_is_in_all_its_queues(amqp: Amqp) -> None:
    exchange = amqp.exchange("x", "fanout")
    queues = [amqp.queue(kind, kind=kind) for kind in ("classic", "quorum")]
    for queue in queues:
        amqp.bind(exchange, queue)
    for number in range(5):
        assert amqp.publish(f"{number}", "", exchange=exchange, delivery_mode=2) is Confirm.ACK
        for queue in queues:
            got = amqp.own().get(queue, no_ack=True)  # at once: the confirm is the proof
            assert got is not None
            assert got.body == f"{number}"
