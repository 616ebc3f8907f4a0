"""What a worker's Retry and DeadLetter verdicts send: pure functions, the same for every adapter (semantics §2.1).

A move is a copy with a reason; the original is settled only after the copy is confirmed. Nothing here talks to a
broker. RabbitMQ delays by a ladder of wait queues, each with a queue TTL and a dead-letter route back by the default
exchange: a TTL per message would wait behind longer ones (R32), and an expiring queue would lose what waits in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.model.delivery import DeadLetter, Delivery, Outgoing, Retry
from mqdash.model.message import Amqp, Entry, Headers, Record, Wire
from mqdash.model.topology import Queue, QueueRef, Route

if TYPE_CHECKING:
    from mqdash.model.message import HeaderValue, Message

ERROR: Final = "x-mqdash-error"
ERROR_TEXT: Final = "x-mqdash-error-text"
WORKER: Final = "x-mqdash-worker"
ATTEMPT: Final = "x-mqdash-attempt"
ORIGIN_QUEUE: Final = "x-mqdash-queue"
ORIGIN_GROUP: Final = "x-mqdash-group"
ORIGIN_EXCHANGE: Final = "x-mqdash-exchange"
ORIGIN_KEY: Final = "x-mqdash-key"
MOVED_AT: Final = "x-mqdash-at"
ORIGIN_TIMESTAMP: Final = "x-mqdash-timestamp"
HISTORY: Final = "x-mqdash-history"

MAX_HEADER_BYTES: Final = 1024
MAX_ERROR_TEXT_BYTES: Final = 2048
MAX_HISTORY_BYTES: Final = 4096

WAIT_PREFIX: Final = "mqdash.wait."
RUNGS: Final = (("100ms", 0.1), ("1s", 1.0), ("5s", 5.0), ("30s", 30.0), ("5m", 300.0))
"""The ladder: name and seconds of each wait queue. A longer wait than the last is served by the last."""

FRESH_S: Final = 2.0
"""RabbitMQ: for about 1 s after its declaration a quorum queue's name is only in the node's memory. A kill then takes
the queue with all it has confirmed (R13; measured on 3.10 and 4.0), so nothing is moved into a younger one."""

BROKER_HEADERS: Final = frozenset({"x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC"}) | {
    f"x-{which}-death-{what}" for which in ("first", "last") for what in ("queue", "reason", "exchange")
}
"""Headers a copy must not carry: they steer the broker (`CC` routes again, `x-death` feeds its cycle check, R47)."""


def move_headers(delivery: Delivery, error: str, error_text: str, *, worker: str) -> tuple[tuple[str, str], ...]:
    """The reason, the worker, the attempt just made and where the message failed, as text.

    A message that came back through the ladder keeps the exchange and key it first came with.
    """
    message, queue = delivery.message, delivery.queue
    pairs = [
        (ERROR, _cut(error, MAX_HEADER_BYTES)),
        (ERROR_TEXT, _cut(error_text, MAX_ERROR_TEXT_BYTES)),
        (WORKER, _cut(worker, MAX_HEADER_BYTES)),
        (ATTEMPT, str(message.attempt)),
        (ORIGIN_QUEUE, queue.name),
    ]
    if queue.group:
        pairs.append((ORIGIN_GROUP, queue.group))
    if isinstance(message.native, Amqp):
        origin = origin_route(delivery)
        pairs += [(ORIGIN_EXCHANGE, origin.destination), (ORIGIN_KEY, origin.key)]
    return tuple((name, value) for name, value in pairs if value or name not in {ERROR, ERROR_TEXT})


def origin_route(delivery: Delivery) -> Route:
    """The exchange and key the message first came to this queue with: its headers know, else its own route."""
    message = delivery.message
    if message.header_text(ORIGIN_QUEUE) == delivery.queue.name and message.header_text(ORIGIN_EXCHANGE) is not None:
        return Route(message.header_text(ORIGIN_EXCHANGE) or "", message.header_text(ORIGIN_KEY) or "")
    return delivery.route


def copied(delivery: Delivery, error: str, error_text: str, *, worker: str) -> Message:
    """The message as its copy: the move's headers added, what would steer the broker taken off (AMQP: kept as history).

    An AMQP copy is persistent, has no expiration (it would vanish while it waits) and no user id (406 when not ours).
    A Kafka copy gets a new timestamp, the old one becomes a header: retention by time would delete an old record's copy.
    """
    message = delivery.message
    texts = move_headers(delivery, error, error_text, worker=worker)
    native = message.native
    if isinstance(native, Record):
        first_ms = message.header_text(ORIGIN_TIMESTAMP) or native.timestamp_ms
        if first_ms is not None:
            texts = (*texts, (ORIGIN_TIMESTAMP, str(first_ms)))
        copy = _without_old_reason(message).with_headers(tuple((name, value.encode()) for name, value in texts))
        return msgspec.structs.replace(copy, native=Record(key=native.key))
    if isinstance(native, Entry):
        return msgspec.structs.replace(_without_old_reason(message).with_headers(texts), native=Entry())
    extra: Headers = texts
    history = _history(message)
    if history:
        extra += ((HISTORY, history),)
    copy = _without_old_reason(message).with_headers(extra, without=BROKER_HEADERS)
    assert isinstance(native, Amqp)
    return msgspec.structs.replace(
        copy, native=msgspec.structs.replace(native, expiration=None, user_id=None, delivery_mode=2)
    )


def dead_letter_copy(
    delivery: Delivery, verdict: DeadLetter, *, worker: str, to: Route, at_s: float | None = None
) -> Outgoing:
    """The copy a DeadLetter verdict publishes; an empty key in `to` means the message's own (R41). Always mandatory.

    `at_s` (Unix seconds) is written on the copy where the broker keeps no time of its own: a classic queue tells none.
    """
    key = to.key or (origin_route(delivery).key if isinstance(delivery.message.native, Amqp) else "")
    route = Route(to.destination, key, to.partition)
    copy = copied(delivery, verdict.error, verdict.error_text, worker=worker)
    if at_s is not None:
        copy = copy.with_headers(((MOVED_AT, f"{at_s:.3f}"),))
    return Outgoing(route, copy, mandatory=True)


def retry_copy(delivery: Delivery, verdict: Retry, *, worker: str) -> Outgoing:
    """RabbitMQ: the copy a Retry verdict publishes into the wait queue of its rung, by the default exchange."""
    route = Route("", wait_queue(delivery.queue.name, rung_for(verdict.after_s)).ref.name)
    return Outgoing(route, copied(delivery, verdict.error, verdict.error_text, worker=worker), mandatory=True)


def rung_for(after_s: float) -> int:
    """The index of the shortest rung that waits at least `after_s`, or of the last one."""
    return next((index for index, (_, rung_s) in enumerate(RUNGS) if rung_s >= after_s), len(RUNGS) - 1)


def wait_queue(queue: str, rung: int) -> Queue:
    """RabbitMQ: the wait queue of one rung of `queue`, declared before a copy is sent to it; never with an expiry."""
    name, rung_s = RUNGS[rung]
    return holding_queue(f"{WAIT_PREFIX}{queue}.{name}", rung_s, Route("", queue))


def holding_queue(name: str, ttl_s: float, to: Route) -> Queue:
    """RabbitMQ: a queue that holds messages for `ttl_s` and then hands them to `to`.

    A classic queue dead-letters at most once: a broker killed at the moment a message comes due can lose it (R43).
    A quorum queue keeps it until the target has confirmed it.
    """
    return Queue(
        ref=QueueRef(name),
        kind="quorum",
        ttl_s=ttl_s,
        dead_letter=to,
        dead_letter_strategy="at-least-once",
        overflow="reject-publish",
    )


def rungs_of(queue: Queue) -> tuple[Queue, ...]:
    """RabbitMQ: the rungs that the retries of this queue's workers will need (`Queue.retry_after_s`)."""
    return tuple(
        wait_queue(queue.ref.name, rung) for rung in sorted({rung_for(wait_s) for wait_s in queue.retry_after_s})
    )


def wait_queues(queue: str) -> tuple[Queue, ...]:
    """RabbitMQ: all rungs of a queue."""
    return tuple(wait_queue(queue, rung) for rung in range(len(RUNGS)))


def is_wait_queue(name: str) -> bool:
    """Whether a queue is a rung of somebody's ladder: counted as `delayed` of its queue, never shown as a queue."""
    return name.startswith(WAIT_PREFIX)


def _without_old_reason(message: Message) -> Message:
    gone = frozenset(
        {ERROR, ERROR_TEXT, WORKER, ATTEMPT, MOVED_AT, ORIGIN_QUEUE, ORIGIN_GROUP, ORIGIN_EXCHANGE, ORIGIN_KEY}
    )
    return message.with_headers((), without=gone)


def _history(message: Message) -> str:
    """What the broker wrote about the message, as JSON of at most 4 KiB; deaths in our wait queues are no history."""
    kept: dict[str, HeaderValue] = {}
    for name, value in message.headers:
        if name not in BROKER_HEADERS or name in {"x-delivery-count", "x-acquired-count"}:
            continue
        found = [death for death in value if not _in_ladder(death)] if isinstance(value, list) else value
        if found and not (name.endswith("-death-queue") and is_wait_queue(str(found))):
            kept[name] = found
    only_ladder = "x-death" not in kept and any(name == "x-death" for name, _ in message.headers)
    if only_ladder:
        kept = {name: value for name, value in kept.items() if not name.startswith(("x-first-death", "x-last-death"))}
    if isinstance(message.native, Amqp) and message.native.expiration is not None:
        kept["expiration"] = message.native.expiration
    if not kept:
        return message.header_text(HISTORY) or ""
    return history_with(message, kept)


def history_with(message: Message, kept: dict[str, HeaderValue]) -> str:
    """The message's `x-mqdash-history` with these headers added: valid JSON of at most 4 KiB.

    When it would be longer, the longest values are left out first, their names kept in `cut`: what is there is whole.
    """
    whole = {**_earlier(message), **kept}
    cut: list[str] = []
    while True:
        shown = {**whole, "cut": cut} if cut else whole
        text = json.dumps(shown, default=_plain, ensure_ascii=True)
        if len(text) <= MAX_HISTORY_BYTES or not whole:
            return text if len(text) <= MAX_HISTORY_BYTES else json.dumps({"cut": len(cut)})
        longest = max(whole, key=lambda name: len(json.dumps(whole[name], default=_plain)))
        del whole[longest]
        cut.append(longest)


def _earlier(message: Message) -> dict[str, HeaderValue]:
    try:
        earlier = json.loads(message.header_text(HISTORY) or "{}")
    except ValueError:
        return {}
    return earlier if isinstance(earlier, dict) else {}


def _in_ladder(death: HeaderValue) -> bool:
    return isinstance(death, dict) and is_wait_queue(str(death.get("queue", "")))


def _plain(value: HeaderValue) -> HeaderValue:
    if isinstance(value, Wire):
        return value.value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _cut(text: str, limit_bytes: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8") if len(data) <= limit_bytes else data[: limit_bytes - 3].decode("utf-8", "ignore") + "…"
