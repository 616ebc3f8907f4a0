"""One Redis connection: commands in, replies out, never a retry and never a second socket behind it (F4).

redis-py's client repeats commands and reconnects by itself; a repeated XADD is a duplicate, a repeated XREADGROUP hides
entries. So its connection class is used directly: after any error or silence the session is over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from hiredis import pack_command
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from mqdash.brokers.life import CONNECT_LIMIT_S
from mqdash.brokers.reach import greet, tls_context
from mqdash.brokers.redis.errors import cause_of, code_of, login_error, translated
from mqdash.errors import BrokerUnavailable, ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.brokers.redis.scripts import Script
    from mqdash.brokers.url import BrokerUrl

ANSWER_LIMIT_S: Final = 5.0
LARGE_BYTES: Final = 32_768
Command = tuple[Any, ...]


class Lost(Exception):
    """Stands in for a reply that never came: whether the command was executed is not known."""


class Session:
    """An open connection. `ended` is called once, with the cause, when it dies by itself."""

    def __init__(self, broker: str, connection: Any) -> None:
        self.broker = broker
        self.ended: Callable[[str], None] = lambda _: None
        self.cause: str | None = None
        self.connection = connection
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[list[Any]]] = set()

    @classmethod
    async def open(cls, url: BrokerUrl, name: str) -> Session:
        """Connect and log in, named `name` in CLIENT LIST.

        Raises:
            BrokerError: with the cause in words, within 8 s.
        """
        connection = _connection(url, name)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await connection.connect()
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            raise login_error(url, error) from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(url.safe, connection)

    async def run(self, commands: Sequence[Command], *, limit_s: float = ANSWER_LIMIT_S) -> list[Any]:
        """Send all, read all: one result each, an error reply as a ResponseError, no reply as Lost. Raises nothing.

        A command with text that has no bytes (a lone surrogate) is not sent: a ResponseError, too; the session lives on.
        Cancelling the wait does not take the reply away from the next command: it is read in the background.
        """
        task = asyncio.create_task(self._exchange(commands, limit_s), name=f"redis {self.broker}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def call(self, *command: Any, limit_s: float = ANSWER_LIMIT_S) -> Any:
        """One command's reply.

        Raises:
            BrokerError: the broker refused it, or the connection is gone.
        """
        result = (await self.run([command], limit_s=limit_s))[0]
        if isinstance(result, Lost):
            raise ConnectionLost(self.broker, str(result))
        if isinstance(result, Exception):
            raise translated(self.broker, result)
        return result

    async def each(self) -> list[Session]:
        """The nodes behind this session: itself."""
        return [self]

    async def scripts(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run a script once per (keys, arguments), in one go; results as `run` gives them."""
        hashed = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        results = await self.run(hashed)
        unknown = [index for index, result in enumerate(results) if isinstance(result, NoScriptError)]
        if unknown:  # not executed at all: sent whole, it is executed and kept
            whole = [("EVAL", script.text, *hashed[index][2:]) for index in unknown]
            for index, result in zip(unknown, await self.run(whole), strict=True):
                results[index] = result
        return results

    async def _exchange(self, commands: Sequence[Command], limit_s: float) -> list[Any]:
        try:
            packed = self._packed(commands)
        except UnicodeEncodeError as error:
            if len(commands) > 1:  # the others are good, perhaps
                return [(await self._exchange([command], limit_s))[0] for command in commands]
            return [ResponseError(f"not sent: {error.object[error.start]!r} in it cannot be written as UTF-8")]
        results: list[Any] = []
        async with self._lock:
            try:
                if self.cause is None:
                    async with asyncio.timeout(limit_s):
                        await self.connection.send_packed_command(packed)
                        for _ in commands:
                            results.append(await self._reply())  # noqa: PERF401 - those before an error count
            except (RedisError, OSError, TimeoutError, ValueError, LookupError) as error:  # the last two: damaged bytes
                self._die(cause_of(error))
        return results + [Lost(self.cause or "closed") for _ in range(len(commands) - len(results))]

    def _packed(self, commands: Sequence[Command]) -> list[bytes]:
        """By hiredis, a quarter of the library's cost; large values by the library, which does not copy them."""
        parts: list[bytes] = []
        for command in commands:
            if _has_large(command):
                parts += self.connection.pack_command(*command)
            else:
                parts.append(pack_command(command))
        return parts

    async def _reply(self) -> Any:
        try:
            return await self.connection.read_response(disconnect_on_error=False)
        except RedisError as error:
            if isinstance(error, ResponseError) or code_of(error):
                return error  # an answer: redis-py counts LOADING and NOAUTH among lost connections
            raise

    def _die(self, cause: str) -> None:
        if self.cause is None:
            self.drop(cause)
            self.ended(cause)

    def drop(self, cause: str) -> None:
        """Drop the socket without a word; replies that are still to come are Lost."""
        if self.cause is not None:
            return
        self.cause = cause
        writer = self.connection._writer  # noqa: SLF001 - there is no public abrupt end
        if writer is not None:
            writer.transport.abort()

    async def close(self) -> None:
        """Drop the socket and wait until what ran on it has noticed."""
        self.drop("closed")
        if self._running:
            await asyncio.wait(set(self._running), timeout=1.0)
        await self.connection.disconnect(nowait=True)


async def reachable(url: BrokerUrl) -> None:
    """Raise what is wrong with the port, if it does not answer as Redis does."""
    context = await asyncio.to_thread(tls_context, url)
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await greet(url, context, b"PING\r\n", "Redis")
    except TimeoutError:
        raise BrokerUnavailable(url.safe, f"{url.address} did not answer within {CONNECT_LIMIT_S:g} s") from None


def _has_large(command: Command) -> bool:
    for part in command:  # noqa: SIM110 - run for every message: `any` costs three times as much
        if isinstance(part, bytes) and len(part) > LARGE_BYTES:
            return True
    return False


def _connection(url: BrokerUrl, name: str) -> Any:
    host, port = url.hosts[0]
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": int(url.path) if url.path.isdecimal() else 0,
        "username": url.user or None,
        "password": url.password.reveal() or None,
        "client_name": "".join(letter if "!" <= letter <= "~" else "-" for letter in name) or None,
        "driver_info": None,
        "socket_timeout": None,  # the limit of each exchange is ours (F5)
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "legacy_responses": False,
        "health_check_interval": 0,
    }
    if not url.tls:
        return Connection(**options)
    return SSLConnection(
        ssl_ca_certs=url.option("ca") or None,
        ssl_certfile=url.option("cert") or None,
        ssl_keyfile=url.option("key") or None,
        ssl_cert_reqs="required",
        ssl_check_hostname=True,
        **options,
    )
