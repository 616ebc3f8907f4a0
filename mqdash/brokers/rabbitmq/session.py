"""Opens connection lives on one RabbitMQ and keeps what they learn of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.brokers.rabbitmq.broker import RabbitBroker, RabbitObserver
from mqdash.brokers.rabbitmq.known import Known
from mqdash.brokers.rabbitmq.life import Life
from mqdash.brokers.rabbitmq.management import Management

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker, Observer
    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock


class RabbitConnector:
    """See `mqdash.brokers.base.Connector`."""

    def __init__(self, url: BrokerUrl, *, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._known = Known()

    @property
    def url(self) -> BrokerUrl:
        """Where it leads."""
        return self._url

    async def observe(self) -> Observer:
        """See `mqdash.brokers.base.Connector.observe`."""
        return RabbitObserver(await self._life(), self._management(), clock=self._clock)

    async def connect(self) -> Broker:
        """See `mqdash.brokers.base.Connector.connect`."""
        return RabbitBroker(await self._life(), self._management(), clock=self._clock, writable=True)

    async def _life(self) -> Life:
        life = Life(self._url, self._known, clock=self._clock)
        await life.start()
        self._known.began()
        return life

    def _management(self) -> Management:
        return Management(self._url, clock=self._clock)
