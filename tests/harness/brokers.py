"""Starting and stopping: the shared brokers of a checkout, and throw-away ones for tests that kill theirs."""

import atexit
import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from tests.harness import kafka, rabbitmq, redis
from tests.harness.instance import Instance
from tests.harness.process import HarnessError, birth, is_free, kill9, port_owner
from tests.harness.settings import FIRST_PORT, PORTS_PER_BROKER, PRIVATE, PRIVATE_PORTS, SHARED, locked

NAMES = ("rabbitmq-3.10", "rabbitmq-4", "redis-7", "redis-8", "kafka-4")
_RECIPES: Mapping[str, ModuleType] = {"rabbitmq": rabbitmq, "redis": redis, "kafka": kafka}


def family_of(name: str) -> str:
    return name.partition("-")[0]


def recipe(name: str) -> ModuleType:
    return _RECIPES[family_of(name)]


@dataclass(frozen=True)
class State:
    """What is known of a shared broker: running, or why not."""

    name: str
    instance: Instance | None = None
    reason: str = ""


# --- shared brokers -------------------------------------------------------------------------------------------------


def state(name: str) -> State:
    """The shared broker `name` as it is now: it is asked, not only remembered."""
    with contextlib.suppress(FileNotFoundError):
        remembered = Instance.from_json((SHARED / f"{name}.json").read_text())
        if remembered.alive and recipe(name).ready(remembered):
            return State(name, remembered)
        return State(name, reason=f"it ran on port {remembered.port} and no longer answers; run: make brokers")
    with contextlib.suppress(FileNotFoundError):
        return State(name, reason=(SHARED / f"{name}.unavailable").read_text())
    return State(name, reason="not running; run: make brokers")


def up(names: Iterable[str] = NAMES) -> list[State]:
    """Install and start what is missing of `names`, all in parallel; a State tells what is missing and why."""
    wanted = list(names)
    with ThreadPoolExecutor(max_workers=len(NAMES)) as pool:
        return list(pool.map(_up, wanted))


def _up(name: str) -> State:
    with locked(f"shared-{FIRST_PORT}-{name}"):
        now = state(name)
        if now.instance is not None:
            return now
        try:
            return State(name, _start_shared(name))
        except (HarnessError, OSError) as error:
            SHARED.mkdir(parents=True, exist_ok=True)
            (SHARED / f"{name}.unavailable").write_text(str(error))
            return State(name, reason=str(error))


def _start_shared(name: str) -> Instance:
    version = recipe(name).install(name)
    _down(name)  # a node that hangs, or the EPMD of one that was killed
    folder = SHARED / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = FIRST_PORT + NAMES.index(name) * PORTS_PER_BROKER
    _refuse_taken(name, port)
    planned = Instance(name=name, family=family_of(name), version=version, port=port, data_dir=str(folder))
    running: Instance = recipe(name).launch(planned)
    (SHARED / f"{name}.unavailable").unlink(missing_ok=True)
    (SHARED / f"{name}.json").write_text(running.to_json())
    return running


def _refuse_taken(name: str, port: int) -> None:
    for taken in (port, port + 1, port + 4, port + 5):
        if not is_free(taken):
            owner = port_owner(taken)
            raise HarnessError(
                f"{name}: port {taken} is taken by process {owner or 'unknown'}; "
                "stop it, or move the brokers with MQDASH_BROKER_PORTS"
            )


def down(names: Iterable[str] = NAMES) -> None:
    """Stop the shared brokers `names`, and throw-away ones whose owner died."""
    with ThreadPoolExecutor(max_workers=len(NAMES)) as pool:
        list(pool.map(_down, names))
    reap_orphans()


def _down(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        remembered = Instance.from_json((SHARED / f"{name}.json").read_text())
        recipe(name).halt(remembered)
        (SHARED / f"{name}.json").unlink(missing_ok=True)


# --- throw-away brokers ---------------------------------------------------------------------------------------------


class RunningBroker:
    """A broker of a test's own, to be killed and restarted at will; `stop()` ends it and deletes its data.

    Its methods block (starting takes from 0.1 s for Redis to 10 s for RabbitMQ 3.10): in async tests call them through
    `asyncio.to_thread`. Also a context manager. Whatever a test forgets is stopped when the test process ends.
    """

    def __init__(self, instance: Instance, *, keep_data: bool) -> None:
        self._instance = instance
        self._keep_data = keep_data

    @property
    def name(self) -> str:
        return self._instance.name

    @property
    def family(self) -> str:
        return self._instance.family

    @property
    def version(self) -> str:
        return self._instance.version

    @property
    def port(self) -> int:
        return self._instance.port

    @property
    def url(self) -> str:
        return self._instance.url

    @property
    def management_url(self) -> str | None:
        return self._instance.management_url

    @property
    def data_dir(self) -> Path:
        return self._instance.folder

    @property
    def log_path(self) -> Path:
        return self._instance.log

    @property
    def pid(self) -> int:
        """Process id of the server itself; of the last one after `kill9()`."""
        return self._instance.pid

    @property
    def alive(self) -> bool:
        return self._instance.alive

    def kill9(self) -> None:
        """SIGKILL; returns when the process is gone (a few ms). Data and port stay for `restart()`."""
        kill9(self._instance.pid, born=self._instance.born)

    def restart(self) -> None:
        """Start again on the same port and data (after a clean stop, if it still runs); returns when it answers."""
        self._halt()
        self._instance = recipe(self.name).launch(self._instance)
        _remember(self._instance)

    def stop(self) -> None:
        """Stop for good: the process, its helpers, its port, and its data unless the test gave the folder."""
        if not self._keep_data:
            self.kill9()  # nothing to save: a clean stop of RabbitMQ 3.10 takes 7 s
        self._halt()
        if not self._keep_data:
            shutil.rmtree(self.data_dir, ignore_errors=True)
        _reservation(self.port).unlink(missing_ok=True)
        _OWNED.pop(self.port, None)

    def _halt(self) -> None:
        recipe(self.name).halt(self._instance)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


_OWNED: dict[int, RunningBroker] = {}


def start(
    name: str, *, data_dir: Path | None = None, durable: bool = False, secure: bool = False, port: int | None = None
) -> RunningBroker:
    """Start a throw-away broker `name` (one of NAMES) and wait until it answers.

    `durable` is for Redis (`appendonly yes`, `appendfsync always`); RabbitMQ and Kafka keep durable data anyway.
    `secure` is for Kafka: listeners with TLS and logins, see kafka.py.
    `data_dir` (absolute) is kept by `stop()`; without it the data is the harness's. `port` must be below 32768
    and is the first of ten. Raises Unavailable (cannot be had here) or HarnessError (did not start; the text has the
    log's end).
    """
    version = recipe(name).install(name)
    reap_orphans()
    taken = _reserve(port)
    folder = data_dir if data_dir is not None else PRIVATE / f"{taken}-{name}"
    planned = Instance(
        name=name,
        family=family_of(name),
        version=version,
        port=taken,
        data_dir=str(folder),
        durable=durable,
        secure=secure,
    )
    try:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
        _refuse_taken(name, taken)
        broker = RunningBroker(recipe(name).launch(planned), keep_data=data_dir is not None)
    except BaseException:
        _reservation(taken).unlink(missing_ok=True)
        raise
    _remember(broker._instance)
    _OWNED[taken] = broker
    return broker


def start_nodes(name: str, count: int) -> list[RunningBroker]:
    """Start `count` throw-away nodes of one Kafka cluster, all at once: none answers before the majority is there."""
    version = recipe(name).install(name)
    reap_orphans()
    ports = tuple(_reserve(None) for _ in range(count))
    planned = [
        Instance(
            name=name,
            family=family_of(name),
            version=version,
            port=port,
            data_dir=str(PRIVATE / f"{port}-{name}"),
            peers=ports,
        )
        for port in ports
    ]
    try:
        nodes = [RunningBroker(instance, keep_data=False) for instance in launch_all(planned)]
    except BaseException:
        for port in ports:
            _reservation(port).unlink(missing_ok=True)
        raise
    for node in nodes:
        _remember(node._instance)
        _OWNED[node.port] = node
    return nodes


def launch_all(planned: list[Instance]) -> list[Instance]:
    """Launch nodes side by side on fresh folders; when one does not come up, the others are stopped."""
    for instance in planned:
        shutil.rmtree(instance.folder, ignore_errors=True)
        _refuse_taken(instance.name, instance.port)
    with ThreadPoolExecutor(max_workers=len(planned)) as pool:
        launching = [pool.submit(recipe(instance.name).launch, instance) for instance in planned]
    failed = [found.exception() for found in launching if found.exception() is not None]
    if not failed:
        return [found.result() for found in launching]
    for found in launching:
        if found.exception() is None:
            recipe(planned[0].name).halt(found.result())
    raise HarnessError(f"{planned[0].name}: not all of {len(planned)} nodes came up: {failed[0]}")


def _reservation(port: int) -> Path:
    return PRIVATE / f"{port}.json"


def _reserve(port: int | None) -> int:
    """Claim a block of ten ports for this process. Raises HarnessError when all are taken."""
    PRIVATE.mkdir(parents=True, exist_ok=True)
    for candidate in PRIVATE_PORTS if port is None else (port,):
        with contextlib.suppress(FileExistsError):
            if port is None and not all(is_free(candidate + offset) for offset in (0, 1, 4, 5)):
                continue
            with _reservation(candidate).open("x") as claim:
                json.dump(_claim(None), claim)
            return candidate
    raise HarnessError(f"no free ports for a throw-away broker among {PRIVATE_PORTS if port is None else port}")


def _claim(instance: Instance | None) -> dict[str, object]:
    return {
        "owner": os.getpid(),
        "owner_born": birth(os.getpid()),
        "instance": instance.to_json() if instance is not None else None,
    }


def _remember(instance: Instance) -> None:
    fresh = _reservation(instance.port).with_suffix(".new")
    fresh.write_text(json.dumps(_claim(instance)))
    fresh.replace(_reservation(instance.port))


def reap_orphans() -> None:
    """Stop throw-away brokers whose test process is gone (it was killed before it could stop them)."""
    if not PRIVATE.exists():
        return
    with locked("private"):
        for path in PRIVATE.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                _reap(path)


def _reap(path: Path) -> None:
    try:
        claim = json.loads(path.read_text())
    except ValueError:  # being written this moment
        return
    if birth(claim["owner"]) == claim["owner_born"]:
        return
    if claim["instance"] is not None:
        instance = Instance.from_json(claim["instance"])
        recipe(instance.name).halt(instance)
        if instance.folder.parent == PRIVATE:
            shutil.rmtree(instance.folder, ignore_errors=True)
    path.unlink(missing_ok=True)


@atexit.register
def _stop_forgotten() -> None:
    for broker in list(_OWNED.values()):
        broker.stop()
