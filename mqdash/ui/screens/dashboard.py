"""The default screen: five panes, their focus and cursors, and the keys that act on what they have selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.screen import Screen

from mqdash.safe_text import literal, safe_text
from mqdash.ui import commands, keymap
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.dashboard import PANES, geometry
from mqdash.ui.presentation.header import LIVE, Corner
from mqdash.ui.screens import selection
from mqdash.ui.widgets.bars import FooterBar, HeaderBar, TooSmall, place
from mqdash.ui.widgets.flow import FlowPane
from mqdash.ui.widgets.lists import DeadLettersPane, ProducersPane, StoryPane, WorkersPane
from mqdash.ui.widgets.pane import Pane
from mqdash.ui.widgets.prompt import Prompt
from mqdash.ui.wishes import Wish

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from mqdash.model.views import View
    from mqdash.ui.app import MqdashApp
    from mqdash.ui.presentation.dashboard import PaneName

FILTER, COMMAND = "filter", "command"


class Dashboard(Screen[None]):
    """Producers, Flow, Workers, Dead letters, Story. It never does I/O: it makes wishes."""

    BINDINGS: ClassVar[list[BindingType]] = keymap.bindings(keymap.Where.DASHBOARD)  # type: ignore[assignment]
    app: MqdashApp

    def __init__(self) -> None:
        super().__init__(id="dashboard")
        self.view: View | None = None
        self.shown_broker = ""
        self.zoomed = False
        self.paused = False
        self._laid_out: tuple[object, ...] = ()
        self._focus_name: PaneName = "flow"
        self._controls: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        """Header, panes, footer and the line for commands; where they stand is `_lay_out`'s."""
        theme = self.app.colours
        self.header = HeaderBar(theme, id="header")
        self.panes: dict[PaneName, Pane] = {
            "producers": ProducersPane(theme, id="producers"),
            "flow": FlowPane(theme, id="flow", motion=self.app.settings.motion),
            "workers": WorkersPane(theme, id="workers"),
            "dead_letters": DeadLettersPane(theme, id="dead_letters"),
            "story": StoryPane(theme, id="story"),
        }
        self.footer = FooterBar(theme, id="footer")
        self.prompt = Prompt(id="prompt")
        self.too_small = TooSmall(theme, id="too-small")
        yield self.header
        yield from self.panes.values()
        yield self.footer
        yield self.prompt
        yield self.too_small

    def on_mount(self) -> None:
        """Flow has the focus at the start."""
        self._lay_out()
        self.panes["flow"].focus()

    @property
    def flow(self) -> FlowPane:
        """The moving picture."""
        pane = self.panes["flow"]
        assert isinstance(pane, FlowPane)
        return pane

    # --- drawing -----------------------------------------------------------------------------------------------------

    def show(self, view: View, tick: int) -> None:
        """Draw what is due at this tick: the flow each time, the others every n-th. A first view is drawn whole."""
        first, self.view = self.view is None, view
        self._choose_broker(view)
        self._show_corner()
        if tick % 3 == 0 or first:
            self.header.show(view, self.shown_broker)
            self._offer()
        for at, name in enumerate(PANES):
            pane = self.panes[name]
            if first or (tick + at) % pane.every_ticks == 0 or pane.broker != self.shown_broker:
                pane.show(view, self.shown_broker)

    def redraw(self) -> None:
        """Draw everything at once, after a key that changes what is shown."""
        if self.view is not None:
            self._offer()
            self.header.show(self.view, self.shown_broker)
            for pane in self.panes.values():
                pane.show(self.view, self.shown_broker)

    def _show_corner(self) -> None:
        link_s = self.app.slow_link_s
        if self.paused:
            self.header.corner = Corner(literal("‖ paused"), good=False)
        elif link_s is not None:
            self.header.corner = Corner(safe_text(f"link {texts.duration(link_s)}"), good=False)
        else:
            self.header.corner = LIVE

    def _choose_broker(self, view: View) -> None:
        names = [broker.name for broker in view.header.brokers]
        if self.shown_broker not in names:
            self.shown_broker = names[0] if names else ""

    def on_resize(self, _event: events.Resize) -> None:
        """Everything stands where the new size puts it."""
        self._lay_out()

    def _lay_out(self) -> None:
        """Put panes where `geometry` says; below 80x24 only that it is too small."""
        width, height = self.app.size
        wanted = (width, height, self._focus_name, self.zoomed)
        if wanted == self._laid_out:
            return
        self._laid_out = wanted
        places = geometry(width, height, focus=self._focus_name, zoomed=self.zoomed)
        self.too_small.display = places.too_small
        place(self.too_small, None if not places.too_small else (0, 0, width, height))
        place(self.header, None if places.too_small else places.header)
        place(self.footer, None if places.too_small else places.footer)
        self.prompt.styles.offset = (0, height - 1)
        self.flow.stacked = places.stacked
        for name, pane in self.panes.items():
            place(pane, places.panes.get(name))
        self._show_footer()

    def _show_footer(self) -> None:
        focus = self.panes[self._focus_name].where
        places = (keymap.Where.EVERYWHERE, keymap.Where.DASHBOARD)
        keys = keymap.footer_keys(focus, places, self._controls)
        if not self.zoomed and not self.panes["producers"].display:
            at = next((at + 1 for at, key in enumerate(keys) if key.id == "letters"), 0)
            keys.insert(at, keymap.find("pane.1"))
        self.footer.show_keys(keys)

    def _offer(self) -> None:
        """Offer the keys that work on what is selected, and no others."""
        producers, workers = self.panes["producers"], self.panes["workers"]
        controls = selection.controls(self.view, self.shown_broker, producers.selected, workers.selected)
        if controls != self._controls:
            self._controls = producers.controls = workers.controls = controls
            self._show_footer()

    # --- focus -------------------------------------------------------------------------------------------------------

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The footer shows the keys of the focus; a folded pane unfolds for it."""
        if isinstance(event.widget, Pane):
            self._focus_name = next(name for name, pane in self.panes.items() if pane is event.widget)
            self._lay_out()
            self._show_footer()

    def action_pane(self, name: PaneName) -> None:
        """Focus a pane by its number."""
        self._focus_name = name
        self._lay_out()
        self.panes[name].display = True
        self.panes[name].focus()

    def action_next_pane(self, by: int) -> None:
        """Focus the next pane; folded ones take part."""
        self.action_pane(PANES[(PANES.index(self._focus_name) + by) % len(PANES)])

    def on_pane_sideways(self, event: Pane.Sideways) -> None:
        """Keys h and l: the neighbour in the same row of panes."""
        rows: tuple[tuple[PaneName, ...], ...] = (("producers", "flow", "workers"), ("dead_letters", "story"))
        row = next(row for row in rows if self._focus_name in row)
        at = row.index(self._focus_name) + event.by
        if 0 <= at < len(row):
            self.action_pane(row[at])

    def action_zoom(self) -> None:
        """The whole screen for the focused pane, and back."""
        self.zoomed = not self.zoomed
        self._lay_out()

    def back(self) -> None:
        """Escape: the filter of the focused pane first, then the zoom."""
        pane = self.panes[self._focus_name]
        if pane.filter_text:
            pane.filter_text = ""
            pane.redraw()
        elif self.zoomed:
            self.action_zoom()

    def action_broker(self, by: int) -> None:
        """Show the next or the previous broker."""
        names = [broker.name for broker in self.view.header.brokers] if self.view is not None else []
        if names:
            at = names.index(self.shown_broker) if self.shown_broker in names else 0
            self._show_broker(names[(at + by) % len(names)])

    def on_header_bar_broker_chosen(self, event: HeaderBar.BrokerChosen) -> None:
        """A broker's name was clicked."""
        self._show_broker(event.broker)

    def _show_broker(self, broker: str) -> None:
        """Draw another broker; keys then act on its producers and workers, not on those selected before."""
        self.shown_broker = broker
        self.redraw()
        lists = (self.panes["producers"], self.panes["workers"])
        for pane in lists:
            if pane.selected is not None and pane.selected.broker != broker:
                pane.select(next((found for found in pane.drawn.order if found.broker == broker), pane.selected))

    def on_pane_moved(self, event: Pane.Moved) -> None:
        """The cursor of Flow takes the cursors of the lists with it."""
        subject = event.pane.selected
        self._offer()
        if event.pane is self.flow and subject is not None:
            for name in ("producers", "workers", "dead_letters"):
                pane = self.panes[name]
                if subject in pane.drawn.order:
                    pane.select(subject)

    # --- the line at the bottom ----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """`/` opens the line; in an open one it is a character."""
        return super().check_action(action, parameters) if action != "filter" else not self.prompt.display

    def action_filter(self) -> None:
        """`/`: only rows that contain a text."""
        pane = self.panes[self._focus_name]
        self.footer.display = False
        self.prompt.open(FILTER, literal("show only what contains… (enter keeps it, esc drops it)"), pane.filter_text)

    def open_command_line(self) -> None:
        """`:`: a command, completed from what is on screen."""
        self.footer.display = False
        self.prompt.open(COMMAND, literal("kill W2 · scale W 5 · rate shop 200 · burst sale · publish · q"),
                         complete=self._complete)  # fmt: skip

    def _complete(self, line: str) -> str:
        return commands.complete(line, self.view, self.shown_broker) if self.view is not None else ""

    def on_prompt_typed(self, event: Prompt.Typed) -> None:
        """A filter works while it is typed."""
        if event.kind == FILTER:
            self._set_filter(event.text)

    def on_prompt_ended(self, event: Prompt.Ended) -> None:
        """Enter or escape in the line."""
        self.footer.display = True
        if event.kind == FILTER:
            self._set_filter(event.text or "")
        elif event.text and self.view is not None:
            self.app.command(event.text, self.view, self.shown_broker)

    def _set_filter(self, text: str) -> None:
        pane = self.panes[self._focus_name]
        pane.filter_text, pane.first_row = text, None
        pane.redraw()

    # --- wishes on what is selected --------------------------------------------------------------------------------------

    def _wish_producer(self, action: str, *args: object) -> None:
        found = selection.producer(self.panes["producers"].selected, self.view, self.shown_broker)
        if found is None:
            self.app.say(literal("no producer is selected: 1 goes to the producers"), bad=True)
            return
        self.app.wish(Wish(action=action, broker=found.broker, subject=found.name, args=args))

    def _wish_worker(self, action: str, *args: object) -> None:
        found = selection.worker(self.panes["workers"].selected, self.view, self.shown_broker)
        if found is None:
            self.app.say(literal("no worker is selected: 3 goes to the workers"), bad=True)
            return
        self.app.wish(Wish(action=action, broker=found.broker, subject=found.name, args=args))

    def action_publish(self) -> None:
        """The form, filled with the selected producer's next message; without a producer it starts empty."""
        found = selection.producer(self.panes["producers"].selected, self.view, self.shown_broker)
        name, broker = (found.name, found.broker) if found is not None else ("", self.shown_broker)
        self.app.wish(Wish(action="publish", broker=broker, subject=name))

    def action_publish_again(self) -> None:
        """What was published last, once more."""
        found = selection.producer(self.panes["producers"].selected, self.view, self.shown_broker)
        name, broker = (found.name, found.broker) if found is not None else ("", self.shown_broker)
        self.app.wish(Wish(action="publish_again", broker=broker, subject=name))

    def action_burst(self) -> None:
        """The selected producer's burst."""
        self._wish_producer("burst")

    def action_toggle_producer(self) -> None:
        """Start or stop the selected producer."""
        self._wish_producer("toggle")

    def action_faster(self, by: int) -> None:
        """The next step of its rate, up or down."""
        self._wish_producer("change_rate", 2.0 if by > 0 else 0.5)

    def action_worker(self, action: str) -> None:
        """Something harmless with the selected worker."""
        self._wish_worker(action)

    def action_harm_worker(self, action: str) -> None:
        """Something harmful with the selected worker; control says whether to ask first."""
        self._wish_worker(action)

    def action_scale(self, by: int) -> None:
        """One worker more or less in the selected one's pool."""
        self._wish_worker("scale", by)

    # --- flow ----------------------------------------------------------------------------------------------------------

    def action_pause_picture(self) -> None:
        """Stop or start the moving picture; the brokers go on."""
        self.paused = not self.paused
        self.flow.paused = self.paused
        self._show_corner()
        self.redraw()

    def action_step_picture(self) -> None:
        """Let a paused picture go on a little."""
        self.flow.step()

    def action_go_to_selected(self) -> None:
        """From the picture to the list that has what is selected in it."""
        name = selection.pane_of(self.flow.selected)
        if name is not None:
            self.action_pane(name)
            found = selection.row_of(self.flow.selected, self.view)
            if found is not None:
                self.panes[name].select(found)

    # --- dead letters ----------------------------------------------------------------------------------------------------

    def action_letters(self) -> None:
        """Open the dead letters of the selected cause or node where that pane has the focus, else of the shown broker."""
        chosen = self.focused_pane.selected if self._focus_name in {"dead_letters", "flow"} else None
        found = selection.grave(chosen, self.view, self.shown_broker)
        if found is None:
            broker = chosen.broker if chosen is not None else self.shown_broker
            self.app.say(f"{broker} has no dead-letter queue that mqdash knows of: nothing was opened", bad=True)
            return
        self.app.open_letters(found.broker, found.queue, selection.cause(chosen, self.view))

    def copied(self) -> str:
        """What `y` copies: the selection of the focused pane."""
        return self.panes[self._focus_name].copied()

    @property
    def focused_pane(self) -> Pane:
        """The pane whose keys work."""
        return self.panes[self._focus_name]
