"""What a person wished for, as a record: made by keys, the command line and dialogs, granted by the app in a task of its own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mqdash.errors import MqdashError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mqdash.control.actions import Control

WORDS: Final = {
    "kill": "Kill",
    "hang": "Hang",
    "crash_next": "Crash on its next message:",
    "finish": "Let finish and leave:",
    "pause": "Pause or resume",
    "toggle": "Start or stop",
    "set_rate": "Change the rate of",
    "change_rate": "Change the rate of",
    "burst": "Send a burst from",
    "publish_again": "Publish again from",
    "scale": "Scale",
}
_ASKED_AS: Final = {"crash_next": "crash", "set_rate": "rate", "change_rate": "rate", "publish_again": "publish"}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `control`: `action` is the name of its method, `subject` a producer, worker or pool.

    `q`, `help` and `publish` are wishes to the screen itself.
    """

    action: str
    broker: str
    subject: str
    args: tuple[Any, ...] = ()

    @property
    def question(self) -> str:
        """What is asked before it is done."""
        return f"{WORDS.get(self.action, self.action)} {self.subject} on {self.broker}?"


async def grant(control: Control, wish: Wish, ask: Callable[[str, str], Awaitable[bool]]) -> bool:
    """Do what is wished, asking first where control says so (`ask(question, how)`); False when the person said no.

    Raises:
        MqdashError: it cannot be done; the text says why.
    """
    action = _ASKED_AS.get(wish.action, wish.action)
    refusal = control.refusal(action, wish.broker, wish.subject)
    if refusal:
        raise MqdashError(refusal)
    how = control.asks(action, wish.broker, wish.subject)
    if how and not await ask(wish.question, how):
        return False
    result = getattr(control, wish.action)(wish.broker, wish.subject, *wish.args)
    if inspect.isawaitable(result):
        await result
    return True
