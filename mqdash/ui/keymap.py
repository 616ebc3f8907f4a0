"""Every key of the screen, declared once: bindings, footer, help and command palette are all made from this table.

A key that harms is upper case. Keys terminals take for themselves are not used (ctrl+h/i/j/m/z, tmux and screen prefixes).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, LiteralString

import msgspec
from textual.binding import Binding

from mqdash.safe_text import SafeText, literal

if TYPE_CHECKING:
    from collections.abc import Iterable


class Where(enum.StrEnum):
    """Where a key works. `DASHBOARD` keys work in every pane of the dashboard, on what is selected in their own pane."""

    EVERYWHERE = "everywhere"
    DASHBOARD = "dashboard"
    LISTS = "lists"
    PRODUCERS = "producers"
    FLOW = "flow"
    WORKERS = "workers"
    DEAD_LETTERS = "dead letters"
    STORY = "story"
    LETTERS = "dead letters screen"
    DIALOG = "dialog"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key. `keys` as Textual names them, `shown` as people do.

    `rank`: its place in the footer, 0 = not there. `foot`: the only focus whose footer shows it (None: wherever it works).
    `brief`: the label where there is little room. `at_once`: what is typed right behind it must not act as keys, so it is
    handled before the next key is read.
    """

    id: str
    where: Where
    keys: str
    action: str
    shown: SafeText
    label: SafeText
    tooltip: SafeText
    rank: int = 0
    foot: Where | None = None
    palette: bool = False
    brief: SafeText | None = None
    at_once: bool = False
    control: str = ""  # the id among the `controls` of the selected producer or worker it needs; "" = none

    def binding(self) -> Binding:
        """The same for Textual."""
        return Binding(
            self.keys,
            self.action,
            self.label,
            show=False,
            key_display=self.shown,
            priority=self.at_once,
            id=self.id,
            tooltip=self.tooltip,
        )

    @property
    def harms(self) -> bool:
        """Whether it can take something away: those keys are upper case."""
        return self.action.startswith(("screen.harm", "harm"))


def _key(
    id_: str, where: Where, keys: str, action: str, shown: LiteralString, label: LiteralString, tooltip: LiteralString,
    *, rank: int = 0, foot: Where | None = None, palette: bool = False,
    brief: LiteralString | None = None, at_once: bool = False, control: str = "",
) -> Key:  # fmt: skip
    return Key(
        id=id_,
        where=where,
        keys=keys,
        action=action,
        shown=literal(shown),
        label=literal(label),
        tooltip=literal(tooltip),
        rank=rank,
        foot=foot,
        palette=palette,
        brief=None if brief is None else literal(brief),
        at_once=at_once,
        control=control,
    )


_E, _B, _M = Where.EVERYWHERE, Where.DASHBOARD, Where.LISTS
_P, _F, _W, _D, _L = Where.PRODUCERS, Where.FLOW, Where.WORKERS, Where.DEAD_LETTERS, Where.LETTERS

# fmt: off
ALL: Final[tuple[Key, ...]] = (
    _key("help", _E, "question_mark", "app.help", "?", "help", "All keys, and what they do", rank=80, palette=True),
    _key("command", _B, "colon", "app.command_line", ":", "command",
         "Type a command: kill W2, scale W 5, rate shop 200, burst sale, publish shop, q", rank=70, palette=True, at_once=True),
    _key("palette", _E, "ctrl+p", "app.command_palette", "ctrl+p", "palette", "Find any action by its name"),
    _key("copy", _E, "y", "app.copy_selected", "y", "copy",
         "Copy what is selected: to the clipboard by OSC 52, and to a file where the terminal cannot", palette=True),
    _key("quit", _E, "q", "app.quit", "q", "quit", "Leave mqdash", rank=90, palette=True),
    _key("back", _E, "escape", "app.back", "esc", "back", "Close what is open: filter, zoom, this screen"),

    _key("pane.next", _B, "tab", "screen.next_pane(1)", "tab", "next pane", "Focus the next pane"),
    _key("pane.previous", _B, "shift+tab", "screen.next_pane(-1)", "shift+tab", "previous pane", "Focus the previous pane"),
    _key("pane.1", _B, "1", "screen.pane('producers')", "1", "producers", "Focus Producers"),
    _key("pane.2", _B, "2", "screen.pane('flow')", "2", "flow", "Focus Flow"),
    _key("pane.3", _B, "3", "screen.pane('workers')", "3", "workers", "Focus Workers"),
    _key("pane.4", _B, "4", "screen.pane('dead_letters')", "4", "dead letters", "Focus Dead letters"),
    _key("pane.5", _B, "5", "screen.pane('story')", "5", "story", "Focus Story"),
    _key("pane.zoom", _B, "z", "screen.zoom", "z", "zoom", "The whole screen for the focused pane, and back", palette=True),
    _key("broker.previous", _B, "left_square_bracket", "screen.broker(-1)", "[", "previous broker",
         "Show the previous broker"),
    _key("broker.next", _B, "right_square_bracket", "screen.broker(1)", "[ ]", "broker",
         "Show the next broker ([ the previous one)", rank=30, palette=True, brief="next"),
    _key("filter", _B, "slash", "screen.filter", "/", "filter", "Show only the rows of this pane that contain a text",
         rank=60, palette=True, at_once=True),
    _key("letters", _B, "d", "screen.letters", "d", "dead letters",
         "Open the dead letters of the selected queue (RabbitMQ: they are held while you look)", rank=40, palette=True, brief="dead"),

    _key("move.up", _M, "k,up", "move(-1)", "k ↑", "up", "Select the row above"),
    _key("move.down", _M, "j,down", "move(1)", "j ↓", "down", "Select the row below"),
    _key("move.left", _M, "h,left", "sideways(-1)", "h ←", "left", "The pane on the left"),
    _key("move.right", _M, "l,right", "sideways(1)", "l →", "right", "The pane on the right"),
    _key("move.page_up", _M, "pageup", "page(-1)", "pgup", "page up", "A page up"),
    _key("move.page_down", _M, "pagedown", "page(1)", "pgdn", "page down", "A page down"),
    _key("move.first", _M, "g,home", "edge(-1)", "g", "first", "Select the first row"),
    _key("move.last", _M, "G,end", "edge(1)", "G", "last", "Select the last row"),

    # Producers. Letters that no other pane uses work everywhere on the dashboard, on the row selected here.
    _key("producer.publish", _B, "p", "screen.publish", "p", "publish",
         "Compose a message and publish it", rank=10, palette=True, control="publish"),
    _key("producer.burst", _B, "b", "screen.burst", "b", "burst",
         "Send the selected producer's burst as fast as it goes", rank=11, foot=_P, palette=True, control="burst"),
    _key("producer.toggle", _P, "space", "screen.toggle_producer", "space", "on/off",
         "Start or stop the selected producer", rank=12, control="toggle"),
    _key("producer.again", _P, "r", "screen.publish_again", "r", "again",
         "Publish what was published by hand last once more", rank=14, control="publish"),
    _key("producer.faster", _P, "plus,equals_sign", "screen.faster(1)", "+ -", "rate",
         "Raise the rate of the selected producer (- lowers it)", rank=16, control="rate"),
    _key("producer.slower", _P, "minus", "screen.faster(-1)", "-", "slower", "Lower the rate of the selected producer"),
    _key("producer.edit", _P, "e", "screen.publish", "e", "edit", "Edit the selected producer's next message and publish it",
         rank=18, control="publish"),

    _key("flow.pause", _F, "space", "screen.pause_picture", "space", "pause",
         "Stop or start the moving picture; the brokers go on", rank=25),
    _key("flow.step", _F, "full_stop", "screen.step_picture", ".", "step", "Let the paused picture move a tenth of a second"),
    _key("flow.enter", _F, "enter", "screen.go_to_selected", "enter", "go to", "Go to the row of what is selected here"),

    _key("worker.kill", _B, "K", "screen.harm_worker('kill')", "K", "kill",
         "Kill the selected worker: its connection drops, nothing is acknowledged", rank=20, palette=True, control="kill"),
    _key("worker.hang", _B, "H", "screen.harm_worker('hang')", "H", "hang",
         "Make the selected worker hang: it holds its messages and does nothing", rank=21, foot=_W, palette=True, control="hang"),
    _key("worker.crash", _B, "C", "screen.harm_worker('crash_next')", "C", "crash",
         "Crash the selected worker on its next message", rank=22, foot=_W, palette=True, control="crash"),
    _key("worker.finish", _B, "f", "screen.worker('finish')", "f", "finish",
         "Let the selected worker finish what it holds and leave", rank=23, foot=_W, palette=True, control="finish"),
    _key("worker.pause", _W, "space", "screen.worker('pause')", "space", "pause",
         "Pause the selected worker, or let it go on", rank=24, control="pause"),
    _key("worker.more", _W, "plus,equals_sign", "screen.scale(1)", "+ -", "scale",
         "One more worker beside the selected one (- one less)", rank=25, control="scale"),
    _key("worker.fewer", _W, "minus", "screen.scale(-1)", "-", "fewer",
         "One worker less beside the selected one; it finishes what it holds"),

    _key("cause.open", _D, "enter", "screen.letters", "enter", "open", "Open the dead letters of this queue", rank=12),

    _key("letter.mark", _L, "space", "mark", "space", "mark",
         "Mark or unmark the selected dead letter and move on to the next", rank=10),
    _key("letter.mark_cause", _L, "a", "mark_cause", "a", "all in cause", "Mark or unmark all dead letters of this cause",
         rank=11, palette=True),
    _key("letter.replay", _L, "r", "replay", "r", "replay…",
         "Plan to send the marked ones (or the selected one) back to the queue they failed in", rank=12, palette=True),
    _key("letter.discard", _L, "X", "harm_letters", "X", "discard…",
         "Write the marked ones (or the selected one) to the archive and remove them", rank=14, palette=True),
    _key("letter.view", _L, "v", "next_view", "v", "body/headers/path",
         "Show the body, the headers or the path of the selected dead letter", rank=16),
    _key("letter.pane", _L, "tab,shift+tab", "other_pane", "tab", "next pane", "Causes, messages, the one message", rank=18),
    _key("letter.filter", _L, "slash", "filter", "/", "filter", "Show only dead letters that contain a text", rank=60,
         at_once=True),
)
# fmt: on


EVERY_CONTROL: Final = frozenset(key.control for key in ALL if key.control)


def keys_of(*places: Where) -> tuple[Key, ...]:
    """The keys that work there, in the order of the table."""
    return tuple(key for key in ALL if key.where in places)


def bindings(*places: Where) -> list[Binding]:
    """The Textual bindings of these places."""
    return [key.binding() for key in keys_of(*places)]


def footer_keys(focus: Where, places: Iterable[Where], controls: frozenset[str] = EVERY_CONTROL) -> list[Key]:
    """What the footer shows when `focus` has it and keys of `places` work: in the order of rank.

    Of the keys that act on a producer or worker those in `controls` only: a key that would be refused is not offered.
    """
    working = {focus, *places}
    shown = [
        key
        for key in ALL
        if key.rank
        and key.where in working
        and key.foot in (None, focus)
        and (not key.control or key.control in controls)
    ]
    return sorted(shown, key=lambda key: key.rank)


def find(id_: str) -> Key:
    """The key of that id.

    Raises:
        KeyError: there is none.
    """
    for key in ALL:
        if key.id == id_:
            return key
    raise KeyError(id_)
