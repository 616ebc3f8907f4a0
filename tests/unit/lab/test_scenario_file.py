"""Scenario files: the shipped ones load; every mistake names its file, its line, and what to do."""

from pathlib import Path

import pytest

from mqdash.errors import InputError, ScenarioError
from mqdash.lab.scenario_file import load_scenario, parse_scenario, shipped
from mqdash.model.message import Family
from mqdash.model.topology import QueueRef
from tests.unit.lab.labs import ALERTS, CLICKS, ORDERS

GOOD = """title = "t"
[topology.rabbitmq]
destinations = [
  { name = "work", kind = "direct" },
]
[[topology.rabbitmq.queues]]
name = "jobs"
[[producers]]
name = "boss"
to = "work"
body = '{"a": ${a}}'
[producers.fields]
a = { number = [1, 2] }
[[workers]]
pool = "W"
queue = "jobs"
time_ms = [1, 2]
[[workers.errors]]
name = "Bad"
[[at]]
at_s = 1
do = "kill"
worker = "W1"
"""


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


def test_shipped_scenarios() -> None:
    assert shipped() == ("alerts", "clicks", "orders")
    assert ORDERS.families == (Family.RABBITMQ,)
    assert CLICKS.families == (Family.KAFKA,)
    assert ALERTS.families == (Family.REDIS_STREAMS, Family.REDIS_PUBSUB)


def test_the_good_file_is_good() -> None:
    parse_scenario(GOOD, name="good", file="good.toml")


def test_one_redis_runs_streams_and_channels_unless_one_is_asked_for() -> None:
    assert ALERTS.runs_on(Family.REDIS_STREAMS) == (Family.REDIS_STREAMS, Family.REDIS_PUBSUB)
    assert ALERTS.runs_on(Family.REDIS_STREAMS, only=Family.REDIS_PUBSUB) == (Family.REDIS_PUBSUB,)
    topology = ALERTS.topology_on((Family.REDIS_STREAMS,))
    assert [queue.ref for queue in topology.queues] == [QueueRef("alerts", "pager")]


def test_a_scenario_says_where_it_runs() -> None:
    with pytest.raises(InputError, match="scenario orders does not run on kafka; it runs on rabbitmq"):
        ORDERS.check_runs_on(Family.KAFKA)


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ("[topology.rabbitmq]", "[topology.rabitmq]", "[topology.rabitmq]", "did you mean 'rabbitmq'"),
        ('name = "boss"', 'nmae = "boss"', "nmae", "unknown key 'nmae': did you mean 'name'"),
        ('to = "work"', 'to = "wrok"', "wrok", "unknown destination 'wrok': did you mean 'work'"),
        ('to = "work"', "to = 5", "to = 5", "producers.to: expected `str`, got `int`"),
        ('to = "work"', 'to = "work"\nrate_per_s = "fast"', "rate_per_s", "expected `float`, got `str`"),
        ('to = "work"', 'to = "work"\nrate_per_s = -1', "rate_per_s", "must not be negative"),
        ('to = "work"', 'to = "work"\nspoil_rate = 2', "spoil_rate", "a share: 0 to 1"),
        ("${a}", "${b}", "${b}", "unknown field 'b': known are 'id', 'seq', 'producer', 'a'"),
        ("number = [1, 2]", "number = [2, 1]", "number = [2, 1]", "low <= high"),
        ("number = [1, 2]", "numbr = [1, 2]", "numbr", "unknown key 'numbr': did you mean 'number'"),
        ('queue = "jobs"\n', 'queue = "job"\n', 'queue = "job"', "unknown queue 'job': did you mean 'jobs'"),
        ("time_ms = [1, 2]", "time_ms = [2, 1]", "time_ms", "[shortest, longest]"),
        ("time_ms = [1, 2]", "prefecth = 5", "prefecth", "did you mean 'prefetch'"),
        ('[[workers.errors]]\nname = "Bad"', '[[workers.errors]]\nnam = "Bad"', "nam =", "did you mean 'name'"),
        ('do = "kill"', 'do = "murder"', "murder", "invalid enum value 'murder'"),
        ('worker = "W1"', 'worker = "X1"', "X1", "no worker 'X1'"),
        ('worker = "W1"', "", "[[at]]", "kill needs `worker`"),
        ('kind = "direct"', 'kind = "dirct"', "dirct", "unknown kind of exchange 'dirct'"),
        ('title = "t"', 'title = "t"\ntext', "text", "not TOML"),
        ('title = "t"', 'tilte = "t"', "tilte", "unknown key 'tilte': did you mean 'title'"),
        ('title = "t"', 'title = "t"\nsession_timeout_s = 0', "session_timeout_s", "more than 0"),
        ('title = "t"', 'title = "t"\nname = "x"', "name", "named by its file"),
        ('pool = "W"', 'pool = "W"\nretry = { attempts = 0 }', "retry", "retry needs attempts >= 1"),
    ],
)
def test_every_mistake_names_file_and_line(old: str, new: str, at: str, said: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, name="x", file="x.toml")
    place, _, sentence = str(caught.value).partition(": ")
    assert said in sentence
    assert place == f"x.toml:{line_of(text, at)}", str(caught.value)


def test_the_second_of_two_tables_is_the_one_named() -> None:
    text = GOOD + '[[workers]]\npool = "V"\nqueue = "jobs"\ncount = -1\n'
    with pytest.raises(ScenarioError, match=rf"x\.toml:{line_of(text, 'count = -1')}: count must not be negative"):
        parse_scenario(text, name="x", file="x.toml")


def test_a_missing_key_names_its_table() -> None:
    text = GOOD.replace('pool = "W"\n', "")
    with pytest.raises(ScenarioError, match=rf"x\.toml:{line_of(text, '[[workers]]')}: .*`pool`"):
        parse_scenario(text, name="x", file="x.toml")


def test_names_used_twice() -> None:
    text = GOOD + '[[producers]]\nname = "boss"\nto = "work"\n'
    with pytest.raises(ScenarioError, match=r"x\.toml:25: name 'boss' is there twice"):
        parse_scenario(text, name="x", file="x.toml")


def test_what_a_family_lacks_is_refused() -> None:
    text = 'title = "t"\n[topology.kafka]\ndestinations = [{ name = "t" }]\n[[producers]]\nname = "p"\nto = "t"\nttl_s = 5\n'
    with pytest.raises(ScenarioError, match=r"x\.toml:7: ttl_s of a message exists on rabbitmq only"):
        parse_scenario(text, name="x", file="x.toml")


def test_unknown_name_is_guessed() -> None:
    with pytest.raises(InputError, match=r"no scenario 'oders': did you mean 'orders'\?"):
        load_scenario("oders")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nothing\.toml:1: cannot be read: No such file"):
        load_scenario(str(tmp_path / "nothing.toml"))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'title = "ok"\ntext = "caf\xe9"\n')
    with pytest.raises(ScenarioError, match=r"latin\.toml:2: not UTF-8"):
        load_scenario(str(path))


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert load_scenario(str(path)).name == "mine"
