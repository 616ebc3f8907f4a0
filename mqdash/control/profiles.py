"""`@NAME` on the command line: a profile of the configuration as a broker URL with its password found (semantics §5.1)."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mqdash.brokers.url import BrokerUrl, parse_url
from mqdash.config import Config, Profile, default_path
from mqdash.errors import ConfigError, UrlError
from mqdash.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolve(target: str, config: Config, env: Mapping[str, str]) -> tuple[BrokerUrl, Profile | None]:
    """A URL or `@PROFILE` as a broker URL with its password found (environment, then file; semantics §5.1).

    Raises:
        ConfigError: no such profile, its URL cannot be understood, or its password file is open to others.
        UrlError: the URL given cannot be understood.
    """
    if not target.startswith("@"):
        return parse_url(target), None
    name = target[1:]
    profile = config.profiles.get(name)
    if profile is None:
        known = (
            ", ".join(f"@{found}" for found in config.profiles) or f"none; add [profiles.{name}] to {default_path()}"
        )
        msg = f"no profile called @{name}; there are {known}"
        raise ConfigError(msg)
    try:
        url = parse_url(profile.url)
    except UrlError as error:
        raise ConfigError(f"url of [profiles.{name}] in the configuration: {error}") from None
    password = env.get(f"MQDASH_{name.upper().replace('-', '_')}_PASSWORD")
    if password is None and profile.password_file:
        password = _password_from(Path(profile.password_file).expanduser())
    return (url if password is None else msgspec.structs.replace(url, password=Secret(password))), profile


def _password_from(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            msg = f"{path}: others can read this password file (mode {mode:o}); run chmod 600 on it"
            raise ConfigError(msg)
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        msg = f"{path}: the password file cannot be read: {why}"
        raise ConfigError(msg) from None
