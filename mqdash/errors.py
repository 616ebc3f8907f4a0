"""Every error mqdash raises on purpose. Adapters translate their client's errors into this tree at their border.

MqdashError
├── InputError                 what the user gave is wrong: file:line or the argument; exit code 2
│   ├── UrlError
│   ├── ConfigError
│   └── ScenarioError
├── ReadOnly                   a write was asked of something that may only be looked at
└── BrokerError(broker, text)
    ├── BrokerUnavailable      refused, timed out, does not resolve …           retryable
    │   └── ConnectionLost     it was there and went                            retryable
    ├── LoginRefused           wrong user, password: never retried (lock-out)
    ├── AccessRefused          the login is right, a right is missing
    ├── WrongProtocol          something else speaks on that port
    ├── TlsFailed              expired, wrong host, unknown CA, plain text
    ├── NotFound               no such vhost, queue, exchange, topic …
    ├── Conflict               it exists with other arguments, or is somebody's own
    ├── ConsumerCancelled      the broker took our subscription away (queue deleted)
    ├── ConsumerStalled        there is something to take and nothing comes
    └── Unsupported            this broker, or the embedded model, cannot do that
"""

from __future__ import annotations

from typing import ClassVar


class MqdashError(Exception):
    """Base of all; its text is a sentence for people and never holds a secret."""

    retryable: ClassVar[bool] = False


class InputError(MqdashError):
    """Bad input: the text says what, where and what to do."""


class UrlError(InputError):
    """A broker URL that cannot be understood."""


class ConfigError(InputError):
    """The configuration file or environment is wrong."""


class ScenarioError(InputError):
    """A scenario file is wrong; the text begins with file:line."""


class ReadOnly(MqdashError):
    """A write was asked of a broker opened read-only."""


class BrokerError(MqdashError):
    """Something a broker said or did. `broker` is its name or safe URL."""

    def __init__(self, broker: str, text: str) -> None:
        super().__init__(f"{broker}: {text}")
        self.broker = broker
        self.text = text


class BrokerUnavailable(BrokerError):
    """Not reachable now; trying again later makes sense."""

    retryable = True


class ConnectionLost(BrokerUnavailable):
    """The connection life ended; open publishes are UNKNOWN, open deliveries STALE."""


class LoginRefused(BrokerError):
    """User or password refused."""


class AccessRefused(BrokerError):
    """Logged in, but not allowed to do this."""


class WrongProtocol(BrokerError):
    """The port speaks something else."""


class TlsFailed(BrokerError):
    """TLS could not be agreed on; the text says which check failed."""


class NotFound(BrokerError):
    """It does not exist on the broker."""


class Conflict(BrokerError):
    """It exists with other arguments, or belongs to somebody else alone."""


class ConsumerCancelled(BrokerError):
    """The broker ended the subscription: its queue was deleted or lost (R27)."""


class ConsumerStalled(BrokerError):
    """Nothing came for long though there is something to take: the client is stuck, another one may do better (fault 27)."""


class Unsupported(BrokerError):
    """Not possible on this broker, or not modelled by the embedded one (E5)."""
