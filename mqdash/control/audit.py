"""Every action as the broker's own tools would do it: told in the Story and kept in the audit log."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from mqdash.model.events import UserActed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mqdash.clock import Clock
    from mqdash.model.events import Event

log = logging.getLogger("mqdash.audit")


class Audit:
    """Writes what a person did to the bus and to the log."""

    def __init__(self, *, clock: Clock, emit: Callable[[Event], None]) -> None:
        self._clock = clock
        self._emit = emit

    def kept(self, broker: str, text: str, command: str = "") -> None:
        """Record an action in the log alone: the Story tells it by its outcome."""
        log.info("%s", json.dumps({"broker": broker, "did": text, "command": command}))

    def told(self, broker: str, text: str, command: str = "", ids: tuple[str, ...] = ()) -> None:
        """Record an action: `text` is the sentence for the Story, `command` the equivalent of the broker's own tools."""
        self.kept(broker, text, command)
        self._emit(UserActed(broker=broker, at_s=self._clock.now(), text=text, command=command, ids=ids))
