"""What is known of a broker and of the way to it."""

from __future__ import annotations

import enum

import msgspec

from mqdash.model.message import Family


class BrokerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out at connect. `url` has no secret in it. `notes`: simplifications (E5) and sources, in sentences."""

    family: Family
    version: str
    url: str
    embedded: bool = False
    writable: bool = True
    abilities: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


class LeaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What holding these dead letters means: `total` in the queue at the start, `order` they are in, `cost` in a sentence."""

    total: int | None
    order: str  # "oldest" or "newest"
    held: bool  # others cannot take them while we look
    cost: str = ""
    in_one: str = ""  # how copy and removal are one step ("one transaction"); "" when they are two
    returns_left: int | None = None  # a quorum queue drops a message after this many more returns (F1)
    returned: str = ""  # "" while it holds, or why what it held went back to its queue by itself


class LinkState(enum.StrEnum):
    """The state of the way to a broker: `refused` is final until somebody changes something (login, URL, TLS)."""

    CONNECTING = "connecting"
    UP = "up"
    STALE = "stale"  # connected, but it has not answered our probe
    DOWN = "down"  # will be tried again
    REFUSED = "refused"  # will not be tried again by itself
    CLOSED = "closed"
