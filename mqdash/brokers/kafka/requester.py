"""Request/reply by topics: a request topic, a reply topic of the asker's own, a correlation id (C1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from mqdash.brokers.kafka.records import message_of
from mqdash.brokers.kafka.way import stop
from mqdash.brokers.life import Link
from mqdash.brokers.waiting import Waiting
from mqdash.model.delivery import Answer, Outgoing, Reply, Sent

if TYPE_CHECKING:
    from random import Random

    from mqdash.brokers.kafka.publisher import KafkaPublisher
    from mqdash.brokers.life import Life
    from mqdash.model.message import Message
    from mqdash.model.topology import Route


class KafkaRequester(Link):
    """See `mqdash.brokers.base.Requester`. The reply topic is made and deleted by who opens it."""

    def __init__(
        self, life: Life, name: str, *, topic: str, reader: Any, publisher: KafkaPublisher, rng: Random
    ) -> None:
        super().__init__(life, name)
        self._topic = topic
        self._reader = reader
        self._publisher = publisher
        self._waiting = Waiting(life.clock, rng)
        reader.assign([TopicPartition(topic, 0)])
        self._listening = asyncio.create_task(self._listen(), name=f"replies {name}")

    @property
    def late(self) -> int:
        """Replies after their time-out (C5)."""
        return self._waiting.late

    @property
    def unmatched(self) -> int:
        """Replies to nothing we know (C1)."""
        return self._waiting.unmatched

    async def request(self, route: Route, message: Message, *, timeout_s: float) -> Reply:
        """Produce with our reply topic and wait for the same correlation id."""
        if self.cause is not None:
            return Reply(answer=Answer.UNKNOWN, detail=self.cause)
        correlation_id = message.correlation_id or self._waiting.new_id()
        headers = (("correlation-id", correlation_id.encode()), ("reply-to", self._topic.encode()))
        self._waiting.begin(correlation_id)
        waiting = asyncio.ensure_future(self._waiting.wait(correlation_id, timeout_s))
        receipt = (await self._publisher.send([Outgoing(route, message.with_headers(headers))]))[0]
        if receipt.sent is Sent.CONFIRMED:
            return await waiting
        waiting.cancel()
        await asyncio.wait({waiting})
        answer = Answer.UNKNOWN if receipt.sent is Sent.UNKNOWN else Answer.RETURNED
        return Reply(answer=answer, detail=receipt.detail)

    async def _listen(self) -> None:
        await self._reader.seek_to_beginning()
        while self.cause is None:
            try:
                found = await self._reader.getmany(timeout_ms=1000)
            except KafkaError:
                continue  # the life's probe ends us when it is serious
            for records in found.values():
                for record in records:
                    self._waiting.arrived(message_of(record))

    def dropped(self) -> None:
        """Stop listening; open requests are UNKNOWN (C4)."""
        self._waiting.ended()
        self._listening.cancel()
        self._publisher.end(self.cause or "closed")
        self.life.start(stop(self._reader), name=f"stop replies {self.name}")
