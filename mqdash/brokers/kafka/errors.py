"""aiokafka's errors in words, as mqdash's own. Codes decide; texts of the library are never passed on (they may hold data)."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import errors as kafka

from mqdash.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnavailable,
    Conflict,
    ConnectionLost,
    LoginRefused,
    NotFound,
    Unsupported,
)

if TYPE_CHECKING:
    from aiokafka import TopicPartition

_ACCESS = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
)
_LOGIN = (kafka.SaslAuthenticationFailed, kafka.AuthenticationFailedError, kafka.UnsupportedSaslMechanismError)
_COORDINATOR = (
    kafka.GroupCoordinatorNotAvailableError,
    kafka.NotCoordinatorForGroupError,
    kafka.GroupLoadInProgressError,
)
_SILENT = (kafka.RequestTimedOutError, kafka.KafkaTimeoutError, asyncio.TimeoutError)
_GONE = (
    kafka.KafkaConnectionError,
    kafka.NodeNotReadyError,
    kafka.NoBrokersAvailable,
    kafka.StaleMetadata,
    kafka.ConsumerStoppedError,
    kafka.ProducerClosed,
    OSError,
)
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_REFUSED: tuple[tuple[type[BaseException], str], ...] = (
    (kafka.MessageSizeTooLargeError, "the record is larger than the topic takes (max.message.bytes)"),
    (kafka.RecordListTooLargeError, "the batch is larger than the topic takes (segment.bytes)"),
    (kafka.UnknownTopicOrPartitionError, "there is no such topic or partition"),
    (kafka.InvalidTopicError, "that is no name for a topic"),
    (kafka.TopicAuthorizationFailedError, "no right to write to this topic (TOPIC_AUTHORIZATION_FAILED)"),
    (kafka.ClusterAuthorizationFailedError, "no right to write to this cluster (CLUSTER_AUTHORIZATION_FAILED)"),
    (kafka.PolicyViolationError, "a policy of the cluster forbids it"),
    (kafka.InvalidTimestampError, "the timestamp is outside what the topic allows"),
    (kafka.UnsupportedForMessageFormatError, "the topic's message format has no headers"),
    (kafka.CorruptRecordException, "the broker refused the record: a compacted topic needs a key, or it was damaged"),
    (kafka.UnsupportedCodecError, "the broker does not know this compression"),
)


LOGIN_REFUSED = "login refused: user, password or SASL mechanism is wrong"


class Damage(NamedTuple):
    """Records whose checksum is wrong: from `first` up to before `behind`, the first offset that may be readable again."""

    topic: str
    partition: int
    first: int
    behind: int

    def __str__(self) -> str:
        last = self.behind - 1
        which = f"record {self.first} is" if self.first == last else f"records {self.first} to {last} are"
        return f"topic {self.topic!r} partition {self.partition}: {which} damaged (CRC)"


def damage_of(error: BaseException) -> Damage | None:
    """Where the damaged records are; None when the error is another one, or tells of damage but not which records.

    The library's error knows no offset: the batch is taken from the frame that checked it. When the error came from
    deeper, from a batch that has no end or a record that has none, the batch in that frame may be the healthy one before.
    """
    if not isinstance(error, kafka.CorruptRecordException):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = frames[-1].f_locals if frames else {}
    batch, place = found.get("next_batch"), found.get("tp")
    if batch is None or place is None or batch.validate_crc():
        return None
    return Damage(place.topic, place.partition, batch.base_offset, max(batch.next_offset, batch.base_offset + 1))


def stopped_at(error: kafka.CorruptRecordException) -> tuple[TopicPartition, int] | None:
    """The partition and the offset from which on nothing could be read; None when it was no reading of records."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        place, offset = frame.f_locals.get("tp"), getattr(frame.f_locals.get("self"), "next_fetch_offset", None)
        if place is not None and offset is not None:
            return place, offset
    return None


def is_login(error: object) -> bool:
    """Whether this is a refused login, which is never tried again by itself."""
    return isinstance(error, _LOGIN)


def refusal(error: BaseException) -> str:
    """Why a record was refused for good, or "" when the error proves nothing (then its publish is UNKNOWN)."""
    return next((text for kind, text in _REFUSED if isinstance(error, kind)), "")


def is_too_large(error: object) -> bool:
    """Whether the broker refused a batch for its size: each of its records alone may still fit."""
    return isinstance(error, _TOO_LARGE)


def translated(broker: str, error: BaseException, *, what: str = "") -> BrokerError:
    """The error as one of ours; `what` names the topic or group it was about."""
    about = f" ({what})" if what else ""
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, _LOGIN):
        return LoginRefused(broker, LOGIN_REFUSED)
    if isinstance(error, _ACCESS):
        return AccessRefused(broker, f"logged in, but a right is missing: {type(error).message}{about}")
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        return NotFound(broker, f"there is no such topic{about}")
    if isinstance(error, kafka.InvalidTopicError):
        return Conflict(broker, f"not a name for a topic{about}")
    if isinstance(error, kafka.InvalidSessionTimeoutError):
        return Unsupported(
            broker, f"the broker does not allow this session timeout (group.min.session.timeout.ms){about}"
        )
    if isinstance(error, kafka.InconsistentGroupProtocolError):
        return Conflict(broker, f"the group's members use another protocol or assignor{about}")
    if isinstance(error, _COORDINATOR):
        return BrokerError(
            broker, f"coordinator unknown{about}: nobody answers for the group yet; asked again by itself"
        )
    if isinstance(error, kafka.CorruptRecordException):
        return BrokerError(broker, str(damage_of(error) or f"protocol error: records nobody can read{about}"))
    if _unreadable(error):
        return ConnectionLost(broker, f"protocol error: an answer nobody can read{about}")
    if isinstance(error, _SILENT):
        return BrokerUnavailable(broker, f"no answer in time{about}")
    if isinstance(error, _GONE):
        return ConnectionLost(broker, f"no broker of the cluster can be reached{about}")
    return BrokerError(broker, f"{type(error).__name__.removesuffix('Error')}{about}")


def _unreadable(error: BaseException) -> bool:
    """Whether the connection ended because of what came over it, not because it dropped."""
    if isinstance(error, kafka.CorrelationIdError):
        return True
    cause = error.__cause__ if isinstance(error, kafka.KafkaConnectionError) else None
    return cause is not None and not isinstance(cause, OSError | EOFError)
