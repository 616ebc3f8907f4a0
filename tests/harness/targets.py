"""Which real brokers the tests run against: the shared ones, or those the environment names.

``MQDASH_TEST_RABBITMQ_URL``, ``MQDASH_TEST_KAFKA_URL`` and ``MQDASH_TEST_REDIS_URL`` replace the target whose version
the broker behind them reports (RabbitMQ 3.10.x replaces ``rabbitmq-3.10``); a version that is not among ours is added.
"""

import contextlib
import os
import re
import socket
import ssl
import struct
import urllib.parse
from dataclasses import dataclass, field
from functools import cache

from tests.harness.brokers import NAMES, family_of, state
from tests.harness.process import HarnessError

FAMILIES = ("rabbitmq", "kafka", "redis")
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Target:
    """A real broker the tests may use. `url` is "" when it cannot be used; `reason` then says why."""

    name: str
    family: str
    version: str
    url: str = field(repr=False)  # may hold a password
    management_url: str | None = field(default=None, repr=False)
    reason: str = ""

    @property
    def available(self) -> bool:
        return not self.reason


def target_names(*families: str) -> list[str]:
    """Names of all targets of `families` (default: all), added ones too; starts and asks nothing of ours."""
    wanted = families or FAMILIES
    added = [target.name for target in _replacements() if target.name not in NAMES]
    return [name for name in (*NAMES, *added) if family_of(name) in wanted]


def replaced_names() -> list[str]:
    """Targets that an environment variable takes over; the harness need not start them."""
    return [target.name for target in _replacements()]


def target(name: str) -> Target:
    """The target `name` as it is now."""
    for replacement in _replacements():
        if replacement.name == name:
            return replacement
    now = state(name)
    if now.instance is None:
        return Target(name, family_of(name), "", "", reason=now.reason)
    found = now.instance
    return Target(name, found.family, found.version, found.url, found.management_url)


def targets(*families: str) -> list[Target]:
    """All targets of `families` (default: all) as they are now, unavailable ones too."""
    return [target(name) for name in target_names(*families)]


@cache
def _replacements() -> tuple[Target, ...]:
    asks = {"rabbitmq": _rabbitmq_version, "kafka": _kafka_version, "redis": _redis_version}
    found = []
    for family, version_of in asks.items():
        variable = f"MQDASH_TEST_{family.upper()}_URL"
        url = os.environ.get(variable, "")
        if not url:
            continue
        try:
            version = version_of(url)
        except (OSError, HarnessError, ValueError) as error:
            # The family's newest one: the tests that wanted this broker must not quietly use another.
            name = next(name for name in reversed(NAMES) if family_of(name) == family)
            found.append(Target(name, family, "", "", reason=f"{variable}: {type(error).__name__}: {error}"))
            continue
        found.append(Target(_name(family, version), family, version, url, _management_url(family, url)))
    return tuple(found)


def _name(family: str, version: str) -> str:
    for name in NAMES:
        series = name.partition("-")[2]
        if family_of(name) == family and (version == series or version.startswith(f"{series}.")):
            return name
    return f"{family}-{version}"


def _connect(url: str, default_port: int) -> socket.socket:
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or default_port
    connection = socket.create_connection((host, port), timeout=_TIMEOUT_S)
    if parts.scheme in ("amqps", "rediss", "kafkas"):
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    return connection


def _login(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or "")


def _read(connection: socket.socket, pattern: bytes) -> str:
    """Read until `pattern` matches and return its first group. Raises HarnessError when the peer ends before that."""
    answer = b""
    while not (found := re.search(pattern, answer, re.DOTALL)):
        data = connection.recv(65536)
        if not data:
            raise HarnessError("the broker closed the connection before it told its version")
        answer += data
    return found.group(1).decode()


def _rabbitmq_version(url: str) -> str:
    with _connect(url, 5672) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return _read(connection, rb"\x07versionS\x00\x00\x00.([0-9.]+)")


def _redis_version(url: str) -> str:
    user, password = _login(url)
    with _connect(url, 6379) as connection:
        if password:
            words = ["AUTH", *([user] if user else []), password]
            encoded = [word.encode() for word in words]
            connection.sendall(
                b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
            )
            if not _read(connection, rb"(.*?)\r\n").startswith("+OK"):
                raise HarnessError("the broker refused the login")
        connection.sendall(b"INFO server\r\n")
        return _read(connection, rb"redis_version:([0-9.]+)\r\n")


def _kafka_version(url: str) -> str:
    """Kafka tells no version; 4.0 dropped Fetch below version 4, which ApiVersions shows."""
    with _connect(url, 9092) as connection:
        connection.sendall(b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff")
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + struct.unpack(">I", answer[:4])[0]:
            data = connection.recv(65536)
            if not data:
                raise HarnessError("the broker closed the connection before it told what it speaks")
            answer += data
    count = struct.unpack(">I", answer[10:14])[0]
    lowest = {api: low for api, low, _ in struct.iter_unpack(">HHH", answer[14 : 14 + 6 * count])}
    return "4" if lowest.get(1, 0) >= 4 else "3"


def _management_url(family: str, url: str) -> str | None:
    """`?management=` of the URL, else the usual port if something listens there."""
    if family != "rabbitmq":
        return None
    parts = urllib.parse.urlsplit(url)
    login = f"{parts.username or 'guest'}:{parts.password or 'guest'}@"
    given = urllib.parse.parse_qs(parts.query).get("management")
    if given:
        api = urllib.parse.urlsplit(given[0])
        return given[0] if api.username else api._replace(netloc=login + api.netloc).geturl()
    with contextlib.suppress(OSError), socket.create_connection((parts.hostname or "127.0.0.1", 15672), timeout=2):
        return f"http://{login}{parts.hostname}:15672"
    return None
