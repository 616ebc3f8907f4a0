"""Origin and cause of a dead letter, from whoever wrote them: mqdash's own headers first, then the broker's or framework's.

Everything read here is data from outside: names are checked against the broker before anything is sent there (semantics §5.2).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mqdash.dead_letters.letter import Letter, Step
from mqdash.model.causes import CANNOT_DECODE
from mqdash.model.message import Amqp, Entry, Message, Record, Wire
from mqdash.model.topology import QueueRef, Route

if TYPE_CHECKING:
    from mqdash.model.delivery import Delivery

WAIT_PREFIX = "mqdash.wait."
NATIVE_REASONS = {
    "rejected": "rejected (no reason recorded)",
    "expired": "expired",
    "maxlen": "queue was full",
    "delivery_limit": "delivered too often",
}


def read_letter(number: int, delivery: Delivery) -> Letter:
    """Read one dead letter; what nobody tells stays empty."""
    message = delivery.message
    deaths = _x_deaths(message)
    base = Letter(
        number=number,
        delivery=delivery,
        id=message.id or f"{delivery.queue.name}#{number}",
        key=delivery.key,
        replays=_int(message.header_text("x-mqdash-n")) or 0,
    )
    if message.undecoded:  # its headers are in there, too
        return _with(base, {**(_by_name(delivery) or {}), "cause": CANNOT_DECODE, "text": message.undecoded})
    read = _ours(message, delivery) or _x_death(message, delivery, deaths) or _frameworks(message) or _by_name(delivery)
    return base if read is None else _with(base, read)


def _with(letter: Letter, read: dict[str, Any]) -> Letter:
    import msgspec

    return msgspec.structs.replace(letter, **read)


def _ours(message: Message, delivery: Delivery) -> dict[str, Any] | None:
    """What a worker of mqdash wrote when it moved the message (semantics §2.1)."""
    error = message.header_text("x-mqdash-error")
    queue = message.header_text("x-mqdash-queue")
    if error is None and queue is None:
        return None
    exchange, key = message.header_text("x-mqdash-exchange"), message.header_text("x-mqdash-key") or ""
    origin = QueueRef(queue, message.header_text("x-mqdash-group") or "") if queue else None
    by = message.header_text("x-mqdash-worker") or ""
    attempt = _int(message.header_text("x-mqdash-attempt"))
    source = None if exchange is None else Route(exchange, key)
    return {
        "cause": error or "",
        "text": message.header_text("x-mqdash-error-text") or "",
        "by": by,
        "deaths": attempt,
        "died_at_s": _moved_at(message),
        "origin": origin,
        "home": _home(message, origin),
        "source": source,
        "dialect": "mqdash",
        "path": _path(source, origin, f"dead-lettered by {by}" if by else "dead-lettered", delivery),
    }


def _x_deaths(message: Message) -> list[dict[str, Any]]:
    header = message.header("x-death")
    return [entry for entry in header if isinstance(entry, dict)] if isinstance(header, list | tuple) else []


def _x_death(message: Message, delivery: Delivery, deaths: list[dict[str, Any]]) -> dict[str, Any] | None:
    """RabbitMQ's own history: the entry named by `x-first-death-*`, deaths in our wait queues left out."""
    real = [entry for entry in deaths if not _text(entry.get("queue")).startswith(WAIT_PREFIX)]
    if not real:
        return None
    queue, reason = message.header_text("x-first-death-queue"), message.header_text("x-first-death-reason")
    first = next((e for e in real if _text(e.get("queue")) == queue and _text(e.get("reason")) == reason), real[-1])
    origin = QueueRef(_text(first.get("queue")))
    keys = first.get("routing-keys")
    key = _text(keys[0]) if isinstance(keys, list | tuple) and keys else ""
    source = Route(_text(first.get("exchange")), key)
    why = _text(real[0].get("reason"))
    return {
        "cause": NATIVE_REASONS.get(why, why),
        "deaths": sum(_number(entry.get("count")) or 1 for entry in real),
        "died_at_s": _time(real[0].get("time")),
        "origin": origin,
        "home": _home(message, origin),
        "source": source,
        "dialect": "x-death",
        "path": _path(source, origin, why, delivery),
    }


_FRAMEWORKS = (
    (
        "spring",
        "kafka_dlt-original-topic",
        "kafka_dlt-exception-cause-fqcn kafka_dlt-exception-fqcn",
        "kafka_dlt-exception-message",
    ),
    ("spring", "kafka_original-topic", "kafka_exception-cause-fqcn kafka_exception-fqcn", "kafka_exception-message"),
    (
        "connect",
        "__connect.errors.topic",
        "__connect.errors.exception.class.name",
        "__connect.errors.exception.message",
    ),
    ("streams", "__streams.errors.topic", "__streams.errors.exception", "__streams.errors.message"),
    ("share group", "__dlq.errors.topic", "", "__dlq.errors.message"),
    ("fields", "original_stream", "error", "error"),
    ("fields", "orig_stream", "error", "error"),
)


def _frameworks(message: Message) -> dict[str, Any] | None:
    for dialect, topic_header, causes, text_header in _FRAMEWORKS:
        topic = message.header_text(topic_header)
        if topic:
            cause = next((found for name in causes.split() if (found := message.header_text(name))), "")
            origin = QueueRef(topic)
            return {
                "cause": cause,
                "text": message.header_text(text_header) or "",
                "origin": origin,
                "home": _home(message, origin),
                "dialect": dialect,
            }
    return None


_NAMES = (re.compile(r"^\{(?P<name>.+)\}:dlq$"), re.compile(r"^(?P<name>.+?)(?:\.dlq|-dlt|\.DLT|:dlq|:dead|\.failed)$"))


def _by_name(delivery: Delivery) -> dict[str, Any] | None:
    """A guess by the name of the dead-letter queue, on families where that is the custom; must be confirmed by the person."""
    if isinstance(delivery.message.native, Amqp):
        return None
    found = next((match for pattern in _NAMES if (match := pattern.match(delivery.queue.name))), None)
    if found is None:
        return None
    origin = QueueRef(found["name"])
    return {"origin": origin, "home": _home(delivery.message, origin), "dialect": "name (a guess)"}


def _home(message: Message, origin: QueueRef | None) -> Route | None:
    """The route that reaches the queue it failed in: alone on RabbitMQ (default exchange), with every group elsewhere."""
    if origin is None:
        return None
    return Route("", origin.name) if isinstance(message.native, Amqp) else Route(origin.name)


def _path(source: Route | None, origin: QueueRef | None, why: str, delivery: Delivery) -> tuple[Step, ...]:
    steps: list[Step] = []
    if source is not None and source.destination:
        steps.append(Step(kind="destination", name=source.destination, note=source.key))
    if origin is not None:
        steps.append(Step(kind="queue", name=str(origin), note=why))
    if delivery.route.destination not in {
        "",
        delivery.queue.name,
    }:  # a topic or stream is its own queue of dead letters
        steps.append(Step(kind="destination", name=delivery.route.destination))
    steps.append(Step(kind="grave", name=str(delivery.queue)))
    return tuple(steps)


def family_note(message: Message) -> str:
    """Who else a replay to the origin reaches, in a sentence, or ''."""
    if isinstance(message.native, Record):
        return "producing to the topic reaches every group on it, also those that succeeded"
    if isinstance(message.native, Entry):
        return "adding to the stream reaches every group on it, also those that succeeded"
    return ""


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _number(value: object) -> int | None:
    if isinstance(value, Wire):
        value = value.value
    return int(value) if isinstance(value, int | float) else None


def _int(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def _moved_at(message: Message) -> float | None:
    """When it was moved: written on the copy (RabbitMQ), else the copy's own time on the log or stream."""
    told = message.header_text("x-mqdash-at")
    if told is not None and re.fullmatch(r"\d{1,12}(\.\d{1,6})?", told):
        return float(told)
    native = message.native
    if isinstance(native, Record) and native.timestamp_ms is not None:
        return native.timestamp_ms / 1000
    milliseconds = native.entry_id.partition("-")[0] if isinstance(native, Entry) and native.entry_id else ""
    return int(milliseconds) / 1000 if milliseconds.isascii() and milliseconds.isdecimal() else None


def _time(value: object) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    number = _number(value)
    return None if number is None else float(number)
