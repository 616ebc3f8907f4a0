"""Broker URLs: parsed, shown without secrets, and refused in words."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqdash.brokers.url import parse_url
from mqdash.errors import UrlError
from mqdash.model.message import Family

CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("text", "family", "hosts", "path", "safe"),
    [
        ("amqp://localhost", Family.RABBITMQ, (("localhost", 5672),), "/", "amqp://localhost:5672"),
        ("amqp://u:p@h:1/%2F", Family.RABBITMQ, (("h", 1),), "/", "amqp://u@h:1"),
        ("amqps://u:p@h/shop", Family.RABBITMQ, (("h", 5671),), "shop", "amqps://u@h:5671/shop"),
        ("kafka://a,b:9", Family.KAFKA, (("a", 9092), ("b", 9)), "", "kafka://a:9092,b:9"),
        ("redis://:pw@[::1]:7/2", Family.REDIS_STREAMS, (("::1", 7),), "2", "redis://[::1]:7/2"),
        (
            "redis+sentinel://u:p@a,b:9/shop",
            Family.REDIS_STREAMS,
            (("a", 26379), ("b", 9)),
            "shop",
            "redis+sentinel://u@a:26379,b:9/shop",
        ),
        ("redis+cluster://a,b:9", Family.REDIS_STREAMS, (("a", 6379), ("b", 9)), "", "redis+cluster://a:6379,b:9"),
        ("embedded://kafka", Family.KAFKA, (), "kafka", "embedded://kafka"),
    ],
)
def test_a_url_is_read(text: str, family: Family, hosts: object, path: str, safe: str) -> None:
    url = parse_url(text)
    assert (url.family, url.hosts, url.path, url.safe) == (family, hosts, path, safe)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("localhost:5672", "not a broker URL"),
        ("http://x", "unknown scheme"),
        ("amqp://", "host is missing"),
        ("amqp://h:port", "not a number"),
        ("amqp://h:99999", "not a number"),
        ("amqp://[::1", "malformed"),
        ("amqp://a,b", "names one host"),
        ("amqp://h?magement=x", "unknown option"),
        ("embedded://nats", "unknown embedded broker"),
        ("redis+sentinel://h", "names its service"),
        ("redis+cluster://h/2", "has no path"),
        ("redis://a,b", "names one host"),
    ],
)
def test_a_bad_url_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(UrlError, match=says.replace("(", r"\(")):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        f"htp://u:{CANARY}@h",
        f"u:{CANARY}@h",
        f"amqp://u:{CANARY}@h:x",
        f"amqp://u:{CANARY}@[h",
        f"amqp://u:{CANARY}@",
        f"amqp://u:{CANARY}@h?x=1",
        f"embedded://u:{CANARY}@rabbitmq",
    ],
)
def test_fault_70_no_refusal_repeats_a_password(text: str) -> None:
    with pytest.raises(UrlError) as refused:
        parse_url(text)
    assert CANARY not in str(refused.value)


def test_fault_70_no_way_of_printing_shows_the_password() -> None:
    url = parse_url(f"amqp://user:{CANARY}@host/vhost?management=http://u:{CANARY}@h:1")
    assert url.password.reveal() == CANARY
    for shown in (str(url), repr(url), f"{url}", f"{url.password}", repr(url.password), url.safe):
        assert CANARY not in shown


def test_a_percent_encoded_password_is_decoded() -> None:
    assert parse_url("amqp://u:p%40ss%2F@h").password.reveal() == "p@ss/"


def test_only_this_machine_is_loopback() -> None:
    assert parse_url("amqp://127.0.0.9").loopback
    assert parse_url("redis://[::1]").loopback
    assert not parse_url("kafka://localhost,example.org").loopback


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(UrlError):
        parse_url(text)
