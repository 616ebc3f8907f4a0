"""The management API's rows as mqdash's own records."""

from __future__ import annotations

from typing import Any

import msgspec

from mqdash.model.topology import Attendant, Binding, Destination, Queue, QueueRef, Route


def queue_of(row: dict[str, Any]) -> Queue:
    """A queue from the API's row; its arguments win over its policy."""
    limits = {**row.get("effective_policy_definition", {}), **_stripped(row.get("arguments", {}))}
    exchange = limits.get("dead-letter-exchange")
    return Queue(
        ref=QueueRef(row["name"]),
        kind=row.get("type") or str(limits.get("queue-type", "classic")),
        durable=bool(row.get("durable", True)),
        exclusive=bool(row.get("exclusive", False)),
        auto_delete=bool(row.get("auto_delete", False)),
        dead_letter=None if exchange is None else Route(exchange, str(limits.get("dead-letter-routing-key", ""))),
        ttl_s=_seconds(limits.get("message-ttl")),
        expires_s=_seconds(limits.get("expires")),
        max_length=_whole(limits.get("max-length")),
        max_length_bytes=_whole(limits.get("max-length-bytes")),
        overflow=limits.get("overflow"),
        max_priority=_whole(limits.get("max-priority")),
        delivery_limit=_whole(limits.get("delivery-limit")),
        single_active_consumer=limits.get("single-active-consumer") is True,
    )


def _stripped(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("x-"): value for name, value in arguments.items()}


def _seconds(value: object) -> float | None:
    return value / 1000 if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def destination_of(row: dict[str, Any]) -> Destination:
    """An exchange from the API's row."""
    return Destination(
        name=row["name"],
        kind=row["type"],
        durable=bool(row.get("durable", True)),
        internal=bool(row.get("internal", False)),
        alternate=row.get("arguments", {}).get("alternate-exchange"),
    )


def binding_of(row: dict[str, Any]) -> Binding:
    """A binding from the API's row."""
    to_queue = row["destination_type"] == "queue"
    return Binding(
        source=row["source"],
        queue=QueueRef(row["destination"]) if to_queue else None,
        destination=None if to_queue else row["destination"],
        key=row["routing_key"],
        headers=tuple((str(name), str(value)) for name, value in row.get("arguments", {}).items()),
    )


def attendant_of(row: dict[str, Any], ours: set[str], in_flight: dict[str, int | None]) -> Attendant:
    """A consumer from the API's row."""
    channel = row.get("channel_details", {})
    if not isinstance(channel, dict):
        channel = {}
    host, port = channel.get("peer_host"), channel.get("peer_port")
    return Attendant(
        queue=QueueRef(row["queue"]["name"]),
        name=row["consumer_tag"],
        address=f"{host}:{port}" if host and port else "",
        prefetch=row.get("prefetch_count"),
        in_flight=in_flight.get(str(channel.get("name", ""))),
        ours=row["consumer_tag"] in ours,
    )


def built_in(name: str) -> bool:
    """An exchange every broker has."""
    return not name or name.startswith("amq.")


def marked(queue: Queue, bindings: list[dict[str, Any]], graves: set[Route]) -> Queue:
    """The queue, marked when dead letters go to it: named in a route, or bound to somebody's dead-letter exchange."""
    name = queue.ref.name
    behind = {row["source"] for row in bindings if row["destination"] == name and row["destination_type"] == "queue"}
    holds = any(route.key == name if not route.destination else route.destination in behind for route in graves)
    return msgspec.structs.replace(queue, holds_dead_letters=True) if holds else queue
