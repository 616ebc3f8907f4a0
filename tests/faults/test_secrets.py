"""Fault 70: a password appears in nothing mqdash prints, draws, logs or keeps."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqdash import logs
from mqdash.config import Config, Profile
from mqdash.model.broker import LinkState
from mqdash.runtime import attach_targets
from tests.faults.command import CANARY, assert_refused, run, written_below
from tests.faults.dashboards import board
from tests.faults.ports import unused
from tests.harness import Target, broker_targets
from tests.support import until

HARD = "p%40ss%2Fw%3Ard"
"""`p@ss/w:rd` as a URL has it: none of its forms may be seen."""


def _forms(password: str) -> list[str]:
    return [CANARY, password, "p@ss/w:rd", "w:rd"]


@pytest.mark.parametrize("password", [CANARY, HARD], ids=["plain", "with every separator"])
async def test_70_a_password_in_a_url_of_a_headless_run(password: str, tmp_path: Path) -> None:
    ended = await run("lab", "orders", f"amqp://u:{password}@127.0.0.1:{unused()}/", "--for", "1s", home=tmp_path)
    assert_refused(ended)
    assert not [form for form in _forms(password) if form in ended.everything]


async def test_70_a_password_from_the_environment_or_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pem"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    config = tmp_path / "config.toml"
    url = f"amqp://u@127.0.0.1:{unused()}/"
    config.write_text(f'[profiles.env]\nurl = "{url}"\n[profiles.file]\nurl = "{url}"\npassword_file = "{secret}"\n')
    given = ("--for", "1s", "--config", str(config))
    assert_refused(await run("lab", "orders", "@env", *given, home=tmp_path, env={"MQDASH_ENV_PASSWORD": CANARY}))
    assert_refused(await run("lab", "orders", "@file", *given, home=tmp_path))
    secret.chmod(0o644)
    assert_refused(await run("lab", "orders", "@file", *given, home=tmp_path), str(secret), "chmod 600")


@pytest.fixture
def root_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root, level = logging.getLogger(), logging.getLogger().level
    monkeypatch.setattr(root, "handlers", [])
    pika_level = logging.getLogger("pika").level
    yield root
    for handler in root.handlers:
        handler.close()
    root.setLevel(level)
    logging.getLogger("pika").setLevel(pika_level)


@broker_targets("rabbitmq")
async def test_70_a_password_on_the_dashboard_and_in_its_log(
    target: Target, root_logger: logging.Logger, tmp_path: Path
) -> None:
    address = target.url.rpartition("@")[2]
    config = Config(
        profiles={"shop": Profile(url=f"amqp://guest:{CANARY}@{address}")},
        log_file=str(tmp_path / "mqdash.log"),
        state_dir=str(tmp_path / "state"),
    )
    targets = attach_targets(["@shop", f"amqp://guest:{CANARY}@{address}"], config, {}, write=False)
    await asyncio.to_thread(logs.to_file, config.log_path)
    async with board(targets, tmp_path, config) as shown:
        await until(lambda: all(shown.state(found.name) is LinkState.REFUSED for found in targets), 10)
        await shown.tells("login refused")
        view = shown.runtime.store.view()
        seen = f"{shown.text} {shown.story} {view!r} {targets!r} {config.log_path}"
        assert CANARY not in seen
    assert CANARY not in await asyncio.to_thread(written_below, tmp_path)


def test_70_the_log_strikes_out_what_looks_like_a_password() -> None:
    struck = logs.without_logins(f"opening amqp://u:{CANARY}@h:1/v and amqp://u:p@ss{CANARY}@h, password={CANARY}")
    assert CANARY not in struck
    assert "amqp://u:••••@h:1/v" in struck
