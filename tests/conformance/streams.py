"""One stream with a group, by bare commands: the model's own methods, and real Redis through redis-py without any retries."""

import contextlib
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mqdash.brokers.embedded.kernel import UNBOUNDED
from mqdash.brokers.embedded.stream import START, Given, Stream, StreamGroup, id_text, parse_id
from mqdash.model.message import Entry, Message
from tests.harness import require_target, target_names

_Test = TypeVar("_Test", bound=Callable[..., Any])
Fields = tuple[tuple[bytes, bytes], ...]
Got = tuple[str, bytes | None]
"""An entry's id and its `body` field; None when the entry is gone."""
MODEL = "embedded-redis"


class NoGroup(Exception):
    """NOGROUP."""


class Streams(ABC):
    """A fresh stream and its group; ids as Redis writes them, times in seconds."""

    @abstractmethod
    def add(self, body: bytes = b"x", *, at: str = "*", fields: Fields = ()) -> str:
        """XADD; ValueError for an id that is not above the top one."""

    @abstractmethod
    def read(self, consumer: str, count: int = 100, *, noack: bool = False) -> list[Got]:
        """XREADGROUP >; NoGroup."""

    @abstractmethod
    def reread(self, consumer: str) -> list[Got]:
        """XREADGROUP 0."""

    @abstractmethod
    def ack(self, entry_id: str) -> int:
        """XACK."""

    @abstractmethod
    def claim(self, consumer: str, entry_id: str, *, min_idle_s: float = 0.0) -> list[str]:
        """XCLAIM."""

    @abstractmethod
    def autoclaim(self, consumer: str, count: int, *, start: str = "0-0") -> tuple[list[str], str, list[str]]:
        """XAUTOCLAIM with no minimum: claimed, where to go on (0-0 at the end), dropped because their entry is gone."""

    @abstractmethod
    def delete(self, entry_id: str) -> int:
        """XDEL."""

    @abstractmethod
    def trim(self, length: int) -> int:
        """XTRIM MAXLEN =."""

    @abstractmethod
    def delete_consumer(self, consumer: str) -> int:
        """XGROUP DELCONSUMER."""

    @abstractmethod
    def set_id(self, at: str) -> None:
        """XGROUP SETID; `$` is the last id there is."""

    @abstractmethod
    def destroy_group(self) -> None:
        """XGROUP DESTROY."""

    @abstractmethod
    def pending(self) -> dict[str, tuple[str, int]]:
        """XPENDING: owner and delivery count of each id."""

    @abstractmethod
    def entries(self) -> list[tuple[str, Fields]]:
        """XRANGE - +."""

    @abstractmethod
    def lag(self) -> int | None:
        """What XINFO GROUPS calls lag."""

    @abstractmethod
    def pass_s(self, seconds: float) -> None:
        """Let time pass."""


class ModelStreams(Streams):
    """On the embedded broker's state machine."""

    def __init__(self) -> None:
        self._now_s = 1_700_000_000.0
        self._stream = Stream("s", UNBOUNDED)
        self._stream.group("g")

    @property
    def _group(self) -> StreamGroup:
        group = self._stream.groups.get("g")
        if group is None:
            raise NoGroup
        return group

    def add(self, body: bytes = b"x", *, at: str = "*", fields: Fields = ()) -> str:
        message = Message(content=fields or ((b"body", body),), native=Entry())
        added = self._stream.add(message, self._now_s, entry_id=None if at == "*" else parse_id(at))
        return id_text(added)

    def read(self, consumer: str, count: int = 100, *, noack: bool = False) -> list[Got]:
        return [_got(one) for one in self._group.read(consumer, count, self._now_s, noack=noack)]

    def reread(self, consumer: str) -> list[Got]:
        return [_got(one) for one in self._group.reread(consumer, 100, self._now_s)]

    def ack(self, entry_id: str) -> int:
        return int(self._group.ack(parse_id(entry_id)))

    def claim(self, consumer: str, entry_id: str, *, min_idle_s: float = 0.0) -> list[str]:
        ids = [parse_id(entry_id)]
        return [
            id_text(one.entry_id) for one in self._group.claim(ids, consumer, min_idle_s=min_idle_s, now_s=self._now_s)
        ]

    def autoclaim(self, consumer: str, count: int, *, start: str = "0-0") -> tuple[list[str], str, list[str]]:
        found, cursor, gone = self._group.autoclaim(
            consumer, min_idle_s=0.0, limit=count, now_s=self._now_s, start=parse_id(start)
        )
        return [id_text(one.entry_id) for one in found], id_text(cursor), [id_text(one) for one in gone]

    def delete(self, entry_id: str) -> int:
        return int(self._stream.delete(parse_id(entry_id)))

    def trim(self, length: int) -> int:
        return self._stream.trim_to(length)

    def delete_consumer(self, consumer: str) -> int:
        return self._group.delete_consumer(consumer)

    def set_id(self, at: str) -> None:
        self._group.set_id(self._stream.last_id if at == "$" else START if at == "0" else parse_id(at))

    def destroy_group(self) -> None:
        del self._stream.groups["g"]

    def pending(self) -> dict[str, tuple[str, int]]:
        return {id_text(one): (kept.owner, kept.count) for one, kept in sorted(self._group.pending.items())}

    def entries(self) -> list[tuple[str, Fields]]:
        found = [(one, self._stream.entries[one].message.content) for one in self._stream.ids]
        return [(id_text(one), content) for one, content in found if not isinstance(content, bytes)]

    def lag(self) -> int | None:
        return self._group.lag

    def pass_s(self, seconds: float) -> None:
        self._now_s += seconds


def _got(one: Given) -> Got:
    return id_text(one.entry_id), None if one.kept is None else one.kept.message.field("body")


class RealStreams(Streams):
    """On a real Redis; the key is removed afterwards."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2)
        self.client.response_callbacks.clear()  # replies as they are
        self.key = f"mqdash-test-{uuid.uuid4().hex[:12]}"
        self.ask("XGROUP", "CREATE", self.key, "g", "0", "MKSTREAM")

    def ask(self, *words: Any) -> Any:
        """One command as it is."""
        try:
            return self.client.execute_command(*words)
        except redis.ResponseError as error:
            if str(error).startswith("NOGROUP"):
                raise NoGroup from None
            if "equal or smaller" in str(error):
                raise ValueError(str(error)) from None
            raise

    def add(self, body: bytes = b"x", *, at: str = "*", fields: Fields = ()) -> str:
        pairs = fields or ((b"body", body),)
        return str(self.ask("XADD", self.key, at, *(part for pair in pairs for part in pair)).decode())

    def read(self, consumer: str, count: int = 100, *, noack: bool = False) -> list[Got]:
        return self._read(consumer, ">", count, noack=noack)

    def reread(self, consumer: str) -> list[Got]:
        return self._read(consumer, "0", 100, noack=False)

    def _read(self, consumer: str, after: str, count: int, *, noack: bool) -> list[Got]:
        how = ("NOACK",) if noack else ()
        answer = self.ask("XREADGROUP", "GROUP", "g", consumer, "COUNT", count, *how, "STREAMS", self.key, after)
        found = [] if not answer else answer[0][1]
        return [(one[0].decode(), _body(one[1])) for one in found]

    def ack(self, entry_id: str) -> int:
        return int(self.ask("XACK", self.key, "g", entry_id))

    def claim(self, consumer: str, entry_id: str, *, min_idle_s: float = 0.0) -> list[str]:
        answer = self.ask("XCLAIM", self.key, "g", consumer, round(min_idle_s * 1000), entry_id, "JUSTID")
        if not answer:
            return []
        self.ask("XCLAIM", self.key, "g", consumer, 0, entry_id)  # counts, as a claim without JUSTID does
        return [one.decode() for one in answer]

    def autoclaim(self, consumer: str, count: int, *, start: str = "0-0") -> tuple[list[str], str, list[str]]:
        cursor, found, gone = self.ask("XAUTOCLAIM", self.key, "g", consumer, 0, start, "COUNT", count, "JUSTID")
        return [one.decode() for one in found], cursor.decode(), [one.decode() for one in gone]

    def delete(self, entry_id: str) -> int:
        return int(self.ask("XDEL", self.key, entry_id))

    def trim(self, length: int) -> int:
        return int(self.ask("XTRIM", self.key, "MAXLEN", "=", length))

    def delete_consumer(self, consumer: str) -> int:
        return int(self.ask("XGROUP", "DELCONSUMER", self.key, "g", consumer))

    def set_id(self, at: str) -> None:
        self.ask("XGROUP", "SETID", self.key, "g", at)

    def destroy_group(self) -> None:
        self.ask("XGROUP", "DESTROY", self.key, "g")

    def pending(self) -> dict[str, tuple[str, int]]:
        rows = self.ask("XPENDING", self.key, "g", "-", "+", 1000)
        return {row[0].decode(): (row[1].decode(), row[3]) for row in rows}

    def entries(self) -> list[tuple[str, Fields]]:
        found = self.ask("XRANGE", self.key, "-", "+")
        return [(one[0].decode(), tuple(zip(one[1][::2], one[1][1::2], strict=True))) for one in found]

    def lag(self) -> int | None:
        [group] = self.ask("XINFO", "GROUPS", self.key)
        lag: int | None = group[group.index(b"lag") + 1]
        return lag

    def pass_s(self, seconds: float) -> None:
        time.sleep(seconds)  # idle times are the server's own

    def end(self) -> None:
        """Remove the key."""
        self.client.delete(self.key)
        self.client.close()


def _body(fields: list[bytes] | None) -> bytes | None:
    return None if not fields else dict(zip(fields[::2], fields[1::2], strict=True)).get(b"body")


def streams_natively(test: _Test) -> _Test:
    """Run the body on the model and on every real Redis; it receives `streams: Streams`."""
    decorated: _Test = pytest.mark.parametrize("streams", [MODEL, *real_redis()], indirect=True)(test)
    return decorated


def streams_really(test: _Test) -> _Test:
    """Run it on every real Redis only; it receives `streams: RealStreams`."""
    decorated: _Test = pytest.mark.parametrize("streams", real_redis(), indirect=True)(test)
    return decorated


def real_redis() -> Sequence[Any]:
    """The real ones."""
    return [pytest.param(name, marks=pytest.mark.broker) for name in target_names("redis")]


@contextlib.contextmanager
def streams_for(name: str) -> Iterator[Streams]:
    """The stream on that target, removed afterwards."""
    if name == MODEL:
        yield ModelStreams()
        return
    real = RealStreams(require_target(name).url)
    try:
        yield real
    finally:
        real.end()
