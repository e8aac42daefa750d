"""A small phantom shard and the folders a sandbox would give a job, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datasites.ingest import Shard, make_shard, save_shard
from datasites.plans import (
    DeclaredOutput,
    GenerateTask,
    GeneratorPart,
    ModelPart,
    Plan,
    Range,
    ReportPart,
    Task,
    TrainPart,
    TrainTask,
)
from datasites.worker.files import JobFiles
from datasites.worker.protocol import Claim, Job
from models import draw_phantoms, initial_weights, weights_to_bytes
from models.training_scripts.tiny_stable_diffusion import write_tiny

torch.set_num_threads(1)

CLASSES = ("glioma", "notumor")
SIZE = 32
PLAN_SHA = "a" * 64
KEY = "00ff" * 16
PUBLISHED = "d" * 64

MakeFiles = Callable[..., JobFiles]


def _shard(per_class: int, seed: int) -> Shard:
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=SIZE, seed=seed)
    return make_shard(
        images=drawn.images,
        labels=drawn.labels,
        # Two images a unit: units are not images.
        units=np.arange(len(drawn.labels)) // 2,
        classes=CLASSES,
        rules="phantoms",
    )


@pytest.fixture(scope="session")
def shard() -> Shard:
    return _shard(8, 3)


@pytest.fixture(scope="session")
def test_shard() -> Shard:
    return _shard(4, 4)


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan(
        study="study",
        researcher="r@university.example",
        classes=CLASSES,
        rounds=2,
        model=ModelPart(name="small_cnn", image_size=SIZE),
        train=TrainPart(
            steps=3,
            sampling_rate=1.0,
            noise_multiplier=1.0,
            clipping_norm=1.0,
            learning_rate=Range(low=0.0, high=10.0),
            momentum=0.0,
        ),
        generator=GeneratorPart(
            steps=1,
            sampling_rate=0.5,
            noise_multiplier=1.0,
            clipping_norm=1.0,
            learning_rate=1e-3,
            image_size=16,
            images_per_class=2,
            sampling_steps=2,
        ),
        reports=ReportPart(cases=2, metrics_noise_multiplier=0.5),
        outputs=(
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),
            DeclaredOutput(name="reports.json", kind="report", max_bytes=100_000),
        ),
    )


@pytest.fixture(scope="session")
def weights() -> bytes:
    state = initial_weights("small_cnn", text=None, classes=2, image_size=SIZE, seed=1)
    return weights_to_bytes(state)


@pytest.fixture
def make_files(tmp_path: Path, plan: Plan, weights: bytes, shard: Shard, test_shard: Shard):
    """Lay out `/data` and `/job` below a new folder for one job."""
    count = iter(range(100))

    def make(
        task: Task,
        *,
        plan: Plan = plan,
        published_units: float = 16.0,
        inputs: dict[str, bytes] | None = None,
        data: dict[str, bytes] | None = None,
        epsilon: float = 2.5,
        shard_sha256: str | None = None,
    ) -> JobFiles:
        root = tmp_path / f"job{next(count)}"
        job = Job(
            plan=plan,
            task=task,
            dataset_version=PUBLISHED,
            shard_sha256=shard.version if shard_sha256 is None else shard_sha256,
            published_units=published_units,
            hospital="A",
            pseudonym_key=KEY,
            claim=Claim(epsilon=epsilon, delta=1e-5, unit="near-duplicate group"),
        )
        files = {"job.json": job.model_dump_json().encode(), "weights.safetensors": weights}
        (root / "job" / "in").mkdir(parents=True)
        (root / "job" / "out").mkdir()
        (root / "data").mkdir()
        for name, content in {**files, **(inputs or {})}.items():
            (root / "job" / "in" / name).write_bytes(content)
        save_shard(shard, root / "data" / "train")
        save_shard(test_shard, root / "data" / "test")
        for name, content in (data or {}).items():
            (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "data" / name).write_bytes(content)
        return JobFiles(root)

    return make


@pytest.fixture
def output():
    """Read what a job left."""

    def read(files: JobFiles, name: str) -> bytes:
        return (files._outputs / name).read_bytes()

    return read


@pytest.fixture
def train_task(weights: bytes):
    def make(**fields: object) -> TrainTask:
        base = {
            "request": "r1",
            "plan_sha256": PLAN_SHA,
            "round": 1,
            "weights_sha256": "b" * 64,
            "steps": 2,
            "learning_rate": 0.1,
        }
        return TrainTask.model_validate({**base, **fields})

    return make


@pytest.fixture
def generate_task() -> GenerateTask:
    return GenerateTask(request="g1", plan_sha256=PLAN_SHA)


@pytest.fixture(scope="session")
def tiny_stable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion checkpoint of random components; not to be changed."""
    return write_tiny(tmp_path_factory.mktemp("stable") / "tiny")
