"""The harness itself: its brokers are what they claim to be, and die and come back as tests rely on."""

import asyncio
import os
import socket
import time
import uuid
from pathlib import Path

import pytest
import redis as redis_client

from tests.harness import NAMES, HarnessError, Target, Unavailable, broker_targets, start, start_or_skip, target_names
from tests.harness.brokers import family_of, state, up
from tests.harness.instance import Instance
from tests.harness.process import birth, kill9, owns_port, port_owner, spawn, wait_until
from tests.harness.targets import _kafka_version, _management_url, _name, _rabbitmq_version, _redis_version

_VERSION_OF = {"rabbitmq": _rabbitmq_version, "redis": _redis_version, "kafka": _kafka_version}


@broker_targets("rabbitmq", "redis", "kafka")
def test_every_target_reports_the_version_it_is_named_after(target: Target) -> None:
    reported = _VERSION_OF[target.family](target.url)
    assert _name(target.family, reported) == target.name


@pytest.mark.broker
def test_up_with_everything_running_is_immediate() -> None:
    running = [name for name in NAMES if state(name).instance is not None]
    assert running
    pids = {name: found.instance.pid for name in running if (found := state(name)).instance is not None}
    started = time.monotonic()
    again = up(running)
    assert time.monotonic() - started < 1
    assert {found.name: found.instance.pid for found in again if found.instance is not None} == pids


@pytest.mark.broker
@pytest.mark.parametrize("name", ["redis-7", "redis-8"])
async def test_a_durable_redis_keeps_its_data_over_kill_9(name: str) -> None:
    broker = await asyncio.to_thread(start_or_skip, name, durable=True)
    try:
        key = uuid.uuid4().hex
        with redis_client.Redis.from_url(broker.url) as client:
            client.set(key, "kept")
        first = broker.pid
        broker.kill9()
        assert not broker.alive
        await asyncio.to_thread(broker.restart)
        assert broker.pid != first
        with redis_client.Redis.from_url(broker.url) as client:
            assert client.get(key) == b"kept"
    finally:
        await asyncio.to_thread(broker.stop)
    assert not broker.alive
    assert port_owner(broker.port) is None
    assert not broker.data_dir.exists()


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["rabbitmq-3.10", "rabbitmq-4", "kafka-4"])
def test_a_throw_away_broker_survives_kill_9_and_leaves_nothing_behind(name: str) -> None:
    with start_or_skip(name) as broker:
        first = broker.pid
        assert owns_port(first, broker.port)
        broker.kill9()
        broker.restart()
        assert broker.pid != first
        assert owns_port(broker.pid, broker.port)
        assert _name(broker.family, _VERSION_OF[broker.family](broker.url)) == name
    for offset in range(6):
        assert port_owner(broker.port + offset) is None
    assert not broker.data_dir.exists()


@pytest.mark.broker
def test_two_throw_away_brokers_never_share_a_port() -> None:
    with start_or_skip("redis-7") as one, start_or_skip("redis-7") as other:
        assert one.port != other.port
        assert one.pid != other.pid


@pytest.mark.broker
def test_a_given_data_folder_is_kept(tmp_path: Path) -> None:
    with start_or_skip("redis-7", data_dir=tmp_path / "redis", durable=True) as broker:
        assert broker.data_dir == tmp_path / "redis"
    assert (tmp_path / "redis" / "appendonlydir").is_dir()


@pytest.mark.broker
def test_a_taken_port_is_refused_with_its_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        try:
            with pytest.raises(HarnessError, match=f"port {port} is taken by process {os.getpid()}"):
                start("redis-7", port=port)
        except Unavailable as reason:
            pytest.skip(str(reason))


def test_a_port_that_another_process_owns_is_not_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert owns_port(os.getpid(), port)
        other = spawn(["sleep", "30"], tmp_path / "log")
        born = birth(other)
        try:
            assert not owns_port(other, port)
        finally:
            kill9(other, born=born)


def test_a_reused_pid_is_never_killed(tmp_path: Path) -> None:
    pid = spawn(["sleep", "30"], tmp_path / "log")
    born = birth(pid)
    kill9(pid, born="1")
    assert birth(pid) == born
    kill9(pid, born=born)
    assert wait_until(lambda: birth(pid) is None, 5)


def test_a_remembered_broker_reads_back_as_written() -> None:
    broker = Instance(name="redis-8", family="redis", version="8.0.2", port=25630, data_dir="d", pid=7, born="9")
    assert Instance.from_json(broker.to_json()) == broker


@pytest.mark.parametrize(
    ("family", "version", "name"),
    [
        ("rabbitmq", "3.10.8", "rabbitmq-3.10"),
        ("rabbitmq", "3.1.5", "rabbitmq-3.1.5"),
        ("rabbitmq", "4.1.0", "rabbitmq-4"),
        ("redis", "7.2.4", "redis-7"),
        ("redis", "70.1", "redis-70.1"),
        ("kafka", "3", "kafka-3"),
    ],
)
def test_a_broker_replaces_the_target_of_its_version_or_is_added(family: str, version: str, name: str) -> None:
    assert _name(family, version) == name


def test_names_are_chosen_by_family() -> None:
    assert {family_of(name) for name in target_names("redis")} == {"redis"}
    assert set(NAMES) <= {*target_names()} or any(key.startswith("MQDASH_TEST_") for key in os.environ)


def test_the_management_address_of_a_url_gets_the_urls_login() -> None:
    url = "amqp://me:pw@broker.example/?management=http://broker.example:1234"
    assert _management_url("rabbitmq", url) == "http://me:pw@broker.example:1234"
    assert "pw" not in repr(Target("rabbitmq-4", "rabbitmq", "4.0.5", url))
