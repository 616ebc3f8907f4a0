"""What a replay will do, before it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from mqdash.control.letters import Plan
from mqdash.safe_text import SafeText, literal, safe_text
from mqdash.ui.presentation import texts
from mqdash.ui.presentation.paint import wrapped
from mqdash.ui.screens.confirm import TypedName

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

TEXT_WIDTH = 57
RATES_PER_S = (1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0)


class PlanDialog(ModalScreen[Plan | None]):
    """The plan to carry out (with the chosen rate), or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("down", "rate(-1)", "Slower", show=False),
        Binding("up", "rate(1)", "Faster", show=False),
        Binding("left,right", "app.focus_next", "The other button", show=False),
    ]

    def __init__(self, plan: Plan, how: str, which: str = "") -> None:
        super().__init__()
        self._asks = bool(how)
        self._which = which
        self._plan = plan
        self._name = safe_text(how.partition(":")[2]) if how.startswith("typed:") else SafeText("")

    def compose(self) -> ComposeResult:
        """The plan in lines, the rate, the name to type, buttons."""
        with Vertical(classes="dialog", id="plan") as box:
            n = len(self._plan.letters)
            which = f" ({self._which})" if self._which else ""
            box.border_title = safe_text(f"r Replay {texts.exact(n)} dead letter{'s' * (n != 1)}{which}")
            box.border_subtitle = literal("nothing sent yet · ← → choose, enter presses it · ↑ ↓ rate · esc")
            yield Static(self._text(), id="plan-text")
            if self._name:
                yield Label(safe_text(f"more than 100: type {self._name}"), markup=False, classes="hint gap")
                yield TypedName(id="name", compact=True)
            with Horizontal(classes="buttons"):
                yield Button(
                    safe_text(f"Replay {n}"), id="yes", compact=True, disabled=bool(self._name) or not self._works
                )
                yield Button(literal("Cancel"), id="no", compact=True)

    @property
    def _works(self) -> bool:
        """Something would be sent: a plan without a target is only to be read."""
        return self._plan.to != "nowhere"

    def _text(self) -> Content:
        plan = self._plan
        seconds = len(plan.letters) / plan.rate_per_s
        rows: list[tuple[str, str, str, str]] = [
            ("from", str(plan.queue), "bold $dead", ""),
            ("to", plan.to, "bold", plan.to_note),
            ("stripped", ", ".join(plan.stripped) or "nothing", "", "kept: everything else"),
            ("may come", plan.duplicates, "", ""),
            ("rate", f"▼ {plan.rate_per_s:g}/s ▲", "bold $accent", f"about {texts.duration(seconds)}"),
            ("journal", "on disk, survives a cut connection", "", ""),
        ]
        parts: list[Content | tuple[str, str]] = []
        for label, value, style, note in rows:
            for at, line in enumerate(wrapped(safe_text(value), TEXT_WIDTH)):
                parts += [(f"{'' if at else label:>9}  ", "$dim"), (f"{line}\n", style)]
            for line in wrapped(safe_text(note), TEXT_WIDTH) if note else ():
                parts += [(f"{'':>9}  {line}\n", "$dim")]
        for at, (fine, sentence) in enumerate(plan.checks):
            parts += [
                (f"{'check' if at == 0 else '':>9}  ", "$dim"),
                (f"{'✓' if fine else '!'} {safe_text(sentence)}\n", "$success" if fine else "$warning"),
            ]
        return Content.assemble(*parts)

    def on_mount(self) -> None:
        """Typing starts at once; the button only where no real broker is asked, so that a key too many sends nothing."""
        self.query_one("#name" if self._name else "#no" if self._asks or not self._works else "#yes").focus()

    def action_rate(self, by: int) -> None:
        """The next rate up or down."""
        rates = RATES_PER_S
        now = min(range(len(rates)), key=lambda at: abs(rates[at] - self._plan.rate_per_s))
        at = max(0, min(len(rates) - 1, now + by))
        self._plan = msgspec.structs.replace(self._plan, rate_per_s=rates[at])
        self.query_one("#plan-text", Static).update(self._text())

    def on_input_changed(self, event: Input.Changed) -> None:
        """The button works once the name is right."""
        self.query_one("#yes", Button).disabled = event.value != self._name or not self._works

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter behind the right name does it."""
        if event.value == self._name and self._works:
            self.dismiss(self._plan)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Done or not."""
        self.dismiss(self._plan if event.button.id == "yes" else None)

    def action_cancel(self) -> None:
        """Nothing was sent."""
        self.dismiss(None)
