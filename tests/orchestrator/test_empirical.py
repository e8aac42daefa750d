"""The empirical audit on real models: it runs for classifier and generator, and it can turn red."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

import privacy.dpsgd
from orchestrator.commands import audit as audit_cli
from orchestrator.empirical import EmpiricalSettings, mock_records, run_audit
from orchestrator.empirical_result import EmpiricalAudit
from orchestrator.errors import StudyError, VerificationError
from privacy import epsilon

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
    real = privacy.dpsgd.DPOptimizer

    class Quiet(real):
        def __init__(self, *args: object, noise_multiplier: float, **options: object) -> None:
            super().__init__(*args, noise_multiplier=noise_multiplier / 10, **options)

    monkeypatch.setattr(privacy.dpsgd, "DPOptimizer", Quiet)


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
