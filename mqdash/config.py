"""Configuration: flags over environment over file over defaults; unknown keys are refused with file:line.

The file is TOML in the platform's config folder (`mqdash/config.toml`), or what `--config` or `MQDASH_CONFIG` names:

    motion = true
    [profiles.shop]
    url = "amqps://app@rabbit.example/shop"
    password_file = "~/.secrets/shop"      # or the variable MQDASH_SHOP_PASSWORD
    writable = false
    production = true
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import platformdirs

from mqdash.errors import ConfigError
from mqdash.toml_lines import line_at, lines_of

if TYPE_CHECKING:
    from collections.abc import Mapping

APP = "mqdash"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Profile(_Table, frozen=True):
    """A broker with a name: `mqdash @NAME`. Read-only unless `writable`; `production` asks a second time."""

    url: str
    password_file: str = ""
    writable: bool = False
    production: bool = False
    colour: str = ""


class Config(_Table, frozen=True):
    """Everything a person may set. `keys` remaps bindings: id of the keymap → key."""

    motion: bool = True
    mouse: bool = True
    keys: dict[str, str] = {}
    profiles: dict[str, Profile] = {}
    state_dir: str = ""
    log_file: str = ""

    @property
    def state_path(self) -> Path:
        """Where journals and archives are kept."""
        return Path(self.state_dir).expanduser() if self.state_dir else Path(platformdirs.user_state_dir(APP))

    @property
    def log_path(self) -> Path:
        """Where the log goes: never to the terminal, which belongs to the dashboard."""
        return (
            Path(self.log_file).expanduser() if self.log_file else Path(platformdirs.user_log_dir(APP)) / "mqdash.log"
        )


_ENVIRONMENT = {
    "MQDASH_MOTION": "motion",
    "MQDASH_MOUSE": "mouse",
    "MQDASH_STATE_DIR": "state_dir",
    "MQDASH_LOG": "log_file",
}


def default_path() -> Path:
    """Where the configuration file is looked for."""
    return Path(platformdirs.user_config_dir(APP)) / "config.toml"


def load(*, flags: Mapping[str, Any], env: Mapping[str, str], path: Path | None = None) -> Config:
    """Merge defaults, file, environment and flags (None = not given), and validate once.

    Raises:
        ConfigError: what is wrong and where (file:line, or the variable).
    """
    named = path or (Path(env["MQDASH_CONFIG"]).expanduser() if env.get("MQDASH_CONFIG") else None)
    merged = _read(named or default_path(), must_exist=named is not None)
    for variable, key in _ENVIRONMENT.items():
        if variable in env:
            merged[key] = _boolean(variable, env[variable]) if key in {"motion", "mouse"} else env[variable]
    merged |= {key: value for key, value in flags.items() if value is not None}
    return msgspec.convert(merged, Config)


def _boolean(variable: str, text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        msg = f"{variable}={text!r}: write 1 or 0"
        raise ConfigError(msg)
    return known[text.lower()]


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        if not must_exist:
            return {}
        msg = f"{path}: no such configuration file"
        raise ConfigError(msg) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        msg = f"{path}:{line}: not UTF-8 at byte {error.start}"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        at = f"{place[1]}:{place[2]}" if place else str(text.count("\n") + 1)
        msg = f"{path}:{at}: {re.sub(r' [(]at .*', '', str(error))}"
        raise ConfigError(msg) from None
    _validate(path, text, found)
    return found


def _validate(path: Path, text: str, found: dict[str, Any]) -> None:
    """One clear sentence per kind of mistake; msgspec alone names no line."""
    lines = lines_of(text)

    def fail(where: tuple[str | int, ...], what: str) -> None:
        msg = f"{path}:{line_at(lines, where)}: {what}"
        raise ConfigError(msg)

    known = Config.__struct_fields__
    for key in found:
        if key not in known:
            fail((key,), f"unknown key {key!r}{_meant(key, known)}")
    for name, profile in (found.get("profiles") or {}).items() if isinstance(found.get("profiles"), dict) else ():
        for key in profile if isinstance(profile, dict) else ():
            if key not in Profile.__struct_fields__:
                fail(("profiles", name, key), f"unknown key {key!r}{_meant(key, Profile.__struct_fields__)}")
    profiles = found.get("profiles")
    places: list[tuple[tuple[str | int, ...], Any, type]] = [
        (("profiles", name), profile, Profile)
        for name, profile in (profiles if isinstance(profiles, dict) else {}).items()
    ]
    for where, value, kind in [*places, ((), found, Config)]:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            fail((*where, *(part for part in inner.strip("`.").split(".") if part)), what)


def _meant(key: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
