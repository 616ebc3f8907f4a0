"""Logs go to a file: the terminal belongs to the dashboard. Known secrets are struck out as a second line of defence (§5.1)."""

from __future__ import annotations

import base64
import logging
import re
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mqdash.model.secret import Secret

_DOTS = "••••"
_PATTERNS = (
    re.compile(r"(://[^:/@\s]*:)\S+(@)"),  # to the last @ of the word: a password may hold one
    re.compile(r"(?i)\b((?:authorization:?\s*(?:basic|bearer)?|password\s*[=:]|auth)\s+)\S+()"),
    re.compile(r"(?i)\b(password\s*[=:]\s*)[^\s,;]+()"),
)


class Redaction(logging.Filter):
    """Replaces every known secret, as it is, percent-encoded, and as `user:password` in base64, and what looks like one."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def learn(self, secret: Secret, user: str = "") -> None:
        """Never let this secret through."""
        plain = secret.reveal()
        if plain:
            self._known |= {plain, quote(plain, safe="")}
            self._known.add(base64.b64encode(f"{user}:{plain}".encode()).decode())
            self._known.add(base64.b64encode(f"\0{user}\0{plain}".encode()).decode())

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, _DOTS)
        return without_logins(text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the finished message; exceptions keep type and place, never values of local variables."""
        record.msg = self.clean(record.getMessage())
        record.args = ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = self.clean(logging.Formatter().formatException(record.exc_info))
        return True


redaction = Redaction()


def without_logins(text: str) -> str:
    """The text without what looks like a password in a URL, a header or a setting."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{_DOTS}\2", text)
    return text


def to_file(
    path: Path, *, level: int = logging.INFO, quiet: Iterable[str] = ("pika", "aiokafka", "httpx", "httpcore")
) -> str:
    """Send the log of mqdash to a file (5 MiB, three kept). Returns '' or why there is none; a missing log stops nothing."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(level)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler: logging.Handler = RotatingFileHandler(
            path, maxBytes=5 << 20, backupCount=3, encoding="utf-8", delay=True
        )
        path.touch(mode=0o600)
    except OSError as error:
        root.addHandler(logging.NullHandler())
        return f"no log: {path}: {error.strerror}"
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(redaction)
    root.addHandler(handler)
    return ""
