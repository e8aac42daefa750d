"""The worker's files: what it reads from `/data` and `/job/in`, and writes to `/job/out`."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.errors import ShardError
from datasites.ingest.shard import Shard
from datasites.ingest.shardstore import load_shard
from datasites.plans import CORRECTION_FILE, MODEL_FILE, WEIGHTS_FILE
from datasites.sandbox.command import DATA, JOB_IN, JOB_OUT
from datasites.worker.protocol import (
    CHECKPOINT,
    ENCODER,
    JOB_FILE,
    POOLED_IMAGES,
    POOLED_LABELS,
    RESULT_FILE,
    SYNTHETIC_IMAGES,
    SYNTHETIC_LABELS,
    Job,
    Result,
    kept_features,
)


class JobFiles:
    """Access to a job's files, below `root` (the file system's root inside a sandbox)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._data = root / DATA[1:]
        self._inputs = root / JOB_IN[1:]
        self._outputs = root / JOB_OUT[1:]

    @cached_property
    def job(self) -> Job:
        """What the job is."""
        return Job.model_validate_json((self._inputs / JOB_FILE).read_bytes())

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

    def training_shard(self) -> Shard:
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

    def shard(self, name: str) -> Shard:
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
        """Leave the result; without it a job counts as failed."""
        self.write(RESULT_FILE, result.model_dump_json().encode())
