"""The worker's files: what it reads from `/data` and `/job/in`, and writes to `/job/out`.

A job is done twice: first by `without_data`, to which every shard is empty and whose outputs have
names of their own (the *noise-only* outputs), then by the job's files themselves. What both need
and what saw no shard is made once (`once`).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from datasites.ingest import Shard, ShardError, load_shard
from datasites.plans import CORRECTION_FILE, MODEL_FILE, WEIGHTS_FILE
from datasites.sandbox import DATA, JOB_IN, JOB_OUT, READY_FILE
from datasites.worker.protocol import (
    CHECKPOINT,
    ENCODER,
    JOB_FILE,
    NOISE_ONLY,
    POOLED_IMAGES,
    POOLED_LABELS,
    RESULT_FILE,
    SYNTHETIC_IMAGES,
    SYNTHETIC_LABELS,
    Job,
    Result,
    kept_features,
)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class NoCases:
    """A shard without a single image; its fields are those of `Shard` that jobs read."""

    classes: tuple[str, ...]
    image_size: int
    version: str

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 [0, S, S]."""
        return np.zeros((0, self.image_size, self.image_size), np.uint8)

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [0]."""
        return np.zeros(0, np.int64)

    @property
    def units(self) -> NDArray[np.int64]:
        """int64 [0]."""
        return np.zeros(0, np.int64)


AnyShard = Shard | NoCases


class JobFiles:
    """Access to a job's files, below `root` (the file system's root inside a sandbox)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._data = root / DATA[1:]
        self._inputs = root / JOB_IN[1:]
        self._outputs = root / JOB_OUT[1:]
        self._made: dict[Callable[[JobFiles], Any], Any] = {}

    noise_only = False
    """Whether no shard is opened."""

    def without_data(self) -> JobFiles:
        """The same job on empty shards; it shares what was made once."""
        return _WithoutData(self._root, self._made)

    def once(self, make: Callable[[JobFiles], T]) -> T:
        """What `make` makes of a job's inputs, none of it from a shard; made once a job."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    @cached_property
    def job(self) -> Job:
        """What the job is."""
        return Job.model_validate_json((self._inputs / JOB_FILE).read_bytes())

    def given(self, name: str) -> bytes:
        """A file that came along."""
        return (self._inputs / name).read_bytes()

    @property
    def model_text(self) -> str | None:
        """The bundle's `model.py`, None when a registered classifier is used."""
        path = self._inputs / MODEL_FILE
        return path.read_text() if path.exists() else None

    @property
    def weights(self) -> bytes:
        """The weights that came with the task."""
        return (self._inputs / WEIGHTS_FILE).read_bytes()

    @property
    def correction(self) -> bytes | None:
        """What came along to be added to every step's gradient; None where nothing did."""
        path = self._inputs / CORRECTION_FILE
        return path.read_bytes() if path.exists() else None

    def training_shard(self) -> AnyShard:
        """The training shard, its hash verified: the one that was approved, and no other.

        Raises:
            ShardError: it was replaced since the job was checked and its spend reserved.
        """
        shard = self.shard("train")
        if shard.version != self.job.shard_sha256:
            raise ShardError(
                f"the shard is not {self.job.dataset_version[:12]}, which was approved; it was "
                "replaced while the job waited"
            )
        return shard

    def shard(self, name: str) -> AnyShard:
        """The shard mounted as `name`, its hash verified."""
        return load_shard(self._data / name)

    def synthetic(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
        """DP-synthetic images [N, S, S] and labels [N], if there are any.

        The hospital's own, then those drawn from other hospitals' released generators.
        """
        folder = self._data / "synthetic"
        if not (folder / SYNTHETIC_IMAGES).exists():
            return None
        pairs = [(SYNTHETIC_IMAGES, SYNTHETIC_LABELS)]
        if (folder / POOLED_IMAGES).exists():
            pairs.append((POOLED_IMAGES, POOLED_LABELS))
        images = [np.load(folder / name, allow_pickle=False) for name, _ in pairs]
        labels = [np.load(folder / name, allow_pickle=False) for _, name in pairs]
        return np.concatenate(images), np.concatenate(labels)

    def features(self) -> NDArray[np.float32] | None:
        """What an earlier job kept of the training shard, by the same encoder: float32 [N, D]."""
        path = self._data / "features" / kept_features(self.job.plan.model.encoder_sha256)
        return np.load(path, allow_pickle=False) if path.exists() else None

    @property
    def report_model(self) -> Path | None:
        """The folder of the hospital's own LLaMa, None for the shipped one."""
        folder = self._data / "llama"
        return folder if folder.is_dir() else None

    @property
    def checkpoint(self) -> Path | None:
        """The folder of the hospital's Stable Diffusion checkpoint, None if it has none."""
        folder = self._data / CHECKPOINT
        return folder if folder.is_dir() else None

    @property
    def encoder(self) -> Path | None:
        """The folder of the hospital's own encoder, None if it has none."""
        folder = self._data / ENCODER
        return folder if folder.is_dir() else None

    def write(self, name: str, data: bytes) -> None:
        """Leave an output."""
        (self._outputs / name).write_bytes(data)

    def write_array(self, name: str, array: NDArray[np.generic]) -> None:
        """Leave an array, as a `.npy` file without pickled objects."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        self.write(name, buffer.getvalue())

    def write_result(self, result: Result) -> None:
        """Leave the result, last of all: it makes the outputs complete."""
        self.write(RESULT_FILE, result.model_dump_json().encode())

    def say_ready(self) -> None:
        """Tell the agent that a job may come: whatever takes time before it is done."""
        (self._outputs / READY_FILE).write_bytes(b"")


class _WithoutData(JobFiles):
    noise_only = True

    def __init__(self, root: Path, made: dict[Callable[[JobFiles], Any], Any]) -> None:
        super().__init__(root)
        self._made = made

    def training_shard(self) -> AnyShard:
        return self.shard("train")

    def shard(self, name: str) -> AnyShard:
        plan = self.job.plan
        return NoCases(plan.classes, plan.model.image_size, self.job.dataset_version)

    def features(self) -> NDArray[np.float32] | None:
        return None

    def write(self, name: str, data: bytes) -> None:
        super().write(f"{NOISE_ONLY}{name}", data)
