"""Notices queues that keep growing: only when it lasts, once per episode, and again when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.topology import QueueRef
from mqdash.store.sentences import Told, per_s

if TYPE_CHECKING:
    from collections.abc import Iterable

LASTING_S = 5
LEAST_PER_S = 1.0
LEAST_SHARE = 0.02
LEAST_WAITING = 10
_SINGLY = 3


class Reading(msgspec.Struct, frozen=True):
    """One queue at one second. Rates are None where nobody can tell; `own_workers`: there is a pool to scale."""

    broker: str
    queue: QueueRef
    waiting: int | None
    trend_per_s: float | None
    in_per_s: float | None
    out_per_s: float | None
    consumers: int | None
    own_workers: bool

    @property
    def grows(self) -> bool:
        """Clearly, not by a wobble."""
        if self.trend_per_s is None or (self.waiting or 0) < LEAST_WAITING:
            return False
        return self.trend_per_s >= max(LEAST_PER_S, LEAST_SHARE * (self.in_per_s or 0.0))


class _Watch:
    __slots__ = ("calm_s", "growing_s", "told")

    def __init__(self) -> None:
        self.growing_s = 0
        self.calm_s = 0
        self.told = False


class GrowthWatch:
    """Asked once a second; seconds, not samples, since brokers are measured at different paces."""

    def __init__(self) -> None:
        self._watched: dict[tuple[str, QueueRef], _Watch] = {}

    def second(self, readings: Iterable[Reading]) -> list[tuple[str, Told]]:
        """(broker, sentence) of the episodes that began or ended now. Many at once are told as one."""
        began: dict[str, list[Reading]] = {}
        told: list[tuple[str, Told]] = []
        for reading in readings:
            key = (reading.broker, reading.queue)
            watch = self._watched.get(key)
            if watch is None:
                if not reading.grows:
                    continue
                watch = self._watched[key] = _Watch()
            if self._begins(watch, reading):
                began.setdefault(reading.broker, []).append(reading)
            elif self._ends(watch, reading):
                del self._watched[key]
                told.append((reading.broker, _over(reading)))
            elif not watch.told and watch.growing_s == 0:
                del self._watched[key]
        for broker, growing in began.items():
            told += [(broker, sentence) for sentence in _begun(growing)]
        return told

    @staticmethod
    def _begins(watch: _Watch, reading: Reading) -> bool:
        watch.growing_s = watch.growing_s + 1 if reading.grows else 0
        if watch.told or watch.growing_s < LASTING_S:
            return False
        watch.told = True
        return True

    @staticmethod
    def _ends(watch: _Watch, reading: Reading) -> bool:
        calm = reading.waiting == 0 or (reading.trend_per_s is not None and reading.trend_per_s <= 0)
        watch.calm_s = watch.calm_s + 1 if calm else 0
        return watch.told and watch.calm_s >= LASTING_S


def _begun(growing: list[Reading]) -> list[Told]:
    growing.sort(key=lambda reading: -(reading.trend_per_s or 0.0))
    if len(growing) > _SINGLY:
        fastest = growing[0]
        more = (f"fastest: {fastest.queue}, {per_s(fastest.trend_per_s or 0.0)}",)
        return [Told(level="look", text=f"{len(growing)} queues grow", more=more, subject=_subject(fastest))]
    return [_grows(reading) for reading in growing]


def _grows(reading: Reading) -> Told:
    flow = ""
    if reading.in_per_s is not None and reading.out_per_s is not None:
        flow = f": {per_s(reading.in_per_s)} in, {per_s(reading.out_per_s)} out"
    if reading.consumers == 0 and not reading.own_workers:
        more: tuple[str, ...] = ("nobody takes from it",)
    else:
        more = ("+ adds a worker",) if reading.own_workers else ()
    text = f"{reading.queue} grows {per_s(reading.trend_per_s or 0.0)}{flow}"
    return Told(level="look", text=text, more=more, subject=_subject(reading))


def _over(reading: Reading) -> Told:
    if reading.waiting == 0:
        return Told(level="good", text=f"{reading.queue} is empty again", subject=_subject(reading))
    return Told(level="good", text=f"{reading.queue} grows no more", subject=_subject(reading))


def _subject(reading: Reading) -> str:
    return f"q:{reading.queue.name}|{reading.queue.group}"
