"""``python -m tests.conformance.table``: run every test that tells of a rule and write docs/conformance.md.

``--from FILE`` makes the table of what an earlier run recorded (see `recording.py`).
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.rules import CORRECTED, FAMILIES, RULES, unseen

_RECORD = Path(".proof/rules.json")
_TABLE = Path("docs/conformance.md")
_WHERE = ("tests/conformance", "tests/brokers", "tests/faults", "tests/unit/embedded", "tests/stateful")
_WORDS = {"passed": "pass", "failed": "**fail**", "skipped": "could not run"}
_RANK = ("skipped", "passed", "failed")

Cells = dict[tuple[str, str], str]


def main() -> int:
    """Exit code 0 when nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.table", description=__doc__)
    parser.add_argument("--from", dest="record", type=Path, metavar="FILE", help="an earlier run's outcomes")
    record: Path | None = parser.parse_args().record
    if record is None:
        record = _RECORD
        where = [path for path in _WHERE if Path(path).exists()]
        command = [sys.executable, "-m", "pytest", "-p", "tests.conformance.recording", "-q", "--rules", str(record)]
        subprocess.run([*command, *where], check=False)
    told = json.loads(record.read_text())
    _TABLE.write_text(table(told))
    failed = [name for name, test in told["tests"].items() if test["outcome"] == "failed"]
    print(f"{_TABLE}: {len(told['tests'])} tests, {len(failed)} failed")
    return int(bool(failed))


def table(told: dict[str, Any]) -> str:
    """The page made of one run's outcomes."""
    cells = _cells(told["tests"])
    lines = [
        "# Rules, proved",
        "",
        "One body per rule runs on the embedded brokers and on the real ones. Made by `python -m tests.conformance.table` on",
        f"{told['date']} at commit {told['commit']}{' with changes' if told['changed'] else ''}: {len(told['tests'])} tests.",
        "",
        "**pass**: every body of the rule passed there; with a number, all but what the note names · **not observable**,",
        "**not modelled**, **not there**: why stands below the table · **could not run**: that broker was not available ·",
        "**–**: no body yet.",
    ]
    for letter, (heading, targets) in FAMILIES.items():
        lines += ["", f"## {heading}", "", *_section(letter, targets, cells)]
    lines += ["", "## Where the brokers corrected the rules", "", *(f"- {told}" for told in CORRECTED)]
    return "\n".join(lines) + "\n"


def _cells(tests: dict[str, dict[str, Any]]) -> Cells:
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for test in tests.values():
        for rule in test["rules"]:
            found[rule, test["target"]].append(test["outcome"])
    return {cell: max(outcomes, key=_RANK.index) for cell, outcomes in found.items()}


def _section(letter: str, targets: tuple[str, ...], cells: Cells) -> Iterator[str]:
    rules = [rule for rule in RULES if rule[0] == letter]
    notes: dict[str, int] = {}
    yield f"| rule | | {' | '.join(targets)} |"
    yield f"|---|---|{'---|' * len(targets)}"
    for rule in rules:
        told = [_cell(rule, target, cells, notes) for target in targets]
        yield f"| {rule} | {RULES[rule]} | {' | '.join(told)} |"
    passed = [sum(cells.get((rule, target)) == "passed" for rule in rules) for target in targets]
    yield f"| | **passed, of {len(rules)}** | {' | '.join(f'**{count}**' for count in passed)} |"
    if notes:
        yield ""
        yield from (f"{number}. {why}" for why, number in notes.items())


def _cell(rule: str, target: str, cells: Cells, notes: dict[str, int]) -> str:
    outcome, reason = cells.get((rule, target)), unseen(rule, target)
    word = _WORDS[outcome] if outcome is not None else reason.kind if reason is not None and not reason.part else "–"
    if reason is None or (outcome is not None and not reason.part):
        return word
    return f"{word} ({notes.setdefault(reason.why, len(notes) + 1)})"


if __name__ == "__main__":
    raise SystemExit(main())
