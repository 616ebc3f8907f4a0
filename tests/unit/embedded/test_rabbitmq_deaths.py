"""R40-R49: dead-lettering."""

from typing import Any

import pytest

from mqdash.model.message import HeaderValue, Message, Wire
from tests.unit.embedded.rabbit import Rabbit


def with_grave(rabbit: Rabbit, **options: Any) -> Rabbit:
    """`q` dead-letters to `dead` through the fanout `dlx`."""
    rabbit.exchange("dlx", "fanout")
    rabbit.queue("dead")
    rabbit.bind("dlx", "dead")
    rabbit.queue("q", dlx="dlx", **options)
    return rabbit


def reject(rabbit: Rabbit, queue: str = "q") -> None:
    got = rabbit.server.get(rabbit.channel, queue, rabbit.now)
    assert got is not None
    rabbit.server.nack(rabbit.channel, got[0], rabbit.now, requeue=False)


def letter(rabbit: Rabbit, queue: str = "dead") -> Message:
    got = rabbit.get(queue)
    assert got is not None
    return got


def plain(death: dict[str, HeaderValue]) -> dict[str, HeaderValue]:
    return {name: value.value if isinstance(value, Wire) else value for name, value in death.items()}


def test_R40_rejected() -> None:
    rabbit = with_grave(Rabbit())
    rabbit.publish("m")
    reject(rabbit)
    assert letter(rabbit).header("x-first-death-reason") == "rejected"
    assert rabbit.counts().dead == {"rejected": 1}
    rabbit.check()


def test_R40_expired() -> None:
    rabbit = with_grave(Rabbit(), ttl_s=1.0)
    rabbit.publish("m")
    rabbit.pass_time(1)
    assert letter(rabbit).header("x-first-death-reason") == "expired"
    assert (rabbit.counts().dead, rabbit.counts().expired) == ({"expired": 1}, 0)


def test_R40_maxlen() -> None:
    rabbit = with_grave(Rabbit(), max_length=1)
    rabbit.publish("old")
    rabbit.publish("new")
    dead = letter(rabbit)
    assert (dead.body, dead.header("x-first-death-reason")) == (b"old", "maxlen")


def test_R40_without_a_dlx_a_reject_drops() -> None:
    rabbit = Rabbit()
    rabbit.queue()
    rabbit.publish()
    reject(rabbit)
    assert rabbit.counts().dropped == {"rejected": 1}
    rabbit.check()


@pytest.mark.parametrize(("version", "kept"), [((3, 10), None), ((4, 0), ["extra"])])
def test_R41_original_keys_with_cc_or_the_dead_letter_key(version: tuple[int, int], kept: list[str] | None) -> None:
    rabbit = Rabbit(version)
    rabbit.exchange("dlx", "direct")
    for name in ("by key", "by cc", "by dead-letter key"):
        rabbit.queue(name)
    rabbit.bind("dlx", "by key", "q1")
    rabbit.bind("dlx", "by cc", "extra")
    rabbit.bind("dlx", "by dead-letter key", "dead")
    rabbit.queue("q1", dlx="dlx")
    rabbit.queue("q2", dlx="dlx", dlx_key="dead")
    for name in ("q1", "q2"):
        rabbit.publish(name, to=name, headers=(("CC", ["extra"]),))
        reject(rabbit, name)
    assert letter(rabbit, "by key").header("CC") == ["extra"]
    assert rabbit.bodies("by cc") == ["q1"]
    dead = letter(rabbit, "by dead-letter key")
    assert (dead.body, dead.header("CC")) == (b"q2", kept), "4.0.5 leaves the header, but does not route by it"
    assert dead.header("x-death")[0]["routing-keys"] == ["q2", "extra"]


@pytest.mark.parametrize("declared", [True, False])
def test_R42_missing_or_unbound_dlx_drops_silently(declared: bool) -> None:
    rabbit = Rabbit()
    rabbit.queue(dlx="dlx")
    if declared:
        rabbit.exchange("dlx")
    rabbit.publish()
    reject(rabbit)
    reason = "dead letter unroutable" if declared else "no dead-letter exchange"
    assert rabbit.counts().dropped == {reason: 1}
    assert not rabbit.channel.closed
    rabbit.check()


def test_R44_R45_R46_death_records_count_and_first_death_stays() -> None:
    rabbit = with_grave(Rabbit((3, 10)))
    rabbit.publish("m", headers=(("mine", "kept"),), expiration="60000")
    for _ in range(3):
        reject(rabbit)
        dead = letter(rabbit)
        rabbit.server.publish(rabbit.channel, "", "q", dead, rabbit.now)
        rabbit.now += 10
    reject(rabbit)
    dead = letter(rabbit)
    (death,) = dead.header("x-death")
    assert plain(death) == {
        "count": 4,
        "reason": "rejected",
        "queue": "q",
        "time": 1000,
        "exchange": "",
        "routing-keys": ["q"],
        "original-expiration": "60000",
    }
    assert death["count"] == Wire(4, "l", b"l\x00\x00\x00\x00\x00\x00\x00\x04")
    assert dead.ttl_s is None, "the expiration is gone"
    assert dead.header("mine") == "kept"
    assert dead.header("x-first-death-queue") == "q"
    assert dead.header("x-last-death-queue") is None, "3.10 has none"


def test_R44_the_newest_death_comes_first() -> None:
    rabbit = Rabbit()
    rabbit.queue("second")
    rabbit.queue("first", ttl_s=1.0, dlx="", dlx_key="wait")
    rabbit.queue("wait", ttl_s=1.0, dlx="", dlx_key="second")
    rabbit.publish(to="first")
    rabbit.pass_time(5)
    got = letter(rabbit, "second")
    assert [death["queue"] for death in got.header("x-death")] == ["wait", "first"]
    assert [plain(death)["time"] for death in got.header("x-death")] == [1002, 1001]
    assert (got.header("x-first-death-queue"), got.header("x-last-death-queue")) == ("first", "wait")


def test_R47_an_automatic_cycle_drops_at_the_second_pass() -> None:
    rabbit = Rabbit()
    rabbit.queue("work", ttl_s=1.0, dlx="", dlx_key="retry")
    rabbit.queue("retry", ttl_s=1.0, dlx="", dlx_key="work")
    rabbit.publish(to="work")
    rabbit.pass_time(10)
    assert rabbit.counts("retry").dropped == {"dead-letter cycle": 1}
    assert [rabbit.server.queues[name].ready for name in ("work", "retry")] == [0, 0]
    rabbit.check()


def test_R47_a_reject_on_the_way_is_no_automatic_cycle() -> None:
    rabbit = Rabbit()
    rabbit.queue("work", dlx="", dlx_key="retry")
    rabbit.queue("retry", ttl_s=1.0, dlx="", dlx_key="work")
    rabbit.publish(to="work")
    for _ in range(3):
        reject(rabbit, "work")
        rabbit.pass_time(1)
    assert letter(rabbit, "work").header("x-death")[0]["count"].value == 3


@pytest.mark.parametrize("version", [(3, 10), (4, 0)])
@pytest.mark.parametrize("deaths", [True, False])
def test_R45_R48_first_death_headers_of_a_client(version: tuple[int, int], deaths: bool) -> None:
    rabbit = with_grave(Rabbit(version))
    claimed: list[tuple[str, HeaderValue]] = [
        (f"x-first-death-{name}", "theirs") for name in ("queue", "reason", "exchange")
    ]
    if deaths:
        claimed.append(("x-death", [{"queue": "theirs", "reason": "expired", "count": 1}]))
    rabbit.publish(headers=tuple(claimed))
    reject(rabbit)
    believed = deaths and version < (4, 0)
    assert letter(rabbit).header("x-first-death-queue") == ("theirs" if believed else "q")


@pytest.mark.parametrize(("version", "count"), [((3, 10), 2), ((4, 0), 1)])
def test_R48_a_published_x_death_counts_on_only_before_4_0(version: tuple[int, int], count: int) -> None:
    rabbit = with_grave(Rabbit(version))
    rabbit.publish()
    reject(rabbit)
    rabbit.server.publish(rabbit.channel, "", "q", letter(rabbit), rabbit.now)
    reject(rabbit)
    (death,) = letter(rabbit).header("x-death")
    assert death["count"].value == count


@pytest.mark.parametrize(
    ("version", "limit", "returns"), [((4, 0), 3, 4), ((4, 0), None, 21), ((3, 10), 3, 4), ((3, 10), None, None)]
)
@pytest.mark.parametrize("by", ["nack", "close"])
def test_R49_F1_delivery_limit(version: tuple[int, int], limit: int | None, returns: int | None, by: str) -> None:
    rabbit = with_grave(Rabbit(version), kind="quorum", delivery_limit=limit)
    rabbit.publish()
    for turn in range(1, 31):
        got = rabbit.server.get(rabbit.channel, "q", rabbit.now)
        assert got is not None
        if by == "nack":
            rabbit.server.nack(rabbit.channel, got[0], rabbit.now, requeue=True)
        else:
            rabbit.server.close_channel(rabbit.channel, rabbit.now)
            rabbit.channel = rabbit.new_channel()
        if rabbit.server.queues["q"].ready == 0:
            assert turn == returns
            assert letter(rabbit).header("x-first-death-reason") == "delivery_limit"
            return
    assert returns is None
