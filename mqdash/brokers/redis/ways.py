"""Ways to the node that has a key, each for one connection life: one node, the master a Sentinel names, a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from mqdash.brokers.redis.session import Session, reachable
from mqdash.errors import BrokerError, BrokerUnavailable, ConnectionLost, LoginRefused, NotFound, UrlError
from mqdash.model.secret import Secret

if TYPE_CHECKING:
    from mqdash.brokers.url import BrokerUrl


class Way(Protocol):
    """Opens sessions. `slots`: keys live on several nodes, so that not every script can reach two of them."""

    slots: bool

    async def session(self, name: str, key: str | None = None) -> Session:
        """A connection to the node that has `key`; for Pub/Sub and things without a key to the first one."""
        ...

    async def routed(self, name: str) -> Session:
        """A session that sends each command to the node of its key."""
        ...

    async def probe(self, session: Session) -> None:
        """Ask something cheap; raises BrokerError when this life should end."""
        ...


class Node:
    """One node. `master`: it was named as the master, and is left when it is none any more."""

    slots = False

    def __init__(self, url: BrokerUrl, *, master: bool = False) -> None:
        self._url = url
        self._master = master

    async def session(self, name: str, key: str | None = None) -> Session:
        """There is but one place."""
        del key
        return await Session.open(self._url, name)

    async def routed(self, name: str) -> Session:
        """Nothing to choose."""
        return await Session.open(self._url, name)

    async def probe(self, session: Session) -> None:
        """PING; of a master its role (fault 34)."""
        if not self._master:
            await session.call("PING")
        elif (await session.call("ROLE"))[0] != b"master":
            raise ConnectionLost(self._url.safe, "the node is now a replica")


async def way_to(url: BrokerUrl) -> Way:
    """The way for one life.

    Raises:
        BrokerError: nothing answers, or it is not what the URL says, in words.
    """
    if url.scheme == "redis+sentinel":
        return Node(await _master(url), master=True)
    await reachable(url)
    if url.scheme == "redis+cluster":
        from mqdash.brokers.redis.cluster import Cluster

        return await Cluster.open(url)
    return Node(url)


def node_url(url: BrokerUrl, host: str, port: int, *, login: bool = True) -> BrokerUrl:
    """One node of a Sentinel or cluster, with the URL's login."""
    plain = msgspec.structs.replace(url, scheme="redis", hosts=((host, port),), path="")
    return plain if login else msgspec.structs.replace(plain, user="", password=Secret(""))


async def _master(url: BrokerUrl) -> BrokerUrl:
    """Whom the first Sentinel that answers names as master of the service."""
    failures: list[BrokerError] = []
    for host, port in url.hosts:
        try:
            found = await _asked(url, host, port)
            await reachable(found)
        except (NotFound, UrlError):
            raise
        except BrokerError as error:
            failures.append(error)
        else:
            return found
    raise failures[0]


async def _asked(url: BrokerUrl, host: str, port: int) -> BrokerUrl:
    sentinel = node_url(url, host, port, login=False)
    await reachable(sentinel)
    try:
        session = await Session.open(sentinel, "mqdash")
        asked = await session.run([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.path)])
        if "NOAUTH" in str(asked[0]) and url.password:
            await session.close()
            session = await Session.open(node_url(url, host, port), "mqdash")
            asked = await session.run([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.path)])
        names = await session.run([("SENTINEL", "MASTERS")])
        await session.close()
    except LoginRefused:
        raise LoginRefused(url.safe, f"the Sentinel at {host}:{port} refuses the login") from None
    answer = asked[0]
    if isinstance(answer, list):
        return node_url(url, answer[0].decode(), int(answer[1]))
    if isinstance(answer, Exception):
        raise BrokerUnavailable(url.safe, f"{host}:{port} is no Sentinel or does not answer as one: {str(answer)[:80]}")
    known = ", ".join(one[1].decode() for one in names[0]) if isinstance(names[0], list) else ""
    raise NotFound(url.safe, f"the Sentinel at {host}:{port} knows no service {url.path!r}; it knows {known or 'none'}")
