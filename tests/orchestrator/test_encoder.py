"""An encoder of the researcher's choice, from the command that makes one to the model on it.

Proven: `study encoder` makes a folder that `study init` takes; the plan holds its hash and not its
place; a folder that is missing, altered, another one's, a link or of wrong shapes is a clear error
before anything is sent; a model file names its encoder, and is scored on no other.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from datasites import ModelPart, make_bundle
from models import (
    WeightsError,
    classifier_names,
    encoder_sha256,
    initial_weights,
    load_model_file,
    model_file_bytes,
    weights_from_bytes,
    weights_sha256,
    weights_to_bytes,
)
from models.encoder.card import WEIGHTS_FILE
from models.training_scripts.tiny_encoder import write_random
from models.weights.card import CARD_FILE
from orchestrator import cli
from orchestrator.commands import audit as audit_cli
from orchestrator.conduct import RunService
from orchestrator.demo import write_phantoms
from orchestrator.empirical.run import build
from orchestrator.errors import EvaluationError, OrchestratorError, StudyError
from orchestrator.hospitals.replies import HospitalClient
from orchestrator.hospitals.submission import SUBMITTED, Submissions
from orchestrator.rounds.scoring import bundle_model, evaluate_file, model_metadata, open_model
from orchestrator.study.model_spec import ModelSpec, look_at_encoder, plan_encoder, stands_on
from orchestrator.study.study import STUDY_FILE, read_study, study_plan
from tests.orchestrator.test_empirical import FEW

STUDY = (
    "--name", "tumours", "--email", "ann@university.example", "--hospitals", "a@hospital.example",
    "--rounds", 2,
)  # fmt: skip


def dura(*words: object):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An encoder made by the command, and what it said."""
    root = tmp_path_factory.mktemp("made")
    done = dura(
        "study", "encoder", root / "encoder", "--backbone", "mobilenet_v3_small",
        "--weights", write_random(root / "random.safetensors"), "--saw", "nothing, they are random",
        "--licence", "CC0-1.0", "--dimension", 8, "--phantoms", 32,
    )  # fmt: skip
    assert done.exception is None, done.output
    return root / "encoder", done.output


@pytest.fixture
def folder(made: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "encoder"))


@pytest.fixture
def study(folder: Path, tmp_path: Path) -> Path:
    """A study on the encoder, made by the command."""
    (tmp_path / "relay").mkdir()
    words = ("study", "init", tmp_path / "study", *STUDY, "--relay", tmp_path / "relay")
    done = dura(*words, "--encoder", folder)
    assert done.exception is None, done.output
    return tmp_path / "study"


def _another_card(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "saw": ["other things"]}))


def _other_weights(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(bytes(data))


def _link(folder: Path) -> None:
    elsewhere = (folder / WEIGHTS_FILE).rename(folder.with_name("elsewhere"))
    (folder / WEIGHTS_FILE).symlink_to(elsewhere)


def _wrong_shapes(folder: Path) -> None:
    """Weights that their card names, and that fit no such backbone."""
    state = weights_from_bytes((folder / WEIGHTS_FILE).read_bytes())
    data = weights_to_bytes(state | {"mean": torch.zeros(3)})
    (folder / WEIGHTS_FILE).write_bytes(data)
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "sha256": weights_sha256(data)}))


DAMAGE = [
    (shutil.rmtree, "not an encoder's card"),
    (_other_weights, "SHA-256"),
    (_link, "is a link"),
]
CHANGED = [*DAMAGE, (_another_card, "is asked for")]


def test_the_command_says_what_it_made_and_what_comes_next(made: tuple[Path, str]) -> None:
    folder, said = made
    for words in (
        "mobilenet_v3_small-frozen",
        "nothing, they are random",
        "CC0-1.0",
        encoder_sha256(folder),
        f"dura study init STUDY --encoder {folder}",
        "site.toml",
    ):
        assert words in said


def test_the_command_refuses_what_makes_no_encoder(made: tuple[Path, str], tmp_path: Path) -> None:
    again = dura("study", "encoder", made[0], "--backbone", "resnet18")
    assert "already" in str(again.exception)
    unknown = dura("study", "encoder", tmp_path / "new", "--backbone", "resnet19")
    assert isinstance(unknown.exception, WeightsError)
    assert not (tmp_path / "new").exists()


def test_a_plan_names_the_encoder_by_its_hash_and_never_its_place(
    study: Path, folder: Path
) -> None:
    spec = read_study(study)
    assert spec.model.encoder == str(folder)
    plan = study_plan(spec)
    assert plan.model.encoder_sha256 == encoder_sha256(folder)
    assert str(folder) not in plan.model_dump_json()
    assert plan_encoder(plan, spec.model) == folder
    facts = look_at_encoder(plan, spec.model)
    assert facts is not None
    assert "nothing, they are random" in facts.saw[0]


@pytest.mark.parametrize("model", ["small_cnn", "encoder_film", "model.py"])
def test_only_a_head_stands_on_an_encoder_of_ones_own(
    study: Path, folder: Path, model: str
) -> None:
    init = dura("study", "init", study.with_name("new"), *STUDY, "--relay", study.parent / "relay",
                "--model", model, "--encoder", folder)  # fmt: skip
    assert "encoder_head only" in str(init.exception)
    assert not study.with_name("new").exists()
    text = (study / STUDY_FILE).read_text()
    (study / STUDY_FILE).write_text(text.replace('"encoder_head"', f'"{model}"'))
    with pytest.raises(StudyError, match=r"model: .*only encoder_head"):
        read_study(study)


def test_a_study_cannot_name_a_hash_without_a_folder(study: Path, folder: Path) -> None:
    text = (study / STUDY_FILE).read_text()
    text = text.replace(f'encoder = "{folder}"', f'encoder_sha256 = "{"0" * 64}"')
    (study / STUDY_FILE).write_text(text)
    with pytest.raises(StudyError, match="encoder_sha256"):
        read_study(study)


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_a_damaged_folder_makes_no_study_and_no_plan(study, folder, damage, said) -> None:
    damage(folder)
    words = ("study", "init", study.with_name("new"), *STUDY, "--relay", study.parent / "relay")
    done = dura(*words, "--encoder", folder)
    assert isinstance(done.exception, StudyError)
    assert said in str(done.exception)
    assert not study.with_name("new").exists()
    for command in ("check", "submit"):
        done = dura("study", command, study)
        assert isinstance(done.exception, StudyError)
        assert "model.encoder in study.toml" in str(done.exception)
    assert not (study / SUBMITTED).exists()


def test_weights_of_wrong_shapes_are_found_before_anything_is_sent(study, folder) -> None:
    _wrong_shapes(folder)
    for command in ("check", "submit"):
        done = dura("study", command, study)
        assert isinstance(done.exception, StudyError)
        assert "not those of an encoder" in str(done.exception)
    assert not (study / SUBMITTED).exists()


@pytest.mark.parametrize(("damage", "said"), CHANGED)
def test_a_folder_that_changed_since_the_plan_was_submitted_starts_no_run(
    study, folder, damage, said, monkeypatch
) -> None:
    monkeypatch.setattr(HospitalClient, "submit_plan", lambda _self, _bundle: None)
    bundle = Submissions(study).submit()
    damage(folder)
    conductor = RunService(study)
    monkeypatch.setattr(conductor, "_await_decisions", pytest.fail)
    with pytest.raises(StudyError, match=said):
        conductor.run(study / "run", study, None)
    assert not (study / "run").exists()
    with pytest.raises(StudyError, match=said):
        bundle_model(bundle, {"head.weight": torch.zeros(4, 9)}, conductor.study.model)
    nowhere = ModelSpec(name="encoder_head", image_size=64)
    with pytest.raises(StudyError, match="name its folder as encoder"):
        plan_encoder(bundle.plan, nowhere)


# --- the model file -----------------------------------------------------------------------------


@pytest.fixture
def released(study: Path, tmp_path: Path) -> Path:
    """A model file on the encoder, as a run writes it."""
    spec = read_study(study)
    bundle = make_bundle(study_plan(spec), None)
    weights = initial_weights(
        "encoder_head", text=None, classes=4, image_size=160, seed=0,
        encoder=plan_encoder(bundle.plan, spec.model),
    )  # fmt: skip
    file = tmp_path / "model.safetensors"
    file.write_bytes(model_file_bytes(weights, model_metadata(bundle)))
    return file


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A model file on the encoder that ships with Dura."""
    weights = initial_weights("encoder_head", text=None, classes=4, image_size=64, seed=0)
    about = {"model": "encoder_head", "classes": "a,b,c,d", "image_size": "64"}
    about |= {"encoder_sha256": stands_on(ModelPart(name="encoder_head", image_size=64))}
    file = tmp_path / "shipped.safetensors"
    file.write_bytes(model_file_bytes(weights, about))
    return file


def test_a_model_file_names_its_encoder_and_is_scored_on_it(released, folder, tmp_path) -> None:
    assert load_model_file(released)[1]["encoder_sha256"] == encoder_sha256(folder)
    write_phantoms(tmp_path / "test", per_class=1, seed=3)
    words = ("study", "evaluate", "--model", released, "--data", tmp_path / "test", "--json")
    done = dura(*words, "--encoder", folder)
    assert done.exception is None, done.output
    assert json.loads(done.output)["n"] == 4
    assert "give its folder as --encoder" in str(dura(*words).exception)


@pytest.mark.parametrize(("damage", "said"), CHANGED)
def test_a_model_is_scored_on_no_other_encoder(released, folder, damage, said) -> None:
    damage(folder)
    with pytest.raises(EvaluationError, match=said):
        open_model(released, encoder=folder)


def test_a_model_that_stands_on_the_shipped_one_takes_no_other(shipped, folder) -> None:
    assert open_model(shipped).image_size == 64
    with pytest.raises(EvaluationError, match="leave --encoder"):
        evaluate_file(shipped, folder, encoder=folder)


def test_a_model_on_what_another_dura_shipped_is_not_scored_on_this_ones(
    shipped, monkeypatch
) -> None:
    monkeypatch.setattr("orchestrator.study.model_spec.encoder_sha256", lambda: "f" * 64)
    with pytest.raises(EvaluationError, match="the Dura that trained it"):
        open_model(shipped)


def test_only_what_stands_on_an_encoder_names_one() -> None:
    named = {name for name in classifier_names() if stands_on(ModelPart(name=name, image_size=64))}
    assert named == {"encoder_head"}


def test_reports_are_asked_for_with_weights_on_the_plans_encoder_only(
    study, released, shipped
) -> None:
    conductor = RunService(study)
    bundle = conductor.office.draft()
    sha256 = bundle.plan.model.encoder_sha256
    assert conductor._weights_to_report_on(released, bundle, approved=1)[0]
    with pytest.raises(EvaluationError, match=f"the plan on the encoder {sha256[:12]}"):
        conductor._weights_to_report_on(shipped, bundle, approved=1)


# --- the empirical audit ------------------------------------------------------------------------


def _empirical(*words: object):
    return CliRunner().invoke(audit_cli.app, ["empirical", *map(str, words)])


def test_the_audit_trains_on_the_encoder_that_it_is_given(folder, monkeypatch) -> None:
    built = []

    def run_audit(settings, records):
        built.append(build(settings, records))
        raise StudyError("far enough")

    monkeypatch.setattr("orchestrator.empirical.run_audit", run_audit)
    done = _empirical("--model", "encoder_head", "--encoder", folder, *FEW)
    assert "far enough" in str(done.exception)
    (model,) = built
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 4)
    assert model.state_dict()["head.weight"].shape == (4, 9)


def test_the_audit_refuses_an_encoder_that_does_not_belong(released, folder, tmp_path) -> None:
    for words, said in (
        (("--model", "small_cnn", "--encoder", folder), "encoder_head only"),
        (("--model", "encoder_head", "--encoder", tmp_path), "not an encoder's card"),
        (("--model", released), "give its folder as --encoder"),
    ):
        error = _empirical(*words, *FEW).exception
        assert isinstance(error, OrchestratorError)
        assert said in str(error)
