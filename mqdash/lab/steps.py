"""The timed steps of a scenario: what happens by itself, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mqdash.errors import MqdashError
from mqdash.lab.scenario import Do
from mqdash.model.events import Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mqdash.lab.lab import Lab
    from mqdash.lab.scenario import StepSpec
    from mqdash.lab.workers import Worker
    from mqdash.model.events import Event

HOLD_LIMIT_S: Final = 0.5
HOLD_LOOK_S: Final = 0.002


class Faults(Protocol):
    """What the embedded broker can be made to do."""

    def stop(self, cause: str = ...) -> None:
        """It dies."""

    def start(self) -> None:
        """It is back."""

    def alarm(self, reason: str | None) -> None:
        """It blocks publishers (R15), or no longer."""


class Steps:
    """Runs the steps in the order of their times, counted from the moment all actors have begun.

    A kill waits up to `HOLD_LIMIT_S` until its worker holds a message: killing an idle one shows nothing.
    """

    def __init__(
        self, lab: Lab, steps: Sequence[StepSpec], *, faults: Faults | None, emit: Callable[[Event], None]
    ) -> None:
        self._lab = lab
        self._steps = sorted(steps, key=lambda step: step.at_s)
        self._faults = faults
        self._emit = emit

    async def run(self) -> None:
        """Return after the last step."""
        began_s = self._lab.clock.monotonic()
        for step in self._steps:
            await self._lab.clock.sleep(max(0.0, began_s + step.at_s - self._lab.clock.monotonic()))
            if step.text:
                self._tell(step.text, "look")
            await self._do(step)

    async def _do(self, step: StepSpec) -> None:
        lab = self._lab
        match step.do:
            case Do.SCALE:
                lab.scale(step.pool, step.count or 0)
            case Do.RATE:
                lab.producers[step.producer].set_rate(step.rate_per_s or 0.0)
            case Do.BURST:
                producer = lab.producers[step.producer]
                producer.burst(step.count or producer.spec.burst)
            case Do.RESTART | Do.ALARM:
                await self._fault(step)
            case Do.TELL:
                pass
            case _:
                await self._to_worker(step)

    async def _to_worker(self, step: StepSpec) -> None:
        worker = self._lab.workers.get(step.worker)
        if worker is None:
            self._tell(f"the scenario wants to {step.do} {step.worker}, which is not there", "look")
            return
        actions: dict[Do, Callable[[], None]] = {
            Do.KILL: worker.kill,
            Do.HANG: worker.hang,
            Do.CRASH: worker.crash_next,
            Do.FINISH: worker.finish,
            Do.PAUSE: worker.pause,
            Do.RESUME: worker.resume,
        }
        if step.do is Do.KILL:
            await self._until_it_holds(worker)
        try:
            actions[step.do]()
        except MqdashError as error:
            self._tell(f"the scenario wants to {step.do} {step.worker}: {error}", "look")

    async def _until_it_holds(self, worker: Worker) -> None:
        clock = self._lab.clock
        until_s = clock.monotonic() + HOLD_LIMIT_S
        while worker.living and not worker.held_ids and clock.monotonic() < until_s:
            await clock.sleep(HOLD_LOOK_S)

    async def _fault(self, step: StepSpec) -> None:
        faults = self._faults
        if faults is None:
            what = "restart the broker now" if step.do is Do.RESTART else "raise a memory alarm on the broker now"
            self._tell(
                f"this scenario asks you to {what}; the lab does it by itself on the embedded broker only", "look"
            )
            return
        if step.do is Do.RESTART:
            faults.stop("the broker was restarted")
            await self._lab.clock.sleep(step.for_s)
            faults.start()
        else:
            faults.alarm(step.text or "memory")
            await self._lab.clock.sleep(step.for_s)
            faults.alarm(None)

    def _tell(self, text: str, level: str) -> None:
        self._emit(Noted(broker=self._lab.broker, at_s=self._lab.clock.now(), text=text, level=level))
