"""Why a connection failed: aiokafka says "unable to bootstrap" for everything, and the cause only to its log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mqdash.brokers.kafka.errors import is_login

if TYPE_CHECKING:
    from collections.abc import Iterable

    Place = tuple[str, int]


class Causes(logging.Handler):
    """Remembers which brokers refused a login. Being a handler, it also keeps Python from writing to the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: set[Place] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """`Unable connect to "host:port": error` carries the error itself."""
        arguments = record.args
        if isinstance(arguments, tuple) and len(arguments) == 3 and is_login(arguments[2]):
            self._refused.add((str(arguments[0]), int(str(arguments[1]))))

    def forget(self, places: Iterable[Place]) -> None:
        """A new attempt begins."""
        self._refused.difference_update(places)

    def refused(self, places: Iterable[Place]) -> bool:
        """Whether one of these brokers refused the login since."""
        return not self._refused.isdisjoint(places)


causes = Causes()
logging.getLogger("aiokafka").addHandler(causes)
