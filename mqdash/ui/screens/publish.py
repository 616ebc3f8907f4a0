"""The form that composes one message: everything editable, checked as one types, published with its end told."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, TextArea

from mqdash.errors import InputError, MqdashError
from mqdash.model.delivery import Sent
from mqdash.model.message import Family
from mqdash.safe_text import literal, safe_text
from mqdash.ui.screens.drafts import body_text, draft_of, headers_text, is_editable, route_of, seconds_text
from mqdash.ui.widgets.prompt import Completions
from mqdash.ui.wishes import Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from mqdash.model.message import Draft
    from mqdash.model.topology import Route
    from mqdash.safe_text import SafeText
    from mqdash.ui.app import MqdashApp

NOUNS = {
    Family.RABBITMQ: literal("exchange"),
    Family.KAFKA: literal("topic"),
    Family.REDIS_STREAMS: literal("stream"),
    Family.REDIS_PUBSUB: literal("channel"),
}

HEADERS = {family: literal("fields") if family is Family.REDIS_STREAMS else literal("headers") for family in Family}
"""An entry of a stream has no headers: they are fields beside the body."""


class PublishForm(ModalScreen[None]):
    """Stays open until the message was published or escape. Shows what a message of this family can carry, and no more."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("ctrl+s", "publish", "Publish", show=False, priority=True),
    ]
    app: MqdashApp

    def __init__(
        self, broker: str, producer: str, route: Route, draft: Draft, routes: Sequence[Route], family: Family | None
    ) -> None:
        super().__init__()
        self._broker = broker
        self._producer = producer
        self._route = route
        self._draft = draft
        self._routes = list(routes)
        self._family = family or Family.RABBITMQ
        self._sending = False

    def compose(self) -> ComposeResult:
        """Fields, what is wrong with them, buttons."""
        draft, route = self._draft, self._route
        by = f" as {self._producer}" if self._producer else ""
        with Vertical(classes="dialog", id="publish") as box:
            box.border_title = safe_text(f"p Publish on {self._broker}{by}")
            box.border_subtitle = literal("ctrl+s publishes · tab next field · esc cancels")
            yield self._row(NOUNS[self._family], self._target(route.destination))
            key = route.key if self._family is Family.RABBITMQ else draft.key
            with_key = self._row(literal("key"), Input(safe_text(key), id="key", compact=True))
            with_key.display = self._family is not Family.REDIS_PUBSUB
            yield with_key
            yield Horizontal(
                Label(literal("body"), classes="label", markup=False),
                TextArea(body_text(draft.body), id="body", compact=True, read_only=not is_editable(draft.body)),
                id="body-row",
            )
            headers = Horizontal(
                Label(HEADERS[self._family], classes="label", markup=False),
                TextArea(headers_text(draft.headers), id="headers", compact=True),
                id="headers-row",
            )
            headers.display = self._family is not Family.REDIS_PUBSUB
            yield headers
            with Horizontal(classes="line gap") as times:
                times.display = self._family is Family.RABBITMQ
                yield Label(literal("priority"), classes="label", markup=False)
                priority = "" if draft.priority is None else str(draft.priority)
                yield Input(priority, id="priority", compact=True, classes="short", placeholder="0-255")
                yield Label(literal("TTL"), classes="label", markup=False)
                yield Input(seconds_text(draft.ttl_s), id="ttl", compact=True, classes="short", placeholder="none")
                yield Label(literal("delay"), classes="label", markup=False)
                yield Input(seconds_text(draft.delay_s), id="delay", compact=True, classes="short", placeholder="none")
            yield Label("", id="wrong", classes="bad", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(literal("Publish"), id="yes", compact=True)
                yield Button(literal("Cancel"), id="no", compact=True)

    def _target(self, destination: str) -> Input:
        names = list(dict.fromkeys(route.destination for route in self._routes if route.destination))
        found = Completions(lambda text: next((name for name in names if text and name.startswith(text)), ""))
        return Input(safe_text(destination), id="destination", compact=True, suggester=found,
                     placeholder=literal("(default exchange)"))  # fmt: skip

    @staticmethod
    def _row(label: SafeText, field: Input) -> Horizontal:
        return Horizontal(Label(label, classes="label", markup=False), field, classes="line")

    def on_mount(self) -> None:
        """The body is what is edited most."""
        self.query_one("#body").focus()
        self._check()

    def fields(self) -> dict[str, str]:
        """What stands in the form now."""
        texts = {
            name: self.query_one(f"#{name}", Input).value for name in ("destination", "key", "priority", "ttl", "delay")
        }
        return texts | {name: self.query_one(f"#{name}", TextArea).text for name in ("body", "headers")}

    def _check(self) -> tuple[Route, Draft] | None:
        """The message as typed, or None with the reason shown."""
        fields = self.fields()
        wrong = self.query_one("#wrong", Label)
        try:
            made = route_of(fields, self._route), draft_of(fields, self._draft, self._family)
        except InputError as error:
            wrong.update(safe_text(str(error)))
            self.query_one("#yes", Button).disabled = True
            return None
        wrong.update("")
        self.query_one("#yes", Button).disabled = self._sending
        return made

    def on_input_changed(self) -> None:
        """Tell what is wrong while it is typed."""
        if self.is_mounted:
            self._check()

    def on_text_area_changed(self) -> None:
        """Tell what is wrong while it is typed."""
        if self.is_mounted:
            self._check()

    def on_input_submitted(self) -> None:
        """Enter in a line publishes."""
        self.action_publish()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Publish or not."""
        if event.button.id == "yes":
            self.action_publish()
        else:
            self.action_cancel()

    def action_cancel(self) -> None:
        """Nothing was sent. What is under way stays in sight: nobody could tell yet whether it was sent."""
        if self._sending:
            self.query_one("#wrong", Label).update(literal("being sent… the form closes with the broker's word"))
        else:
            self.dismiss()

    def action_publish(self) -> None:
        """Send it; the form stays until its end is known."""
        made = self._check()
        if made is not None and not self._sending:
            self._sending = True
            self.query_one("#yes", Button).disabled = True
            self.run_worker(self.app.watched("publishing", self._publish(*made)))

    async def _publish(self, route: Route, draft: Draft) -> None:
        wrong = self.query_one("#wrong", Label)
        try:
            asked = self.app.control.asks("publish", self._broker, self._producer)
            question = Wish(action="Publish to", broker=self._broker, subject=str(route)).question
            if asked and not await self.app.ask(question, asked):
                return
            wrong.update(literal("waiting for the broker's word…"))
            receipt = await self.app.control.publish(self._broker, route, draft, producer=self._producer)
        except MqdashError as error:
            wrong.update(safe_text(str(error)))
            return
        finally:
            self._sending = False
            self.query_one("#yes", Button).disabled = False
        if receipt.sent is Sent.CONFIRMED:
            self.app.say(safe_text(f"published to {route}: confirmed"))
            self.dismiss()
            return
        words = {
            Sent.RETURNED: "returned: nobody is bound for that key, nothing was kept",
            Sent.REFUSED: "refused by the broker, nothing was kept",
            Sent.UNKNOWN: "no proof either way: it may have arrived, look before you send it again",
        }
        wrong.update(safe_text(f"{words[receipt.sent]} {receipt.detail}".strip()))
