"""Looking at a researcher's model: read in the owner's process, built in a sandbox only."""

import subprocess
import sys

import pytest

import datasites.sandbox
from datasites.errors import SandboxError
from datasites.owner import model_check as modelcheck
from datasites.owner.model_check import bundle_facts
from datasites.plans import Assumption, ModelPart, Severity, check_assumptions, make_bundle


@pytest.fixture
def own(plan):
    return plan.model_copy(update={"model": ModelPart(name="model.py", image_size=64)})


LARGE = """
from torch import nn
def build(classes, image_size):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(image_size * image_size, 440),
        nn.ReLU(),
        nn.Linear(440, classes),
    )
"""


OWNERS_PROCESS = """
import sys
from pathlib import Path
from datasites.owner.model_check import bundle_facts
from datasites.plans import open_bundle
folder = Path(sys.argv[1])
bundle = open_bundle({path.name: path.read_bytes() for path in folder.iterdir()})
facts = bundle_facts(bundle)
assert (facts.gradient_problem, facts.not_built) == ("", ""), facts
assert "torch" not in sys.modules, "the owner's process builds the model"
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmPeak"].split()[0]) // 1024)
"""


def test_the_owners_process_builds_nothing_and_asks_for_no_memory(plan, tmp_path):
    """A model near the largest that is allowed, for many classes: 64 gradients of it are 7 GB."""
    many = plan.model_copy(
        update={
            "classes": tuple(f"kind {number}" for number in range(64)),
            "model": ModelPart(name="model.py", image_size=256),
        }
    )
    for name, data in make_bundle(many, LARGE).files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OWNERS_PROCESS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 500  # MiB


def test_without_a_sandbox_it_is_read_alone_and_the_reviewer_is_told(own, monkeypatch):
    def none():
        raise SandboxError("bubblewrap is not installed")

    monkeypatch.setattr(datasites.sandbox, "require_sandbox", none)
    facts = bundle_facts(make_bundle(own, LARGE))
    assert "not installed" in facts.not_built
    found = check_assumptions(own, units_published=400, model=facts)
    (one,) = [each for each in found if each.code is Assumption.PER_SAMPLE_GRADIENT]
    assert (one.severity, "not built" in one.what) == (Severity.WARNING, True)
    assert "it cannot be built" in bundle_facts(make_bundle(own, "import os\n")).gradient_problem


def test_a_look_that_dies_is_a_problem_of_the_model(own, monkeypatch):
    monkeypatch.setattr(modelcheck, "_MEMORY_BYTES", 64 * 1024**2)
    facts = bundle_facts(make_bundle(own, LARGE))
    assert "asks for more than" in facts.gradient_problem
