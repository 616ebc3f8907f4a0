"""What a scenario must mean beyond its shape: names exist, numbers make sense, no family is asked for what it lacks."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from mqdash.lab.scenario import POOL_LIMIT, STEP_NEEDS, Do
from mqdash.lab.template import Template
from mqdash.model.message import Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.lab.scenario import PoolSpec, ProducerSpec, Scenario, StepSpec, TopologySpec
    from mqdash.lab.template import FieldSpec
    from mqdash.toml_lines import Path

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*\Z")
EXCHANGE_KINDS = ("direct", "fanout", "topic", "headers")
QUEUE_KINDS = ("classic", "quorum")
OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
PRODUCER_VALUES = ("id", "seq", "producer")
WORKER_VALUES = ("id", "key", "worker")


class Problem(Exception):
    """Something wrong at `path`."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text


def check(scenario: Scenario) -> None:
    """Look through everything.

    Raises:
        Problem: the first thing found wrong, with the path of the key it is about.
    """
    families = [str(family) for family in Family]
    _require(scenario.topology, ("topology",), "a scenario needs a [topology.<family>]")
    for table in ("topology", "expect"):
        for name in getattr(scenario, table):
            _known(name, families, (table, name), "family")
            if table == "expect":
                _known(name, scenario.topology, (table, name), "topology of that family")
    for name, topology in scenario.topology.items():
        _check_topology(Family(name), topology, ("topology", name))
    _require(scenario.session_timeout_s > 0, ("session_timeout_s",), "session_timeout_s must be more than 0")
    _unique([spec.name for spec in scenario.producers], "producers", "name")
    _unique([spec.prefix for spec in scenario.producers], "producers", "id_prefix")
    _unique([spec.pool for spec in scenario.workers], "workers", "pool")
    for index, producer in enumerate(scenario.producers):
        _check_producer(scenario, producer, ("producers", index))
    for index, pool in enumerate(scenario.workers):
        _check_pool(scenario, pool, ("workers", index))
    for index, step in enumerate(scenario.at):
        _check_step(scenario, step, ("at", index))


def _check_topology(family: Family, topology: TopologySpec, path: Path) -> None:
    names = [found.name for found in topology.destinations]
    rabbit = family is Family.RABBITMQ
    for index, found in enumerate(topology.destinations):
        here = (*path, "destinations", index)
        _require(names.count(found.name) == 1, (*here, "name"), f"{found.name!r} is there twice")
        if rabbit:
            _known(found.kind or "direct", EXCHANGE_KINDS, (*here, "kind"), "kind of exchange")
        else:
            _require(not found.kind, (*here, "kind"), f"{family} has one kind of destination; remove `kind`")
        _require(found.partitions >= 1, (*here, "partitions"), "partitions must be 1 or more")
        _require(found.partitions == 1 or family is Family.KAFKA, (*here, "partitions"), f"{family} has no partitions")
        if found.alternate is not None:
            _known(found.alternate, names, (*here, "alternate"), "destination")
    for index, queue in enumerate(topology.queues):
        here = (*path, "queues", index)
        grouped = family in {Family.KAFKA, Family.REDIS_STREAMS}
        _require(bool(queue.group) == grouped, here, f"{family} queues {'need a' if grouped else 'have no'} group")
        if grouped:
            _known(queue.name, names, (*here, "name"), "topic" if family is Family.KAFKA else "stream")
        if rabbit:
            _known(queue.kind or "classic", QUEUE_KINDS, (*here, "kind"), "kind of queue")
        if queue.overflow is not None:
            _known(queue.overflow, OVERFLOWS, (*here, "overflow"), "overflow")
        if queue.dead_letter is not None:
            _require(rabbit, (*here, "dead_letter"), f"{family} names its dead letters itself; remove `dead_letter`")
            _known(queue.dead_letter.destination, ["", *names], (*here, "dead_letter"), "destination")
    for index, binding in enumerate(topology.bindings):
        here = (*path, "bindings", index)
        _require(rabbit, here, f"{family} has no bindings")
        _known(binding.source, names, (*here, "source"), "destination")
        _known(binding.queue, [queue.name for queue in topology.queues], (*here, "queue"), "queue")


def _check_producer(scenario: Scenario, spec: ProducerSpec, path: Path) -> None:
    _require(NAME.match(spec.name) is not None, (*path, "name"), f"{spec.name!r} is no name: letters, digits, _ and .")
    _require("-" not in spec.prefix, (*path, "id_prefix"), "id_prefix must not contain '-'")
    _reachable(scenario, spec.to, (*path, "to"))
    for name in ("rate_per_s", "sway", "spoil_rate", "size_bytes"):
        _require(getattr(spec, name) >= 0, (*path, name), f"{name} must not be negative")
    for name in ("sway", "spoil_rate"):
        _require(getattr(spec, name) <= 1, (*path, name), f"{name} is a share: 0 to 1")
    _require(spec.sway_period_s > 0, (*path, "sway_period_s"), "sway_period_s must be more than 0")
    _require(spec.burst >= 1, (*path, "burst"), "burst must be 1 or more")
    _require(spec.flurry >= 0, (*path, "flurry"), "flurry must not be negative")
    _require(spec.flurry_every_s > 0, (*path, "flurry_every_s"), "flurry_every_s must be more than 0")
    texts = {"to": spec.to, "key": spec.key, "body": spec.body, **{f"headers.{k}": v for k, v in spec.headers.items()}}
    _check_templates(texts, spec.fields, PRODUCER_VALUES, path)
    for option in ("priority", "ttl_s"):
        others = [name for name in scenario.topology if name != Family.RABBITMQ]
        bad = getattr(spec, option) is not None and any(_has(scenario.topology[name], spec.to) for name in others)
        _require(not bad, (*path, option), f"{option} of a message exists on rabbitmq only")


def _check_pool(scenario: Scenario, spec: PoolSpec, path: Path) -> None:
    _require(NAME.match(spec.pool) is not None, (*path, "pool"), f"{spec.pool!r} is no name: letters, digits, _ and .")
    queues = [(queue.name, queue.group) for topology in scenario.topology.values() for queue in topology.queues]
    _known(spec.queue, [name for name, _ in queues], (*path, "queue"), "queue")
    groups = [group for name, group in queues if name == spec.queue]
    _require(spec.group in groups, (*path, "group"), f"{spec.queue!r} has no group {spec.group!r}: {', '.join(groups)}")
    _require(spec.count >= 0, (*path, "count"), "count must not be negative")
    _require(spec.count <= POOL_LIMIT, (*path, "count"), f"a pool has at most {POOL_LIMIT} workers")
    _require(spec.prefetch >= 0, (*path, "prefetch"), "prefetch must not be negative (0 = no limit)")
    _require(0 <= spec.time_ms[0] <= spec.time_ms[1], (*path, "time_ms"), "time_ms = [shortest, longest]")
    _require(0 <= spec.failure_rate <= 1, (*path, "failure_rate"), "failure_rate is a share: 0 to 1")
    _require(spec.failure_rate == 0 or bool(spec.errors), (*path, "errors"), "failure_rate needs [[workers.errors]]")
    _require(spec.expects in {"", "json"}, (*path, "expects"), "expects can only be 'json'")
    if spec.retry is not None:
        _require(spec.retry.attempts >= 1 and bool(spec.retry.after_s), (*path, "retry"), "retry needs attempts >= 1")
        _require(min(spec.retry.after_s) >= 0, (*path, "retry"), "after_s must not be negative")
    for index, event in enumerate(spec.on_success):
        here = (*path, "on_success", index)
        _require(event.name.isalnum(), (*here, "name"), "name makes message ids: letters and digits only")
        _reachable(scenario, event.to, (*here, "to"))
        _check_templates({"key": event.key, "body": event.body}, spec.fields, WORKER_VALUES, here)
    for index, call in enumerate(spec.calls):
        here = (*path, "calls", index)
        _require(call.timeout_s > 0, (*here, "timeout_s"), "timeout_s must be more than 0")
        _check_templates({"key": call.key, "body": call.body}, spec.fields, WORKER_VALUES, here)
    texts = {f"errors.{error.name}": error.text for error in spec.errors}
    _check_templates({**texts, "reply": spec.reply or ""}, spec.fields, WORKER_VALUES, path)


def _check_templates(texts: dict[str, str], fields: dict[str, FieldSpec], values: tuple[str, ...], path: Path) -> None:
    for name, field in fields.items():
        _require(not field.problem, (*path, "fields", name), f"{name}: {field.problem}")
    for where, text in texts.items():
        for name in Template(text).names:
            _known(name, (*values, *fields), (*path, *where.split(".", 1)), "field")


def _check_step(scenario: Scenario, step: StepSpec, path: Path) -> None:
    _require(step.at_s >= 0, (*path, "at_s"), "at_s must not be negative")
    _require(step.for_s >= 0, (*path, "for_s"), "for_s must not be negative")
    need = STEP_NEEDS.get(step.do)
    _require(need is None or getattr(step, need or ""), path, f"{step.do} needs `{need}`")
    if need == "worker":
        pools = "|".join(re.escape(pool.pool) for pool in scenario.workers)
        found = re.fullmatch(rf"({pools})[1-9]\d*", step.worker) if pools else None
        _require(found is not None, (*path, "worker"), f"no worker {step.worker!r}: a name is a pool and a number")
    elif need == "pool":
        _known(step.pool, [pool.pool for pool in scenario.workers], (*path, "pool"), "pool")
        _require(step.count is not None and step.count >= 0, path, "scale needs `count`, 0 or more")
    elif need == "producer":
        _known(step.producer, [spec.name for spec in scenario.producers], (*path, "producer"), "producer")
        _require(
            step.do is not Do.RATE or (step.rate_per_s or -1) >= 0 or step.rate_per_s == 0,
            path,
            "rate needs `rate_per_s`",
        )


def _reachable(scenario: Scenario, to: str, path: Path) -> None:
    """The destination stands in some topology; the default exchange and templates (`ops.${kind}`) match by pattern."""
    if to == "":
        return
    if not any(_has(topology, to) for topology in scenario.topology.values()):
        _known(
            to, [found.name for one in scenario.topology.values() for found in one.destinations], path, "destination"
        )


def _has(topology: TopologySpec, to: str) -> bool:
    literal = Template(to)
    if not literal.names:
        return any(found.name == to for found in topology.destinations)
    pattern = re.compile(".+".join(re.escape(piece) for piece in literal.pattern.split("*")) + r"\Z")
    return any(pattern.match(found.name) for found in topology.destinations)


def _unique(names: list[str], table: str, key: str) -> None:
    for index, name in enumerate(names):
        _require(name not in names[:index], (table, index, key), f"{key} {name!r} is there twice")


def _known(name: str, known: Iterable[str], path: Path, what: str) -> None:
    choices = list(dict.fromkeys(known))
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(map(repr, choices)) or 'none'}"
        raise Problem(path, f"unknown {what} {name!r}: {hint}")


def _require(fine: object, path: Path, text: str) -> None:
    if not fine:
        raise Problem(path, text)
