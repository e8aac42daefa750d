"""What epsilon rests on: every check fires, and what cannot happen is pinned to why.

Each assumption has a plan that breaks it. Where a plan has no words to break one, the check is made
to fire with a plan that has them (built past the parser), and the construction it names is proven:
the vocabulary of plans, the sampler of `privacy`, noise that no seed repeats.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ConfigDict, ValidationError
from torch import nn

from datasites.errors import PlanError
from datasites.owner.model_check import bundle_facts, encoder_facts, start_problem
from datasites.plans import (
    Assumption,
    DpPart,
    GeneratorPart,
    ModelFacts,
    ModelPart,
    Severity,
    StableDiffusionPart,
    check_assumptions,
    make_bundle,
    parse_plan,
    voids,
)
from datasites.plans.plan import (
    AugmentPart,
    DeclaredOutput,
    Plan,
    Range,
    ReportPart,
    TrainPart,
)
from datasites.worker.look import model_facts
from models import checkpoint_sha256, encoder_sha256, read_generator_card
from models.training_scripts.tiny_stable_diffusion import write_tiny


def _found(plan, code, *, units=1000.0, model=None):
    findings = check_assumptions(plan, units_published=units, model=model)
    return [finding for finding in findings if finding.code is code]


def _severities(plan, code, **options):
    return {finding.severity for finding in _found(plan, code, **options)}


def _train(plan, **changes):
    return plan.model_copy(update={"train": plan.train.model_copy(update=changes)})


def _own(plan):
    return plan.model_copy(update={"model": ModelPart(name="model.py", image_size=64)})


def test_a_sound_plan_holds_in_everything_and_says_why(plan):
    findings = check_assumptions(
        plan.model_copy(update={"reports": None}),
        units_published=1000.0,
        model=None,
        unit="patient",
    )
    assert {finding.severity for finding in findings} == {Severity.HOLDS}
    assert all(finding.what for finding in findings)
    assert {f.code for f in findings} == set(Assumption) - {Assumption.MODEL_FILE}


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        (Assumption.BATCH_STATISTICS, ModelFacts(batch_statistics=("1 (BatchNorm2d)",))),
        (Assumption.GRADIENT_CHECKPOINTING, ModelFacts(checkpointing=("block (Net)",))),
        (Assumption.PER_SAMPLE_GRADIENT, ModelFacts(gradient_problem="mixes images")),
    ],
)
def test_a_model_that_voids_epsilon(plan, code, facts):
    assert _severities(_own(plan), code, model=facts) == {Severity.VOID}
    assert _severities(_own(plan), code, model=ModelFacts()) == {Severity.HOLDS}


def test_a_model_file_that_nobody_looked_at_is_void(plan):
    assert _severities(_own(plan), Assumption.PER_SAMPLE_GRADIENT) == {Severity.VOID}
    assert _severities(_own(plan), Assumption.MODEL_FILE) == {Severity.WARNING}


@pytest.mark.parametrize(
    ("code", "field"),
    [
        (Assumption.SAMPLER, "sampler"),
        (Assumption.SAMPLER, "batch_size"),
        (Assumption.WEIGHTED_SAMPLING, "class_weights"),
        (Assumption.SHARED_SEED, "noise_seed"),
    ],
)
def test_a_plan_that_names_what_the_accountant_does_not_know_is_void(plan, code, field):
    class Wider(TrainPart):
        model_config = ConfigDict(extra="allow")

    wider = Wider.model_construct(**dict(plan.train), **{field: 1})
    broken = plan.model_copy(update={"train": wider})
    assert _severities(broken, code) == {Severity.VOID}
    assert _severities(plan, code) == {Severity.HOLDS}
    # The construction: such a plan does not parse.
    document = json.loads(plan.model_dump_json())
    document["train"][field] = 1
    with pytest.raises(PlanError, match=field):
        parse_plan(json.dumps(document).encode())


def test_the_vocabulary_of_plans_holds_no_such_word():
    parts = (Plan, TrainPart, GeneratorPart, ReportPart, AugmentPart, DeclaredOutput, ModelPart)
    words = ("sampler", "shuffle", "batch", "seed", "class_weight", "sample_weight", "oversample")
    for part in (*parts, Range):
        assert part.model_config["extra"] == "forbid"
        for name in part.model_fields:
            assert not any(word in name for word in words), name


@pytest.mark.parametrize(("units", "severity"), [(10.0, "warning"), (1000.0, "holds")])
def test_few_units_in_a_step(plan, units, severity):
    found = _found(plan, Assumption.TINY_BATCH, units=units)
    assert {finding.severity.value for finding in found} == {severity}
    assert len(found) == 2
    assert all("never by how many came" in finding.what for finding in found)


def test_little_noise(plan):
    assert _severities(plan, Assumption.LITTLE_NOISE) == {Severity.HOLDS}
    weak = _train(plan, noise_multiplier=0.4)
    assert Severity.WARNING in _severities(weak, Assumption.LITTLE_NOISE)
    part = plan.generator.model_copy(update={"noise_multiplier": 0.3})
    weak = plan.model_copy(update={"generator": part})
    assert Severity.WARNING in _severities(weak, Assumption.LITTLE_NOISE)


@pytest.mark.parametrize("noise", [0.0, float("inf"), float("nan")])
def test_a_generator_without_noise_is_void(plan, noise):
    part = GeneratorPart.model_construct(**{**dict(plan.generator), "noise_multiplier": noise})
    broken = plan.model_copy(update={"generator": part})
    assert _severities(broken, Assumption.GENERATOR_WITHOUT_DP) == {Severity.VOID}


def test_synthetic_images_of_no_generator_are_void(plan):
    broken = _train(plan, synthetic_weight=0.5).model_copy(update={"generator": None})
    assert _severities(broken, Assumption.GENERATOR_WITHOUT_DP) == {Severity.VOID}
    without = _train(plan, synthetic_weight=0.0).model_copy(update={"generator": None})
    assert _severities(without, Assumption.GENERATOR_WITHOUT_DP) == {Severity.HOLDS}


def test_public_data_that_may_not_be_is_shown(plan):
    class Wider(TrainPart):
        model_config = ConfigDict(extra="allow")

    wider = Wider.model_construct(**dict(plan.train), pretrained="hub/model")
    broken = plan.model_copy(update={"train": wider})
    assert _severities(broken, Assumption.PUBLIC_DATA) == {Severity.WARNING}
    assert _severities(plan, Assumption.PUBLIC_DATA) == {Severity.HOLDS}


def test_a_pretrained_generator_is_named_and_void_where_it_cannot_start(plan):
    (finding,) = _found(plan, Assumption.GENERATOR_START)
    assert "random" in finding.what
    part = plan.generator.model_copy(update={"start": "phantoms", "start_sha256": "ab" * 32})
    pinned = plan.model_copy(update={"generator": part})
    (finding,) = _found(pinned, Assumption.GENERATOR_START)
    assert finding.severity is Severity.HOLDS
    assert "abababababab" in finding.what
    found = check_assumptions(pinned, units_published=400, model=None, start_problem="not here")
    assert [f.what for f in voids(found)] == ["not here"]


def test_a_checkpoint_is_looked_up_and_what_it_saw_is_for_people_to_know(plan, tmp_path):
    folder = write_tiny(tmp_path / "tiny")
    part = StableDiffusionPart(
        **plan.generator.model_dump(include=set(DpPart.model_fields)),
        checkpoint_sha256=checkpoint_sha256(folder),
        image_size=64,
        prompt="{class}",
    )
    stable = plan.model_copy(update={"generator": part})
    (finding,) = _found(stable, Assumption.GENERATOR_START)
    assert (finding.severity, "no patient" in finding.do) == (Severity.WARNING, True)
    assert start_problem(stable, checkpoint=str(folder)) == ""
    assert "generator_checkpoint" in start_problem(stable)
    assert "not here" in start_problem(stable, checkpoint=str(tmp_path / "nothing"))
    (folder / "unet" / "config.json").write_text("{}")
    assert "what is here" in start_problem(stable, checkpoint=str(folder))


def test_where_a_generator_can_start_is_looked_up_here(plan):
    def problem(**fields):
        part = plan.generator.model_copy(update={"start": "phantoms", **fields})
        return start_problem(plan.model_copy(update={"generator": part}))

    card = read_generator_card()
    assert start_problem(plan) == ""
    assert problem(start_sha256=card.sha256, image_size=card.image_size) == ""
    assert "what is here" in problem(start_sha256="ab" * 32, image_size=card.image_size)
    assert "px" in problem(start_sha256=card.sha256, image_size=64)


def test_an_encoder_is_looked_through_and_what_it_saw_is_for_people_to_know(
    plan, own_encoder, tmp_path
):
    (finding,) = _found(plan, Assumption.ENCODER)
    assert (finding.severity, "ships with Dura" in finding.what) == (Severity.HOLDS, True)

    def findings(sha256, folder):
        part = ModelPart(name="encoder_head", image_size=64, encoder_sha256=sha256)
        named = plan.model_copy(update={"model": part})
        facts = encoder_facts(named, folder=str(folder))
        found = check_assumptions(named, units_published=400, model=None, encoder=facts)
        (one,) = [finding for finding in found if finding.code is Assumption.ENCODER]
        return one

    sha = encoder_sha256(own_encoder)
    held = findings(sha, own_encoder)
    assert (held.severity, "no patient" in held.do) == (Severity.WARNING, True)
    assert "nothing, they are random" in held.what
    for bad, where, said in (
        (sha, "", "set encoder in site.toml"),
        (sha, tmp_path, "not an encoder's card"),
        ("ab" * 32, own_encoder, "is asked for"),
    ):
        found = findings(bad, where)
        assert (found.severity, said in found.what) == (Severity.VOID, True)
    copy = Path(shutil.copytree(own_encoder, tmp_path / "copy"))
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").write_text(json.dumps({**card, "dimension": 7}))
    wrong = findings(encoder_sha256(copy), copy)
    assert (wrong.severity, "not those of an encoder" in wrong.what) == (Severity.VOID, True)
    (copy / "encoder.safetensors").write_bytes(b"other")
    assert "SHA-256" in findings(encoder_sha256(copy), copy).what


def test_only_a_head_stands_on_an_encoder_of_the_researchers():
    with pytest.raises(ValidationError, match="only encoder_head"):
        ModelPart(name="small_cnn", image_size=64, encoder_sha256="ab" * 32)
    with pytest.raises(ValidationError, match="encoder_sha256"):
        ModelPart(name="encoder_head", image_size=64, encoder_sha256="../encoder")


def test_outputs_without_noise(plan):
    (finding,) = _found(plan, Assumption.UNNOISED_OUTPUT)
    assert finding.severity is Severity.WARNING
    assert "up to 2 case reports" in finding.what
    odd = DeclaredOutput.model_construct(name="dump.bin", kind="raw", max_bytes=10)
    broken = plan.model_copy(update={"outputs": (*plan.outputs, odd)})
    assert Severity.VOID in _severities(broken, Assumption.UNNOISED_OUTPUT)
    assert voids(check_assumptions(broken, units_published=1e3, model=None))


def test_the_worst_comes_first(plan):
    findings = check_assumptions(_own(plan), units_published=1.0, model=None)
    order = [list(Severity).index(finding.severity) for finding in findings]
    assert order == sorted(order)
    assert findings[0].severity is Severity.VOID


# --- the edge: looking at models -----------------------------------------------------------------


def test_layers_that_see_several_images_are_found(plan):
    small = plan.model_copy(update={"model": ModelPart(name="model.py", image_size=16)})
    classes = len(plan.classes)
    bad = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))
    facts = model_facts(bad, small)
    assert facts.batch_statistics == ("2 (BatchNorm1d)",)
    assert "BatchNorm1d" in facts.gradient_problem
    bad[2] = nn.Identity()
    bad[1].gradient_checkpointing = True
    facts = model_facts(bad, small)
    assert facts.checkpointing == ("1 (Linear)",)
    assert "checkpointing" in facts.gradient_problem


def test_a_model_that_mixes_images_by_hand_is_found(plan):
    class Mixing(nn.Sequential):
        def forward(self, x):
            out = super().forward(x)
            return out + out.mean(dim=0, keepdim=True)

    small = plan.model_copy(update={"model": ModelPart(name="model.py", image_size=16)})
    facts = model_facts(Mixing(nn.Flatten(), nn.Linear(256, len(plan.classes))), small)
    assert "wrong" in facts.gradient_problem


def test_only_model_files_are_looked_at_and_good_ones_pass(plan, bundle):
    assert bundle_facts(bundle) is None
    own = _own(plan)
    assert bundle_facts(make_bundle(own, "import os\n")).gradient_problem.startswith("it cannot be")


# --- constructions ------------------------------------------------------------------------------


def test_noise_and_sampling_are_not_seeded_by_anything():
    from privacy import os_generator

    draws = []
    for _ in range(3):
        torch.manual_seed(0)
        draws.append(torch.rand(4, generator=os_generator()).tolist())
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize(
    ("unit", "severity", "words"),
    [
        ("patient", Severity.HOLDS, "all images of one patient"),
        ("near-duplicate group", Severity.HOLDS, "not a claim for a person"),
        ("image", Severity.WARNING, "asked for by name"),
        ("image, then patient", Severity.WARNING, "changed over time"),
    ],
)
def test_the_reviewer_is_told_whose_data_a_unit_is(plan, unit, severity, words):
    findings = check_assumptions(plan, units_published=1000.0, model=None, unit=unit)
    (found,) = [one for one in findings if one.code is Assumption.UNIT_OF_PRIVACY]
    assert (found.severity, bool(found.do)) == (severity, severity is Severity.WARNING)
    assert found.what.startswith(f"epsilon is per {unit}, add or remove one: ")
    assert words in found.what
