import random
from typing import Any

import pytest

from mqdash.lab.producers import Composer
from mqdash.lab.scenario import ProducerSpec
from mqdash.lab.template import Fields, FieldSpec, Template


def test_placeholders_are_replaced_and_braces_of_json_stay() -> None:
    template = Template('{"a": ${a}, "b": "${b}-${a}"}')
    assert template.render({"a": "1", "b": "x"}) == '{"a": 1, "b": "x-1"}'
    assert template.pattern == '{"a": *, "b": "*-*"}'


def test_values_are_never_templates_themselves() -> None:
    assert Template("${a}").render({"a": "${b}", "b": "no"}) == "${b}"


def test_unused_fields_are_not_drawn() -> None:
    fields = Fields({"a": FieldSpec(hex=4), "b": FieldSpec(choice=("x",))}, [Template("${b}")])
    assert fields.draw(random.Random(1)) == {"b": "x"}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (FieldSpec(), "exactly one"),
        (FieldSpec(number=(1, 2), hex=3), "exactly one"),
        (FieldSpec(number=(2, 1)), "low <= high"),
        (FieldSpec(choice=()), "at least one"),
        (FieldSpec(choice=("a", "b"), weights=(1,)), "one number for each"),
        (FieldSpec(choice=("a",), weights=(0,)), "not all zero"),
        (FieldSpec(hex=0), "1 to 64"),
        (FieldSpec(number=(1, 2), decimals=2), ""),
    ],
)
def test_what_is_wrong_with_a_field(spec: FieldSpec, problem: str) -> None:
    assert problem in spec.problem
    assert bool(problem) == bool(spec.problem)


def composer(seed: int = 1, instance: str = "", **options: Any) -> Composer:
    spec = ProducerSpec(name="p", to="t", **options)
    return Composer(spec, rng=random.Random(seed), instance=instance)


def test_the_nth_message_of_a_seed_is_always_the_same() -> None:
    options: dict[str, Any] = {"body": '{"x": "${x}"}', "fields": {"x": FieldSpec(hex=8)}}
    one, two = composer(5, **options), composer(5, **options)
    assert [one.draft() for _ in range(20)] == [two.draft() for _ in range(20)]
    assert composer(6, **options).draft() != composer(5, **options).draft()


def test_ids_have_the_prefix_and_the_instance() -> None:
    assert composer().draft()[1].id == "p-1"
    assert composer(id_prefix="", first=8000).draft()[1].id == "8000"
    assert composer(instance="k3").draft()[1].id == "pk3-1"
    assert composer(id_prefix="", instance="k3").draft()[1].id == "k3-1"


def test_the_body_is_padded_to_its_size_and_stays_json() -> None:
    body = composer(body='{"a": 1}', size_bytes=200).draft()[1].body
    assert len(body) == 200
    assert body.strip() == b'{"a": 1}'


def test_spoiled_bodies_are_cut_short() -> None:
    bodies = [draft.body for _, draft in (composer(seed=s, spoil_rate=1.0).draft() for s in range(20))]
    assert all(b'{"id": "p-1"}'.startswith(body) and len(body) < 13 for body in bodies)
