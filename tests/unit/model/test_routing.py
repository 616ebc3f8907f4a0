from __future__ import annotations

import pytest

from mqdash.model.causes import normalised_cause
from mqdash.model.message import Family
from mqdash.model.nouns import NOUNS, nouns
from mqdash.model.routing import Hop, Routing, channel_matches, headers_match, topic_matches
from mqdash.model.topology import Binding, Destination, Queue, QueueRef, Route, Topology

A, B = QueueRef("a"), QueueRef("b")


def routing(*destinations: Destination, bindings: tuple[Binding, ...] = ()) -> Routing:
    return Routing(Topology(destinations=destinations, queues=(Queue(ref=A), Queue(ref=B)), bindings=bindings))


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("#", "", True),
        ("#", "a.b", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#.b", "b", True),
        ("#.b", "a.c.b", True),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.x.y.c", True),
        ("#.#", "a", True),
        ("#.*", "a", True),
        ("#.*", "", False),
        ("*", "a", True),
        ("*", "", False),
        ("*", "a.b", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("a+b", "aab", False),
        ("", "", True),
    ],
)
def test_R2_topic_keys(pattern: str, key: str, matches: bool) -> None:
    assert topic_matches(pattern, key) is matches


@pytest.mark.parametrize(
    ("wanted", "headers", "matches"),
    [
        ({"x-match": "all", "k": "1"}, {"k": "1", "more": "2"}, True),
        ({"k": "1", "l": "2"}, {"k": "1"}, False),
        ({"x-match": "any", "k": "1", "l": "2"}, {"l": "2"}, True),
        ({"x-match": "any", "k": "1"}, {}, False),
        ({"x-match": "all", "x-own": "1"}, {}, True),
        ({"x-match": "all-with-x", "x-own": "1"}, {}, False),
        ({"x-match": "any-with-x", "x-own": "1"}, {"x-own": "1"}, True),
    ],
)
def test_R3_headers(wanted: dict[str, str], headers: dict[str, str], matches: bool) -> None:
    assert headers_match(wanted, headers) is matches


def test_R1_the_default_exchange_routes_by_name() -> None:
    assert routing().route(Route("", "a")).queues == (A,)
    assert routing().route(Route("", "nobody")).queues == ()


def test_R4_a_queue_bound_twice_gets_a_message_once_even_over_another_exchange() -> None:
    found = routing(
        Destination(name="x", kind="topic"),
        Destination(name="y", kind="fanout"),
        bindings=(
            Binding(source="x", queue=A, key="#"),
            Binding(source="x", queue=A, key="k"),
            Binding(source="x", destination="y", key="k"),
            Binding(source="y", queue=A),
            Binding(source="y", queue=B),
            Binding(source="y", destination="x"),
        ),
    ).route(Route("x", "k"))
    assert found.queues == (A, B)
    assert found.hops == (Hop("x", queue=A), Hop("x", destination="y"), Hop("y", queue=B))


def test_R8_what_nobody_wants_goes_to_the_alternate_exchange_and_a_circle_ends() -> None:
    circle = routing(
        Destination(name="x", kind="direct", alternate="y"),
        Destination(name="y", kind="direct", alternate="x"),
        bindings=(Binding(source="y", queue=B, key="k"), Binding(source="x", queue=A, key="known")),
    )
    assert circle.route(Route("x", "k")).queues == (B,)
    assert circle.route(Route("x", "known")).queues == (A,)
    assert circle.route(Route("x", "neither")).queues == ()


def test_R3_without_headers_nothing_is_claimed() -> None:
    by_headers = routing(
        Destination(name="x", kind="headers"), bindings=(Binding(source="x", queue=A, headers=(("k", "1"),)),)
    )
    assert not by_headers.route(Route("x")).certain
    assert by_headers.route(Route("x")).queues == ()
    assert by_headers.route(Route("x"), {"k": "1"}).queues == (A,)


@pytest.mark.parametrize(
    ("pattern", "channel", "matches"),
    [
        ("ops.*", "ops.deploy", True),
        ("ops.*", "op.deploy", False),
        ("h?llo", "hello", True),
        ("h[ae]llo", "hallo", True),
        ("h[^e]llo", "hello", False),
        ("h[a-c]llo", "hbllo", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("h[", "h[", True),
    ],
)
def test_P4_channel_patterns(pattern: str, channel: str, matches: bool) -> None:
    assert channel_matches(pattern, channel) is matches


def test_groups_read_their_topic_without_a_binding() -> None:
    app = QueueRef("clicks", "app")
    topology = Topology(
        destinations=(Destination(name="clicks", kind="topic", family=Family.KAFKA),),
        queues=(Queue(ref=app, family=Family.KAFKA, kind="group"),),
    )
    assert Routing(topology).route(Route("clicks", "any")).queues == (app,)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("PaymentDeclined", "PaymentDeclined"),
        ("bad JSON at byte 117", "bad JSON at byte *"),
        ("no user 'ada' (6b1f0d4e-1111-2222-3333-444455556666)", "no user * (*)"),
        ("HTTP2Error after 30ms", "HTTP2Error after *ms"),
        ("at 0xdeadbeef\nTraceback", "at *"),
        ("", "rejected (no reason recorded)"),
    ],
)
def test_causes_keep_what_deaths_have_in_common(said: str, cause: str) -> None:
    assert normalised_cause(said) == cause


def test_every_family_has_its_nouns() -> None:
    assert set(NOUNS) == set(Family)
    assert nouns(Family.RABBITMQ).held == "unacked"
