"""URL → adapter. An adapter's folder, and with it its client library, is imported only when its broker is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mqdash.brokers.base import Connector
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock

_ADAPTERS = {
    "amqp": "mqdash.brokers.rabbitmq",
    "amqps": "mqdash.brokers.rabbitmq",
    "kafka": "mqdash.brokers.kafka",
    "kafkas": "mqdash.brokers.kafka",
    "redis": "mqdash.brokers.redis",
    "rediss": "mqdash.brokers.redis",
    "redis+sentinel": "mqdash.brokers.redis",
    "redis+cluster": "mqdash.brokers.redis",
    "embedded": "mqdash.brokers.embedded",
}


def connector_for(url: BrokerUrl, *, clock: Clock, seed: int = 0, bounded: bool = True) -> Connector:
    """The connector of the URL's adapter; `seed` and `bounded` matter to embedded brokers only."""
    adapter = import_module(_ADAPTERS[url.scheme])
    if url.embedded:
        return cast("Connector", adapter.connector(url, clock=clock, seed=seed, bounded=bounded))
    return cast("Connector", adapter.connector(url, clock=clock))
