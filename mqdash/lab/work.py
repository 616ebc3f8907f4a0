"""What a lab worker does with a message: how long it takes, whether it fails and why, what it asks and publishes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.brokers.base import Publisher, Requester
from mqdash.lab.scenario import UNSENT_RETRY_S
from mqdash.lab.template import Fields, Template
from mqdash.model.causes import CANNOT_DECODE
from mqdash.model.delivery import Ack, Answer, DeadLetter, Delivery, Outgoing, Retry, Sent, Verdict
from mqdash.model.message import Draft, Family, compose
from mqdash.model.topology import Route

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from mqdash.lab.crew import Crew
    from mqdash.lab.scenario import CallSpec, ErrorSpec, OnSuccessSpec, PoolSpec

ACK: Final = Ack()
_BYTE = re.compile(r"\(byte (\d+)\)")


class Tools(msgspec.Struct, frozen=True):
    """What a worker opened beside its consumer; None where its pool needs none."""

    publisher: Publisher | None = None
    requester: Requester | None = None


class _Event:
    """A message published on success."""

    def __init__(self, spec: OnSuccessSpec, families: dict[str, Family]) -> None:
        self.spec = spec
        self.key, self.body = Template(spec.key), Template(spec.body)
        self.headers = [(name, Template(text)) for name, text in spec.headers.items()]
        self.family = families.get(spec.to, Family.RABBITMQ)

    def outgoing(self, values: dict[str, str]) -> Outgoing:
        key = self.key.render(values)
        draft = Draft(
            body=self.body.render(values).encode(),
            key=key,
            id=f"{values['id']}.{self.spec.name}",
            headers=tuple((name, template.render(values)) for name, template in self.headers),
        )
        return Outgoing(Route(self.spec.to, key if self.family is Family.RABBITMQ else ""), compose(draft, self.family))


class _Call:
    """A request made for a message."""

    def __init__(self, spec: CallSpec, family: Family) -> None:
        self.spec = spec
        self.key, self.body = Template(spec.key), Template(spec.body)
        self.family = family

    def templates(self) -> tuple[Template, Template]:
        return self.key, self.body


class Work:
    """The work of one worker. `time_s` and `failure_rate` can be changed while it works."""

    def __init__(
        self, spec: PoolSpec, worker: str, family: Family, families: dict[str, Family], rng: random.Random, crew: Crew
    ) -> None:
        self.time_s = (spec.time_ms[0] / 1000, spec.time_ms[1] / 1000)
        self.failure_rate = spec.failure_rate
        self._spec = spec
        self._worker = worker
        self._family = family
        self._rng = rng
        self._crew = crew
        self._events = [_Event(event, families) for event in spec.on_success]
        self._calls = [_Call(call, family) for call in spec.calls]
        self._errors = [(error, Template(error.text)) for error in spec.errors]
        self._weights = [error.weight for error in spec.errors]
        self._reply = None if spec.reply is None else Template(spec.reply)
        self._poison = [(poison.contains.encode(), poison) for poison in spec.poison]
        templates = [template for _, template in self._errors]
        templates += [template for event in self._events for template in (event.key, event.body)]
        templates += [template for call in self._calls for template in call.templates()]
        templates += [] if self._reply is None else [self._reply]
        self._fields = Fields(spec.fields, templates)

    @property
    def needs_publisher(self) -> bool:
        """It publishes events or replies."""
        return bool(self._events) or self._reply is not None

    @property
    def needs_requester(self) -> bool:
        """It makes requests."""
        return bool(self._calls)

    def draw_s(self) -> float:
        """How long the next message takes."""
        shortest_s, longest_s = self.time_s
        return self._rng.uniform(shortest_s, longest_s) if longest_s > 0 else 0.0

    async def judge(self, batch: Sequence[Delivery], tools: Tools) -> list[Verdict]:
        """The verdict on each: its calls answered, its follow-ups confirmed, or why not."""
        spec = self._spec
        if not any(delivery.message.undecoded for delivery in batch) and not (
            spec.poison or spec.expects or self.failure_rate or self._calls or self._events or self._reply
        ):
            return [ACK] * len(batch)
        verdicts: list[Verdict] = []
        drawn: list[dict[str, str]] = []
        for delivery in batch:
            values = self._values(delivery)
            drawn.append(values)
            verdicts.append(self._examined(delivery, values))
        for call in self._calls:
            await self._ask(call, batch, drawn, verdicts, tools)
        await self._answer(batch, drawn, verdicts, tools)
        await self._follow_up(batch, drawn, verdicts, tools)
        return verdicts

    def _values(self, delivery: Delivery) -> dict[str, str]:
        values = self._fields.draw(self._rng)
        values["id"], values["key"] = delivery.message.id or "", delivery.key
        values["worker"] = self._worker
        return values

    def _examined(self, delivery: Delivery, values: dict[str, str]) -> Verdict:
        if delivery.message.undecoded:
            return DeadLetter(CANNOT_DECODE, delivery.message.undecoded)
        body = delivery.message.body
        for needle, poison in self._poison:
            if needle in body:
                return DeadLetter(poison.error, poison.text)
        if self._spec.expects:
            problem = _json_problem(body)
            if problem:
                return DeadLetter("BadJson", problem)
        if self.failure_rate and self._rng.random() < self.failure_rate:
            if not self._errors:
                return DeadLetter("Failed", "this worker was set to fail")
            error, text = self._rng.choices(self._errors, self._weights)[0]
            return self._failed(delivery, error, text.render(values))
        return ACK

    def _failed(self, delivery: Delivery, error: ErrorSpec, text: str) -> Verdict:
        return self._again(delivery, error.name, text) if error.retry else DeadLetter(error.name, text)

    def _again(self, delivery: Delivery, error: str, text: str) -> Verdict:
        retry, attempt = self._spec.retry, delivery.message.attempt
        if retry is None or attempt >= retry.attempts:
            return DeadLetter(error, text)
        return Retry(retry.after_s[min(attempt, len(retry.after_s)) - 1], error, text)

    async def _ask(
        self,
        call: _Call,
        batch: Sequence[Delivery],
        drawn: list[dict[str, str]],
        verdicts: list[Verdict],
        tools: Tools,
    ) -> None:
        requester = tools.requester
        assert requester is not None
        asking = [at for at, verdict in enumerate(verdicts) if verdict is ACK]
        replies = await asyncio.gather(
            *(
                requester.request(
                    Route(call.spec.to, call.key.render(drawn[at])),
                    compose(Draft(body=call.body.render(drawn[at]).encode()), call.family),
                    timeout_s=call.spec.timeout_s,
                )
                for at in asking
            )
        )
        for at, reply in zip(asking, replies, strict=True):
            if reply.answer is not Answer.ANSWERED:
                text = f"no answer from {call.spec.key} within {call.spec.timeout_s:g} s: {reply.answer}"
                verdicts[at] = self._again(batch[at], call.spec.error, text)

    async def _answer(
        self, batch: Sequence[Delivery], drawn: list[dict[str, str]], verdicts: list[Verdict], tools: Tools
    ) -> None:
        if self._reply is None:
            return
        assert tools.publisher is not None
        for delivery, values, verdict in zip(batch, drawn, verdicts, strict=True):
            if verdict is ACK and delivery.message.reply_to:
                body = self._reply.render(values).encode()
                # At most once by nature (C3): an asker that got none asks again or gives up.
                await tools.publisher.reply(delivery.message, compose(Draft(body=body), self._family))

    async def _follow_up(
        self, batch: Sequence[Delivery], drawn: list[dict[str, str]], verdicts: list[Verdict], tools: Tools
    ) -> None:
        outgoing: list[Outgoing] = []
        owners: list[int] = []
        for event in self._events:
            for at, verdict in enumerate(verdicts):
                if verdict is ACK and (event.spec.share >= 1 or self._rng.random() < event.spec.share):
                    outgoing.append(event.outgoing(drawn[at]))
                    owners.append(at)
        if not outgoing:
            return
        assert tools.publisher is not None
        receipts = await tools.publisher.send(outgoing)
        self._crew.book(outgoing, receipts)
        for at, sent, receipt in zip(owners, outgoing, receipts, strict=True):
            if receipt.sent is Sent.RETURNED:
                verdicts[at] = self._again(batch[at], "Unroutable", f"nobody is bound for {sent.route}")
            elif receipt.sent is not Sent.CONFIRMED:
                text = f"{sent.route} did not confirm: {receipt.detail or receipt.sent}"
                verdicts[at] = Retry(UNSENT_RETRY_S, "NotPublished", text)


def _json_problem(body: bytes) -> str:
    """Why it is no JSON, or ''."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        place = _BYTE.search(str(error))
        return f"bad JSON at byte {place[1] if place else len(body)}"
    return ""
