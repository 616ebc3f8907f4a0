"""The way to a cluster: every client made with the same, explicit settings (defaults of the library are not ours)."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from mqdash.brokers.kafka.causes import causes
from mqdash.brokers.kafka.errors import LOGIN_REFUSED, translated
from mqdash.brokers.life import CLOSE_LIMIT_S, CONNECT_LIMIT_S
from mqdash.brokers.reach import greet, tls_context
from mqdash.errors import BrokerUnavailable, LoginRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from mqdash.brokers.url import BrokerUrl

REQUEST_TIMEOUT_MS: Final = 5_000
DELIVERY_TIMEOUT_MS: Final = 10_000
"""How long a produce may stay without an answer before it is UNKNOWN."""
MAX_RECORD_BYTES: Final = 1_000_000
"""Refused here: a refusal by the broker (K28, 1 MiB by default) leaves a gap in an idempotent producer's sequence."""
BATCH_BYTES: Final = 262_144
LINGER_S: Final = 0.005
HEARTBEAT_MS: Final = 500
"""A member learns of a rebalance by its next heartbeat: until then the partitions of a dead one belong to nobody."""
NEVER_MS: Final = 86_400_000
"""Our workers say themselves when they are stuck: the client must not leave the group behind their back."""
_API_VERSIONS: Final = b"\x00\x00\x00\x0a\x00\x12\x00\x00mqda\xff\xff"
_FETCH: Final = 1


class Way:
    """Opens clients to one cluster; `version` is "4" or "3" (Kafka tells none: 4.0 dropped old requests, K33)."""

    def __init__(self, url: BrokerUrl, context: ssl.SSLContext | None, version: str) -> None:
        self.url = url
        self.version = version
        self._context = context
        wanted = url.option("compression", "none")
        self._compression = None if wanted == "none" else wanted

    @classmethod
    async def find(cls, url: BrokerUrl) -> Way:
        """Ask the first broker that answers what it speaks.

        Raises:
            BrokerUnavailable, TlsFailed, WrongProtocol: aiokafka would say "unable to bootstrap" for all of them.
        """
        context = await asyncio.to_thread(tls_context, url)
        octets = await greet(url, context, _API_VERSIONS, "Kafka")
        return cls(url, context, _version(octets))

    def _common(self, client_id: str) -> dict[str, Any]:
        protocol = "SSL" if self.url.tls else "PLAINTEXT"
        login: dict[str, Any] = {}
        if self.url.user:
            protocol = "SASL_" + protocol
            login = {
                "sasl_mechanism": self.url.option("sasl", "plain").upper(),
                "sasl_plain_username": self.url.user,
                "sasl_plain_password": self.url.password.reveal(),
            }
        return {
            "bootstrap_servers": [f"{host}:{port}" for host, port in self.url.hosts],
            "client_id": client_id,
            "security_protocol": protocol,
            "ssl_context": self._context,
            "retry_backoff_ms": 100,
            "metadata_max_age_ms": 30_000,
            **login,
        }

    @contextlib.asynccontextmanager
    async def _opening(self, client: Any) -> AsyncIterator[None]:
        """Start a client; one that does not come up is stopped, or its tasks leak."""
        causes.forget(self.url.hosts)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await client.start()
            yield
        except TimeoutError:
            await stop(client)
            raise BrokerUnavailable(self.url.safe, f"{self.url.address} did not let us in in time") from None
        except (KafkaError, OSError) as error:
            await stop(client)
            if causes.refused(self.url.hosts):
                raise LoginRefused(self.url.safe, LOGIN_REFUSED) from None
            raise translated(self.url.safe, error) from None
        except BaseException:
            await stop(client)
            raise

    async def admin(self) -> AIOKafkaAdminClient:
        """A client that asks about the cluster and changes its topics."""
        client = AIOKafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **self._common("mqdash"))
        async with self._opening(client):
            return client

    async def producer(self, name: str) -> AIOKafkaProducer:
        """acks=all, idempotent within this session (K5, K6), batches of 256 KiB or 5 ms."""
        client = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            linger_ms=round(LINGER_S * 1000),
            compression_type=self._compression,
            request_timeout_ms=DELIVERY_TIMEOUT_MS,
            **self._common(name),
        )
        async with self._opening(client):
            return client

    async def reader(self, name: str = "mqdash") -> AIOKafkaConsumer:
        """A reader without a group: nobody's offsets or partitions change (K4)."""
        client = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._common(name),
        )
        async with self._opening(client):
            return client

    async def transactional(self, name: str) -> AIOKafkaProducer:
        """A producer of transactions; whoever had this transactional id before is shut out, and what it left open is ended."""
        client = AIOKafkaProducer(
            acks="all",
            transactional_id=name,
            transaction_timeout_ms=DELIVERY_TIMEOUT_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            linger_ms=round(LINGER_S * 1000),
            compression_type=self._compression,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._common(name),
        )
        async with self._opening(client):
            return client

    async def committer(self, group: str) -> AIOKafkaConsumer:
        """Commits offsets of a group without being its member: allowed while nobody is (K18)."""
        client = AIOKafkaConsumer(
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._common("mqdash"),
        )
        async with self._opening(client):
            return client

    async def member(self, name: str, group: str, *, session_timeout_s: float) -> AIOKafkaConsumer:
        """A consumer that will be a member of the group; where it starts without a valid offset is its owner's to say (K11)."""
        session_ms = max(int(session_timeout_s * 1000), 1)
        client = AIOKafkaConsumer(
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=max(min(session_ms // 3, HEARTBEAT_MS), 1),
            max_poll_interval_ms=NEVER_MS,
            rebalance_timeout_ms=max(session_ms, 10_000),
            fetch_max_wait_ms=200,
            request_timeout_ms=max(REQUEST_TIMEOUT_MS, session_ms + 1000),
            **self._common(name),
        )
        async with self._opening(client):
            return client


async def stop(client: Any) -> None:
    """Stop a client within 2 s whatever state it is in, also after a failed start; one that does not manage is abandoned."""
    goodbye = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await goodbye()
    except (TimeoutError, KafkaError, OSError, AttributeError):
        await bury(client, cut(client))
    finally:
        _end_connections(client)  # whoever waits for us may have lost patience in the middle of the goodbye


def cut(client: Any) -> list[asyncio.Task[Any]]:
    """Drop a client's sockets and cancel its background tasks, at once and without a word; the tasks are to be `bury`ed.

    There is no public way to die: a goodbye that waits for a broker in vain keeps its sockets open for good.
    """
    client._closed = True  # noqa: SLF001 - it would warn that it was never stopped
    owners = (getattr(client, "_coordinator", None), getattr(client, "_sender", None))
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task", "_sender_task")
    tasks = [task for owner in owners for name in names if (task := getattr(owner, name, None)) is not None]
    for task in tasks:
        task.cancel()
    _end_connections(client)
    return tasks


async def bury(client: Any, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for what `cut` ended; what fails meanwhile is of no interest any more."""
    await asyncio.gather(*tasks, return_exceptions=True)
    fetcher = getattr(client, "_fetcher", None)
    if fetcher is not None:
        # Closing it ends in the cancellation of its own tasks: as an error of theirs, not of this one.
        await asyncio.gather(fetcher.close(), return_exceptions=True)
    await asyncio.gather(_inner(client).close(), return_exceptions=True)


class _Ended(dict[Any, Any]):
    """Connections of a client that has ended: one that was still being made then is closed as it comes."""

    def __setitem__(self, key: Any, connection: Any) -> None:
        super().__setitem__(key, connection)
        connection.close()


def _end_connections(client: Any) -> None:
    inner = _inner(client)
    for connection in list(inner._conns.values()):  # noqa: SLF001
        connection.close()
    inner._conns = _Ended(inner._conns)  # noqa: SLF001


def _inner(client: Any) -> Any:
    return client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001


def _version(octets: bytes) -> str:
    """From the answer to ApiVersions v0: length, correlation id, error, count, then (api, lowest, highest)."""
    if len(octets) < 14 or octets[4:8] != b"mqda":
        return ""
    count = min(struct.unpack(">I", octets[10:14])[0], (len(octets) - 14) // 6)
    lowest = {api: low for api, low, _ in struct.iter_unpack(">HHH", octets[14 : 14 + 6 * count])}
    return "4" if lowest.get(_FETCH, 0) >= 4 else "3"
