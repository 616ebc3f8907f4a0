"""What dead-letter operations keep on disk: the journal (no payloads) and the archive of discarded messages.

Both are append-only NDJSON, mode 0600 in a folder of mode 0700, written and fsynced off the event loop, a batch at a time.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import TYPE_CHECKING, Any

import msgspec

from mqdash.errors import MqdashError

if TYPE_CHECKING:
    from pathlib import Path

    from mqdash.dead_letters.letter import Letter

_encode = msgspec.json.Encoder(enc_hook=repr).encode


class StateUnavailable(MqdashError):
    """The state folder cannot be written: nothing destructive may run (fault 69)."""


class NdjsonFile:
    """An append-only file of JSON lines; `write` returns when the lines are on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def open(self) -> None:
        """Create the file, private to the user.

        Raises:
            StateUnavailable: the folder or file cannot be written; the text names it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.parent.chmod(0o700)  # it may be older than this rule
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)  # the file's name must survive a power cut, too
            finally:
                os.close(folder)
        except OSError as error:
            msg = f"cannot write {self.path}: {error.strerror}; nothing is removed without it"
            raise StateUnavailable(msg) from error

    async def write(self, lines: list[dict[str, Any]]) -> None:
        """Append the lines and wait until they are on disk.

        Raises:
            StateUnavailable: the disk is full or the file is gone.
        """
        data = b"".join(_encode(line) + b"\n" for line in lines)
        try:
            await asyncio.to_thread(self._append, data)
        except OSError as error:
            msg = f"cannot write {self.path}: {error.strerror}"
            raise StateUnavailable(msg) from error

    def _append(self, data: bytes) -> None:
        assert self._fd is not None, "open it first"
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def archived(letter: Letter, op: str, at_s: float) -> dict[str, Any]:
    """The archive line of a letter: everything needed to make the message again, bytes as base64."""
    message = letter.delivery.message
    content = message.content
    pairs = None if isinstance(content, bytes) else [[_b64(name), _b64(value)] for name, value in content]
    return {
        "op": op,
        "at": at_s,
        "id": letter.id,
        "queue": str(letter.delivery.queue),
        "route": {"destination": letter.delivery.route.destination, "key": letter.delivery.route.key},
        "origin": None if letter.origin is None else str(letter.origin),
        "cause": letter.cause,
        "body": _b64(content) if isinstance(content, bytes) else None,
        "fields": pairs,
        "headers": [[name, _portable(value)] for name, value in message.headers],
        "native": msgspec.to_builtins(message.native, builtin_types=(bytes,)),
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _portable(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": _b64(value)}
    if isinstance(value, dict):
        return {str(name): _portable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(inner) for inner in value]
    return msgspec.to_builtins(value, enc_hook=repr, builtin_types=())
