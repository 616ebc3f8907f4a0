"""Death records of the embedded RabbitMQ: x-death, first and last death headers, cycles (R44-R48). Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.model.message import Amqp, Wire

if TYPE_CHECKING:
    from mqdash.model.message import HeaderValue, Message

ARRIVING_KEYS: Final = ("CC", "BCC")
LAST_DEATH_SINCE: Final = (3, 13)


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `x-death`: how often a message died in this queue for this reason. `time_s`: of the first time."""

    queue: str
    reason: str
    count: int
    time_s: int
    exchange: str
    keys: tuple[str, ...]
    expiration: str | None = None

    def table(self) -> dict[str, HeaderValue]:
        """As the header shows it: typed as the broker types it (count long, time timestamp)."""
        table: dict[str, HeaderValue] = {
            "count": Wire(self.count, "l", b"l" + struct.pack(">q", self.count)),
            "reason": self.reason,
            "queue": self.queue,
            "time": Wire(self.time_s, "T", b"T" + struct.pack(">Q", self.time_s)),
            "exchange": self.exchange,
            "routing-keys": list(self.keys),
        }
        if self.expiration is not None:
            table["original-expiration"] = self.expiration
        return table


def with_death(deaths: tuple[Death, ...], death: Death) -> tuple[Death, ...]:
    """Newest first; a death known by queue and reason counts up and moves to the front (R44)."""
    known = next((old for old in deaths if (old.queue, old.reason) == (death.queue, death.reason)), None)
    if known is not None:
        death = msgspec.structs.replace(known, count=known.count + 1)
    return (death, *(old for old in deaths if old is not known))


def is_cycle(queue: str, deaths: tuple[Death, ...]) -> bool:
    """Whether coming to `queue` closes a loop in which nobody rejected it (R47)."""
    at = next((index for index, death in enumerate(deaths) if death.queue == queue), None)
    return at is not None and all(death.reason != "rejected" for death in deaths[: at + 1])


def died(message: Message, deaths: tuple[Death, ...], *, version: tuple[int, int], drop_cc: bool) -> Message:
    """The message with its headers and properties after a death: `deaths` is the list with the new one in front.

    First-death headers are set with the first record and never change (R45): those a client brought stay only beside
    an `x-death` of its own, which brokers before 4.0 believe (R48, measured). Last-death ones exist from 3.13. A
    dead-letter key takes CC off before 4.0 (R41; 4.0.5 keeps it, measured). The expiration is gone (R46).
    """
    newest = deaths[0]
    extra: list[tuple[str, HeaderValue]] = [("x-death", [death.table() for death in deaths])]
    first_known = len(deaths) > 1 or newest.count > 1
    for which, kept in (("first", first_known), ("last", version < LAST_DEATH_SINCE)):
        if not kept:
            extra += [
                (f"x-{which}-death-{name}", value)
                for name, value in (("reason", newest.reason), ("queue", newest.queue), ("exchange", newest.exchange))
            ]
    without = frozenset({"CC"}) if drop_cc and version < (4, 0) else frozenset()
    changed = message.with_headers(tuple(extra), without=without)
    native = message.native
    if isinstance(native, Amqp) and native.expiration is not None:
        changed = msgspec.structs.replace(changed, native=msgspec.structs.replace(native, expiration=None))
    return changed


def parse(value: HeaderValue) -> tuple[Death, ...]:
    """What a client published as `x-death`, as far as it makes sense: brokers up to 3.13 honour it (R48)."""
    tables = value if isinstance(value, list) else []
    return tuple(_parse(table) for table in tables if isinstance(table, dict) and table.get("queue"))


def _parse(table: dict[str, HeaderValue]) -> Death:
    keys = table.get("routing-keys")
    expiration = table.get("original-expiration")
    return Death(
        queue=_text(table.get("queue")),
        reason=_text(table.get("reason")),
        count=_number(table.get("count")),
        time_s=_number(table.get("time")),
        exchange=_text(table.get("exchange")),
        keys=tuple(map(_text, keys)) if isinstance(keys, list) else (),
        expiration=None if expiration is None else _text(expiration),
    )


def _text(value: HeaderValue) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _number(value: HeaderValue) -> int:
    if isinstance(value, Wire):
        value = value.value
    return int(value) if isinstance(value, int | float) else 0


def arriving_keys(message: Message, key: str) -> tuple[str, ...]:
    """The routing key and those that CC and BCC add (R5)."""
    if not any(name in ARRIVING_KEYS for name, _ in message.headers):
        return (key,)
    added = (value for name, value in message.headers if name in ARRIVING_KEYS and isinstance(value, list))
    return (key, *(_text(one) for value in added for one in value))
