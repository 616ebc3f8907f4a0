"""The app: one tick that draws frozen views, one place that grants wishes, and everything all screens share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from textual.app import App, SystemCommand
from textual.worker import WorkerFailed

from mqdash.errors import InputError, MqdashError
from mqdash.model.events import Failure, Noted
from mqdash.model.views import View
from mqdash.safe_text import literal, safe_text
from mqdash.ui import commands, failures, keymap, wishes
from mqdash.ui.filters import NoControlCharacters
from mqdash.ui.live import install_span_painting
from mqdash.ui.pacing import SLOW_LINK_S, Pacing
from mqdash.ui.presentation.theme import DARK, MONO, Palette
from mqdash.ui.screens.dashboard import Dashboard
from mqdash.ui.settings import Settings as Settings  # noqa: PLC0414 - whoever makes the app needs both
from mqdash.ui.stock_theme import own_variables, textual_theme

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from textual import events
    from textual.binding import BindingType
    from textual.filter import LineFilter
    from textual.screen import Screen

    from mqdash.bus import EventBus
    from mqdash.clock import Clock
    from mqdash.control.actions import Control
    from mqdash.model.topology import QueueRef
    from mqdash.safe_text import SafeText
    from mqdash.store import Store
    from mqdash.ui.presentation.theme import Theme
    from mqdash.ui.terminal import Guard

FPS = 30


@runtime_checkable
class LiveScreen(Protocol):
    """A screen that draws views."""

    def show(self, view: View, tick: int) -> None:
        """Draw what is due at this tick."""
        ...


FAILURES_TOLD = 10
OPENING_COSTS = literal(
    "Opening takes up to 200 messages and holds them: others cannot take them. Closing gives them back, marked redelivered."
)
BEHIND_A_DIALOG = 6
"""Behind a dialog the whole dimmed screen is painted with each frame: only each n-th tick draws (5 Hz)."""


class MqdashApp(App[int]):
    """The full-screen dashboard over a store that somebody else feeds.

    `fps` 0 = no tick of its own: a test calls `tick()`. Exit code: `return_code`, 1 after a caught failure (see `show`).
    """

    TITLE = "mqdash"
    CSS_PATH = Path(__file__).parent / "styles" / "app.tcss"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = keymap.bindings(keymap.Where.EVERYWHERE)  # type: ignore[assignment]

    def __init__(
        self,
        store: Store,
        bus: EventBus,
        control: Control,
        config: Settings | None = None,
        clock: Clock | None = None,
        *,
        fps: int = FPS,
    ) -> None:
        install_span_painting()
        self.settings = config or Settings()
        super().__init__()
        self.register_theme(textual_theme(Palette()))
        self.theme = "mqdash-dark"
        self.store = store
        self.bus = bus
        self.control = control
        self.now = clock.now if clock is not None else time.time
        self.fps = fps
        self.view = View()
        self.pacing = Pacing(time.monotonic)
        self.colours: Theme = DARK if self.settings.colour and "NO_COLOR" not in os.environ else MONO
        self.failures: list[str] = []
        self.crash = ""
        self._ticks = 0
        self._guard_filter = NoControlCharacters()
        self._supervisor_pid = os.getppid()
        self._wishes: asyncio.Queue[wishes.Wish] = asyncio.Queue()
        if self.settings.keys:
            self.set_keymap(dict(self.settings.keys))

    # --- life --------------------------------------------------------------------------------------------------------

    def get_line_filters(self) -> list[LineFilter]:
        """Nothing that steers a terminal gets out of a stock widget (F9)."""
        return [*super().get_line_filters(), self._guard_filter]

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our variables exist in every theme."""
        return own_variables(Palette())

    def get_default_screen(self) -> Dashboard:
        """The dashboard is at the bottom of everything."""
        return Dashboard()

    def on_mount(self) -> None:
        """Start the tick and the one that grants wishes."""
        self.run_worker(self._grant_wishes(), name="wishes")
        if self.fps:
            self.run_worker(self._ticker(), name="tick")

    async def _ticker(self) -> None:
        """One loop of its own: an interval timer of Textual falls to a third when a frame is late."""
        due_s = time.monotonic()
        while True:
            self.tick()
            due_s = max(due_s + 1 / self.fps, time.monotonic())
            await asyncio.sleep(max(due_s - time.monotonic(), 0.002))

    def tick(self) -> None:
        """Take the newest view and let the visible screen draw what is due."""
        self._ticks += 1
        if self._ticks % FPS == 0 and os.getppid() != self._supervisor_pid and not self.is_headless:
            self.exit(return_code=1, message=None)  # whoever restores the terminal is gone: do not run on unseen
            return
        if not self.screen_stack:
            return  # the app is closing: its screens are gone before its tick
        if self.pacing.waiting or (self._dialog_open and self._ticks % BEHIND_A_DIALOG):
            return
        self.view = self.store.view()
        screen = self._visible_screen()
        if screen is not None:
            screen.show(self.view, self._ticks)
            if not self.is_headless and not self.is_web:
                self.pacing.drew()

    @property
    def _dialog_open(self) -> bool:
        return self.screen.is_modal

    def _visible_screen(self) -> LiveScreen | None:
        """The topmost screen that is no dialog, if it is a live one."""
        for screen in reversed(self.screen_stack):
            if not screen.is_modal:
                return screen if isinstance(screen, LiveScreen) else None
        return None

    @property
    def dashboard(self) -> Dashboard:
        """The default screen."""
        return next(screen for screen in self.screen_stack if isinstance(screen, Dashboard))

    # --- a slow link -------------------------------------------------------------------------------------------------

    def _display(self, screen: Screen[object], renderable: object) -> None:
        super()._display(screen, renderable)  # type: ignore[arg-type]
        if renderable is not None and self._driver is not None and not self.is_headless:
            question = self.pacing.question()
            if question:
                self._driver.write(question)

    def on_cursor_position(self, _event: events.CursorPosition) -> None:
        """The terminal has drawn the last frame."""
        self.pacing.answered()

    @property
    def slow_link_s(self) -> float | None:
        """The way to the terminal and back, when it is slow enough to be told."""
        link_s = self.pacing.link_s
        return link_s if link_s is not None and link_s >= SLOW_LINK_S else None

    # --- wishes ------------------------------------------------------------------------------------------------------

    def wish(self, wish: wishes.Wish) -> None:
        """Ask for something to be done; what comes of it arrives as events."""
        match wish.action:
            case "q":
                self.exit()
            case "help":
                self.action_help()
            case "publish":
                self.open_publish(wish.broker, wish.subject)
            case _:
                self._wishes.put_nowait(wish)

    async def _grant_wishes(self) -> None:
        """Wishes are granted one after the other, so that two keys in a row act in that order."""
        while True:
            wish = await self._wishes.get()
            try:
                await wishes.grant(self.control, wish, self.ask)
            except MqdashError as error:
                self.refuse(wish.broker, error)
            except Exception as error:  # noqa: BLE001 - one broken action must not take the others with it
                self.report_failure(f"action {wish.action}", error)

    async def ask(self, question: str, how: str, *details: SafeText) -> bool:
        """Ask before something is done; `how` as `control.asks` gives it."""
        from mqdash.ui.screens.confirm import Confirm

        return await self.push_screen_wait(Confirm(safe_text(question), how, details))

    def refuse(self, broker: str, error: MqdashError) -> None:
        """Say why something was not done: a toast now, a line in the Story for later."""
        text = failures.in_words(error)
        self.say(text, bad=True)
        self.bus.publish(Noted(broker=broker, at_s=self.now(), text=text, level="look"))

    def say(self, text: str, *, bad: bool = False) -> None:
        """A toast."""
        self.notify(safe_text(text), severity="error" if bad else "information", timeout=6 if bad else 3, markup=False)

    def command(self, line: str, view: View, broker: str) -> None:
        """Do what was typed behind `:`."""
        try:
            self.wish(commands.parse(line, view, broker))
        except InputError as error:
            self.say(failures.in_words(error), bad=True)

    async def watched(self, where: str, job: Awaitable[None]) -> None:
        """For workers of screens: what fails in one is reported, which Textual does not (F12, fault 67); the app goes on."""
        try:
            await job
        except Exception as error:  # noqa: BLE001 - one broken screen must not take the others with it
            self.report_failure(where, error)

    def open_letters(self, broker: str, queue: QueueRef, cause: str = "") -> None:
        """The screen of one dead-letter queue; what it holds it gives back when it closes. Asks where that costs others.

        `cause`: selected at first, when there are letters of it.
        """
        self.run_worker(self._open_letters(broker, queue, cause), name="open letters", group="letters", exclusive=True)

    async def _open_letters(self, broker: str, queue: QueueRef, cause: str) -> None:
        from mqdash.ui.screens.dead_letters import LettersScreen

        try:
            refusal = self.control.refusal("open_letters", broker, str(queue))
            if refusal:
                raise MqdashError(refusal)
            how = self.control.asks("open_letters", broker, str(queue))
        except MqdashError as error:
            self.refuse(broker, error)
            return
        if not how or await self.ask(f"Open {queue} on {broker}?", how, OPENING_COSTS):
            self.push_screen(LettersScreen(broker, queue, cause))

    def open_publish(self, broker: str, producer: str) -> None:
        """The form that composes a message."""
        from mqdash.ui.screens.publish import PublishForm

        try:
            route, draft = self.control.draft_for(broker, producer)
            routes = self.control.destinations(broker)
        except MqdashError as error:
            self.refuse(broker, error)
            return
        rows = self.view.producers.rows
        made = [row.family for row in rows if (row.producer.broker, row.producer.name) == (broker, producer)]
        family = next(
            iter([*made, *(found.family for found in self.view.header.brokers if found.name == broker)]), None
        )
        self.push_screen(PublishForm(broker, producer, route, draft, routes, family))

    # --- keys of all screens -----------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """All keys, and what is to be known of the brokers."""
        from mqdash.ui.screens.help import Help

        self.push_screen(Help(self.view.header.brokers))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """`:` opens a line on the dashboard only, and not while one is open: there it is a character."""
        if action == "command_line":
            return isinstance(self.screen, Dashboard) and not self.screen.prompt.display
        return super().check_action(action, parameters)

    def action_command_line(self) -> None:
        """Open the command line where the screen has one."""
        if isinstance(self.screen, Dashboard):
            self.screen.open_command_line()

    async def action_back(self) -> None:
        """Close what is open."""
        if isinstance(self.screen, Dashboard):
            self.screen.back()
        elif len(self.screen_stack) > 1:
            await self.pop_screen()

    def action_help_quit(self) -> None:
        """ctrl+c, pressed out of habit: say how to leave."""
        self.say(literal("q leaves mqdash (ctrl+q from anywhere)"))

    async def action_copy_selected(self) -> None:
        """Copy what the screen has selected."""
        copied = getattr(self.screen, "copied", None)
        text = copied() if copied is not None else ""
        if not text:
            self.say(literal("nothing is selected here"))
            return
        self.copy_to_clipboard(text)
        path = await asyncio.to_thread(keep_copy, self.settings.state_dir, text)
        also = f", also in {path}" if path else ""
        self.say(f"copied {len(text)} characters{also}")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: the actions that work on this screen, from the keymap."""
        dashboard = isinstance(screen, Dashboard)
        for key in keymap.ALL:
            here = key.where is keymap.Where.EVERYWHERE or (key.where is not keymap.Where.LETTERS) is dashboard
            if key.palette and here:
                yield SystemCommand(f"{key.label}  ({key.shown})", key.tooltip, self._runner(screen, key.action))

    @staticmethod
    def _runner(screen: Screen[object], action: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await screen.run_action(action)

        return run

    # --- failures ----------------------------------------------------------------------------------------------------

    def report_failure(self, where: str, error: BaseException) -> None:
        """A task, callback or thread failed: told on screen and in the log; the app goes on."""
        failures.write_log(where, error)
        text = failures.in_words(error)
        self.failures.append(f"{where}: {text}")
        self.bus.publish(Failure(broker="", at_s=self.now(), where=where, text=text))
        if self.is_running:
            self.say(f"a fault in mqdash ({where}): {text}", bad=True)

    def _fatal_error(self) -> None:
        """A handler of the screen crashed: end with a report of our own (Textual's prints local variables, F12)."""
        failed = self._exception
        error = failed.error if isinstance(failed, WorkerFailed) else failed  # what failed in it, with its frames
        if error is not None and not self.crash:
            failures.write_log("the screen", error)
            self.crash = failures.crash_report("the screen", error)
        self._close_messages_no_wait()


def keep_copy(folder: Path | None, text: str) -> str:
    """Write copied text to a file only its owner can read, and return its path ("" where that cannot be).

    No terminal tells whether it took OSC 52: the file is there when it did not.
    """
    if folder is None:
        return ""
    path = folder / "copied.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")
    except OSError:
        return ""
    return str(path)


async def show(app: MqdashApp, guard: Guard) -> int:
    """Run the app on this loop until it ends; the exit code (1 after a crash or a caught failure, 128 + n by a signal).

    From here on a signal leaves as `q` does. What crashed or failed is printed once the terminal is restored, without
    local variables.
    """
    loop = asyncio.get_running_loop()

    def leave(begun: Callable[[], None]) -> None:
        for step in (begun, app.exit):
            with contextlib.suppress(RuntimeError):  # the loop is closed: all is done
                loop.call_soon_threadsafe(step)

    guard.leaves_by(leave)
    watch = failures.Watch(loop, app.report_failure)
    watch.install()
    try:
        await app.run_async(mouse=app.settings.mouse)
    finally:
        watch.remove()
    with contextlib.suppress(OSError):  # nobody reads it where the terminal is gone
        if app.crash:
            sys.stderr.write(app.crash)
        elif app.failures:
            sys.stderr.write("mqdash caught faults of its own; the log has the details:\n")
            sys.stderr.writelines(f"  {line}\n" for line in app.failures[-FAILURES_TOLD:])
    return guard.code(app.return_code or (1 if app.failures or app.crash else 0))
