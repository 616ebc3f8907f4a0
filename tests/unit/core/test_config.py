"""Configuration: one order, one validation, errors with file:line (fault 68)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mqdash import config
from mqdash.control.profiles import resolve
from mqdash.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('motion = false\nstate_dir = "file"\nlog_file = "file"\n')
    found = config.load(
        flags={"state_dir": "flag", "log_file": None}, env={"MQDASH_STATE_DIR": "env", "MQDASH_LOG": "env"}, path=path
    )
    assert (found.motion, found.mouse, found.state_dir, found.log_file) == (False, True, "flag", "env")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("motoin = true", ":1: unknown key 'motoin', did you mean 'motion'?"),
        ('[profiles.a]\nurl = "amqp://h"\n\nwritabel = true', ":4: unknown key 'writabel', did you mean 'writable'?"),
        ("\nmotion = 3", ":2: Expected `bool`, got `int`"),
        ("[profiles.a]\n\nurl = 3", ":3: Expected `str`, got `int`"),
        ("\n\n= 3", ":3:1: Invalid statement"),
        ("profiles = 3", ":1: Expected `object`, got `int`"),
    ],
)
def test_fault_68_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config.load(flags={}, env={}, path=path)
    assert str(refused.value) == f"{path}{says}"


def test_fault_68_not_utf8_a_folder_or_missing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"motion = true\n# \xff\n")
    with pytest.raises(ConfigError, match=":2: not UTF-8"):
        config.load(flags={}, env={}, path=path)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(flags={}, env={}, path=tmp_path)
    with pytest.raises(ConfigError, match="no such configuration file"):
        config.load(flags={}, env={"MQDASH_CONFIG": str(tmp_path / "none")})


def test_a_profile_finds_its_password_in_environment_then_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    secret.chmod(0o600)
    profile = config.Profile(url="amqp://u@h", password_file=str(secret))
    found = config.Config(profiles={"my-shop": profile})
    url, _ = resolve("@my-shop", found, {})
    assert url.password.reveal() == "from-file"
    url, _ = resolve("@my-shop", found, {"MQDASH_MY_SHOP_PASSWORD": "from-env"})
    assert url.password.reveal() == "from-env"


def test_a_password_file_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    secret.chmod(0o644)
    found = config.Config(profiles={"a": config.Profile(url="amqp://u@h", password_file=str(secret))})
    with pytest.raises(ConfigError, match="chmod 600") as refused:
        resolve("@a", found, {})
    assert "canary" not in str(refused.value)


def test_an_unknown_profile_names_the_known_ones() -> None:
    found = config.Config(profiles={"shop": config.Profile(url="amqp://h")})
    with pytest.raises(ConfigError, match="there are @shop"):
        resolve("@prod", found, {})
