"""`study.toml`: every mistake is named, and a plan costs at most the epsilon that was asked."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasites import plan_events
from models import checkpoint_sha256, read_generator_card
from models.training_scripts.tiny_stable_diffusion import write_tiny
from orchestrator.errors import StudyError
from orchestrator.hospitals.submission import draft_bundle
from orchestrator.study.recipes import recipe_for
from orchestrator.study.study import (
    STUDY_FILE,
    GeneratorSpec,
    PrivacySpec,
    ReportSpec,
    Study,
    read_study,
    study_plan,
)
from orchestrator.study.template import study_template
from privacy import PrivacyError, filter_epsilon, plan_charges


def test_the_template_is_a_study(write_study):
    study = read_study(write_study())
    assert study.quorum == 2
    assert len(study.hospitals) == 3
    assert study.strategy.settings().name == "fedavg"


def test_a_head_on_the_encoder_gets_one_full_step_a_round_and_no_generator(tmp_path):
    text = study_template(
        name="tumours",
        email="researcher@university.example",
        relay="file:///nowhere",
        hospitals=["a@hospital.example"],
        epsilon=8.0,
        delta=1e-5,
        recipe=recipe_for(),
    )
    (tmp_path / STUDY_FILE).write_text(text)
    plan = study_plan(read_study(tmp_path))
    assert (plan.train.steps, plan.train.sampling_rate) == (1, 1.0)
    assert plan.generator is None
    assert (plan.rounds, read_study(tmp_path).strategy.average_last) == (40, 10)
    assert plan.train.augment is None
    assert filter_epsilon(plan_charges(plan_events(plan)), delta=1e-5) <= 8.0


def test_a_small_epsilon_gets_fewer_rounds_unless_they_are_chosen():
    assert [recipe_for(epsilon=e).rounds for e in (8.0, 3.0, 1.0, 0.1)] == [40, 40, 24, 24]
    assert recipe_for(epsilon=1.0, rounds=7).rounds == 7
    assert recipe_for("small_cnn", epsilon=1.0) == recipe_for("small_cnn", epsilon=8.0)


def test_no_study_says_how_to_make_one(tmp_path):
    with pytest.raises(StudyError, match="dura study init"):
        read_study(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2])
def test_a_half_written_study(tmp_path, study_text, share):
    (tmp_path / "study.toml").write_text(study_text[: int(len(study_text) * share)])
    with pytest.raises(StudyError, match=r"study\.toml"):
        read_study(tmp_path)


def test_a_study_that_is_no_text(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("seed = 0", "sede = 0", "sede"),
        ("[reports]", "[report]", "report"),
        ("quorum = 2", "quorum = 4", "quorum 4 of 3"),
        ("quorum = 2", "quorum = 0", "quorum"),
        ("quorum = 2", 'quorum = "2"', "quorum"),
        ("seed = 0", "seed = -1", "seed"),
        ("learning_rate = 0", "learning_rate = 90", "learning_rate"),
        ("views = 1", "views = 0", "train.views"),
        ("augment = true\nviews = 1", "augment = false\nviews = 2", "all views of an image"),
        ('name = "fedavg"', 'name = "fedsum"', "fedsum"),
        ('name = "fedavg"', 'name = "fedavg"\nproximal_mu = 0.1', "proximal_mu"),
        ('name = "fedavg"', 'name = "krum"', "quorum of at least 5"),
        ('name = "fedavg"', 'name = "fedprox"', "proximal_mu"),
        ('name = "fedavg"', 'name = "scaffold"', "train.momentum is 0.9, but scaffold reads"),
        ("epsilon = 7.8", "epsilon = 0.0", "privacy.epsilon"),
        ("epsilon = 7.8", "epsilon = inf", "privacy.epsilon"),
        ("epsilon = 7.8", "epsilon = nan", "privacy.epsilon"),
        ("delta = 1e-05", "delta = 1.0", "privacy.delta"),
        ("b@hospital.example", "a@hospital.example", "named twice"),
        ("b@hospital.example", "../../etc", "hospitals"),
        ('name = "tumours"', 'name = "../tumours"', "name"),
        ("version = 1", "version = 2", "version"),
        ('relay = "file:///nowhere"', 'relay = ""', "relay"),
    ],
)
def test_every_mistake_is_named(write_study, old, new, named):
    folder = write_study((old, new))
    with pytest.raises(StudyError, match=named):
        read_study(folder)


def test_strategy_settings_reach_the_plan(write_study):
    folder = write_study(('name = "fedavg"', 'name = "fedprox"\nproximal_mu = 0.25'))
    plan = study_plan(_bare(read_study(folder)))
    assert plan.train.proximal_mu.high == 0.25
    assert not plan.train.correction


def test_scaffold_asks_leave_for_a_correction(write_study):
    folder = write_study(
        ('name = "fedavg"', 'name = "scaffold"'), ("momentum = 0.9", "momentum = 0")
    )
    assert study_plan(_bare(read_study(folder))).train.correction


def test_parts_that_are_left_out_cost_nothing(paper):
    study, bundle = paper
    plan = study_plan(_bare(study))
    assert plan.generator is None
    assert plan.reports is None
    assert [output.kind for output in plan.outputs] == ["weights"]
    # What the parts do not use, training may: it needs less noise.
    assert plan.train.noise_multiplier < bundle.plan.train.noise_multiplier


def test_synthetic_images_without_a_generator_are_refused(paper):
    study, _ = paper
    with pytest.raises(StudyError, match="generator"):
        study_plan(study.model_copy(update={"generator": None}))


def test_a_generator_starts_from_the_shipped_weights_by_their_hash(paper):
    study, _ = paper
    card = read_generator_card()
    part = study_plan(study).generator
    assert (part.start, part.start_sha256, part.trains) == ("phantoms", card.sha256, "lora")
    assert part.image_size == card.image_size
    scratch = GeneratorSpec(start="scratch", trains="all", image_size=16)
    part = study_plan(study.model_copy(update={"generator": scratch})).generator
    assert (part.start, part.start_sha256, part.image_size) == ("scratch", None, 16)


@pytest.mark.parametrize(
    ("fields", "say"),
    [({"image_size": 16}, "image_size"), ({"start": "scratch"}, "draw noise")],
)
def test_a_generator_that_cannot_start_is_refused(paper, fields, say):
    study, _ = paper
    wrong = study.model_copy(update={"generator": GeneratorSpec(**fields)})
    with pytest.raises(StudyError, match=say):
        study_plan(wrong)


def test_a_checkpoint_is_named_in_the_plan_by_its_hash(tmp_path, write_study):
    folder = write_tiny(tmp_path / "tiny")
    study = read_study(
        write_study(
            ('start = "phantoms" ', f'kind = "stable_diffusion"\ncheckpoint = "{folder}" '),
            ('trains = "lora" ', ""),
        )
    )
    assert study.checkpoint == str(folder)
    plan = study_plan(study)
    assert plan.generator.checkpoint_sha256 == checkpoint_sha256(folder)
    assert str(folder) not in plan.model_dump_json()
    missing = study.generator.model_copy(update={"checkpoint": str(tmp_path / "none")})
    with pytest.raises(StudyError, match="neither a folder nor a Hub id"):
        study_plan(study.model_copy(update={"generator": missing}))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    target=st.floats(0.5, 20.0),
    rounds=st.integers(1, 5),
    steps=st.integers(1, 20),
    rate=st.floats(0.05, 0.9),
    parts=st.booleans(),
)
def test_a_plan_costs_at_most_what_was_asked(target, rounds, steps, rate, parts):
    study = _study(target=target, rounds=rounds, steps=steps, rate=rate, parts=parts)
    plan = study_plan(study)
    cost = filter_epsilon(plan_charges(plan_events(plan)), delta=1e-5)
    assert 0.9 * target < cost <= target


def test_a_model_of_ones_own_is_read_from_the_studys_folder(write_study):
    folder = write_study(('name = "small_cnn"', 'name = "model.py"'))
    study = read_study(folder)
    with pytest.raises(StudyError, match=r"model\.py"):
        draft_bundle(folder, study)


def _bare(study):
    train = study.train.model_copy(update={"synthetic_weight": 0.0})
    return study.model_copy(update={"generator": None, "reports": None, "train": train})


def _study(*, target, rounds, steps, rate, parts):
    return Study.model_validate(
        {
            "name": "s",
            "researcher": "r@university.example",
            "relay": "file:///nowhere",
            "hospitals": ["a@hospital.example"],
            "quorum": 1,
            "classes": ["a", "b"],
            "rounds": rounds,
            "model": {"name": "small_cnn", "image_size": 64},
            "train": {"steps": steps, "sampling_rate": rate},
            "privacy": PrivacySpec(epsilon=target).model_dump(),
            "generator": GeneratorSpec(steps=3).model_dump() if parts else None,
            "reports": ReportSpec(cases=1).model_dump() if parts else None,
        }
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epsilon = 7.8", "epsilon = 1e300"),
        ("epsilon = 7.8", "epsilon = 1e308"),
        ("sampling_rate = 0.3", "sampling_rate = 7.5e-46"),
        ("clipping_norm = 1.0", "clipping_norm = 7.5e-46"),
        ("rounds = 2", "rounds = " + "9" * 5_000),
        ("rounds = 2", "rounds = " + "[" * 3_000 + "]" * 3_000),
        ("round_timeout_s = 3600.0", "round_timeout_s = 1e308"),
    ],
)
def test_a_number_outside_all_reason_is_one_clear_sentence(write_study, old, new):
    with pytest.raises((StudyError, PrivacyError)) as found:
        study_plan(read_study(write_study((old, new))))
    assert len(str(found.value).splitlines()) == 1
    assert len(str(found.value)) < 700
