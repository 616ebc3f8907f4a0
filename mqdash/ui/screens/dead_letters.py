"""The dead letters of one queue: causes on the left, messages and one message on the right; replay and discard.

While it is open the letters are held (RabbitMQ) or read (Kafka, Streams); leaving gives back what was not removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, ClassVar

from textual.screen import Screen

from mqdash.dead_letters.redrive import Moved
from mqdash.errors import MqdashError
from mqdash.model.names import tags
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui import keymap
from mqdash.ui.presentation.footer import MIN_HEIGHT, MIN_WIDTH
from mqdash.ui.presentation.letters import PARTS, group_subject, letter_subject, window_words
from mqdash.ui.screens.confirm import Confirm
from mqdash.ui.screens.plan import PlanDialog
from mqdash.ui.widgets.bars import FooterBar, HeaderBar, LineBar, TooSmall, place
from mqdash.ui.widgets.letters import CausesPane, LetterPane, LettersPane
from mqdash.ui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from mqdash.control.letters import LetterBox
    from mqdash.dead_letters.letter import Group, Letter
    from mqdash.dead_letters.redrive import Report
    from mqdash.model.topology import QueueRef
    from mqdash.model.views import View
    from mqdash.ui.app import MqdashApp
    from mqdash.ui.widgets.pane import Pane

FILTER = "filter"
EVERY_TICKS = 10
CLOSE_LIMIT_S = 2.0
"""What is held goes back with the connection at the latest."""
IDS_NAMED = 8
"""So many ids stand in the question whether to discard them."""


class LettersScreen(Screen[None]):
    """One window on one dead-letter queue."""

    BINDINGS: ClassVar[list[BindingType]] = keymap.bindings(keymap.Where.LETTERS)  # type: ignore[assignment]
    app: MqdashApp

    def __init__(self, broker: str, queue: QueueRef, cause: str = "") -> None:
        super().__init__(id="letters")
        self.cause = cause  # selected at first, when the window has it
        self.broker = broker
        self.queue = queue
        self.box: LetterBox | None = None
        self.opened_s = 0.0
        self.problem = SafeText("")
        self._busy = False
        self._lines_said = 1

    def compose(self) -> ComposeResult:
        """Header, one line about the window, three panes, footer."""
        theme = self.app.colours
        self.header = HeaderBar(theme, id="header")
        self.line = LineBar(theme, id="line")
        self.causes = CausesPane(theme, id="causes")
        self.list = LettersPane(theme, id="messages")
        self.one = LetterPane(theme, id="message")
        self.footer = FooterBar(theme, id="footer")
        self.prompt = Prompt(id="prompt")
        self.too_small = TooSmall(theme, id="too-small")
        yield from (self.header, self.line, self.causes, self.list, self.one, self.footer, self.prompt, self.too_small)

    @property
    def panes(self) -> tuple[CausesPane, LettersPane, LetterPane]:
        """Left, upper right, lower right."""
        return self.causes, self.list, self.one

    def on_mount(self) -> None:
        """Open the window in a task; the screen says so meanwhile."""
        self._lay_out()
        self.list.focus()
        self.run_worker(self.app.watched("opening dead letters", self._open()), name="open dead letters")

    async def _open(self) -> None:
        try:
            box = await self.app.control.open_letters(self.broker, self.queue)
        except MqdashError as error:
            self.problem = safe_text(str(error))
            self.app.refuse(self.broker, error)
            self.refresh_panes()
            return
        if not self.is_attached:
            await box.close()
            return
        self.box, self.opened_s = box, self.app.now()
        self.refresh_panes()
        wished = [group for group in box.groups() if self.cause and group.cause == self.cause]
        if wished:
            self.causes.select(group_subject(self.broker, wished[0]))

    async def on_unmount(self) -> None:
        """Give back what is left, whatever way the screen went."""
        box, self.box = self.box, None
        if box is not None:
            with contextlib.suppress(TimeoutError):  # a broker that does not answer must not hold the way out
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await box.close()

    # --- drawing -----------------------------------------------------------------------------------------------------

    def show(self, view: View, tick: int) -> None:
        """Ages and the header go on; letters only change by what is done here."""
        if tick % EVERY_TICKS == 0:
            self.header.show(view, self.broker)
            self._show_line()
            for pane in self.panes:
                pane.show(view, self.broker)

    def refresh_panes(self) -> None:
        """Draw all panes from the box."""
        groups = self.box.groups() if self.box is not None else ()
        self.causes.groups = groups
        view = self.app.view
        self.header.show(view, self.broker)
        self.causes.show(view, self.broker)
        group = self.group
        self.list.letters = group.letters if group is not None else ()
        self.list.heading = (
            safe_text(group.cause or "(no reason recorded)") if group is not None else literal("Messages")
        )
        held = {letter.number for letter in self.box.letters} if self.box is not None else set()
        self.list.marked &= held
        self.list.show(view, self.broker)
        self.one.letter = self.letter
        self.one.show(view, self.broker)
        self._show_line()

    def _show_line(self) -> None:
        if self.problem:
            self.line.say(self.problem, bad=True)
        elif self.box is None:
            self.line.say(safe_text(f"opening {self.queue}…"))
        elif why := self.box.returned():
            self.line.say(safe_text(why), bad=True)
        else:
            words = window_words(self.box.info, len(self.box.letters), self.app.now() - self.opened_s)
            self.line.say(words, name=safe_text(str(self.queue)))
        if max(len(self.line.lines(self.app.size.width)), 1) != self._lines_said:
            self._lay_out()

    def on_resize(self, _event: events.Resize) -> None:
        """Everything stands where the new size puts it."""
        self._lay_out()

    def _lay_out(self) -> None:
        width, height = self.app.size
        small = width < MIN_WIDTH or height < MIN_HEIGHT
        place(self.too_small, (0, 0, width, height) if small else None)
        left = max(30, width * 3 // 8) if width >= 100 else 28
        said = self._lines_said = max(len(self.line.lines(width)), 1)
        body = height - 2 - said
        upper = max(6, min(body * 6 // 13, body - 12))
        top = 1 + said
        places = {
            self.header: (0, 0, width, 1),
            self.line: (0, 1, width, said),
            self.causes: (0, top, left, body),
            self.list: (left, top, width - left, upper),
            self.one: (left, top + upper, width - left, body - upper),
            self.footer: (0, height - 1, width, 1),
        }
        for widget, where in places.items():
            place(widget, None if small else where)
        self.prompt.styles.offset = (0, height - 1)
        everywhere = (keymap.Where.EVERYWHERE,)
        self.footer.show_keys(keymap.footer_keys(keymap.Where.LETTERS, everywhere))

    # --- what is selected ----------------------------------------------------------------------------------------------

    @property
    def group(self) -> Group | None:
        """The selected cause, else the first."""
        groups = self.causes.groups
        chosen = [group for group in groups if group_subject(self.broker, group) == self.causes.selected]
        return chosen[0] if chosen else (groups[0] if groups else None)

    @property
    def letter(self) -> Letter | None:
        """The selected letter, else the first of the cause."""
        letters = self.list.letters
        chosen = [letter for letter in letters if letter_subject(self.broker, letter) == self.list.selected]
        return chosen[0] if chosen else (letters[0] if letters else None)

    @property
    def numbers(self) -> list[int]:
        """What replay and discard act on: the marked ones, else the selected one."""
        if self.list.marked:
            return sorted(self.list.marked)
        letter = self.letter
        return [letter.number] if letter is not None else []

    def on_pane_moved(self, event: Pane.Moved) -> None:
        """Another cause shows its letters, another letter shows itself."""
        if event.pane is self.list:
            self.one.scrolled = 0
        self.refresh_panes()

    def on_pane_sideways(self, event: Pane.Sideways) -> None:
        """Keys h and l: causes or messages."""
        (self.causes if event.by < 0 else self.list).focus()

    def action_other_pane(self) -> None:
        """The next of the three panes."""
        panes = self.panes
        at = next((at for at, pane in enumerate(panes) if pane.has_focus), 0)
        panes[(at + 1) % len(panes)].focus()

    def action_mark(self) -> None:
        """Mark or unmark the selected letter, and go to the next."""
        letter = self.letter
        if letter is not None:
            self.list.marked ^= {letter.number}
            self.list.move_by(1)
            self.refresh_panes()

    def action_mark_cause(self) -> None:
        """Mark all of the cause, or none of it when all are marked."""
        group = self.group
        if group is not None:
            numbers = {letter.number for letter in group.letters}
            self.list.marked = self.list.marked - numbers if numbers <= self.list.marked else self.list.marked | numbers
            self.refresh_panes()

    def action_next_view(self) -> None:
        """Body, headers, path."""
        self.one.part = PARTS[(PARTS.index(self.one.part) + 1) % len(PARTS)]
        self.one.scrolled = 0
        self.refresh_panes()

    def copied(self) -> str:
        """The body of the selected letter, as it is drawn."""
        letter = self.letter
        return safe_text(letter.delivery.message.body[:65_536], multiline=True) if letter is not None else ""

    # --- the filter ------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """`/` opens the line; in an open one it is a character."""
        return super().check_action(action, parameters) if action != "filter" else not self.prompt.display

    def action_filter(self) -> None:
        """`/`: only letters that contain a text."""
        self.footer.display = False
        self.prompt.open(FILTER, literal("show only dead letters that contain…"), self.list.filter_text)

    def on_prompt_typed(self, event: Prompt.Typed) -> None:
        """It works while it is typed."""
        self._set_filter(event.text)

    def on_prompt_ended(self, event: Prompt.Ended) -> None:
        """Enter keeps it, escape drops it."""
        self.footer.display = True
        self._set_filter(event.text or "")

    def _set_filter(self, text: str) -> None:
        self.list.filter_text, self.list.first_row = text, None
        self.refresh_panes()

    # --- replay and discard ----------------------------------------------------------------------------------------------

    def action_replay(self) -> None:
        """Show what a replay would do; only the dialog's button does it."""
        self._start(self._replay)

    def action_harm_letters(self) -> None:
        """Archive and remove, after asking."""
        self._start(self._discard)

    def _start(self, work: object) -> None:
        if self.box is None or not self.numbers:
            self.app.say(literal("no dead letter is selected"), bad=True)
        elif self._busy:
            self.app.say(literal("one operation at a time: the last one still runs"), bad=True)
        else:
            assert callable(work)
            self._busy = True
            self.run_worker(self.app.watched("moving dead letters", work(self.box, self.numbers)))

    async def _replay(self, box: LetterBox, numbers: list[int]) -> None:
        try:
            plan = await box.plan(numbers)
            asked = self.app.control.asks("replay", self.broker, str(self.queue), len(plan.letters))
            chosen = await self.app.push_screen_wait(PlanDialog(plan, asked, self._which(len(plan.letters))))
            if chosen is not None:
                self._tell(await box.replay(chosen))
        except MqdashError as error:
            self.app.refuse(self.broker, error)
        finally:
            self._busy = False
            self.refresh_panes()

    async def _discard(self, box: LetterBox, numbers: list[int]) -> None:
        try:
            asked = self.app.control.asks("discard", self.broker, str(self.queue), len(numbers)) or "confirm"
            question = safe_text(f"Discard {self._which(len(numbers))} of {self.queue}?")
            chosen = set(numbers)
            ids = tuple(letter.id for letter in box.letters if letter.number in chosen)
            details = (
                safe_text(tags(ids, len(numbers), IDS_NAMED)),
                literal("They are written to the archive on this machine first, then removed from the broker."),
            )
            if await self.app.push_screen_wait(Confirm(question, asked, details)):
                self._tell(await box.discard(numbers))
        except MqdashError as error:
            self.app.refuse(self.broker, error)
        finally:
            self._busy = False
            self.refresh_panes()

    def _which(self, n: int) -> str:
        """What is acted on, in words: the marked ones or the selected one."""
        return f"{n} marked" if self.list.marked else "the selected one"

    def _tell(self, report: Report) -> None:
        """The end of an operation: all four counts, since they must add up."""
        counts = ", ".join(f"{report.count(moved)} {moved}" for moved in Moved)
        why = f" · {report.detail}" if report.detail else ""
        if report.kind == "discard" and report.count(Moved.DONE):
            why += f" · archived in {report.to}"
        bad = report.count(Moved.DONE) < report.taken
        self.app.say(safe_text(f"{report.kind}: taken {report.taken} = {counts}{why}"), bad=bad)
