"""The only module that knows everyone: turns targets into links, labs, monitors, store and screen, and closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
from typing import TYPE_CHECKING, Any, Final, Self, cast

import msgspec

from mqdash.brokers.registry import connector_for
from mqdash.brokers.supervise import Link
from mqdash.brokers.url import BrokerUrl, parse_url
from mqdash.bus import EventBus
from mqdash.clock import SystemClock
from mqdash.control.actions import Control
from mqdash.control.attachment import Attachment
from mqdash.control.audit import Audit
from mqdash.control.monitor import Monitor
from mqdash.control.profiles import resolve
from mqdash.errors import BrokerError, InputError, MqdashError
from mqdash.lab.scenario import Scenario
from mqdash.model.events import Noted
from mqdash.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mqdash.brokers.base import Broker, Observer
    from mqdash.clock import Clock
    from mqdash.config import Config
    from mqdash.lab.headless import Report
    from mqdash.model.events import Event

log = logging.getLogger(__name__)

CLOSE_LIMIT_S: Final = 5.0
SHIPPED: Final = ("orders", "clicks", "alerts")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What to attach to: a broker, and the scenario to run on it, if any. `run` names the run on a real broker."""

    name: str
    url: BrokerUrl
    writable: bool
    production: bool = False
    scenario: Scenario | None = None
    run: str = ""
    keep: bool = False
    seed: int = 0


def lab_targets(*, seed: int | None = None) -> list[Target]:
    """The live lab: the shipped scenarios, each on its embedded broker."""
    return [lab_target(name, None, None, {}, seed=seed) for name in SHIPPED]


def lab_target(
    scenario: str,
    url: str | None,
    config: Config | None,
    env: Mapping[str, str],
    *,
    run: str | None = None,
    keep: bool = False,
    write: bool = False,
    seed: int | None = None,
    only: str | None = None,
) -> Target:
    """One scenario on the broker of the URL, or on the embedded one of its first family.

    Raises:
        InputError: no such scenario, it does not run on that family, or the broker may not be written to.
    """
    from mqdash.lab.parts import part_of
    from mqdash.lab.scenario_file import load_scenario

    if "://" in scenario:
        raise InputError(f"no scenario given, only a broker; write mqdash lab {SHIPPED[0]} URL")
    found = load_scenario(scenario)
    if only is not None:
        found = part_of(found, only)
    if url is None:
        place, profile = parse_url(f"embedded://{_EMBEDDED[found.families[0]]}"), None
    else:
        place, profile = resolve(url, config, env) if config is not None else (parse_url(url), None)
    writable = place.embedded or place.loopback or write or (profile is not None and profile.writable)
    if not writable:
        msg = f"a lab writes to its broker, and {place.safe} is not on this machine: add --write to allow it"
        raise InputError(msg)
    return Target(
        name=found.name,
        url=place,
        writable=True,
        production=profile is not None and profile.production,
        scenario=found,
        run=run or found.name,
        keep=keep,
        seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
    )


_EMBEDDED = {"rabbitmq": "rabbitmq", "kafka": "kafka", "redis-streams": "redis", "redis-pubsub": "redis"}


def attach_targets(given: Sequence[str], config: Config, env: Mapping[str, str], *, write: bool) -> list[Target]:
    """The brokers named on the command line, each under a name of its own.

    Raises:
        InputError: a URL or profile that cannot be understood.
    """
    targets: list[Target] = []
    for text in given:
        url, profile = resolve(text, config, env)
        if profile is not None:
            writable, name = profile.writable or write, text[1:]
        else:
            writable, name = url.embedded or url.loopback or write, _name(url)
        taken = {target.name for target in targets}
        unique = next(n for n in (name, url.address, *(f"{url.address} ({i})" for i in range(2, 99))) if n not in taken)
        targets.append(
            Target(name=unique, url=url, writable=writable, production=profile is not None and profile.production)
        )
    return targets


def _name(url: BrokerUrl) -> str:
    if url.embedded:
        return url.path
    host, port = url.hosts[0]
    place = f"{host}:{port}" if url.loopback else host  # several brokers on one machine differ by their port
    return url.path if url.family == "rabbitmq" and url.path not in {"", "/"} else place


class Runtime:
    """Everything that runs behind the screen, from `async with` to its end."""

    def __init__(self, targets: Sequence[Target], config: Config, *, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.store = Store(self.clock)
        self.bus = EventBus(cast("Callable[[Event], None]", self.store.apply))  # every event is of the closed union
        self.config = config
        audit = Audit(clock=self.clock, emit=self.bus.publish)
        self.control = Control(
            [self._attached(target) for target in targets],
            clock=self.clock,
            emit=self.bus.publish,
            audit=audit,
            state_dir=config.state_path,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _attached(self, target: Target) -> Attachment:
        from mqdash.brokers.metered import metered
        from mqdash.brokers.scoped import Scope, scoped

        connector = connector_for(target.url, clock=self.clock, seed=target.seed)
        scope = Scope(target.run) if target.scenario is not None and not target.url.embedded else None

        async def connect() -> Broker:
            broker = await connector.connect()
            if scope is not None:
                broker = scoped(broker, scope)
            return metered(broker, target.name, clock=self.clock, emit=self.bus.publish)

        async def observe() -> Observer:
            return await connector.observe()

        link: Link[Any] = Link(
            target.name,
            target.url,
            connect if target.writable else observe,
            clock=self.clock,
            emit=self.bus.publish,
            lab=target.scenario is not None,
        )
        attachment = Attachment(
            name=target.name,
            url=target.url,
            link=link,
            writable=target.writable,
            production=target.production,
            scope=scope,
        )
        if target.scenario is not None:
            from mqdash.lab.lab import Lab

            attachment.lab = Lab(
                target.scenario,
                link.lives,
                broker=target.name,
                family=target.url.family,
                clock=self.clock,
                emit=self.bus.publish,
                seed=target.seed,
                instance="" if target.url.embedded else f"{os.getpid():x}",
                shared=not target.url.embedded,
                keep=target.keep,
                faults=getattr(connector, "server", None),
            )
        return attachment

    async def __aenter__(self) -> Self:
        """Start everything; returns at once, connections open behind it."""
        for attachment in self.control.attachments.values():
            attachment.link.start()
            monitor = Monitor(attachment, clock=self.clock, emit=self.bus.publish)
            self._run(monitor.run(), f"monitor {attachment.name}")
            if attachment.lab is not None:
                self._run(self._start(attachment), f"lab {attachment.name}")
        return self

    async def _start(self, attachment: Attachment) -> None:
        assert attachment.lab is not None
        try:
            await attachment.lab.start()
        except MqdashError as error:
            self.note(attachment.name, f"the lab could not start: {error}")

    def _run(self, coroutine: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    def note(self, broker: str, text: str) -> None:
        """A line in the Story about something that went wrong on our side."""
        self.bus.publish(Noted(broker=broker, at_s=self.clock.now(), text=text, level="broken"))

    async def __aexit__(self, *exc: object) -> None:
        stopping = [found.lab.stop() for found in self.control.attachments.values() if found.lab is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await asyncio.gather(*stopping, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        links = [found.link for found in self.control.attachments.values()]
        await asyncio.gather(*(link.close() for link in links), return_exceptions=True)


def run_dashboard(targets: Sequence[Target], config: Config) -> int:
    """Open the dashboard; returns its exit code."""
    from mqdash import logs
    from mqdash.ui.app import MqdashApp, Settings, show
    from mqdash.ui.terminal import Guard

    why_no_log = logs.to_file(config.log_path)
    for target in targets:
        logs.redaction.learn(target.url.password, target.url.user)

    async def body(guard: Guard) -> int:
        async with Runtime(targets, config) as runtime:
            if why_no_log:
                runtime.note(targets[0].name, why_no_log)
            settings = Settings(motion=config.motion, mouse=config.mouse, keys=config.keys, state_dir=config.state_path)
            gc.freeze()  # what is loaded now stays: later collections look at what is new
            app = MqdashApp(runtime.store, runtime.bus, runtime.control, settings, runtime.clock)
            code = await show(app, guard)
        return guard.code(code)

    with Guard() as guard:  # a signal while all is being closed must not leave a run's queues behind either
        return asyncio.run(body(guard))


async def run_lab_headless(
    target: Target, config: Config, *, length_s: float, kills: Sequence[tuple[str, float]]
) -> Report:
    """Run a scenario without a screen and count by id.

    Raises:
        InputError: an unknown worker to kill.
        MqdashError: the broker cannot be reached or refuses; the text says why.
    """
    from mqdash import logs
    from mqdash.lab.headless import run_headless, with_kills

    logs.to_file(config.log_path)
    logs.redaction.learn(target.url.password, target.url.user)
    assert target.scenario is not None
    target = msgspec.structs.replace(target, scenario=with_kills(target.scenario, kills))
    attachment = Runtime([target], config).control.attachments[target.name]
    assert attachment.lab is not None
    attachment.link.start()
    try:
        await attachment.link.opened(patient=False)
        return await run_headless(attachment.lab, length_s=length_s)
    except BrokerError as error:
        raise _placed(error, target.url) from None
    finally:
        await attachment.link.close()


def _placed(error: BrokerError, url: BrokerUrl) -> BrokerError:
    """The error with the address in it: there is no header beside a sentence on stderr."""
    known = any(f"{host}:{port}" in error.text for host, port in url.hosts)
    return error if known or url.embedded else BrokerError(url.safe, error.text)
