"""Reads scenario files. Every error is a ScenarioError that begins with `file:line:` of what it is about."""

from __future__ import annotations

import difflib
import re
import tomllib
from importlib import resources
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import msgspec

from mqdash.errors import InputError, ScenarioError
from mqdash.lab import scenario as records
from mqdash.lab.checks import Problem, check
from mqdash.lab.template import FieldSpec
from mqdash.toml_lines import line_at, lines_of

if TYPE_CHECKING:
    from mqdash.lab.scenario import Scenario
    from mqdash.toml_lines import Path

_PATH_PART = re.compile(r"\.([\w-]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_AT = re.compile(r" - at `(?:key` in `)?\$([^`]*)`")


def shipped() -> tuple[str, ...]:
    """The names of the scenarios that come with mqdash."""
    folder = resources.files("mqdash.lab") / "scenarios"
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


def load_scenario(name_or_path: str) -> Scenario:
    """A shipped scenario by its name, or any file by its path (anything with a `/` or ending in `.toml`).

    Raises:
        InputError: no such scenario; names the nearest one.
        ScenarioError: the file cannot be read or is wrong; begins with `file:line:`.
    """
    if "/" not in name_or_path and not name_or_path.endswith(".toml"):
        known = shipped()
        if name_or_path not in known:
            raise InputError(f"no scenario {name_or_path!r}: {meant(name_or_path, known)}")
        text = (resources.files("mqdash.lab") / "scenarios" / f"{name_or_path}.toml").read_text(encoding="utf-8")
        return parse_scenario(text, name=name_or_path, file=f"{name_or_path}.toml")
    path = FilePath(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ScenarioError(f"{name_or_path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise ScenarioError(f"{name_or_path}:1: cannot be read: {error.strerror or type(error).__name__}") from None
    return parse_scenario(text, name=path.stem, file=name_or_path)


def parse_scenario(text: str, *, name: str, file: str) -> Scenario:
    """A scenario from TOML text; `file` is what errors call it.

    Raises:
        ScenarioError: the text is wrong.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(error, text, file) from None
    lines = lines_of(text)
    if "name" in raw:
        raise ScenarioError(f"{file}:{line_at(lines, ('name',))}: a scenario is named by its file; remove `name`")
    try:
        scenario = msgspec.convert({**raw, "name": name}, records.Scenario)
    except msgspec.ValidationError as error:
        path, sentence = _explain(str(error), raw)
        raise ScenarioError(f"{file}:{line_at(lines, path)}: {sentence}") from None
    try:
        check(scenario)
    except Problem as problem:
        raise ScenarioError(f"{file}:{line_at(lines, problem.path)}: {problem.text}") from None
    return scenario


def meant(wrong: str, known: tuple[str, ...]) -> str:
    """A did-you-mean for a name that does not exist."""
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"


def _toml_error(error: tomllib.TOMLDecodeError, text: str, file: str) -> ScenarioError:
    said = str(error)
    place = re.search(r"\(at line (\d+), column \d+\)", said)
    line = int(place[1]) if place else max(1, len(text.splitlines()))
    return ScenarioError(f"{file}:{line}: not TOML: {said.split(' (at ', maxsplit=1)[0]}")


def _explain(said: str, raw: dict[str, Any]) -> tuple[Path, str]:
    """The path and a sentence for what msgspec found wrong."""
    place = _AT.search(said)
    sentence = said[: place.start()] if place else said
    path: Path = () if place is None else _path(place[1], raw)
    unknown = _UNKNOWN.search(sentence)
    if unknown is not None:
        known = tuple(sorted(_keys_at(path)))
        return (*path, unknown[1]), f"unknown key {unknown[1]!r}: {meant(unknown[1], known)}"
    where = ".".join(str(part) for part in path if isinstance(part, str))
    return path, f"{where}: {sentence[0].lower()}{sentence[1:]}" if where else sentence


def _path(text: str, raw: dict[str, Any]) -> Path:
    """The path in an error of msgspec, as a tuple. For a dict key it says `[...]`: see `_only_wrong_key`."""
    path: list[str | int] = []
    found: Any = raw
    for part in _PATH_PART.finditer(text):
        step: str | int
        if part[1] is not None:
            step = part[1]
        elif part[2] is not None:
            step = int(part[2])
        else:
            step = _only_wrong_key(path, found)
        path.append(step)
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            found = None
    return tuple(path)


def _only_wrong_key(path: list[str | int], table: Any) -> str:
    """The first key of a table of tables whose value alone does not convert (topology, expect, fields)."""
    kind: Any = {"topology": records.TopologySpec, "expect": records.ExpectSpec, "fields": FieldSpec}.get(
        str(path[-1]) if path else "", str
    )
    for key, value in (table or {}).items():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return str(key)
    return ""


_TABLES: dict[tuple[str, ...], type[msgspec.Struct]] = {
    (): records.Scenario,
    ("topology",): records.TopologySpec,
    ("topology", "destinations"): records.DestinationSpec,
    ("topology", "queues"): records.QueueSpec,
    ("topology", "queues", "dead_letter"): records.RouteSpec,
    ("topology", "bindings"): records.BindingSpec,
    ("producers",): records.ProducerSpec,
    ("producers", "fields"): FieldSpec,
    ("workers",): records.PoolSpec,
    ("workers", "fields"): FieldSpec,
    ("workers", "errors"): records.ErrorSpec,
    ("workers", "poison"): records.PoisonSpec,
    ("workers", "retry"): records.RetrySpec,
    ("workers", "on_success"): records.OnSuccessSpec,
    ("workers", "calls"): records.CallSpec,
    ("at",): records.StepSpec,
    ("expect",): records.ExpectSpec,
}


def _keys_at(path: Path) -> set[str]:
    """The keys a table at this path may have."""
    names: list[str] = []
    for part in path:
        # The name after these is the reader's own (a family, a field), not a key of the format.
        if isinstance(part, str) and not (names and names[-1] in {"topology", "expect", "fields"}):
            names.append(part)
        elif isinstance(part, str) and names[-1] == "topology" and len(names) == 1:
            names.append("")
    table = _TABLES.get(tuple(name for name in names if name))
    return (
        set()
        if table is None
        else {name for name in table.__struct_fields__ if (table, name) != (records.Scenario, "name")}
    )
