"""The management HTTP API, read only: GET and nothing else. httpx is imported when it is first asked.

Its figures are up to 5 s old; live depths come from passive declares (see `measure`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from mqdash.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mqdash.brokers.url import BrokerUrl
    from mqdash.clock import Clock

PROBE_TIMEOUT_S: Final = 1.5
READ_TIMEOUT_S: Final = 5.0
ASK_AGAIN_S: Final = 30.0
DEFAULT_PORT: Final = 15672
TLS_PORT: Final = 15671


class Management:
    """The way to one broker's API, found once and remembered; one that stops answering is asked again after 30 s."""

    def __init__(self, url: BrokerUrl, *, clock: Clock) -> None:
        self.vhost = quote(url.path or "/", safe="")
        self.address = _address(url)
        self.missing = ""
        self._url = url
        self._clock = clock
        self._client: Any = None
        self._ask_again_at = 0.0
        self._finding = asyncio.Lock()

    async def reachable(self) -> bool:
        """Whether it answers; `missing` says why not."""
        if self._due:
            async with self._finding:
                if self._due:
                    await self._find()
        return self._client is not None

    @property
    def told(self) -> str:
        """Whether it is in use, in a sentence."""
        if self._client is not None:
            return f"management API: {self.address}"
        return f"management API not in use: {self.missing or 'not asked yet'}"

    @property
    def _due(self) -> bool:
        """Whether it is not found yet and may be looked for now."""
        return self._client is None and (not self.missing or self._clock.monotonic() >= self._ask_again_at)

    async def _find(self) -> None:
        httpx = await asyncio.to_thread(importlib.import_module, "httpx")  # 0.1 s the screen need not wait for
        client = httpx.AsyncClient(
            base_url=self.address,
            auth=httpx.BasicAuth(*_login(self._url)),
            timeout=READ_TIMEOUT_S,
            verify=_tls(self._url) if self.address.startswith("https:") else True,
            trust_env=False,
        )
        try:
            answer = await client.get("/api/whoami", timeout=PROBE_TIMEOUT_S)
            if answer.status_code == 200:
                self._client, self.missing = client, ""
                return
            self.missing = f"{self.address} answered {answer.status_code}"
            if answer.status_code == 401:
                self.missing = f"{self.address} refused the login: it needs the tag 'management' or 'monitoring'"
        except (httpx.HTTPError, OSError) as error:
            self.missing = f"{self.address} is not reachable ({type(error).__name__})"
        finally:
            if self._client is not client:  # also when the one who waits was cancelled: its sockets must not stay
                self._ask_again_at = self._clock.monotonic() + ASK_AGAIN_S
                await _closed(client)

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """The JSON of `/api` + path.

        Raises:
            BrokerUnavailable: it does not answer now; it is left alone for a while.
        """
        client = self._client
        if client is None:
            raise BrokerUnavailable(self._url.safe, f"management API: {self.missing}")
        try:
            answer = await client.get(f"/api{path}", params=dict(params or {}))
            if answer.status_code == 200:
                return answer.json()
            problem = f"answered {answer.status_code}"
            if answer.status_code == 404:  # it works: what was asked for is not there
                raise BrokerUnavailable(self._url.safe, f"management API {problem}")
        except (OSError, ValueError) as error:
            problem = type(error).__name__
        except BrokerUnavailable:
            raise
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in {"httpx", "httpcore"}:
                raise
            problem = type(error).__name__
        await self._leave(problem)
        raise BrokerUnavailable(self._url.safe, f"management API {problem}")

    async def _leave(self, problem: str) -> None:
        client, self._client = self._client, None
        self.missing = f"{self.address}: {problem}"
        self._ask_again_at = self._clock.monotonic() + ASK_AGAIN_S
        if client is not None:
            await _closed(client)

    async def close(self) -> None:
        """Close its connections; it is found again when asked."""
        client, self._client, self.missing = self._client, None, ""
        if client is not None:
            with contextlib.suppress(OSError, RuntimeError):
                await _closed(client)


async def _closed(client: Any) -> None:
    """Close a client to the end, also when whoever asked for it is cancelled meanwhile: its sockets must not stay."""
    await asyncio.shield(asyncio.ensure_future(client.aclose()))


def _address(url: BrokerUrl) -> str:
    """Scheme, host and port, without a login."""
    given = url.option("management")
    if given:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        host = parts.hostname or url.hosts[0][0]
        secure = parts.scheme == "https"
        port = parts.port or (TLS_PORT if secure else DEFAULT_PORT)
        return f"{parts.scheme}://{_bracketed(host)}:{port}{parts.path.rstrip('/')}"
    host = _bracketed(url.hosts[0][0])
    return f"https://{host}:{TLS_PORT}" if url.tls else f"http://{host}:{DEFAULT_PORT}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _login(url: BrokerUrl) -> tuple[str, str]:
    given = url.option("management")
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if parts.username:
        return unquote(parts.username), unquote(parts.password or "")
    return (url.user, url.password.reveal()) if url.user else ("guest", "guest")


def _tls(url: BrokerUrl) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=url.option("ca") or None)
