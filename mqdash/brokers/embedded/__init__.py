"""Brokers inside mqdash: pure state machines behind the port, the default and the reference model (design §4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.errors import Unsupported

if TYPE_CHECKING:
    from mqdash.brokers.base import Connector
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock


def connector(url: BrokerUrl, *, clock: Clock, seed: int = 0, bounded: bool = True) -> Connector:
    """A new embedded broker and the way to it: one server, shared by all lives opened from this connector.

    `bounded`: 10,000 messages or 64 MiB each queue, log and stream. Its faults (`stop`, `start`, `alarm`, `cut`) are on
    the connector's `server`.

    Raises:
        Unsupported: no such model, or no such version of it.
    """
    match url.path:
        case "rabbitmq":
            from mqdash.brokers.embedded import session

            return session.connector(url, clock=clock, seed=seed, bounded=bounded)
        case "kafka":
            from mqdash.brokers.embedded import kafka

            return kafka.connector(url, clock=clock, seed=seed, bounded=bounded)
        case "redis":
            from mqdash.brokers.embedded import redis

            return redis.connector(url, clock=clock, seed=seed, bounded=bounded)
        case _:
            raise Unsupported(url.safe, f"no embedded model {url.path!r}; known are rabbitmq, kafka, redis")
