"""URL → adapter. An adapter's folder, and with it its client library, is imported only when its broker is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from mqdash.errors import UrlError

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
    "embedded": "mqdash.brokers.embedded",
}


def check_supported(url: BrokerUrl) -> None:
    """Raise before a screen opens.

    Raises:
        UrlError: the URL is understood, but mqdash has no adapter for it yet.
    """
    if url.scheme not in _ADAPTERS:
        msg = f"{url.scheme}:// is not supported yet; name one node with redis://host:port"
        raise UrlError(msg)


def connector_for(url: BrokerUrl, *, clock: Clock, seed: int = 0, bounded: bool = True) -> Connector:
    """The connector of the URL's adapter; `seed` and `bounded` matter to embedded brokers only.

    Raises:
        UrlError: see `check_supported`.
    """
    check_supported(url)
    adapter = import_module(_ADAPTERS[url.scheme])
    if url.embedded:
        return cast("Connector", adapter.connector(url, clock=clock, seed=seed, bounded=bounded))
    return cast("Connector", adapter.connector(url, clock=clock))
