"""Faults that Dura had, as small faithful copies: the attacks on the mechanism must find each.

The product lost them; they stand here so that the attacks can be seen to work. Each says what of
the former code it is.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest import load_shard, make_shard, save_shard
from datasites.worker.files import JobFiles
from datasites.worker.protocol import Claim, Job, Profile
from orchestrator.mechanism.adversary import CLASSES, Neighbours
from orchestrator.mechanism.crossing import Crossed
from orchestrator.mechanism.jobs import TESTING, TRAINING, Kind, Pair, job_for
from privacy import Noise, UnsafeNoNoise
from privacy.mechanism.grid import Grid

ROOT = Path(__file__).parents[1]


def float_sum(gradients: NDArray[np.float32], *, clip: float) -> NDArray[np.float32]:
    """`DPOptimizer.clip_and_accumulate`: clipped rows added in float32."""
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    factors = np.minimum(clip / (norms + 1e-6), 1.0).astype(np.float32)
    return (gradients * factors).sum(axis=0, dtype=np.float32)


def float_noise(total: NDArray[np.float32], *, std: float) -> NDArray[np.float32]:
    """`OsNoise.like` and `DPOptimizer.add_noise`: four doubles added and halved, made float32."""
    drawn = np.random.default_rng().standard_normal((4, len(total))).sum(axis=0)
    return total + (drawn * (std / 2)).astype(np.float32)


def float_counts(exact: NDArray[np.float64], *, std: float) -> NDArray[np.float64]:
    """`released` and `noised_counts` of `privacy.release`: doubles plus doubles."""
    return exact + np.random.default_rng().normal(0.0, std, exact.shape)


def lattice_noise(total: NDArray[np.float32], *, std: float, bits: int = 20) -> NDArray[np.float32]:
    """Half of the mechanism: noise on a lattice, a sum that is not. Never shipped."""
    step = std / 2**bits
    steps = np.rint(np.random.default_rng().normal(0.0, 2.0**bits, len(total)))
    return (total.astype(np.float64) + steps * step).astype(np.float32)


def grid_release(
    gradients: NDArray[np.float32], *, clip: float, std: float, bits: int = 20
) -> NDArray[np.float32]:
    """The right mechanism: rows put on a grid one by one, added and noised as integers."""
    norms = np.maximum(np.linalg.norm(gradients.astype(np.float64), axis=1, keepdims=True), clip)
    step = std / 2**bits
    whole = np.trunc(gradients.astype(np.float64) * (clip / norms) / step).astype(np.int64)
    noise = np.floor(np.random.default_rng().normal(0.0, 2.0**bits, gradients.shape[1]))
    return ((whole.sum(axis=0) + noise.astype(np.int64)) * step).astype(np.float32)


def single_release(self: Grid, total: NDArray[np.int64], noise: Noise) -> NDArray[np.float64]:
    """`float_noise` put into `Grid.release`: float32 noise on a float32 sum."""
    exact = (total * self.step).astype(np.float32).ravel()
    if isinstance(noise, UnsafeNoNoise):
        return exact.reshape(total.shape).astype(np.float64)
    std = self.noise_multiplier * self.sensitivity
    return float_noise(exact, std=std).reshape(total.shape).astype(np.float64)


def double_release(self: Grid, total: NDArray[np.int64], noise: Noise) -> NDArray[np.float64]:
    """`float_counts` put into `Grid.release`."""
    std = 0.0 if isinstance(noise, UnsafeNoNoise) else self.noise_multiplier * self.sensitivity
    return float_counts(total * self.step, std=std)


def unrounded_release(self: Grid, total: NDArray[np.int64], noise: Noise) -> NDArray[np.float64]:
    """Whole sums, and noise that is not: what `Grid.release` would be without the floor."""
    std = 0.0 if isinstance(noise, UnsafeNoNoise) else 2.0**24
    return float_counts(total.astype(np.float64), std=std) * self.step


def unkeyed_version(images: Neighbours) -> str:
    """`datasites.ingest.shard.version_of`: SHA-256 of a header and the arrays, without a key."""
    units = np.arange(len(images.labels))
    header = {
        "arrays": [
            [name, array.dtype.str, list(array.shape)]
            for name, array in (
                ("images", images.images),
                ("labels", images.labels),
                ("units", units),
            )
        ],
        "classes": list(CLASSES),
        "format": "dura-shard/1",
        "rules": "phantoms",
        "unit_kind": "image",
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    made = hashlib.sha256(text.encode() + b"\n")
    for array in (images.images, images.labels, units):
        made.update(np.ascontiguousarray(array).data)
    return made.hexdigest()


RESTORE_CHECK = """
import torch
from datasites.worker import train as work
from privacy.errors import GradientError
from privacy.training.grad_sample import per_sample, trainable

right = work.train_dp

def checked(model, **how):
    # privacy.training.dpsgd: the check that per-image gradients add up, on the first private batch.
    if len(how["units"]) == 0:
        return right(model, **how)
    wrapped = per_sample(model)
    how["losses"](model, torch.arange(len(how["units"]))).sum().backward()
    for name, parameter in trainable(model).items():
        samples = parameter.grad_sample.flatten(1)
        gradient = parameter.grad.flatten()
        error = (samples.sum(0) - gradient).norm()
        if error > 1e-3 * (samples.norm(dim=1).sum() + gradient.norm()):
            raise GradientError(f"the per-sample gradients of {name} do not add up")
    wrapped.unwrap()
    for parameter in model.parameters():
        parameter.grad = None
        for name in ("grad_sample", "summed_grad"):
            if hasattr(parameter, name):
                delattr(parameter, name)
    return right(model, **how)

work.train_dp = checked
"""
SERVE = """
import sys
from pathlib import Path
from datasites.worker.__main__ import main
from datasites.worker.protocol import Profile
sys.exit(main(Profile(sys.argv[1]), Path(sys.argv[2])))
"""


@dataclass
class WorkerJobs:
    """Jobs of the installed worker in a process of its own, without agent or sandbox.

    Attributes:
        folder: where jobs' folders are made.
        restore: program text that runs before the worker and puts a fault back.
    """

    folder: Path
    restore: str = ""
    _count: int = 0

    def ask(self, kind: Kind) -> Pair:
        return Pair(self._one(kind, present=False), self._one(kind, present=True))

    def _one(self, kind: Kind, *, present: bool) -> Crossed:
        self._count += 1
        root = self.folder / f"job{self._count}"
        profile = self._lay_out(root, kind, present)
        done = subprocess.run(
            [sys.executable, "-c", self.restore + SERVE, profile, str(root)],
            input="go\n",
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        if done.returncode != 0:
            assert "do not add up" in done.stderr, done.stderr
            return answered_as_before(None)
        return answered_as_before(
            {path.name: path.read_bytes() for path in (root / "job" / "out").iterdir()}
        )

    def _lay_out(self, root: Path, kind: Kind, present: bool) -> Profile:
        bundle, task, weights = job_for(kind, 1)
        for name in ("job/in", "job/out", "data"):
            (root / name).mkdir(parents=True)
        for name, images in (("train", TRAINING), ("test", TESTING)):
            pixels, labels = images.which(present)
            shard = make_shard(
                images=pixels,
                labels=labels,
                units=np.arange(len(labels)),
                classes=CLASSES,
                rules="phantoms",
            )
            save_shard(shard, root / "data" / name)
        job = Job(
            plan=bundle.plan,
            task=task,
            dataset_version="d" * 64,
            shard_sha256=load_shard(root / "data" / "train").version,
            published_units=4.0,
            hospital="A",
            pseudonym_key="00ff" * 16,
            claim=Claim(epsilon=1.0, delta=1e-5, unit="image"),
        )
        files = {
            **bundle.files,
            "job.json": job.model_dump_json().encode(),
            "weights.safetensors": weights,
        }
        for name, data in files.items():
            (root / "job" / "in" / name).write_bytes(data)
        assert JobFiles(root).training_shard() is not None
        return Profile(task.kind)


def answered_as_before(outputs: dict[str, bytes] | None) -> Crossed:
    """`Completion.settle` and `Failures.fail`: failures named, exact items, un-noised seconds."""
    answer: dict[str, object] = {"version": 1, "request": "r", "status": "failed"}
    if outputs is None:
        return Crossed({"answer.json": json.dumps({**answer, "reason": "job_failed"}).encode()})
    result = json.loads(outputs["result.json"])
    drafts = json.loads(outputs["reports.json"])["reports"] if "reports.json" in outputs else []
    answer |= {
        "status": "held" if drafts else "done",
        "reason": None,
        "items": len(drafts),
        "timing": {"started": 0.0, "ended": result["work_s"]},
    }
    leave = {n: d for n, d in outputs.items() if n in ("weights.safetensors", "evaluation.json")}
    return Crossed({"answer.json": json.dumps(answer).encode(), **leave})
