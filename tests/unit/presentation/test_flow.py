from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqdash.model.broker import LinkState
from mqdash.model.message import Family
from mqdash.model.views import BrokerView, FlowView, MemberView, NodeView
from mqdash.safe_text import forbidden
from mqdash.ui.presentation.flow.dots import Dot
from mqdash.ui.presentation.flow.layout import lay_out
from mqdash.ui.presentation.flow.lines import grid
from mqdash.ui.presentation.flow.picture import FlowPicture
from mqdash.ui.presentation.paint import Drawn, Look, Subject, plain
from mqdash.ui.presentation.theme import DARK, MONO
from tests.unit.presentation.sample import alerts_flow, clicks_flow, edge, members, orders_flow

ORDERS_BOXED = """\
╭─ 2 Flow ──────────────────────────────── orders · rabbitmq ──╮
│                                                              │
│                              order ╭ orders ───────╮  ✗ W3   │
│ ▶ shop ────▶◆ orders.direct ──────▶│██████████▎░░░░│─┬▶ W1   │
│               direct  118/s        ╰ +2/s ──── 412 ╯ ╰▶ W2   │
│                                        ╎ ✗ 3/min, rejected   │
│             ╭╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╯                     │
│             ▼                      ╭ orders.failed ╮         │
│             ◆ orders.dlx ╌╌╌╌╌╌╌╌╌▶│█░░░░░░░░░░░░░░│   d open│
│                                    ╰─────────── 12 ╯         │
│                                                              │
│                                    ╭ notifications ╮         │
│ ● W1–W3 ───▶◆ events.fanout ───┬──▶│▏░░░░░░░░░░░░░░│──▶ N1   │
│               fanout  94/s     │   ╰──────────── 3 ╯         │
│                                │   ╭ analytics ────╮         │
│                                ╰──▶│░░░░░░░░░░░░░░░│──▶ A1 ◉ │
│                                    ╰──────────── 0 ╯         │
│                                                              │
│                            order.# ╭ logs ─────────╮         │
│ ● W1–W3 ───▶◆ logs.topic ─────────▶│███░░░░░░░░░░░░│──▶ L1   │
│               topic  210/s         ╰ −5/s ───── 41 ╯         │
│                                                              │
│ ▶ shop ◀──▶ rpc.inventory reply in 4 ms  p99 11 ms           │
╰──────────────────────────────────────────────────────────────╯
"""
ORDERS_COMPACT = """\
╭─ 2 Flow ───────────────────────────────────── orders ──╮
│                                                        │
│                                                        │
│ shop ───▶◆ orders.direct ──▶ orders     ███▍░   412 ▶2 │
│          ▼╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ ✗ 3/min, rejected     │
│          ◆ orders.dlx ╌╌╌╌╌▶ orders.fa… ▍░░░░    12    │
│                                                        │
│ W1–W3 ──▶◆ events.fanout ┬─▶ notificat… ▏░░░░     3 ▶1 │
│                          ╰─▶ analytics  ░░░░░     0 ▶1 │
│                                                        │
│ W1–W3 ──▶◆ logs.topic ─────▶ logs       █░░░░    41 ▶1 │
│                                                        │
│ shop ◀─▶ rpc.inventory ⇄ reply in 4 ms  p99 11 ms      │
╰────────────────────────────────────────────────────────╯
"""
CLICKS = """\
╭─ 2 Flow ─────────────────────────────────── clicks · kafka ──╮
│                                                              │
│                                                              │
│                                      ╭ clicks-app ──╮        │
│                                      │ 0 C1 ▉░░░░░░░│ ╭▶ C1  │
│ ▶ visitors ───▶◆ clicks ────────────▶│ 1 C2 ▉░░░░░░░│─┼▶ C2  │
│                  topic  800/s        │ 2 –  ████████│ ╰▶ C3  │
│                                      ╰─── lag 1,456 ╯        │
╰──────────────────────────────────────────────────────────────╯
"""
ALERTS = """\
╭─ 2 Flow ─────────────────────────────────── alerts · redis ──╮
│                                                              │
│                                      ╭ pager ───────╮        │
│ ▶ sensors ──▶◆ alerts ──────────────▶│████▋▒▒░░░░░░░│─┬▶ P1  │
│                stream  40/s          ╰────────── 40 ╯ ╰▶ P2  │
│                                                              │
│ ▶ ops ──────▶◆ ops.* ──────────────────────────────────▶ O1  │
│                channel  1/s                                  │
╰──────────────────────────────────────────────────────────────╯
"""


def draw(*flows: FlowView, size: tuple[int, int] = (64, 24), **more: Any) -> Drawn:
    look = Look(size[0], size[1], DARK, selected=more.pop("selected", None), offset=more.pop("offset", None))
    return FlowPicture().draw(flows, look, **more)


def text(*flows: FlowView, **more: Any) -> str:
    return "\n".join(plain(draw(*flows, **more).rows)) + "\n"


@pytest.mark.parametrize(
    ("flow", "size", "expected"),
    [
        (orders_flow(), (64, 24), ORDERS_BOXED),
        (orders_flow(), (58, 14), ORDERS_COMPACT),
        (clicks_flow(), (64, 9), CLICKS),
        (alerts_flow(), (64, 9), ALERTS),
    ],
)
def test_the_picture_of_a_scenario(flow: FlowView, size: tuple[int, int], expected: str) -> None:
    assert text(flow, size=size) == expected


def test_partitions_have_their_owner_and_their_lag_where_there_is_room() -> None:
    rows = text(clicks_flow(), size=(118, 9)).splitlines()
    partitions = [row.split("│")[2].split() for row in rows if " C1 " in row or " C2 " in row or " –  " in row]
    assert [(cells[0], cells[1], cells[-1]) for cells in partitions] == [
        ("0", "C1", "131"),
        ("1", "C2", "125"),
        ("2", "–", "1,200"),
    ]
    assert "lag 1,456" in rows[7]


@pytest.mark.parametrize(
    ("waiting", "trend_per_s", "edge_says"), [(5336, 1360.0, "5,336"), (12, 1360.0, "+1.36k/s 12")]
)
def test_a_box_writes_its_level_whole_and_its_trend_only_beside_it(
    waiting: int, trend_per_s: float, edge_says: str
) -> None:
    flow = orders_flow()
    nodes = tuple(
        msgspec.structs.replace(node, depth=waiting, trend_per_s=trend_per_s) if node.id == "q:orders|" else node
        for node in flow.nodes
    )
    row = text(msgspec.structs.replace(flow, nodes=nodes), size=(64, 24)).splitlines()[4]
    assert " ".join(row.partition("╰")[2].partition("╯")[0].replace("─", " ").split()) == edge_says


def test_what_goes_through_a_channel_is_told_whole_and_a_channel_keeps_nothing() -> None:
    flow = alerts_flow()
    box = NodeView(id="q:ops.*|", kind="queue", name="ops.*", family=Family.REDIS_PUBSUB)
    nodes = tuple(
        msgspec.structs.replace(node, rate_per_s=0.7) if node.id == "d:ops.*" else node for node in (*flow.nodes, box)
    )
    edges = tuple(
        msgspec.structs.replace(one, source="q:ops.*|") if one.kind == "deliver" and one.source == "d:ops.*" else one
        for one in (*flow.edges, edge("d:ops.*", "q:ops.*|", "route"))
    )
    drawing = text(msgspec.structs.replace(flow, nodes=nodes, edges=edges), size=(64, 12))
    assert "channel  42/min" in drawing
    assert "keeps nothing" in drawing
    assert "1 listening" in drawing


def test_stacked_brokers_each_have_a_heading_and_their_own_edges() -> None:
    drawing = text(orders_flow(), clicks_flow(), alerts_flow(), size=(125, 44))
    assert [line.split()[2] for line in drawing.splitlines() if line.startswith("│ ─ ")] == [
        "orders",
        "clicks",
        "alerts",
    ]
    assert "3 brokers" in drawing
    for name in ("orders.direct", "clicks-app", "pager", "O1"):
        assert name in drawing


@pytest.mark.parametrize("width", [64, 80, 100, 123, 160, 200])
@pytest.mark.parametrize("height", [14, 24, 36])
def test_no_text_is_crossed_by_an_edge_of_orders(width: int, height: int) -> None:
    """Every name of the topology is readable as a whole wherever there is room for it."""
    drawing = text(orders_flow(), size=(width, height))
    for name in ("shop", "W1–W3", "orders.direct", "orders.dlx", "events.fanout", "logs.topic", "rpc.inventory"):
        assert f" {name} " in drawing, name
    assert "✗ 3/min, rejected" in drawing


@pytest.mark.parametrize("width", [46, 62, 90, 123])
@pytest.mark.parametrize("height", [10, 22, 40])
def test_edges_of_orders_never_share_a_cell_with_a_node(width: int, height: int) -> None:
    layout = lay_out(orders_flow(), width, height)
    cols = layout.columns
    for x, y in grid(layout.lines):
        for place in layout.sources:
            assert not (y == place.y and cols.source_x <= x < cols.source_x + 4)
        for name, row in layout.destinations.items():
            assert not (
                y == row
                and cols.destination_x <= x < cols.destination_x + min(len(name) - 2, cols.destination_width - 2)
            )
        for lane in layout.rows:
            if lane.lane.queue is not None and lane.top <= y < lane.top + (3 if cols.boxed else 1):
                assert not cols.queue_x <= x < cols.queue_x + cols.queue_width


def test_every_edge_is_a_connected_path_and_ends_beside_its_target() -> None:
    layout = lay_out(orders_flow(), 62, 22)
    for line in layout.lines:
        for (x0, y0), (x1, y1) in zip(line.cells, line.cells[1:], strict=False):
            assert abs(x0 - x1) + abs(y0 - y1) == 1
    assert set(layout.paths) >= {edge.id for edge in orders_flow().edges}
    ends = {line.edge: line.cells[-1] for line in layout.lines}
    assert ends["e:d:orders.direct>q:orders|"][0] == layout.columns.queue_x - 1
    x, y = ends["e:q:orders|>d:orders.dlx"]
    assert (x, y + 1) == (layout.columns.destination_x, layout.destinations["d:orders.dlx"])


def test_unknown_numbers_are_dots_and_zero_is_zero() -> None:
    nodes = (
        NodeView(id="d:x", kind="destination", name="x", sub="fanout", rate_per_s=None),
        NodeView(id="q:a|", kind="queue", name="a", depth=None),
        NodeView(id="q:b|", kind="queue", name="b", depth=0),
    )
    flow = FlowView(
        broker="b",
        family=Family.RABBITMQ,
        nodes=nodes,
        edges=(edge("d:x", "q:a|", "route"), edge("d:x", "q:b|", "route")),
    )
    drawing = text(flow, size=(60, 12))
    assert "fanout  ·" in drawing
    assert "· ╯" in drawing
    assert " 0 ╯" in drawing
    assert "│··" in drawing


def test_more_workers_than_rows_are_counted() -> None:
    names = [f"W{at}" for at in range(12)]
    nodes = (
        NodeView(id="q:a|", kind="queue", name="a", depth=1),
        NodeView(id="w:a|", kind="workers", name="W", members=members(*names, W0="crashed")),
    )
    flow = FlowView(broker="b", family=Family.RABBITMQ, nodes=nodes, edges=(edge("q:a|", "w:a|", "deliver"),))
    drawing = text(flow, size=(60, 6))
    assert "+10" in drawing
    assert "W1 " in drawing
    assert "▶11" in text(flow, size=(60, 3))


def test_an_empty_flow_says_what_will_appear_and_how() -> None:
    drawing = text(FlowView(broker="b", family=Family.KAFKA))
    assert "Nothing is declared here yet" in drawing
    assert "appear as soon as" in drawing


def test_a_broker_that_lists_no_names_is_not_called_empty() -> None:
    source = "passive declares of known names; management API: http://127.0.0.1:15672 is not reachable"
    drawing = " ".join(text(FlowView(broker="b", family=Family.RABBITMQ, source=source)).replace("│", " ").split())
    assert "lists no names" in drawing
    assert "?management=http://host:15672" in drawing
    assert "is not reachable" in drawing
    assert "Nothing is declared" not in drawing


def test_a_broker_that_cannot_be_reached_is_a_state_with_address_cause_and_next_try() -> None:
    down = BrokerView(
        name="orders", family=Family.RABBITMQ, state=LinkState.DOWN, url="amqp://127.0.0.1:5672/", cause="connection refused",
        retry_at_s=12.0,
    )  # fmt: skip
    look = Look(64, 24, DARK, now_s=9.0)
    drawing = " ".join(plain(FlowPicture().draw((orders_flow(),), look, brokers=(down,)).rows)[1:3])
    for words in ("orders at amqp://127.0.0.1:5672/", "down, again in 3 s", "connection refused"):
        assert words in drawing


def test_hits_lead_from_cells_to_subjects_and_order_reads_like_the_picture() -> None:
    drawn = draw(orders_flow())
    assert drawn.at(5, 3) == Subject("orders", "p:shop")
    assert drawn.at(15, 3) == Subject("orders", "d:orders.direct")
    assert drawn.at(40, 3) == Subject("orders", "q:orders|")
    assert drawn.at(58, 3) == Subject("orders", "m:W1")
    assert drawn.at(33, 2) == Subject("orders", "e:d:orders.direct>q:orders|")
    assert drawn.at(2, 1) is None
    ids = [subject.id for subject in drawn.order]
    assert ids[:3] == ["p:shop", "d:orders.direct", "q:orders|"]
    assert ids.index("q:orders.failed|") < ids.index("q:notifications|") < ids.index("q:logs|")


def test_the_picture_scrolls_to_the_selection() -> None:
    flow = many_queues(40)
    hidden = draw(flow, size=(60, 12), opened=frozenset({"g:q:mail."}))
    assert hidden.offset == 0
    assert "mail.39" not in "\n".join(plain(hidden.rows))
    seen = draw(flow, size=(60, 12), opened=frozenset({"g:q:mail."}), selected=Subject("b", "q:mail.39|"))
    assert seen.offset > 0
    assert "mail.39" in "\n".join(plain(seen.rows))


def many_queues(count: int) -> FlowView:
    queues = tuple(
        NodeView(id=f"q:mail.{at}|", kind="queue", name=f"mail.{at}", depth=at, depth_max=50) for at in range(count)
    )
    source = NodeView(id="d:mail", kind="destination", name="mail", sub="topic", rate_per_s=3.0)
    edges = tuple(edge("d:mail", queue.id, "route", total=1, rate_per_s=1.0) for queue in queues)
    return FlowView(broker="b", family=Family.RABBITMQ, nodes=(source, *queues), edges=edges)


def test_a_topology_larger_than_the_pane_is_grouped_by_prefix_with_its_sums() -> None:
    drawing = text(many_queues(31), size=(64, 12))
    assert "mail.* 31 queues" in drawing
    assert f" {sum(range(31))} " in drawing
    assert "31/s" in drawing
    assert "mail.7 " in text(many_queues(31), size=(64, 24), selected=Subject("b", "q:mail.7|"))


def test_dots_of_grouped_edges_run_on_the_edge_of_the_group() -> None:
    flow = many_queues(31)
    still = plain(draw(flow, size=(64, 12)).rows)
    moving = plain(draw(flow, size=(64, 12), dots={"b": (Dot("e:d:mail>q:mail.3|", 0.5),)}).rows)
    changed = [(a, b) for a, b in zip(still, moving, strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][1].count("●") == 1


def test_dots_are_laid_over_the_path_and_only_their_rows_are_new() -> None:
    picture, look = FlowPicture(), Look(64, 24, DARK)
    still = picture.draw((orders_flow(),), look).rows
    dot = Dot("e:p:shop>d:orders.direct", 0.0, message_id="#1")
    moved = picture.draw((orders_flow(),), look, dots={"orders": (dot,)})
    assert [y for y, (a, b) in enumerate(zip(still, moved.rows, strict=True)) if a is not b] == [3]
    assert plain(moved.rows)[3].startswith("│ ▶ shop ●───▶")
    assert moved.at(9, 3) == Subject("orders", "msg:#1")
    again = picture.draw((orders_flow(),), look, dots={"orders": (dot,)}).rows
    assert all(a is b for a, b in zip(moved.rows, again, strict=True))


def test_rows_whose_numbers_did_not_change_stay_the_same_objects() -> None:
    picture, look = FlowPicture(), Look(64, 24, DARK)
    before = picture.draw((orders_flow(),), look).rows
    flow = orders_flow(revision=2)
    nodes = tuple(
        msgspec.structs.replace(node, trend_per_s=3) if node.id == "q:orders|" else node for node in flow.nodes
    )
    after = picture.draw((msgspec.structs.replace(flow, nodes=nodes),), look).rows
    assert [y for y, (a, b) in enumerate(zip(before, after, strict=True)) if a is not b] == [4]


def test_a_redelivered_message_has_its_number_and_a_dead_one_its_colour() -> None:
    picture, look = FlowPicture(), Look(64, 24, DARK)
    dots = (Dot("e:q:orders|>w:orders|", 0.0, "again", attempt=2), Dot("e:q:orders|>d:orders.dlx", 0.0))
    drawn = picture.draw((orders_flow(),), look, dots={"orders": dots})
    assert "2" in plain(drawn.rows)[3][51:55]
    styles = [segment.style for segment in drawn.rows[5] if segment.text == "●"]
    assert styles == [DARK.dead]


def test_a_killed_worker_flashes() -> None:
    drawn = FlowPicture().draw((orders_flow(),), Look(64, 24, DARK), flashing={"orders": frozenset({"W3"})})
    assert [segment.text for segment in drawn.rows[2] if segment.style is DARK.flash] == ["W3"]


def test_the_filter_keeps_what_matches_and_its_neighbours() -> None:
    look = Look(64, 24, DARK, filtered="LOGS")
    drawing = "\n".join(plain(FlowPicture().draw((orders_flow(),), look).rows))
    assert "/LOGS" in drawing
    assert "logs.topic" in drawing
    assert "orders.direct" not in drawing


def test_without_colours_everything_still_has_a_glyph_or_a_word() -> None:
    rows = FlowPicture().draw((orders_flow(),), Look(64, 24, MONO)).rows
    assert "\n".join(plain(rows)) + "\n" == ORDERS_BOXED


def test_remote_names_cannot_move_the_cursor() -> None:
    evil = "\x1b[2Jq\u202e\u0301日本"
    nodes = (
        NodeView(id="p:x", kind="producers", name=evil),
        NodeView(id="d:x", kind="destination", name=evil, sub=evil),
        NodeView(id="q:x|", kind="queue", name=evil, depth=1),
        NodeView(id="w:x|", kind="workers", name=evil, members=(MemberView(name=evil, state="busy"),)),
        NodeView(id="r:x", kind="request", name=evil, note=evil),
    )
    edges = (
        edge("p:x", "d:x", "publish"),
        edge("d:x", "q:x|", "route", label=evil),
        edge("q:x|", "w:x|", "deliver"),
        edge("p:x", "r:x", "request"),
    )
    flow = FlowView(broker=evil, family=Family.RABBITMQ, nodes=nodes, edges=edges, source=evil)
    for size in ((64, 24), (64, 6), (120, 24)):
        drawn = draw(flow, size=size)
        assert [sum(segment.cell_length for segment in row) for row in drawn.rows] == [size[0]] * size[1]
        assert not forbidden(text(flow, size=size))
        assert "␛[2Jq" in text(flow, size=size)


KINDS = ("producers", "destination", "queue", "workers", "request")
EDGE_KINDS = ("publish", "route", "deliver", "dead", "request")


@st.composite
def flows(draw_value: st.DrawFn) -> FlowView:
    kinds = draw_value(st.lists(st.sampled_from(KINDS), max_size=30))
    names = st.text(alphabet="ab.日é-", max_size=14)
    nodes = tuple(
        NodeView(
            id=f"{kind[0]}:{at}",
            kind=kind,
            name=draw_value(names),
            sub="direct",
            depth=draw_value(st.none() | st.integers(0, 10**7)),
            depth_max=draw_value(st.integers(0, 1000)),
            dead=draw_value(st.booleans()),
            members=members(*[f"W{n}" for n in range(draw_value(st.integers(0, 6)))], W1="killed")
            if kind == "workers"
            else (),
        )
        for at, kind in enumerate(kinds)
    )
    pairs = st.tuples(st.integers(0, 31), st.integers(0, 31), st.sampled_from(EDGE_KINDS), names)
    edges = tuple(
        edge(nodes[source].id, nodes[target].id if target < len(nodes) else "q:nowhere", kind, label=label)
        for source, target, kind, label in draw_value(st.lists(pairs, max_size=40))
        if source < len(nodes)
    )
    return FlowView(broker="b", family=Family.KAFKA, nodes=nodes, edges=edges)


@settings(max_examples=150, deadline=None)
@given(flows(), st.sampled_from([(40, 10), (58, 14), (64, 24), (126, 36), (12, 5), (3, 3), (1, 1)]), st.integers(0, 40))
def test_any_topology_draws_and_every_row_has_exactly_the_width(
    flow: FlowView, size: tuple[int, int], offset: int
) -> None:
    picture = FlowPicture()
    look = Look(size[0], size[1], DARK, offset=offset, selected=Subject("b", flow.nodes[0].id) if flow.nodes else None)
    dots = {"b": tuple(Dot(one.id, 0.7, way=at) for at, one in enumerate(flow.edges))}
    for moving in ({}, dots):
        drawn = picture.draw((flow,), look, dots=moving)
        assert [sum(segment.cell_length for segment in row) for row in drawn.rows] == [size[0]] * size[1]
    places = {subject.id for subject in drawn.order}
    grouped = any(name.startswith("g:") for name in places)
    if flow.nodes and size[0] >= 40 and not grouped:
        assert {node.id for node in flow.nodes if node.kind in {"destination", "queue", "request"}} <= places


def test_names_that_begin_alike_keep_their_ends() -> None:
    run = "mqdash.a-very-long-run-name."
    nodes = tuple(
        NodeView(id=f"q:{run}{name}|", kind="queue", name=f"{run}{name}", family=Family.RABBITMQ, depth=1)
        for name in ("orders", "analytics", "notifications")
    )
    drawing = text(FlowView(broker="b", family=Family.RABBITMQ, nodes=nodes, shape=1), size=(60, 20))
    assert all(f"{name} " in drawing for name in ("orders", "analytics", "notifications"))
