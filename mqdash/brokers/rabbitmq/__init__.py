"""RabbitMQ on pika's asyncio connection (AMQP 0-9-1), with the management API beside it when it can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqdash.brokers.base import Connector
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock


def connector(url: BrokerUrl, *, clock: Clock) -> Connector:
    """The way to one RabbitMQ; connects to nothing yet."""
    from mqdash.brokers.rabbitmq.session import RabbitConnector

    return RabbitConnector(url, clock=clock)
