"""Plans refuse what they must, by the field's name, and give the same bytes for the same plan."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.errors import PlanError
from datasites.plans import Range, parse_plan
from datasites.plans.plan import plan_bytes


def test_a_plan_survives_its_bytes(plan):
    assert parse_plan(plan_bytes(plan)) == plan
    assert plan_bytes(parse_plan(plan_bytes(plan))) == plan_bytes(plan)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", 0),
        ("rounds", 1.5),
        ("rounds", True),
        ("study", "../x"),
        ("study", ""),
        ("researcher", "nobody"),
        ("classes", ["one"]),
        ("outputs", []),
        ("surprise", 1),
        ("version", 2),
    ],
)
def test_a_wrong_field_is_refused_by_name(plan, field, value):
    document = json.loads(plan_bytes(plan))
    document[field] = value
    with pytest.raises(PlanError, match=field):
        parse_plan(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise_multiplier", 0),
        ("noise_multiplier", -1.0),
        ("noise_multiplier", float("nan")),
        ("noise_multiplier", float("inf")),
        ("sampling_rate", 1.01),
        ("sampling_rate", 0.0),
        ("steps", 10**9),
        ("clipping_norm", 0.0),
        ("momentum", 1.0),
    ],
)
def test_noise_and_rates_have_bounds(plan, field, value):
    document = json.loads(plan_bytes(plan))
    document["train"][field] = value
    with pytest.raises(PlanError):
        parse_plan(json.dumps(document).encode())


def test_synthetic_images_need_a_generator(plan):
    document = json.loads(plan_bytes(plan))
    document["train"]["synthetic_weight"] = 0.1
    document["generator"] = None
    with pytest.raises(PlanError, match="generator"):
        parse_plan(json.dumps(document).encode())


def test_a_generator_that_may_leave_is_one_the_plan_has(plan):
    document = json.loads(plan_bytes(plan))
    output = {"name": "generator.safetensors", "kind": "generator", "max_bytes": 100}
    document["outputs"].append(output)
    assert parse_plan(json.dumps(document).encode()).pools
    document["generator"] = None
    with pytest.raises(PlanError, match="generator is declared"):
        parse_plan(json.dumps(document).encode())


def test_outputs_are_declared_once(plan):
    document = json.loads(plan_bytes(plan))
    document["outputs"].append(document["outputs"][0])
    with pytest.raises(PlanError, match="twice"):
        parse_plan(json.dumps(document).encode())


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_plan_error(data):
    with pytest.raises(PlanError):
        parse_plan(data)


def test_a_range_does_not_hold_nan_and_knows_its_order():
    allowed = Range(low=0.1, high=0.5)
    assert allowed.holds(0.1)
    assert allowed.holds(0.5)
    assert not allowed.holds(0.51)
    assert not allowed.holds(float("nan"))
    with pytest.raises(ValueError, match="above"):
        Range(low=1.0, high=0.5)
