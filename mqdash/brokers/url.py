"""Broker URLs: parsed once, shown without their secret, rebuilt from parts and never by editing the original text."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from mqdash.errors import UrlError
from mqdash.model.message import Family
from mqdash.model.secret import Secret

DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671, "kafka": 9092, "kafkas": 9093, "redis": 6379, "rediss": 6379}
DEFAULT_PORTS |= {"redis+sentinel": 26379, "redis+cluster": 6379}
FAMILIES = {"amqp": Family.RABBITMQ, "kafka": Family.KAFKA, "redis": Family.REDIS_STREAMS}
EMBEDDED = {"rabbitmq": Family.RABBITMQ, "kafka": Family.KAFKA, "redis": Family.REDIS_STREAMS}
OPTIONS = {
    "amqp": {"management", "heartbeat", "ca", "cert", "key"},
    "kafka": {"sasl", "compression", "ca", "cert", "key"},
    "redis": {"ca", "cert", "key"},
    "embedded": {"version"},
}
COMPRESSION = ("none", "gzip", "snappy", "lz4", "zstd")
SASL = ("plain", "scram-sha-256", "scram-sha-512")
KNOWN = "amqp:// amqps:// kafka:// kafkas:// redis:// rediss:// redis+sentinel:// redis+cluster:// embedded://"


class BrokerUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed URL.

    `path` is the vhost (RabbitMQ, `/` when left out), the database or the Sentinel service; `hosts` is never empty
    but for embedded, where `path` is the model's name (rabbitmq, kafka, redis).
    """

    scheme: str
    family: Family
    hosts: tuple[tuple[str, int], ...] = ()
    user: str = ""
    password: Secret = msgspec.field(default_factory=lambda: Secret(""))
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and verified."""
        return self.scheme in {"amqps", "kafkas", "rediss"}

    @property
    def embedded(self) -> bool:
        """Whether it is one of the brokers inside mqdash."""
        return self.scheme == "embedded"

    def option(self, name: str, default: str = "") -> str:
        """The value of a query option."""
        return dict(self.options).get(name, default)

    @property
    def loopback(self) -> bool:
        """All hosts are this machine (names are not resolved: only localhost, 127.0.0.0/8 and ::1 count)."""
        return all(host == "localhost" or host.startswith("127.") or host == "::1" for host, _ in self.hosts)

    @property
    def address(self) -> str:
        """`host:port[,host:port]` as in the URL, or `embedded`."""
        return (
            ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts) or "embedded"
        )

    @property
    def safe(self) -> str:
        """The URL without password and options: what screen, logs and errors show."""
        if self.embedded:
            return f"embedded://{self.path}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        path = f"/{quote(self.path, safe='')}" if self.path not in {"", "/"} else ""
        return f"{self.scheme}://{user}{self.address}{path}"

    def __str__(self) -> str:
        return self.safe

    def __repr__(self) -> str:
        return f"BrokerUrl({self.safe!r})"  # options may hold another password (management=)


def parse_url(text: str) -> BrokerUrl:
    """Parse a broker URL.

    Raises:
        UrlError: with what is wrong and an example; the text never repeats a password.
    """
    scheme, separator, _ = text.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise UrlError(f"not a broker URL (no ://): {_harmless(text)}; known are {KNOWN}")
    if scheme == "embedded":
        return _embedded(text)
    base = scheme.removesuffix("s") if scheme in {"amqps", "kafkas", "rediss"} else scheme.partition("+")[0]
    if scheme not in DEFAULT_PORTS:
        raise UrlError(f"unknown scheme {_harmless(scheme)}; known are {KNOWN}")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise UrlError(f"malformed {scheme}:// URL: {_harmless(str(error))}") from None
    login, at, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":") if at else ("", "", "")
    hosts = tuple(_host(place, scheme) for place in places.split(","))
    if len(hosts) > 1 and base == "amqp":
        raise UrlError(f"an {scheme}:// URL names one host, not {len(hosts)}")
    if password and not user and base != "redis":
        raise UrlError(f"malformed {scheme}:// URL: it has a password, but no user before the ':'")
    url = BrokerUrl(
        scheme=scheme,
        family=FAMILIES[base],
        hosts=hosts,
        user=unquote(user),
        password=Secret(unquote(password)),
        path=unquote(parts.path[1:]) or ("/" if base == "amqp" else ""),
        options=_options(parts.query, base, scheme),
    )
    if scheme == "redis+sentinel" and not url.path:
        raise UrlError("a redis+sentinel:// URL names its service: redis+sentinel://host1,host2/service")
    if scheme == "redis+cluster" and url.path:
        raise UrlError("a redis+cluster:// URL has no path: a cluster has no numbered databases")
    if scheme in {"redis", "rediss"} and len(url.hosts) > 1:
        raise UrlError(f"an {scheme}:// URL names one host; several are redis+sentinel:// or redis+cluster://")
    if scheme in {"redis", "rediss"} and url.path and not (url.path.isascii() and url.path.isdecimal()):
        raise UrlError(f"malformed {scheme}:// URL: the database {_harmless(url.path)} is not a number")
    return url


def _host(place: str, scheme: str) -> tuple[str, int]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        port = rest.removeprefix(":")
        if not bracket:
            raise UrlError(f"malformed {scheme}:// URL: '[' without ']' in the host")
    else:
        host, _, port = place.partition(":")
    if not host:
        raise UrlError(
            f"malformed {scheme}:// URL: the host is missing, for example {scheme}://localhost:{DEFAULT_PORTS[scheme]}"
        )
    if not _resolvable(host):
        raise UrlError(f"malformed {scheme}:// URL: {_harmless(host)} cannot be the name of a host")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise UrlError(f"malformed {scheme}:// URL: the port of host {_harmless(host)} is not a number from 1 to 65535")
    return host, int(port) if port else DEFAULT_PORTS[scheme]


def _resolvable(host: str) -> bool:
    """Whether a resolver may be asked at all: it raises other errors for what can be no name."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return host.isprintable() and " " not in host and len(host) <= 253


def _options(query: str, base: str, scheme: str) -> tuple[tuple[str, str], ...]:
    options = tuple(parse_qsl(query, keep_blank_values=True))
    for name, value in options:
        if name not in OPTIONS[base]:
            raise UrlError(
                f"unknown option {_harmless(name)} in the {scheme}:// URL; known are {', '.join(sorted(OPTIONS[base]))}"
            )
        wrong = _wrong_option(name, value, scheme)
        if wrong:
            raise UrlError(f"the option {name} in the {scheme}:// URL {wrong}")
    return options


def _wrong_option(name: str, value: str, scheme: str) -> str:
    """What is wrong with an option's value, "" when nothing is."""
    if name in {"ca", "cert", "key"} and not scheme.endswith("s"):
        return f"goes with {scheme}s:// (TLS)"
    if name == "heartbeat" and not (value.isascii() and value.isdecimal() and int(value) < 65536):
        return f"is {_harmless(value)}: write seconds from 0 to 65535"
    if name == "sasl" and value.lower() not in SASL:
        return f"is {_harmless(value)}: known are {', '.join(SASL)}"
    if name == "compression" and value not in COMPRESSION:
        return f"is {_harmless(value)}: known are {', '.join(COMPRESSION)}"
    if name == "management" and not _is_http(value):
        return "is no address: write host, host:port or http[s]://host:port"
    return ""


def _is_http(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0


def _embedded(text: str) -> BrokerUrl:
    parts = urlsplit(text)
    if parts.netloc not in EMBEDDED or parts.path not in {"", "/"}:
        raise UrlError(
            f"unknown embedded broker {_harmless(parts.netloc + parts.path)}; known are {', '.join(EMBEDDED)}"
        )
    options = _options(parts.query, "embedded", "embedded")
    return BrokerUrl(scheme="embedded", family=EMBEDDED[parts.netloc], path=parts.netloc, options=options)


def _harmless(text: str) -> str:
    """A part of bad input, short, printable, and without what stands before an `@` (it may be a password)."""
    shown = text.rpartition("@")[2]
    return ascii(shown[:60])
