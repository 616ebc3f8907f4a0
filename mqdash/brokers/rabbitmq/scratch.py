"""A throw-away channel for questions: a wrong one (404, 406) ends the channel, and the next question opens another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mqdash.errors import BrokerUnavailable, ConnectionLost

if TYPE_CHECKING:
    from mqdash.brokers.rabbitmq.link import Channel, Link


class Scratch:
    """One question at a time, on a channel that is replaced when it broke."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._asking = asyncio.Lock()

    async def call(self, method: str, *args: Any, timeout_s: float = 10.0, **kwargs: Any) -> Any:
        """As `Channel.call`."""
        async with self._asking:
            channel = self._channel
            if channel is None or not channel.is_open:
                channel = self._channel = await self._link.channel()
            try:
                return await channel.call(method, *args, timeout_s=timeout_s, **kwargs)
            except ConnectionLost:
                raise
            except BrokerUnavailable:
                self._channel = None  # it waits for an answer that may never come
                raise
            except asyncio.CancelledError:
                self._channel = None
                channel.drop()
                raise
