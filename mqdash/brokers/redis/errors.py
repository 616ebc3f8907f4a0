"""redis-py's errors in words, as mqdash's own. The first word of a server's error decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis import exceptions as redis

from mqdash.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnavailable,
    Conflict,
    ConnectionLost,
    ConsumerCancelled,
    LoginRefused,
    NotFound,
)

if TYPE_CHECKING:
    from mqdash.brokers.url import BrokerUrl

_LONGEST = 200


def login_error(url: BrokerUrl, error: BaseException) -> BrokerError:
    """Why a connection did not open, after the port itself had answered as Redis does."""
    text = str(error)
    user = url.user or "default"
    if "DB index" in text or "SELECT is not allowed" in text:
        return NotFound(url.safe, f"there is no database {url.path!r}")
    if isinstance(error, redis.NoPermissionError):
        return AccessRefused(url.safe, f"user {user!r} is logged in, but may not use the commands mqdash needs")
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in text or "without any password" in text:
        asked = "" if url.password else " (the broker wants a password)"
        return LoginRefused(url.safe, f"login refused for user {user!r}{asked}")
    if code_of(error) in {"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"}:
        return BrokerUnavailable(url.safe, reason(error))
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError | TimeoutError):
        return BrokerUnavailable(url.safe, f"{url.address} closed the connection or did not answer during the login")
    return translated(url.safe, error)


def translated(broker: str, error: BaseException, *, what: str = "") -> BrokerError:
    """The error of a command as one of ours; `what` names the stream or group it was about."""
    about = f" ({what})" if what else ""
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, redis.NoPermissionError):
        return AccessRefused(broker, f"logged in, but a right is missing (NOPERM){about}")
    if isinstance(error, redis.ResponseError) or code_of(error):
        return _told(broker, error, about)
    return ConnectionLost(broker, f"{cause_of(error)}{about}")


def _told(broker: str, error: BaseException, about: str) -> BrokerError:
    code = code_of(error)
    if code in {"NOGROUP", "UNBLOCKED"}:
        return ConsumerCancelled(broker, f"stream or group was deleted{about}")
    if code == "WRONGTYPE":
        return Conflict(broker, f"that key is no stream{about}")
    return BrokerError(broker, f"{reason(error)}{about}")


def code_of(error: BaseException) -> str:
    """The first word of a server's error, "" of any other; redis-py takes it off the text of those it has classes for."""
    if not isinstance(error, redis.RedisError):
        return ""
    taken = getattr(error, "status_code", None)
    if isinstance(taken, str):
        return taken
    first = str(error).partition(" ")[0]
    return first if isinstance(error, redis.ResponseError) and first.isupper() else ""


def reason(error: BaseException) -> str:
    """A server's error in its words, cut; the common ones explained."""
    explained = {
        "OOM": "the broker is out of memory and refuses writes (OOM)",
        "READONLY": "the node is a replica and refuses writes (READONLY)",
        "MISCONF": "the broker cannot save to disk and refuses writes (MISCONF)",
        "BUSY": "a script runs on the broker and holds up everything (BUSY); SCRIPT KILL ends it",
        "NOSCRIPT": "the broker forgot a script while it was used (NOSCRIPT)",
        "CROSSSLOT": "the keys live on different nodes of the cluster (CROSSSLOT)",
        "CLUSTERDOWN": "the cluster has nobody for this slot now (CLUSTERDOWN)",
        "LOADING": "the broker is loading its data (LOADING)",
        "WRONGTYPE": "that key holds something else (WRONGTYPE)",
        "NOPERM": "a right is missing (NOPERM)",
    }
    text = explained.get(code_of(error), str(error)[:_LONGEST])
    return f"{text}: {str(error).partition('. ')[0][:_LONGEST]}" if code_of(error) == "MISCONF" else text


def cause_of(error: BaseException) -> str:
    """Why a connection is gone."""
    if isinstance(error, TimeoutError | redis.TimeoutError):
        return "no answer in time"
    if isinstance(error, redis.InvalidResponse | ValueError | LookupError):
        return "protocol error: the answer is not what Redis speaks"
    text = str(error)
    if "closed by server" in text or isinstance(error, ConnectionResetError):
        return "the broker closed the connection"
    return "the connection dropped"
