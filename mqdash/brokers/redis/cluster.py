"""A Redis cluster: every command goes to the node that has its key's slot. A moved slot is asked for again, never guessed.

A consumer works on one node only: its stream, retries and dead letters share a slot by their braces (semantics §2.3).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot

from mqdash.brokers.redis.errors import code_of
from mqdash.brokers.redis.session import ANSWER_LIMIT_S, Command, Lost, Session
from mqdash.brokers.redis.ways import node_url
from mqdash.errors import BrokerError, BrokerUnavailable, ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.brokers.url import BrokerUrl

Address = tuple[str, int]
_SECOND: Final = {"XINFO", "XGROUP"}
_KEYLESS: Final = {"PING", "INFO", "PUBLISH", "PUBSUB"}


class Cluster:
    """The slots of one life; see `mqdash.brokers.redis.ways.Way`."""

    slots = True

    def __init__(self, url: BrokerUrl, ranges: list[tuple[int, int, Address]]) -> None:
        self._url = url
        self._ranges = ranges

    @classmethod
    async def open(cls, url: BrokerUrl) -> Cluster:
        """Ask the first node that answers who has what."""
        cluster = cls(url, [])
        await cluster.refresh()
        return cluster

    async def refresh(self) -> None:
        """Read the slots anew.

        Raises:
            BrokerUnavailable: no node answers, it is no cluster, or slots have nobody.
        """
        failures: list[BrokerError] = []
        for host, port in dict.fromkeys((*self.nodes, *self._url.hosts)):
            try:
                session = await Session.open(node_url(self._url, host, port), "mqdash")
                try:
                    slots = await session.call("CLUSTER", "SLOTS")
                finally:
                    await session.close()
            except BrokerError as error:
                failures.append(error)
                continue
            self._ranges = [(one[0], one[1], (one[2][0].decode() or host, int(one[2][1]))) for one in slots]
            covered = sum(last - first + 1 for first, last, _ in self._ranges)
            if covered < 16384:
                raise BrokerUnavailable(self._url.safe, f"the cluster has nobody for {16384 - covered} of its slots")
            return
        raise failures[0]

    @property
    def nodes(self) -> tuple[Address, ...]:
        """The masters, in a fixed order."""
        return tuple(sorted({address for _, _, address in self._ranges}))

    def node_of(self, key: Any) -> Address:
        """Who has the slot of a key."""
        slot = key_slot(key if isinstance(key, bytes) else str(key).encode())
        return next(address for first, last, address in self._ranges if first <= slot <= last)

    async def session(self, name: str, key: str | None = None) -> Session:
        """A plain connection to the node of a key."""
        host, port = self.nodes[0] if key is None else self.node_of(key)
        return await Session.open(node_url(self._url, host, port), name)

    async def routed(self, name: str) -> Session:
        """A session over all nodes."""
        return Routed(self, self._url, name, {self.nodes[0]: await self.session(name)})

    async def probe(self, session: Session) -> None:
        """PING every node that is in use."""
        await session.call("PING")


class Routed(Session):
    """Looks like one connection; ends as a whole when one of its connections ends."""

    def __init__(self, cluster: Cluster, url: BrokerUrl, name: str, sessions: dict[Address, Session]) -> None:
        super().__init__(url.safe, None)
        self._cluster = cluster
        self._url = url
        self._name = name
        self._sessions: dict[Address, Session] = {}
        self._opening = asyncio.Lock()
        for address, session in sessions.items():
            self._adopt(address, session)

    def _adopt(self, address: Address, session: Session) -> None:
        self._sessions[address] = session
        session.ended = lambda cause: self._die(f"{address[0]}:{address[1]}: {cause}")

    async def run(self, commands: Sequence[Command], *, limit_s: float = ANSWER_LIMIT_S) -> list[Any]:
        """As `Session.run`; a MOVED reply means not executed: the slots are read again and it is sent to its new node."""
        results = await self._spread(list(enumerate(commands)), limit_s)
        moved = [at for at, result in results.items() if isinstance(result, Exception) and code_of(result) == "MOVED"]
        if moved:
            try:
                await self._cluster.refresh()
            except BrokerError as error:
                self._die(error.text)
            else:
                results |= await self._spread([(at, commands[at]) for at in moved], limit_s)
        return [results[at] for at in range(len(commands))]

    async def _spread(self, commands: list[tuple[int, Command]], limit_s: float) -> dict[int, Any]:
        by_node: defaultdict[Address, list[int]] = defaultdict(list)
        everywhere: list[int] = []
        known = dict(commands)
        for at, command in commands:
            if command[0] in {"PUBSUB", "PING"}:
                everywhere.append(at)
            else:
                by_node[self._place(command)].append(at)
        parts = list(by_node.items())
        ran = await asyncio.gather(*(self._on(node, [known[at] for at in ats], limit_s) for node, ats in parts))
        results = {
            at: one for (_, ats), found in zip(parts, ran, strict=True) for at, one in zip(ats, found, strict=True)
        }
        for at in everywhere:
            found = await asyncio.gather(*(self._on(node, [known[at]], limit_s) for node in self._cluster.nodes))
            results[at] = merged(known[at], [one[0] for one in found])
        return results

    async def _on(self, address: Address, commands: list[Command], limit_s: float) -> list[Any]:
        async with self._opening:
            if self.cause is None and address not in self._sessions:
                try:
                    self._adopt(address, await Session.open(node_url(self._url, *address), self._name))
                except BrokerError as error:
                    self._die(error.text)
        if self.cause is not None:
            return [Lost(self.cause) for _ in commands]
        return await self._sessions[address].run(commands, limit_s=limit_s)

    async def each(self) -> list[Session]:
        """A session per master, for what has to be asked node by node."""
        for address in self._cluster.nodes:
            await self._on(address, [], ANSWER_LIMIT_S)
        if self.cause is not None:
            raise ConnectionLost(self.broker, self.cause)
        return [self._sessions[address] for address in self._cluster.nodes]

    def _place(self, command: Command) -> Address:
        key = key_of(command)
        return self._cluster.nodes[0] if key is None else self._cluster.node_of(key)

    def drop(self, cause: str) -> None:
        """Drop all connections."""
        if self.cause is None:
            self.cause = cause
            for session in self._sessions.values():
                session.drop(cause)

    async def close(self) -> None:
        """Drop all and wait until what ran on them has noticed."""
        self.drop("closed")
        await asyncio.gather(*(session.close() for session in self._sessions.values()))


def key_of(command: Command) -> Any:
    """The (first) key of a command of ours, None when it has none."""
    verb = command[0]
    if verb in _KEYLESS:
        return None
    if verb in {"EVAL", "EVALSHA"}:
        return command[3]
    if verb == "XREADGROUP":
        return command[command.index("STREAMS") + 1]
    return command[2] if verb in _SECOND else command[1]


def merged(command: Command, answers: Sequence[Any]) -> Any:
    """What all nodes say together: subscribers are added up, names put together; a failure of one is the answer."""
    failed = next((one for one in answers if isinstance(one, Exception)), None)
    if failed is not None:
        return failed
    if command[0] == "PUBSUB" and command[1] == "NUMSUB":
        names = answers[0][::2]
        sums = [sum(one[at] for one in answers) for at in range(1, len(answers[0]), 2)]
        return [part for pair in zip(names, sums, strict=True) for part in pair]
    if command[0] == "PUBSUB":
        return [name for one in answers for name in one]
    return answers[0]
