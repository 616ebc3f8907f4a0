"""C2, C3 and C7 as a bare client meets them: the direct way to reply, and a reply queue of one's own."""

import pytest

from tests.conformance.amqp import Amqp, Closed, Confirm, Got, natively

DIRECT = "amq.rabbitmq.reply-to"


def _asked(amqp: Amqp, queue: str) -> Got:
    got = amqp.take(queue)
    assert got.reply_to is not None
    return got


@natively
def test_C2_the_direct_address_needs_its_consumer_first_and_becomes_an_opaque_one(amqp: Amqp) -> None:
    queue = amqp.queue()
    with pytest.raises(Closed, match=r"^406 .*fast reply consumer does not exist"):
        amqp.channel().publish("m", queue, reply_to=DIRECT)
    asker = amqp.channel()
    replies = asker.consume_replies()
    assert asker.publish("question", queue, reply_to=DIRECT, correlation_id="1") is Confirm.ACK
    address = _asked(amqp, queue).reply_to
    assert address is not None
    assert address.startswith(f"{DIRECT}.")
    assert amqp.publish("answer", address, correlation_id="1") is Confirm.ACK
    amqp.until(lambda: replies.bodies == ["answer"])


@natively
def test_C3_a_mandatory_reply_is_returned_whether_it_arrived_or_not(amqp: Amqp) -> None:
    queue = amqp.queue()
    asker = amqp.channel()
    replies = asker.consume_replies()
    asker.publish("question", queue, reply_to=DIRECT)
    address = _asked(amqp, queue).reply_to
    assert address is not None
    assert amqp.publish("first", address, mandatory=True) is Confirm.RETURNED
    amqp.until(lambda: replies.bodies == ["first"])
    asker.close()
    assert amqp.publish("second", address, mandatory=True) is Confirm.RETURNED
    assert amqp.publish("third", address) is Confirm.ACK
    assert replies.bodies == ["first"]


@natively
def test_C7_a_reply_queue_is_its_connections_alone_and_goes_with_it(amqp: Amqp) -> None:
    from mqdash.model.topology import Queue, QueueRef

    name = amqp.name("replies")
    connection = amqp.connect()
    channel = connection.channel()
    channel.declare_queue(Queue(ref=QueueRef(name), exclusive=True, durable=False))
    with pytest.raises(Closed, match=r"^405 "):
        amqp.own().ready(name)
    assert amqp.publish("anybody may publish", name) is Confirm.ACK
    assert channel.ready(name) == 1
    connection.drop()
    amqp.until(lambda: amqp.publish("m", name, mandatory=True) is Confirm.RETURNED)
