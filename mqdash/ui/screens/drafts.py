"""From the fields of the publish form to a draft, with a sentence for each thing that is wrong. No widget in here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.errors import InputError
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Route
from mqdash.safe_text import SafeText, literal, safe_text

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_LIMIT: Final = 65_536
"""Longer bodies are not edited here: a text field of a megabyte takes seconds to open."""
_SECONDS: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)?\s*\Z")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def route_of(fields: Mapping[str, str], before: Route) -> Route:
    """Destination and key as typed."""
    destination, key = fields["destination"].strip(), fields["key"]
    if not destination and not key:
        raise InputError(
            "destination: name an exchange, topic, stream or channel (or a queue as key of the default exchange)"
        )
    partition = before.partition if destination == before.destination else None
    return Route(destination, key, partition)


def draft_of(fields: Mapping[str, str], before: Draft, family: Family) -> Draft:
    """The draft as typed; what the form does not show stays as it was.

    Raises:
        InputError: a field cannot be read, or the family cannot carry it; the text begins with the field's name.
    """
    draft = msgspec.structs.replace(
        before,
        body=_body(fields["body"], before.body),
        headers=_headers(fields["headers"], before.headers),
        key=fields["key"] if family is not Family.RABBITMQ else before.key,
        priority=_priority(fields["priority"]),
        ttl_s=seconds_of("TTL", fields["ttl"]),
        delay_s=seconds_of("delay", fields["delay"]),
    )
    try:
        compose(draft, family)
    except ValueError as error:
        raise InputError(str(error)) from None
    return draft


def body_text(body: bytes) -> SafeText:
    """A body as the form shows it: at most `BODY_LIMIT`, nothing that steers a terminal."""
    return safe_text(body[:BODY_LIMIT], multiline=True)


def is_editable(body: bytes) -> bool:
    """Whether the text shown is the whole body: only then does an edit of it make sense."""
    return len(body) <= BODY_LIMIT and body_text(body).encode() == body


def _body(typed: str, before: bytes) -> bytes:
    """Untouched, a body goes out byte for byte, whatever it is."""
    if typed == body_text(before):
        return before
    if not is_editable(before):
        raise InputError("body: it is not plain text of at most 64 KiB, so it can be sent as it is but not edited here")
    return typed.encode()


def _headers(typed: str, before: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return before if typed == headers_text(before) else headers_of(typed)


def headers_of(text: str) -> tuple[tuple[str, str], ...]:
    """One `name: value` a line; order and repetitions are kept."""
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InputError(f"headers, line {number}: write `name: value`")
        pairs.append((name.strip(), value.strip()))
    return tuple(pairs)


def headers_text(headers: tuple[tuple[str, str], ...]) -> SafeText:
    """Headers as the form shows them, one a line."""
    return literal("\n").joined([safe_text(f"{name}: {value}") for name, value in headers])


def seconds_of(name: str, text: str) -> float | None:
    """`30`, `1.5 s`, `200 ms`, `2 m`; empty is None."""
    if not text.strip():
        return None
    found = _SECONDS.match(text)
    if found is None:
        raise InputError(f"{name}: a time like 30 s, 200 ms or 2 m, not {text.strip()!r}")
    return float(found[1]) * _UNITS_S[found[2]]


def seconds_text(seconds: float | None) -> str:
    """The reverse of `seconds_of`."""
    return "" if seconds is None else f"{seconds:g} s"


def _priority(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) > 255:
        raise InputError(f"priority: a whole number from 0 to 255, not {text!r}")
    return int(text)
