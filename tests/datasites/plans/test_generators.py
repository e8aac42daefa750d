"""A plan's generator: starts and choices that make sense, and nothing else."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from datasites.errors import PlanError
from datasites.plans import GeneratorPart, StableDiffusionPart, parse_plan, plan_bytes
from datasites.plans.events import generator_event

SHA = "ab" * 32


def _part(**fields):
    base = {
        "steps": 4,
        "sampling_rate": 0.2,
        "noise_multiplier": 2.0,
        "clipping_norm": 1.0,
        "learning_rate": 1e-3,
    }
    return GeneratorPart.model_validate(base | fields)


@pytest.mark.parametrize("trains", ["all", "norms", "lora"])
def test_a_pretrained_start_is_pinned_by_its_hash_and_survives_the_plan(plan, trains):
    part = _part(start="phantoms", start_sha256=SHA, trains=trains, draws=8)
    whole = plan.model_copy(update={"generator": part})
    assert parse_plan(plan_bytes(whole)).generator == part
    assert generator_event(whole) == generator_event(plan.model_copy(update={"generator": _part()}))


@pytest.mark.parametrize(
    ("fields", "say"),
    [
        ({"start": "phantoms"}, "start_sha256"),
        ({"start_sha256": SHA}, "start_sha256"),
        ({"start": "phantoms", "start_sha256": "x"}, "start_sha256"),
        ({"trains": "lora"}, "draw noise"),
        ({"trains": "norms"}, "draw noise"),
        ({"draws": 0}, "draws"),
        ({"draws": 65}, "draws"),
        ({"rank": 0}, "rank"),
        ({"start": "imagenet"}, "start"),
        ({"noise_multiplier": 0.0}, "noise_multiplier"),
    ],
)
def test_nonsense_is_refused_by_name(fields, say):
    with pytest.raises(ValidationError, match=say):
        _part(**fields)


def _stable(**fields):
    base = {
        **_part().model_dump(
            include=set(_part().model_dump()) & set(StableDiffusionPart.model_fields)
        ),
        "kind": "stable_diffusion",
        "checkpoint_sha256": SHA,
        "image_size": 64,
        "prompt": "a brain MRI, {class}",
    }
    return StableDiffusionPart.model_validate(base | fields)


def test_a_stable_diffusion_part_survives_the_plan_and_costs_what_the_small_one_does(plan):
    whole = plan.model_copy(update={"generator": _stable()})
    assert parse_plan(plan_bytes(whole)).generator == _stable()
    assert generator_event(whole) == generator_event(plan.model_copy(update={"generator": _part()}))


@pytest.mark.parametrize(
    ("fields", "say"),
    [
        ({"prompt": "a brain MRI"}, "prompt"),
        ({"prompt": "{class} {class}"}, "prompt"),
        ({"prompt": "{class}<|x|>"}, "prompt"),
        ({"image_size": 20}, "image_size"),
        ({"guidance": 0.5}, "guidance"),
        ({"guidance": float("nan")}, "guidance"),
        ({"checkpoint_sha256": "hub/model"}, "checkpoint_sha256"),
        ({"trains": "all"}, "trains"),
    ],
)
def test_nonsense_about_a_checkpoint_is_refused_by_name(fields, say):
    with pytest.raises(ValidationError, match=say):
        _stable(**fields)


def test_an_unknown_kind_of_generator_is_refused(plan):
    document = json.loads(plan_bytes(plan))
    document["generator"]["kind"] = "gan"
    with pytest.raises(PlanError, match="generator"):
        parse_plan(json.dumps(document).encode())
