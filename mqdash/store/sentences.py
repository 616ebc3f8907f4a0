"""The Story's sentences: who, what, to whom, and what can be done. Pure: an event in, words out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.model.names import tag, tags
from mqdash.model.nouns import nouns

if TYPE_CHECKING:
    from mqdash.model.actors import WorkerRecord
    from mqdash.model.events import (
        Cancelled,
        Claimed,
        Died,
        Failure,
        Gap,
        HandedOver,
        MovesEnded,
        Rebalanced,
        Retried,
        SettleFailed,
        Unroutable,
        WorkerDied,
    )
    from mqdash.model.message import Family

_TEXT_SHOWN = 120
_MOVES_SHOWN = 4
_AT_ONCE_S = 0.05
_MILLISECONDS_BELOW_S = 0.95
_GAP_TOLD_S = 0.1
"""Partitions that nobody read for less than this were handed over, not left alone."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence before it is a line; `subject` is the node or worker id it talks about."""

    level: str
    text: str
    more: tuple[str, ...] = ()
    subject: str = ""


def seconds(duration_s: float) -> str:
    """`0.2 s`, `42 s`, `2 m 31 s`."""
    if duration_s < 10:
        return f"{duration_s:.1f} s"
    if duration_s < 60:
        return f"{duration_s:.0f} s"
    return f"{int(duration_s) // 60} m {int(duration_s) % 60} s"


def per_s(rate_per_s: float) -> str:
    """`2/s`, `0.4/s`, `62/s`."""
    return f"{rate_per_s:.1f}/s" if rate_per_s < 1 else f"{rate_per_s:,.0f}/s"


def ordinal(count: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"


def clipped(text: str) -> str:
    """The first line of a text, not too long."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _TEXT_SHOWN else f"{line[: _TEXT_SHOWN - 1]}…"


def held(n: int, family: Family) -> str:
    """`2 unacked messages`, `1 pending entry`, `nothing`."""
    if n == 0:
        return "nothing"
    words = nouns(family)
    return " ".join(word for word in (str(n), words.held, words.message if n == 1 else words.messages) if word)


def later(duration_s: float) -> str:
    """`at once` below a twentieth of a second, else `after 320 ms`, `after 6.4 s`."""
    if duration_s < _AT_ONCE_S:
        return "at once"
    return f"after {duration_s * 1000:.0f} ms" if duration_s < _MILLISECONDS_BELOW_S else f"after {seconds(duration_s)}"


def worker_died(event: WorkerDied, family: Family) -> Told:
    """`W3 was killed holding 2 unacked messages`."""
    how = {"killed": "was killed", "crashed": "crashed", "lost": "was lost"}.get(event.how, event.how)
    outlook = nouns(family).after_kill
    more = (
        *((f"it held {tags(event.held_ids, event.held)}",) if event.held_ids else ()),
        *((outlook,) if outlook else ()),
    )
    text = f"{event.worker} {how} holding {held(event.held, family)}"
    return Told(level="broken", text=text, more=more, subject=event.worker)


def given_back(event: HandedOver, family: Family, when: str = "") -> str:
    """`broker gave #8119 #8120 to W1 at once, 2nd time`, with the measured delay since the death."""
    what = tags(event.ids, event.n)
    again = f", {ordinal(event.count)} time" if event.count is not None else ""
    giver = nouns(family).giver
    told = f"{giver} {what} to {event.to_worker}" if giver else f"{what} went to {event.to_worker}"
    return f"{told} {when or later(event.after_s)}{again}"


def handed_over(event: HandedOver, family: Family) -> Told:
    """The same as a line of its own, when the death was told long ago."""
    text = given_back(event, family, f"{seconds(event.after_s)} after {event.from_worker} went")
    return Told(level="good", text=text, subject=event.to_worker)


def died(event: Died, cause: str, to: str, n: int) -> Told:
    """One: `#8102 dead-lettered by W1 → orders.failed`; many: `12 orders dead-lettered: PaymentDeclined`."""
    to = f" → {to}" if to else ""
    by = f" by {event.by}" if event.by else ""
    subject = f"q:{event.queue.name}|{event.queue.group}"
    if n > 1:
        newest = f"newest {tag(event.id)}{by}{to}" if event.id else f"newest{by}{to}"
        return Told(
            level="dead", text=f"{n:,} {event.queue.name} dead-lettered: {cause}", more=(newest,), subject=subject
        )
    said = ": ".join(part for part in (event.error or cause, clipped(event.error_text)) if part)
    attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
    own = " (the broker's own way, at most once)" if event.native else ""
    return Told(
        level="dead", text=f"{tag(event.id)} dead-lettered{by}{to}{own}", more=(f"{said}{attempt}",), subject=subject
    )


def hung(worker: WorkerRecord, *, by_user: bool) -> Told:
    """`W1 stopped answering (hung by you; it keeps #8342)`, and how it is woken where that can be done."""
    kept = worker.in_flight_ids or ((worker.current_id,) if worker.current_id else ())
    n = worker.in_flight if worker.in_flight is not None else len(kept)
    parts = [worker.note or ("hung by you" if by_user else ""), f"it keeps {tags(kept, n)}" if n else ""]
    why = "; ".join(part for part in parts if part)
    more = ("H wakes it",) if "hang" in worker.controls else ()
    return Told(
        level="look",
        text=f"{worker.name} stopped answering" + (f" ({why})" if why else ""),
        more=more,
        subject=worker.name,
    )


def retried(event: Retried, cause: str, n: int) -> Told:
    """`W1 put #8102 back: Timeout, again in 5 s`."""
    when = f"again in {seconds(event.after_s)}" if event.after_s > 0 else "again at once"
    if n > 1:
        more = (f"newest {tag(event.id)} by {event.by}, {when}",)
        return Told(level="info", text=f"{n:,} {event.queue.name} put back to try again: {cause}", more=more)
    text = f"{event.by} put {tag(event.id)} back: {event.error or cause}, {when}"
    return Told(level="info", text=text, subject=event.by)


def unroutable(event: Unroutable, n: int) -> Told:
    """`#12 of shop came back: nobody is bound to orders.direct for ordr`."""
    where = event.route.destination or "the default exchange"
    bound = f"nobody is bound to {where}" + (f" for {event.route.key}" if event.route.key else "")
    what = f"{n:,} messages" if n > 1 else tag(event.id)
    more = (event.detail,) if event.detail else ()
    return Told(level="look", text=f"{what} of {event.by} came back: {bound}", more=more, subject=f"p:{event.by}")


def settle_failed(event: SettleFailed) -> Told:
    """A worker that could not settle takes nothing more."""
    text = f"{event.by} could not settle {tag(event.id)}: {clipped(event.detail) or 'no reason given'}"
    return Told(level="broken", text=text, more=("nothing was removed; it takes nothing more",), subject=event.by)


def cancelled(event: Cancelled) -> Told:
    """The broker ended a subscription (R27)."""
    detail = clipped(event.detail) or "its queue is gone"
    text = f"the broker ended {event.by}'s subscription to {event.queue}: {detail}"
    return Told(level="broken", text=text, subject=event.by)


def rebalanced(event: Rebalanced) -> Told:
    """`clicks-app rebalanced: C2 took p0 from C1 and p2 from C3; nobody read p0 for 6.4 s`."""
    took: dict[str, dict[str, list[str]]] = {}
    for partition, former, owner in event.moved:
        took.setdefault(owner, {}).setdefault(former if owner else "", []).append(f"p{partition}")
    orphans = took.pop("", {}).get("", [])
    parts = [
        f"{owner} took "
        + " and ".join(f"{' '.join(moved)}{f' from {former}' if former else ''}" for former, moved in of.items())
        for owner, of in took.items()
    ]
    more = tuple(parts[_MOVES_SHOWN:][:_MOVES_SHOWN])
    parts = parts[:_MOVES_SHOWN] + ([f"nobody has {' '.join(orphans)}"] if orphans else [])
    text = f"{event.queue.group or event.queue.name} rebalanced: {', '.join(parts) or 'nothing moved'}{_unread(event)}"
    subject = f"q:{event.queue.name}|{event.queue.group}"
    return Told(level="look" if orphans else "info", text=text, more=more, subject=subject)


def _unread(event: Rebalanced) -> str:
    """Which partitions nobody read, and for how long; nothing of those that were handed over."""
    if event.gap_s is None or event.gap_s < _GAP_TOLD_S:
        return ""
    left_alone = "".join(f" p{partition}" for partition, gap_s in event.gaps_s if gap_s >= _GAP_TOLD_S)
    return f"; nobody read{left_alone} for {seconds(event.gap_s)}"


def claimed(event: Claimed) -> Told:
    """`C2 claimed #1 #2 of C1, idle 5.0 s`."""
    whose = f" of {event.from_worker}" if event.from_worker else ""
    text = f"{event.to_worker} claimed {tags(event.ids, len(event.ids))}{whose}, idle {seconds(event.idle_s)}"
    return Told(level="good", text=text, subject=event.to_worker)


def gap(event: Gap) -> Told:
    """A subscriber was away (P6)."""
    channels = " ".join(event.channels)
    text = f"{event.by} was away for {seconds(event.duration_s)}: what {channels} said meanwhile is not kept"
    return Told(level="look", text=text, subject=event.by)


def moves_ended(event: MovesEnded) -> Told:
    """`12 of 12 replayed to orders`, below it what did not go well, which ones, and the file that keeps it."""
    taken = event.done + event.failed + event.unknown + event.skipped
    verb = {"replay": "replayed", "discard": "discarded"}.get(event.kind, event.kind)
    to = f" to {event.to}" if event.to and event.kind != "discard" else f" from {event.queue}"
    ill = [f"{n:,} {word}" for n, word in ((event.failed, "failed"), (event.unknown, "unknown")) if n]
    parts = [
        *ill,
        *([f"{event.skipped:,} skipped"] if event.skipped else []),
        *([event.detail] if event.detail else []),
    ]
    folder, _, file = event.kept_in.rpartition("/")
    kept = f"{'archive' if event.kind == 'discard' else 'journal'} {file}{f' in {folder}' if folder else ''}"
    more = (
        *((", ".join(parts),) if parts else ()),
        *((tags(event.ids, event.done),) if event.ids else ()),
        *((kept,) if file else ()),
    )
    text = f"{event.done:,} of {taken:,} {verb}{to}"
    subject = f"q:{event.queue.name}|{event.queue.group}"
    return Told(level="look" if ill else "good", text=text, more=more, subject=subject)


def failure(event: Failure) -> Told:
    """An error of our own."""
    text = f"mqdash itself failed in {event.where}: {clipped(event.text)}"
    return Told(level="broken", text=text, more=("details are in the log",))
