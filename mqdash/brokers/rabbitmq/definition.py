"""What a queue was declared with, asked over AMQP where no management API tells it.

A declare with other arguments is refused (406) and changes nothing; the broker names the first argument that differs
and its current value. Asked again with that value it names the next, until it says yes: then all of them are known.
Limits set by a policy are no arguments and stay unseen.

A queue that vanished meanwhile must not be created by the question. So every question carries arguments that no queue
can be created with (`TRAPS`), at least two of which the queue's own type ignores when it compares. Seen on 3.10 and 4.0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mqdash.brokers.rabbitmq.rows import queue_of
from mqdash.errors import AccessRefused, Conflict, ConnectionLost

if TYPE_CHECKING:
    from mqdash.brokers.rabbitmq.scratch import Scratch
    from mqdash.model.topology import Queue

TRAPS: Final = {
    "x-delivery-limit": "mqdash asks",
    "x-max-priority": "mqdash asks",
    "x-stream-max-segment-size-bytes": "mqdash asks",
}
"""Of the wrong type each: classic queues compare the second, quorum queues the first, streams the third."""
MAX_QUESTIONS: Final = 25
_CURRENT: Final = re.compile(r"none|the value '(.*)' of type '(\w+)'|'(.*)'", re.DOTALL)
_FLAGS: Final = {"durable": True, "auto_delete": False, "exclusive": False}
_TEXTS: Final = frozenset({"longstr", "shortstr"})


async def defined(scratch: Scratch, name: str) -> Queue | None:
    """The queue as it was declared; None when the broker does not tell.

    That is: a user who may not declare, a text that is not understood.

    Raises:
        NotFound: no such queue.
        BrokerUnavailable: no answer.
    """
    await scratch.call("queue_declare", name, passive=True)
    flags, arguments, told = dict(_FLAGS), dict[str, Any](TRAPS), set[str]()
    for _ in range(MAX_QUESTIONS):
        try:
            await scratch.call("queue_declare", name, **flags, arguments=arguments)
        except ConnectionLost:
            raise
        except AccessRefused:
            return None
        except Conflict as error:
            differing = _differing(error.text, name)
            if differing is None or differing[0] in told:
                return None
            argument, current = differing
            told.add(argument)
            if argument in flags:
                flags[argument] = bool(current)
            elif current is None:
                arguments.pop(argument, None)
            else:
                arguments[argument] = current
            if not any(arguments.get(trap) == value for trap, value in TRAPS.items()):
                return None  # the next question could create a queue
        else:
            return _queue(name, flags, arguments, told)
    return None


def _queue(name: str, flags: dict[str, bool], arguments: dict[str, Any], told: set[str]) -> Queue:
    real = {key: value for key, value in arguments.items() if TRAPS.get(key) != value}
    kind = real.get("x-queue-type", "classic")
    if "x-delivery-limit" in told:
        kind = "quorum"  # only those compare it; a broker can be set to let their type pass as classic
    return queue_of({"name": name, "type": kind, "arguments": real, **flags})


def _differing(text: str, name: str) -> tuple[str, Any] | None:
    """(argument, current value or None when it has none) of a 406, or None when it says something else."""
    pattern = rf".*? arg '([\w-]+)' for queue '{re.escape(name)}' in vhost .*?: received .*? but current is (.*)"
    found = re.fullmatch(pattern, text, re.DOTALL)
    current = None if found is None else _CURRENT.fullmatch(found[2])
    if found is None or current is None:
        return None
    if current[0] == "none":
        return found[1], None
    value = current[1] if current[2] else current[3]
    if current[2] in _TEXTS:
        return found[1], value
    if value in {"true", "false"}:
        return found[1], value == "true"
    return found[1], int(value) if re.fullmatch(r"-?\d+", value) else value
