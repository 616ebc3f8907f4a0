"""What the Story says of the ways to brokers: told once per change, with how long it lasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.broker import LinkState
from mqdash.model.message import Family
from mqdash.store.sentences import Told, seconds

if TYPE_CHECKING:
    from mqdash.model.events import LinkChanged
    from mqdash.store.rates import Beat

_AWAY = frozenset({LinkState.DOWN, LinkState.STALE, LinkState.REFUSED})


class _Way:
    __slots__ = ("blocked", "cause", "gone_s", "state", "was_up")

    def __init__(self) -> None:
        self.state: LinkState | None = None
        self.cause = ""
        self.blocked = ""
        self.gone_s: float | None = None  # monotonic
        self.was_up = False


class LinkStory:
    """Remembers each way, so that a sentence is only about what changed."""

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._ways: dict[str, _Way] = {}

    def sentences(self, event: LinkChanged) -> list[Told]:
        """What there is to say; mostly nothing."""
        way = self._ways.setdefault(event.broker, _Way())
        where = place(event)
        told = [*self._moved(way, event, where), *self._blocked(way, event, where)]
        way.state, way.blocked = event.state, event.blocked
        return told

    def _moved(self, way: _Way, event: LinkChanged, where: str) -> list[Told]:
        if event.state in _AWAY:
            return self._away(way, event, where)
        if event.state is not LinkState.UP or way.state is LinkState.UP:
            return []
        gone_s, way.gone_s, was_up, way.was_up, way.cause = way.gone_s, None, way.was_up, True, ""
        if gone_s is not None and was_up:
            return [Told(level="good", text=f"{where} is back after {seconds(self._beat.mono_s - gone_s)}")]
        if gone_s is not None:
            return [Told(level="good", text=f"{where} can be reached now")]
        if was_up or _embedded(event):
            return []
        version = f": version {event.info.version}" if event.info is not None and event.info.version else ""
        return [Told(level="good", text=f"{where} is connected{version}")]

    def _away(self, way: _Way, event: LinkChanged, where: str) -> list[Told]:
        if way.gone_s is None:
            way.gone_s = self._beat.mono_s
        same_episode = way.state in _AWAY or way.state is LinkState.CONNECTING
        if (same_episode and way.cause == f"{event.state}{event.cause}") or (
            event.state is LinkState.STALE and way.state is LinkState.STALE
        ):
            return []
        way.cause = f"{event.state}{event.cause}"
        cause = event.cause or "no reason given"
        if event.state is LinkState.REFUSED:
            more = ("not tried again until the login or the URL is changed",)
            return [Told(level="broken", text=f"{where} refuses us: {cause}", more=more)]
        if event.state is LinkState.STALE:
            return [Told(level="look", text=f"{where} does not answer" + (f": {event.cause}" if event.cause else ""))]
        state = "is gone" if way.was_up else "cannot be reached"
        return [Told(level="broken", text=f"{where} {state}: {cause}; trying again")]

    @staticmethod
    def _blocked(way: _Way, event: LinkChanged, where: str) -> list[Told]:
        if event.blocked == way.blocked or event.state is not LinkState.UP:
            return []
        if event.blocked:
            return [Told(level="look", text=f"{where} blocks publishers: {event.blocked}")]
        return [Told(level="good", text=f"{where} takes publishes again")]


def place(event: LinkChanged) -> str:
    """`rabbitmq at 127.0.0.1:5672`, `embedded kafka`."""
    family = "redis" if event.family in {Family.REDIS_STREAMS, Family.REDIS_PUBSUB} else event.family.value
    if _embedded(event):
        return f"embedded {family}"
    address = event.url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    return f"{family} at {address or event.broker}"


def _embedded(event: LinkChanged) -> bool:
    return event.url.startswith("embedded:")
