"""The rules a test tells of are read from its name."""

import pytest

from tests.conformance.recording import rules_of
from tests.conformance.rules import RULES, TARGETS, UNSEEN, unseen
from tests.conformance.table import table


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("test_R24_close_requeues", ["R24"]),
        ("test_R24_R25_close_requeues[classic-embedded-rabbitmq-4]", ["R24", "R25"]),
        ("test_4_R13_what_was_confirmed", ["R13"]),
        ("test_R35_F14_drop_head", ["R35"]),
        ("test_K9_of_R1", ["K9"]),
        ("test_levels_are_live", []),
        ("test_R99_is_no_rule", []),
    ],
)
def test_ids_at_the_beginning_of_a_name_are_its_rules(name: str, rules: list[str]) -> None:
    assert rules_of(name) == rules


def test_all_rules_have_a_line_and_every_reason_is_about_rules_and_targets_that_exist() -> None:
    counts = {letter: sum(rule[0] == letter for rule in RULES) for letter in "RKSPCE"}
    assert counts == {"R": 50, "K": 33, "S": 26, "P": 7, "C": 7, "E": 5}
    for one in UNSEEN:
        assert set(one.rules.split()) <= set(RULES)
        assert set(one.targets) <= TARGETS


def test_one_failure_fails_the_cell_and_a_skip_hides_no_pass() -> None:
    def told(*outcomes: tuple[str, str]) -> str:
        tests = {
            f"t{number}": {"rules": [rule], "target": "rabbitmq-4", "outcome": outcome}
            for number, (rule, outcome) in enumerate(outcomes)
        }
        return table({"date": "d", "commit": "c", "changed": False, "tests": tests})

    page = told(("R1", "passed"), ("R1", "failed"), ("R2", "passed"), ("R2", "skipped"), ("R3", "skipped"))
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines() if line.startswith("| R")}
    assert rows["R1"].endswith("| **fail** |")
    assert rows["R2"].endswith("| pass |")
    assert rows["R3"].endswith("| could not run |")
    assert rows["R4"].endswith("| – |")
    assert "not modelled (1)" in rows["R18"]


def test_a_reason_is_found_by_rule_and_target() -> None:
    assert unseen("R18", "embedded-rabbitmq-4") is not None
    assert unseen("R18", "rabbitmq-4") is None
