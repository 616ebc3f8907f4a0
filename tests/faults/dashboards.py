"""The dashboard as it runs, in this process: everything behind the screen is real, only the terminal is not."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mqdash.config import Config
from mqdash.control.attachment import Attachment
from mqdash.model.broker import LinkState
from mqdash.model.views import BrokerView
from mqdash.runtime import Runtime, Target
from mqdash.ui.app import MqdashApp
from tests.support import until

SIZE = (140, 44)


@dataclass
class Board:
    """A running dashboard."""

    runtime: Runtime
    app: MqdashApp

    @property
    def text(self) -> str:
        """What stands on the screen now."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    def attachment(self, name: str) -> Attachment:
        return self.runtime.control.attachments[name]

    def state(self, name: str) -> LinkState:
        return self.attachment(name).link.state

    def broker(self, name: str) -> BrokerView:
        return next(found for found in self.runtime.store.view().header.brokers if found.name == name)

    @property
    def beside(self) -> BrokerView:
        """The broker attached last."""
        return self.runtime.store.view().header.brokers[-1]

    def confirmed(self, broker: str) -> int:
        rows = self.runtime.store.view().producers.rows
        return sum(row.total for row in rows if row.producer.broker == broker)

    @property
    def story(self) -> str:
        """All sentences of the Story, newest first."""
        lines = self.runtime.store.view().story.lines
        return "\n".join(" / ".join((line.text, *line.more)) for line in lines)

    async def shows(self, *words: str, timeout_s: float = 10.0) -> str:
        """Wait until all words are on the screen at once; returns the screen."""

        def found() -> str:
            text = self.text
            squeezed = " ".join(text.split())
            return text if all(word in text or word in squeezed for word in words) else ""

        try:
            return await until(found, timeout_s, every_s=0.05)
        except AssertionError:
            raise AssertionError(f"not on the screen: {words}\n{self.text}\n{self.story}") from None

    async def turn_to_next(self) -> None:
        """Flow alone on the screen, and on the next broker."""
        for key in ("2", "z", "right_square_bracket"):
            self.app.simulate_key(key)  # a pilot would wait for a pause, and there is none

    async def tells(self, *words: str, timeout_s: float = 10.0) -> None:
        """Wait until the Story has a line with all words."""

        def told() -> bool:
            return any(all(word in line for word in words) for line in self.story.splitlines())

        try:
            await until(told, timeout_s, every_s=0.05)
        except AssertionError:
            raise AssertionError(f"not told: {words}\n{self.story}") from None


@asynccontextmanager
async def board(targets: Sequence[Target], home: Path, config: Config | None = None) -> AsyncIterator[Board]:
    """Open the dashboard on these targets."""
    settings = config or Config(state_dir=str(home / "state"), log_file=str(home / "mqdash.log"))
    async with Runtime(targets, settings) as runtime:
        app = MqdashApp(runtime.store, runtime.bus, runtime.control, clock=runtime.clock)
        async with app.run_test(size=SIZE):
            yield Board(runtime, app)
