"""What must start at once does not import what is slow, in an interpreter of its own."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "opacus", "diffusers", "transformers", "torchvision", "matplotlib", "flwr")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import orchestrator.cli", (*HEAVY, "syft", "dp_accounting")),
        ("import datasites, models, privacy", (*HEAVY, "syft", "dp_accounting")),
        ("import datasites.agent, datasites.owner.intake, datasites.owner.plan_review", HEAVY),
        ("import orchestrator.hospitals.submission", HEAVY),
        ("import orchestrator.audit.verify", (*HEAVY, "syft")),
    ],
)
def test_imports_stay_light(code, heavy):
    program = f"import sys; {code}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["datasites", "models", "privacy"])
def test_every_public_name_is_there(package):
    module = __import__(package)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []
