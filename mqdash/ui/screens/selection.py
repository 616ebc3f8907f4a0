"""From what is selected on screen to what it stands for in the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.ui.presentation.dead_letters import cause_subject, grave_subject
from mqdash.ui.presentation.producers import producer_subject
from mqdash.ui.presentation.workers import worker_subject

if TYPE_CHECKING:
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


def grave(selected: Subject | None, view: View | None, broker: str) -> GraveView | None:
    """The dead-letter queue of the selected cause or node, else the fullest one of the shown broker."""
    if view is None:
        return None
    graves = view.dead_letters.graves
    if selected is not None:
        for candidate in graves:
            if grave_subject(candidate) == selected:
                return candidate
        for cause in view.dead_letters.causes:
            if cause_subject(cause) == selected:
                broker = cause.broker
                death = next(
                    (d for d in view.dead_letters.deaths if d.broker == broker and d.queue == cause.queue), None
                )
                named = [g for g in graves if death is not None and g.broker == broker and g.queue.name in death.to]
                if named:
                    return named[0]
    here = [candidate for candidate in graves if candidate.broker == broker]
    return max(here, key=lambda candidate: candidate.count or 0, default=None)


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
