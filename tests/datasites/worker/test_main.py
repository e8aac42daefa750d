"""The worker as the program that a sandbox starts: one job, and no import that it does not use.

A job is a fresh process each round at each hospital, so what it imports is most of what a round of
the default plan costs. Figures belong to benchmarks; what must stay away is said here by name.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from datasites.plans import ModelPart
from models import initial_weights, weights_to_bytes

# The accountant, PyTorch's compiler, image transforms, and what only other jobs use.
UNUSED = ("dp_accounting", "torch._dynamo", "torchvision", "diffusers", "transformers", "syft")
PROGRAM = f"""
import gc, json, sys
from pathlib import Path
from datasites.worker.__main__ import main
from datasites.worker.protocol import Profile
ended = main(Profile(sys.argv[1]), Path(sys.argv[2]))
assert gc.isenabled(), "garbage is not collected"
print(json.dumps([ended, [name for name in {UNUSED!r} if name in sys.modules]]))
"""


def serve(profile, root, said):
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, profile, str(root)],
        input=said,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def training(make_files, train_task, plan):
    """A job of the default plan's model, and of a network that is trained whole."""

    def make(model):
        start = initial_weights(model, text=None, classes=2, image_size=32, seed=0)
        return make_files(
            train_task(steps=2),
            plan=plan.model_copy(update={"model": ModelPart(name=model, image_size=32)}),
            inputs={"weights.safetensors": weights_to_bytes(start)},
        )

    return make


@pytest.mark.parametrize("model", ["encoder_head", "small_cnn"])
def test_a_training_job_imports_nothing_that_it_does_not_use(training, tmp_path, output, model):
    files = training(model)
    assert serve("train", tmp_path / "job0", "go\n") == [0, []]
    assert json.loads(output(files, "result.json"))["steps_taken"] == 2


def test_without_the_word_no_job_is_done(training, tmp_path):
    files = training("encoder_head")
    assert serve("train", tmp_path / "job0", "")[0] == 1
    assert [path.name for path in files._outputs.iterdir()] == ["_ready"]
