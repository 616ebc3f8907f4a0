"""Topologies larger than the pane: queues of a prefix become one node, `payments.* 31 queues`, open when selected."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from mqdash.model.views import EdgeView, FlowView, NodeView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_LEAST: Final = 4
"""So many queues of a prefix make a group."""
_PREFIX: Final = re.compile(r"[^.:/_-]+[.:/_-]")
_HEADS: Final = 24


def group_id(prefix: str) -> str:
    """Node id of a group."""
    return f"g:{prefix}"


def grouped(flow: FlowView, keep: str = "", opened: frozenset[str] = frozenset()) -> tuple[FlowView, dict[str, str]]:
    """The flow with queues of equal prefix and purpose as one node each, and which edge went into which.

    The group that the node `keep` belongs to stays open, and those in `opened`.
    """
    names = _groups(flow, keep, opened)
    if not names:
        return flow, {}
    nodes = _merged_nodes(flow.nodes, names)
    edges: dict[tuple[str, str, str], list[EdgeView]] = defaultdict(list)
    for edge in flow.edges:
        source, target = names.get(edge.source, edge.source), names.get(edge.target, edge.target)
        if source != target:
            edges[source, target, edge.kind].append(edge)
    merged = [_merged_edge(key, found) for key, found in edges.items()]
    into = {edge.id: one.id for one, found in zip(merged, edges.values(), strict=True) for edge in found}
    return msgspec.structs.replace(flow, nodes=nodes, edges=tuple(merged)), into


def _groups(flow: FlowView, keep: str, opened: frozenset[str]) -> dict[str, str]:
    """Which group a node goes into: queues by prefix, the workers of a queue with it."""
    found: dict[tuple[str, str, bool], list[NodeView]] = defaultdict(list)
    for node in flow.nodes:
        prefix = _PREFIX.match(node.name)
        if node.kind in {"queue", "destination"} and prefix is not None:
            found[node.kind, prefix[0], node.dead].append(node)
    names: dict[str, str] = {}
    for (kind, stem, dead), members in found.items():
        name = group_id(f"{kind[0]}:{stem}{'dead' if dead else ''}")
        if len(members) >= _LEAST and name not in opened and all(node.id != keep for node in members):
            names |= {node.id: name for node in members}
    takers = {edge.target: edge.source for edge in flow.edges if edge.target.startswith("w:")}
    for worker, source in takers.items():
        if source in names:
            names[worker] = f"w:{names[source]}"
    return names


def _merged_nodes(nodes: Iterable[NodeView], names: dict[str, str]) -> tuple[NodeView, ...]:
    members: dict[str, list[NodeView]] = defaultdict(list)
    for node in nodes:
        members[names.get(node.id, node.id)].append(node)
    groups = set(names.values())
    return tuple(_merged_node(name, found) if name in groups else found[0] for name, found in members.items())


def _merged_node(name: str, found: Sequence[NodeView]) -> NodeView:
    first = found[0]
    prefix = _PREFIX.match(first.name)
    title = f"{prefix[0] if prefix else first.name}*"
    what = {"queue": "queues", "destination": "destinations"}.get(first.kind, "")
    return NodeView(
        id=name,
        kind=first.kind,
        name=f"{title} {len(found)} {what}".rstrip() if first.kind == "queue" else title,
        sub=f"{len(found)} {what}" if what else "",
        family=first.family,
        rate_per_s=_sum(found, lambda node: node.rate_per_s),
        depth=_whole(_sum(found, lambda node: node.depth)),
        depth_max=sum(node.depth_max for node in found),
        trend_per_s=_sum(found, lambda node: node.trend_per_s),
        in_flight=_whole(_sum(found, lambda node: node.in_flight)),
        dead=first.dead,
        members=tuple(member for node in found for member in node.members),
    )


def _merged_edge(key: tuple[str, str, str], found: Sequence[EdgeView]) -> EdgeView:
    if len(found) == 1 and (found[0].source, found[0].target) == key[:2]:
        return found[0]
    heads = [head for edge in found for head in edge.heads][-_HEADS:]
    labels = list(dict.fromkeys(edge.label for edge in found if edge.label))
    return EdgeView(
        id=f"e:{key[0]}>{key[1]}>{key[2]}",
        source=key[0],
        target=key[1],
        kind=key[2],
        label=labels[0] if len(labels) == 1 else "",
        rate_per_s=_sum(found, lambda edge: edge.rate_per_s),
        total=sum(edge.total for edge in found),
        redelivered_total=sum(edge.redelivered_total for edge in found),
        heads=tuple(heads),
    )


def _sum(found: Sequence[NodeView] | Sequence[EdgeView], of: Callable[..., float | None]) -> float | None:
    """The sum of what is known; None when nobody can tell."""
    known = [value for value in map(of, found) if value is not None]
    return sum(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
