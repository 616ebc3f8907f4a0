"""From what is selected on screen to what it stands for in the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.ui.presentation.dead_letters import cause_subject, grave_subject
from mqdash.ui.presentation.producers import producer_subject
from mqdash.ui.presentation.workers import worker_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqdash.model.actors import ProducerRecord, WorkerRecord
    from mqdash.model.views import GraveView, View
    from mqdash.ui.presentation.dashboard import PaneName
    from mqdash.ui.presentation.paint import Subject


def producer(selected: Subject | None, view: View | None, broker: str) -> ProducerRecord | None:
    """The selected producer, else the first one of the shown broker."""
    rows = view.producers.rows if view is not None else ()
    found = next((row.producer for row in rows if producer_subject(row) == selected), None)
    return found or next((row.producer for row in rows if row.producer.broker == broker), None)


def worker(selected: Subject | None, view: View | None, broker: str) -> WorkerRecord | None:
    """The selected worker, else the first one of the shown broker."""
    rows = view.workers.rows if view is not None else ()
    found = next((row.worker for row in rows if worker_subject(row) == selected), None)
    return found or next((row.worker for row in rows if row.worker.broker == broker), None)


def controls(
    view: View | None, broker: str, chosen_producer: Subject | None, chosen_worker: Subject | None
) -> frozenset[str]:
    """What can be done with the chosen producer and worker, or what stands for them: ids of controls."""
    if view is None:
        return frozenset()
    one, other = producer(chosen_producer, view, broker), worker(chosen_worker, view, broker)
    able: set[str] = set()
    if one is not None:
        able |= one.controls
    elif any(found.name == broker and found.info is not None and found.info.writable for found in view.header.brokers):
        able.add("publish")
    if other is not None:
        able |= other.controls
        if other.pool and not other.foreign:
            able.add("scale")
    return frozenset(able)


def cause(selected: Subject | None, view: View | None) -> str:
    """The words of the selected cause; "" when something else is selected."""
    causes = view.dead_letters.causes if view is not None else ()
    return next((found.cause for found in causes if cause_subject(found) == selected), "")


def grave(selected: Subject | None, view: View | None, broker: str) -> GraveView | None:
    """The dead-letter queue of the selected cause or node, else the fullest one of that subject's broker.

    Without a selection that is the shown `broker`; never that of another one.
    """
    if view is None:
        return None
    here = [candidate for candidate in view.dead_letters.graves if candidate.broker == broker]
    if selected is not None:
        here = [candidate for candidate in view.dead_letters.graves if candidate.broker == selected.broker]
        for candidate in here:
            if grave_subject(candidate) == selected:
                return candidate
        named = _grave_of_cause(selected, view, here)
        if named is not None:
            return named
    return max(here, key=lambda candidate: candidate.count or 0, default=None)


def _grave_of_cause(selected: Subject, view: View, graves: Sequence[GraveView]) -> GraveView | None:
    """Where the newest death of a cause went."""
    letters = view.dead_letters
    cause = next((cause for cause in letters.causes if cause_subject(cause) == selected), None)
    if cause is None:
        return None
    same = (cause.broker, cause.queue, cause.cause)
    death = next((found for found in letters.deaths if (found.broker, found.queue, found.cause) == same), None)
    return next((found for found in graves if death is not None and found.queue.name in death.to), None)


def pane_of(subject: Subject | None) -> PaneName | None:
    """The pane that lists things of this kind."""
    if subject is None:
        return None
    return {"p": "producers", "m": "workers", "w": "workers", "c": "dead_letters", "x": "dead_letters"}.get(  # type: ignore[return-value]
        subject.id.partition(":")[0]
    )


def row_of(subject: Subject | None, view: View | None) -> Subject | None:
    """The row of a list a node of the flow stands for: of a queue's workers the first."""
    if subject is None or view is None or not subject.id.startswith("w:"):
        return subject
    queue, _, group = subject.id[2:].partition("|")
    for row in view.workers.rows:
        if (row.worker.broker, row.worker.queue.name, row.worker.queue.group) == (subject.broker, queue, group):
            return worker_subject(row)
    return None
