"""The worker as the program that a sandbox starts: one job, and no import that it does not use.

A job is a fresh process each round at each hospital, so what it imports is most of what a round of
the default plan costs. Figures belong to benchmarks; what must stay away is said here by name.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from datasites.ingest.errors import ShardError
from datasites.plans import DeclaredOutput, ModelPart
from datasites.worker import __main__ as program
from datasites.worker.files import JobFiles
from datasites.worker.protocol import Profile
from models import initial_weights, weights_from_bytes, weights_to_bytes

GENERATED = {"generator.safetensors", "synthetic_images.npy", "synthetic_labels.npy"}

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


DENORMAL = """
import sys, torch
from pathlib import Path
from datasites.worker import __main__ as program
from datasites.worker.protocol import Profile
torch.set_num_threads(2)
seen = []

def serve(profile, files):
    small = torch.full((1 << 20,), 1e-40)  # so many that PyTorch divides them between threads
    seen.extend([float((small * 1.0).max()), float((small[:8] * 1.0).max())])

program.serve = serve
assert program.main(Profile.TRAIN, Path(sys.argv[1])) == 0
print(seen)
"""


def test_subnormal_numbers_count_as_zero_in_every_thread_of_a_job(training, tmp_path):
    """A hundred times slower than others, they would let one image choose how long a job takes."""
    training("small_cnn")
    done = subprocess.run(
        [sys.executable, "-I", "-c", DENORMAL, str(tmp_path / "job0")],
        input="go\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [0.0, 0.0]


def names(files):
    return sorted(path.name for path in files._outputs.iterdir())


def test_the_whole_job_is_done_without_data_before_a_shard_is_opened(training, tmp_path, output):
    """So an agent has something to release whatever happens next, and it holds nothing of it."""
    files = training("small_cnn")
    shard = tmp_path / "job0" / "data" / "train"
    for path in sorted(shard.iterdir()):
        path.chmod(0o600)
        path.write_bytes(b"not to be read")
    program.flush_denormals()
    with pytest.raises(ShardError):
        program.serve(Profile.TRAIN, JobFiles(tmp_path / "job0"))
    torch.set_flush_denormal(False)
    assert names(files) == ["_noise-only.result.json", "_noise-only.weights.safetensors"]
    assert json.loads(output(files, "_noise-only.result.json"))["steps_taken"] == 2
    start = weights_from_bytes(files.weights)
    left = weights_from_bytes(output(files, "_noise-only.weights.safetensors"), like=start)
    assert any(not torch.equal(left[name], start[name]) for name in start)


def test_with_data_the_jobs_own_outputs_lie_beside_them(training, tmp_path, output):
    files = training("encoder_head")
    program.serve(Profile.TRAIN, JobFiles(tmp_path / "job0"))
    own = ["features.npy", "result.json", "weights.safetensors"]
    assert names(files) == sorted([f"_noise-only.{name}" for name in own[1:]] + own)
    assert len(output(files, own[2])) == len(output(files, f"_noise-only.{own[2]}"))


def test_a_generator_without_data_leaves_dots_and_noise(make_files, generate_task, plan, output):
    declared = DeclaredOutput(name="generator.safetensors", kind="generator", max_bytes=8_000_000)
    wider = plan.model_copy(update={"outputs": (*plan.outputs, declared)})
    files = make_files(generate_task, plan=wider)
    program.serve(Profile.GENERATE, files)
    own, noise = (
        {name: output(files, f"{prefix}{name}") for name in sorted(GENERATED)}
        for prefix in ("", "_noise-only.")
    )
    assert {name: len(data) for name, data in own.items()} == {
        name: len(data) for name, data in noise.items()
    }
    assert all(own[name] != noise[name] for name in GENERATED - {"synthetic_labels.npy"})
