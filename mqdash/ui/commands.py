"""The command line `:`: a few words become a wish, completed from what is on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mqdash.errors import InputError
from mqdash.model.actors import WorkerState
from mqdash.ui.wishes import Wish

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.model.views import ProducerView, View, WorkerView

WORKER_WORDS: Final = {
    "kill": "kill",
    "hang": "hang",
    "crash": "crash_next",
    "finish": "finish",
    "pause": "pause",
}
PRODUCER_WORDS: Final = {"toggle": "toggle", "burst": "burst", "publish": "publish", "rate": "set_rate"}
DEAD: Final = frozenset({WorkerState.KILLED, WorkerState.CRASHED, WorkerState.GONE, WorkerState.DRAINING})
OTHER_WORDS: Final = ("scale", "help", "q")
WORDS: Final = (*WORKER_WORDS, *PRODUCER_WORDS, *OTHER_WORDS)


def parse(line: str, view: View, broker: str) -> Wish:
    """The wish a line stands for; names are looked up on the shown broker first, then on the others.

    `help`, `q` and `publish` are wishes of the screen: their `action` is that word.

    Raises:
        InputError: the text says what was not understood and what would be.
    """
    words = line.split()
    if not words:
        raise InputError("type a command, for example: kill W2")
    word, rest = words[0], words[1:]
    if word in {"q", "quit"}:
        return Wish(action="q", broker=broker, subject="")
    if word == "help":
        return Wish(action="help", broker=broker, subject="")
    if word in WORKER_WORDS:
        worker = _worker(_one(word, rest, "a worker"), view, broker)
        return Wish(action=WORKER_WORDS[word], broker=worker.worker.broker, subject=worker.worker.name)
    if word == "scale":
        return _scale(rest, view, broker)
    if word in PRODUCER_WORDS:
        return _produce(word, rest, view, broker)
    raise InputError(f"{word!r} is not a command; there are {', '.join(WORDS)}")


def _scale(rest: list[str], view: View, broker: str) -> Wish:
    if len(rest) != 2:
        raise InputError("scale takes a pool (or one of its workers) and a number: scale W 5")
    name, count = rest[0], _whole(rest[1], "the number of workers")
    for row in _first(view.workers.rows, broker):
        if name in {row.worker.pool, row.worker.name}:
            home, pool = row.worker.broker, row.worker.pool or name
            return Wish(action="scale", broker=home, subject=pool, args=(count - living(view, home, pool),))
    pools = sorted({row.worker.pool for row in view.workers.rows if row.worker.pool})
    raise InputError(f"there is no pool {name!r}; there are {', '.join(pools) or 'none'}")


def living(view: View, broker: str, pool: str) -> int:
    """How many workers of a pool work."""
    rows = (row.worker for row in view.workers.rows)
    return sum(worker.broker == broker and worker.pool == pool and worker.state not in DEAD for worker in rows)


def _produce(word: str, rest: list[str], view: View, broker: str) -> Wish:
    if word == "publish" and not rest:
        return Wish(action="publish", broker=broker, subject="")
    name = rest[0] if rest else ""
    numbers = rest[1:]
    if not name or (word == "rate" and len(numbers) != 1) or len(numbers) > 1:
        raise InputError("rate takes a producer and messages a second: rate shop 200" if word == "rate"
                         else f"{word} takes a producer: {word} shop")  # fmt: skip
    producer = _producer(name, view, broker).producer
    args: tuple[float, ...] = ()
    if word == "rate":
        args = (_rate(numbers[0]),)
    elif word == "burst" and numbers:
        args = (_whole(numbers[0], "the size of the burst"),)
    elif numbers:
        raise InputError(f"{word} takes a producer and nothing more")
    return Wish(action=PRODUCER_WORDS[word], broker=producer.broker, subject=producer.name, args=args)


def complete(line: str, view: View, broker: str) -> str:
    """The line with its last word completed, "" when nothing fits."""
    words = line.split(" ")
    last = words[-1]
    if len(words) == 1:
        options: Iterable[str] = WORDS
    elif len(words) == 2:
        options = _names(words[0], view, broker)
    else:
        return ""
    found = next((option for option in options if last and option.startswith(last) and option != last), "")
    return " ".join((*words[:-1], found)) if found else ""


def _names(word: str, view: View, broker: str) -> list[str]:
    workers = list(_first(view.workers.rows, broker))
    if word == "scale":
        return list(dict.fromkeys(row.worker.pool for row in workers if row.worker.pool))
    if word in WORKER_WORDS:
        return [row.worker.name for row in workers]
    return [row.producer.name for row in sorted(view.producers.rows, key=lambda row: row.producer.broker != broker)]


def _first(rows: Iterable[WorkerView], broker: str) -> list[WorkerView]:
    return sorted(rows, key=lambda row: row.worker.broker != broker)


def _worker(name: str, view: View, broker: str) -> WorkerView:
    for row in _first(view.workers.rows, broker):
        if row.worker.name == name:
            return row
    names = ", ".join(row.worker.name for row in view.workers.rows[:12])
    raise InputError(f"there is no worker {name!r}; there are {names or 'none'}")


def _producer(name: str, view: View, broker: str) -> ProducerView:
    for row in sorted(view.producers.rows, key=lambda row: row.producer.broker != broker):
        if row.producer.name == name:
            return row
    names = ", ".join(row.producer.name for row in view.producers.rows[:12])
    raise InputError(f"there is no producer {name!r}; there are {names or 'none'}")


def _one(word: str, rest: list[str], what: str) -> str:
    if len(rest) != 1:
        raise InputError(f"{word} takes {what}: {word} W2")
    return rest[0]


def _whole(text: str, what: str) -> int:
    if not text.isdecimal():
        raise InputError(f"{what} must be a whole number, not {text!r}")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text.removesuffix("/s"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1_000_000:
        raise InputError(f"a rate is messages a second from 0 to 1000000, not {text!r}")
    return value
