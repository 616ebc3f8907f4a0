"""The Story: what happened, newest first, in sentences. What repeats becomes one line that counts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, assert_never

from mqdash.model.actors import WorkerRecord, WorkerState
from mqdash.model.causes import normalised_cause
from mqdash.model.events import Cancelled, Claimed, Failure, Gap, MovesEnded, Noted, Rebalanced, SettleFailed
from mqdash.model.nouns import nouns
from mqdash.model.views import StoryLine, StoryView
from mqdash.store import sentences
from mqdash.store.followed import Followed
from mqdash.store.link_story import LinkStory
from mqdash.store.sentences import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mqdash.model.events import (
        Died,
        Event,
        HandedOver,
        LinkChanged,
        Retried,
        Unroutable,
        UserActed,
        WorkerChanged,
        WorkerDied,
    )
    from mqdash.model.message import Family
    from mqdash.model.topology import QueueRef
    from mqdash.store.rates import Beat

Aside = SettleFailed | Cancelled | Rebalanced | Claimed | Gap | MovesEnded | Noted | Failure
MERGED_WITHIN_S = 5.0
EPISODE_S = 60.0
ACT_SHOWS_WITHIN_S = 2.0
_GIVEN_BACK_SHOWN = 4


class Line:
    """A line that may still change. `began_s`, `touched_s` are monotonic; `n` counts what was merged into it."""

    __slots__ = ("at_s", "began_s", "broker", "n", "told", "touched_s", "view")

    def __init__(self, broker: str, at_s: float, now_s: float, told: Told, n: int) -> None:
        self.broker = broker
        self.at_s = at_s
        self.began_s = now_s
        self.touched_s = now_s
        self.told = told
        self.n = n
        self.view: StoryLine | None = None

    def made(self) -> StoryLine:
        """Its frozen picture."""
        if self.view is None:
            self.view = StoryLine(
                at_s=self.at_s,
                broker=self.broker,
                level=self.told.level,
                text=self.told.text,
                more=self.told.more,
                subject=self.told.subject,
                n=self.n,
            )
        return self.view


class Story:
    """Bounded, newest first. `family_of(broker, queue)` gives the words of that broker."""

    def __init__(self, beat: Beat, family_of: Callable[[str, QueueRef], Family], limit: int) -> None:
        self._beat = beat
        self._family_of = family_of
        self._lines: deque[Line] = deque(maxlen=limit)
        self._newest: dict[Hashable, Line] = {}
        self._links = LinkStory(beat)
        self._followed = Followed(beat)
        self._hung: dict[tuple[str, str], WorkerRecord] = {}
        self._acts: dict[tuple[str, str, str], tuple[float, Line | None]] = {}
        self._dirty = False
        self._view = StoryView()

    # --- one line -----------------------------------------------------------------------------------------------------

    def tell(self, event: Event, told: Told, key: Hashable = None) -> Line:
        """A new line; of the same key within 5 s it replaces the line before it."""
        now_s = self._beat.mono_s
        line = self._newest.get(key) if key is not None else None
        if line is not None and now_s - line.began_s <= MERGED_WITHIN_S:
            self._retell(line, told, line.n + 1)
            return line
        return self._begin(event.broker, event.at_s, told, key, 1)

    def tell_of(self, broker: str, told: Told) -> None:
        """A line about something noticed just now."""
        self._begin(broker, self._beat.wall_s(), told, None, 1)

    def _count(self, event: Event, n: int, key: Hashable, say: Callable[[int], Told]) -> None:
        """Count `n` more of a kind on its line, for as long as they keep coming and at most a minute."""
        now_s = self._beat.mono_s
        line = self._newest.get(key)
        if line is not None and now_s - line.touched_s <= MERGED_WITHIN_S and now_s - line.began_s <= EPISODE_S:
            line.touched_s = now_s
            self._retell(line, say(line.n + n), line.n + n)
        else:
            self._begin(event.broker, event.at_s, say(n), key, n)

    def _begin(self, broker: str, at_s: float, told: Told, key: Hashable, n: int) -> Line:
        line = Line(broker, at_s, self._beat.mono_s, told, n)
        self._lines.appendleft(line)
        if key is not None:
            if len(self._newest) > 4 * (self._lines.maxlen or 0):
                kept = {id(kept) for kept in self._lines}
                self._newest = {key: line for key, line in self._newest.items() if id(line) in kept}
            self._newest[key] = line
        self._dirty = True
        return line

    def _retell(self, line: Line, told: Told, n: int) -> None:
        line.told, line.n, line.view = told, n, None
        self._dirty = True

    # --- moments ------------------------------------------------------------------------------------------------------

    def link_changed(self, event: LinkChanged) -> None:
        """Gone, back, refused, blocked."""
        for told in self._links.sentences(event):
            self.tell(event, told)

    def worker_died(self, event: WorkerDied) -> None:
        """A death without a goodbye; who gets its messages is added to the same line."""
        told = sentences.worker_died(event, self._family_of(event.broker, event.queue))
        self._instead_of_act(event, event.worker, "killed")
        self._begin(event.broker, event.at_s, told, ("death", event.broker, event.worker), 1)

    def handed_over(self, event: HandedOver) -> None:
        """Who got what a dead worker held: below its death while that is news, else a line of its own."""
        family = self._family_of(event.broker, event.queue)
        death = self._newest.get(("death", event.broker, event.from_worker))
        if death is None or self._beat.mono_s - death.began_s > MERGED_WITHIN_S:
            self.tell(event, sentences.handed_over(event, family), ("back", event.broker, event.from_worker, event.ids))
            return
        outlook = nouns(family).after_kill
        given = [line for line in death.told.more if not line.startswith("it held ") and line != outlook]
        given = [*given, sentences.given_back(event, family)][-_GIVEN_BACK_SHOWN:]
        told = Told(level=death.told.level, text=death.told.text, more=tuple(given), subject=death.told.subject)
        self._retell(death, told, death.n)

    def died(self, event: Died, cause: str, to: str) -> None:
        """Deaths of one cause become one line that counts."""
        followed = self._followed.died(event, cause)
        if followed is not None:
            self.tell(event, followed)
        key = ("died", event.broker, event.queue, cause)
        self._count(event, event.n, key, lambda n: sentences.died(event, cause, to, n))

    def retried(self, event: Retried) -> None:
        """So do messages put back."""
        self._followed.retried(event)
        cause = normalised_cause(event.error)
        key = ("retried", event.broker, event.queue, cause)
        self._count(event, 1, key, lambda n: sentences.retried(event, cause, n))

    def unroutable(self, event: Unroutable) -> None:
        """So do returns."""
        key = ("unroutable", event.broker, event.by, event.route.destination)
        self._count(event, event.n, key, lambda n: sentences.unroutable(event, n))

    def acted(self, event: UserActed) -> None:
        """What the user did; a kill or a hang is told by what it did, when that shows at once."""
        self._followed.follow(event.broker, event.ids, "after you published it")
        verb, worker = _aimed(event.text)
        if verb:
            key = (event.broker, worker, verb)
            at_s, line = self._acts.get(key, (float("-inf"), None))
            if line is None and self._beat.mono_s - at_s <= ACT_SHOWS_WITHIN_S:
                self._blame_user(event.broker, worker)
                return  # its effect was told already
            line = self.tell(event, Told(level="you", text=event.text, subject=worker))
            self._acts[key] = (self._beat.mono_s, line)
            return
        self.tell(event, Told(level="you", text=event.text))

    def aside(self, event: Aside) -> None:
        """Moments that change nothing but the Story."""
        match event:
            case SettleFailed():
                self.tell(event, sentences.settle_failed(event), ("stuck", event.broker, event.by))
            case Cancelled():
                self.tell(event, sentences.cancelled(event), ("cancelled", event.broker, event.by))
            case Rebalanced():
                self.tell(event, sentences.rebalanced(event))
            case Claimed():
                self.tell(event, sentences.claimed(event))
            case Gap():
                self.tell(event, sentences.gap(event))
            case MovesEnded():
                if event.kind == "replay":
                    self._followed.follow(event.broker, event.ids, "after its replay")
                self.tell(event, sentences.moves_ended(event), ("moves", event.op))
            case Noted():
                self.tell(event, Told(level=event.level, text=event.text), ("noted", event.broker, event.text))
            case Failure():
                self.tell(event, sentences.failure(event), ("failure", event.where, event.text))
            case _:
                assert_never(event)

    def worker_changed(self, event: WorkerChanged, before: WorkerRecord | None) -> None:
        """Stopped answering, answers again, takes nothing: the rest is seen in its row."""
        worker = event.worker
        self._followed.worker_changed(worker, before)
        was = before.state if before is not None else None
        if worker.state is was:
            return
        if worker.state is WorkerState.HUNG:
            by_user = self._instead_of_act(event, worker.name, "hung")
            self._hung[event.broker, worker.name] = worker
            self.tell(event, sentences.hung(worker, by_user=by_user), ("hung", event.broker, worker.name))
        elif worker.state is WorkerState.STUCK:
            text = f"{worker.name} takes nothing: {worker.note or 'it could not settle'}"
            self.tell(event, Told(level="broken", text=text, subject=worker.name), ("stuck", event.broker, worker.name))
        elif was is WorkerState.HUNG and worker.state in {WorkerState.IDLE, WorkerState.BUSY}:
            self.tell(event, Told(level="good", text=f"{worker.name} answers again", subject=worker.name))
        if worker.state is not WorkerState.HUNG:
            self._hung.pop((event.broker, worker.name), None)

    def _blame_user(self, broker: str, worker: str) -> None:
        """Say by whom a worker hangs, when that was told before its act was."""
        line, record = self._newest.get(("hung", broker, worker)), self._hung.get((broker, worker))
        if line is not None and record is not None:
            self._retell(line, sentences.hung(record, by_user=True), line.n)

    def new_second(self) -> None:
        """Tell which of the followed messages are done."""
        for broker, told in self._followed.done():
            self.tell_of(broker, told)

    def _instead_of_act(self, event: Event, worker: str, verb: str) -> bool:
        """Take back the line of the act whose effect is told now; whether the user did it."""
        key = (event.broker, worker, verb)
        now_s = self._beat.mono_s
        at_s, line = self._acts.get(key, (float("-inf"), None))
        self._acts[key] = (now_s, None)
        if line is None or now_s - at_s > ACT_SHOWS_WITHIN_S:
            return False
        if line in self._lines:
            self._lines.remove(line)
        return True

    def view(self) -> StoryView:
        """All lines; the same object while nothing changed."""
        if self._dirty:
            self._dirty = False
            self._view = StoryView(lines=tuple([line.made() for line in self._lines]), revision=self._view.revision + 1)
        return self._view


def _aimed(text: str) -> tuple[str, str]:
    """(verb, worker) of "you killed W3" and "you hung W3: …"."""
    words = text.split()
    if len(words) >= 3 and words[0] == "you" and words[1] in {"killed", "hung"}:
        return words[1], words[2].rstrip(":")
    return "", ""
