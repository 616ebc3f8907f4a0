"""Native nouns: what each broker family calls the things of the model. One table for screen, Story and docs."""

from __future__ import annotations

import msgspec

from mqdash.model.message import Family


class Nouns(msgspec.Struct, frozen=True, kw_only=True):
    """The words of one family. Empty = the family has no such thing.

    `held` stands before `messages` ("2 unacked messages"), `giver` before "#12 to W1". `after_kill`: what the broker does
    about a worker that went without a goodbye; "" where it is told at once by what happens.
    """

    family: str
    destination: str
    queue: str
    binding: str
    waiting: str
    in_flight: str
    held: str
    messages: str
    message: str
    key: str
    worker: str
    after_kill: str
    giver: str
    acknowledge: str
    retry: str
    dead_letter: str
    dead_letter_queue: str


NOUNS: dict[Family, Nouns] = {
    Family.RABBITMQ: Nouns(
        family="RabbitMQ",
        destination="exchange",
        queue="queue",
        binding="binding key",
        waiting="ready",
        in_flight="unacked",
        held="unacked",
        messages="messages",
        message="message",
        key="routing key",
        worker="consumer",
        after_kill="",
        giver="broker gave",
        acknowledge="ack",
        retry="nack with requeue, or a copy to the wait ladder and ack",
        dead_letter="copy to the dead-letter exchange, then ack",
        dead_letter_queue="queue behind the dead-letter exchange",
    ),
    Family.KAFKA: Nouns(
        family="Kafka",
        destination="topic",
        queue="consumer group",
        binding="subscription",
        waiting="lag",
        in_flight="fetched, uncommitted",
        held="fetched",
        messages="records",
        message="record",
        key="record key",
        worker="member",
        after_kill="its partitions are read by nobody until its session times out",
        giver="group gave",
        acknowledge="commit",
        retry="copy to the retry topic, then commit",
        dead_letter="copy to the .dlq topic, then commit",
        dead_letter_queue=".dlq topic",
    ),
    Family.REDIS_STREAMS: Nouns(
        family="Redis Streams",
        destination="stream",
        queue="consumer group",
        binding="group on the stream",
        waiting="lag",
        in_flight="pending",
        held="pending",
        messages="entries",
        message="entry",
        key="key field",
        worker="consumer",
        after_kill="what it held stays pending until another consumer claims it",
        giver="group gave",
        acknowledge="XACK by its owner",
        retry="one script to the sorted set of due entries",
        dead_letter="one script to the :dlq stream",
        dead_letter_queue=":dlq stream",
    ),
    Family.REDIS_PUBSUB: Nouns(
        family="Redis Pub/Sub",
        destination="channel",
        queue="subscriber",
        binding="channel or pattern",
        waiting="",
        in_flight="",
        held="",
        messages="messages",
        message="message",
        key="",
        worker="subscriber",
        after_kill="what it was working on is gone; nothing said from now on reaches it",
        giver="",
        acknowledge="",
        retry="",
        dead_letter="",
        dead_letter_queue="",
    ),
}


def nouns(family: Family) -> Nouns:
    """The words of that family."""
    return NOUNS[family]
