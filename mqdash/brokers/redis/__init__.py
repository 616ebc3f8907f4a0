"""Redis behind the port, through redis-py: streams with groups, and Pub/Sub, on one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqdash.brokers.base import Connector
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock


def connector(url: BrokerUrl, *, clock: Clock) -> Connector:
    """The way to one Redis node; opens nothing yet."""
    from mqdash.brokers.redis.broker import RedisConnector

    return RedisConnector(url, clock=clock)
