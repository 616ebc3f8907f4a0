"""Apache Kafka behind the port, through aiokafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqdash.brokers.base import Connector
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock


def connector(url: BrokerUrl, *, clock: Clock) -> Connector:
    """The way to one Kafka cluster; opens nothing yet."""
    from mqdash.brokers.kafka.broker import KafkaConnector

    return KafkaConnector(url, clock=clock)
