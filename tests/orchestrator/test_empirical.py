"""The empirical audit on real models: it runs for classifier and generator, and it can turn red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from datasites import read_labelled
from datasites.ingest import make_shard, save_shard
from datasites.owner import intake
from datasites.site.settings import make_settings
from datasites.site.site import Site
from models import build_classifier, draw_phantoms, model_file_bytes, normalise
from orchestrator.commands import audit as audit_cli
from orchestrator.empirical.audit import run_audit
from orchestrator.empirical.result import EmpiricalAudit
from orchestrator.empirical.run import CLASSES, EmpiricalSettings, mock_records
from orchestrator.errors import StudyError, VerificationError
from privacy import Budget, epsilon
from privacy.mechanism.noise import OsNoise

torch.set_num_threads(1)


def _settings(**changes: object) -> EmpiricalSettings:
    base = {
        "target": "classifier",
        "model": "small_cnn",
        "epsilon": 2.0,
        "delta": 1e-5,
        "steps": 4,
        "sampling_rate": 0.5,
        "learning_rate": 0.5,
        "image_canaries": 12,
        "gradient_canaries": 100,
        "shadows": 0,
        "others": 1000,
    }
    return EmpiricalSettings(**{**base, **changes})


@pytest.fixture
def quiet_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer with its noise silently divided by ten."""
    real = OsNoise.integers
    monkeypatch.setattr(OsNoise, "integers", lambda source, count: real(source, count) // 10)


@pytest.mark.parametrize("target", ["classifier", "generator"])
def test_a_sound_trainer_is_green(target):
    # The UNet is slow: a few canaries show that everything fits together.
    small = {"steps": 1, "gradient_canaries": 20, "image_canaries": 10, "sampling_rate": 0.3}
    settings = _settings(target=target, **(small if target == "generator" else {"steps": 2}))
    found = run_audit(settings, mock_records(4, image_size=32, seed=1))
    assert not found.red
    assert found.claim == epsilon(settings.event(found.noise_multiplier), delta=1e-5) <= 2.0
    assert [bound.name for bound in found.bounds] == ["gradient", "update", "loss"]
    assert EmpiricalAudit.model_validate_json(found.model_dump_json()) == found


def test_a_quiet_trainer_is_red_from_the_command_line(quiet_trainer, tmp_path):
    out = tmp_path / "empirical-audit.json"
    words = ["empirical", "--image-size", "32", "--units", "8", "--image-canaries", "0"]
    words += ["--gradient-canaries", "200", "--steps", "4", "--shadows", "0", "--out", str(out)]
    done = CliRunner().invoke(audit_cli.app, words)
    assert isinstance(done.exception, VerificationError)
    assert done.exception.exit_code == 6
    assert "RED" in done.output
    assert EmpiricalAudit.model_validate_json(out.read_bytes()).red


def test_numbers_that_make_no_audit_are_refused():
    with pytest.raises(StudyError, match="20 gradient"):
        run_audit(_settings(gradient_canaries=5), mock_records(8, image_size=32, seed=1))
    done = CliRunner().invoke(audit_cli.app, ["empirical", "--target", "report"])
    assert isinstance(done.exception, StudyError)


FEW = ("--image-canaries", 0, "--gradient-canaries", 20, "--steps", 1, "--units", 8)


def _empirical(*words: object):
    return CliRunner().invoke(audit_cli.app, ["empirical", *map(str, words)])


def _folder(root: Path, per_class: int, seed: int) -> Path:
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=32, seed=seed)
    for number, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        path = root / CLASSES[int(label)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(image)).save(path)
    return root


def test_the_whole_command_with_reference_models_and_a_released_one(tmp_path):
    """A released model that learnt a few images by heart, next to the audit's own."""
    members = _folder(tmp_path / "members", 3, 1)
    others = _folder(tmp_path / "others", 15, 2)
    torch.manual_seed(0)
    model = build_classifier("small_cnn", classes=4, image_size=32)
    images, labels = read_labelled(members, classes=CLASSES, image_size=32)
    inputs, targets = normalise(torch.from_numpy(images.copy())), torch.from_numpy(labels.copy())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    file, out = tmp_path / "model.safetensors", tmp_path / "found.json"
    about = {"model": "small_cnn", "classes": ",".join(CLASSES), "image_size": "32"}
    file.write_bytes(model_file_bytes(model.state_dict(), about))
    folders = ("--members", members, "--others", others)
    done = _empirical("--model", file, *folders, *FEW, "--shadows", 1, "--out", out)
    assert done.exception is None, done.output
    assert "on the trained model" in done.output
    assert "on the released model" in done.output
    found = EmpiricalAudit.model_validate_json(out.read_bytes())
    assert (found.model, found.attack.members, found.attack.others) == ("small_cnn", 8, 1000)
    assert (found.released.members, found.released.others) == (12, 30)
    assert found.released.fpr == pytest.approx(1 / 30)
    assert found.released.auc > 0.6


def test_a_released_model_needs_members_others_and_references(tmp_path):
    file = tmp_path / "model.safetensors"
    assert "is not a model that Dura wrote" in str(_empirical("--model", file).exception)
    assert "together" in str(_empirical("--members", tmp_path, *FEW).exception)
    model = build_classifier("small_cnn", classes=4, image_size=32)
    about = {"model": "small_cnn", "classes": ",".join(CLASSES), "image_size": "32"}
    file.write_bytes(model_file_bytes(model.state_dict(), about))
    assert "together" in str(_empirical("--model", file, *FEW).exception)
    few = ("--members", _folder(tmp_path / "m", 1, 1), "--others", _folder(tmp_path / "o", 2, 2))
    said = _empirical("--model", file, *few, *FEW, "--shadows", 0)
    assert "--shadows 1 or more" in str(said.exception)
    said = _empirical("--model", file, *few, *FEW, "--shadows", 1)
    assert "an attack needs 40 at least" in str(said.exception)


def test_the_whole_command_among_consented_patients(tmp_path):
    """Reserved before an image is read, spent, logged with name and reason; nobody is attacked."""
    settings = make_settings(
        name="A", email="a@x.example", relay=tmp_path.as_uri(), classes=CLASSES, image_size=32
    )
    site = Site.create(
        tmp_path / "site", settings, budget=Budget(epsilon=8.0, delta=1e-5), actor="owner"
    )
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 2), size=32, seed=1)
    shard = make_shard(
        images=drawn.images,
        labels=drawn.labels,
        units=np.arange(8),
        classes=CLASSES,
        rules="phantoms",
    )
    (site.root / "private").mkdir(mode=0o700)
    card = intake._charge_card(site, shard, actor="owner")
    (site.root / "card.json").write_text(card.model_dump_json())
    save_shard(shard, site.shard("train"))
    flag = ("--unsafe-train-on-consented-patients", site.root, "--shadows", 1, *FEW)
    before = Site.open(site.root).ledger.account().epsilon()
    assert "needs the owner's consent" in str(_empirical(*flag, "--as", "ann").exception)
    assert Site.open(site.root).ledger.account().epsilon() == before
    done = _empirical(*flag, "--as", "ann", "--reason", "board 7", "--epsilon", 1.0)
    assert done.exception is None, done.output
    assert "on a consented shard" in done.output
    assert "RMIA" not in done.output
    after = Site.open(site.root).ledger
    assert after.account().epsilon() > before
    kinds = [one.entry.kind.value for one in after.entries()]
    assert kinds[-3:] == ["unsafe_option_used", "spend_reserved", "spend_committed"]
    used = [one.entry for one in after.entries()][-3]
    assert (used.actor, used.reason) == ("ann", "board 7")
