"""What a benchmark of accuracy runs over: one data set, its units, and its division over hospitals.

Units and folders are as ingest makes them. Judged are images that no hospital holds: a test folder,
or a fifth of the data set's units held out; with `validation`, a fifth of the training units
instead, and then the test images are not looked at. Everything random follows from a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites import NOISE_MULTIPLIER, plan_split, read_labelled, read_shard
from models import Evaluation
from orchestrator.errors import StudyError
from privacy import UnsafeSeededNoise, noised_counts, unit_weights

HOSPITALS = 5
DELTA = 1e-5
HELD_OUT = 0.2
NAMES = "ABCDE"


@dataclass(frozen=True)
class Division:
    """Rows of the data set: one array for each hospital, and those that are judged."""

    hospitals: tuple[NDArray[np.int64], ...]
    judged: NDArray[np.int64]


class BenchData:
    """A data set in memory.

    Args:
        data: folder with one folder a class.
        image_size: S, pixels.
        test: another folder to judge on; a fifth of `data` without it.
        validation: judge on a fifth of the training units instead.

    Attributes:
        images: uint8 [N, S, S], those of `data` first, then those of `test`.
        labels: int64 [N].
        units: of the images of `data`.

    Raises:
        IngestError: a folder cannot be used.
    """

    def __init__(
        self, data: Path, *, image_size: int, test: Path | None = None, validation: bool = False
    ) -> None:
        shard = read_shard(data, image_size=image_size)
        self.classes, self.version, self.unit = shard.classes, shard.version, shard.unit_kind
        self.image_size, self.validation = image_size, validation
        self.train_images = len(shard.labels)
        self.units: NDArray[np.int64] = np.asarray(shard.units)
        images, labels = np.array(shard.images), np.array(shard.labels)
        self._held_out = test is None
        if test is not None:
            more, more_labels = read_labelled(test, classes=self.classes, image_size=image_size)
            images = np.concatenate([images, more])
            labels = np.concatenate([labels, more_labels])
        self.images: NDArray[np.uint8] = images
        self.labels: NDArray[np.int64] = labels

    def divide(self, *, alpha: float | None, seed: int, share: float = 1.0) -> Division:
        """The division that a seed gives.

        Args:
            alpha: of the Dirichlet draw that divides each class; None for equal shares.
            seed: of the held-out part and the draws.
            share: of the training units that the hospitals hold at all.
        """
        rows = np.arange(self.train_images)
        judged = np.arange(self.train_images, len(self.labels))
        if self._held_out:
            rows, judged = self._split_off(rows, HELD_OUT, seed)
        if self.validation:
            rows, judged = self._split_off(rows, HELD_OUT, seed)
        if share < 1.0:
            _, rows = self._split_off(rows, share, seed)
        plan = plan_split(
            self.labels[rows],
            dense(self.units[rows]),
            clients=HOSPITALS,
            test=0.0,
            alpha=alpha,
            seed=seed,
        )
        parts = tuple(rows[plan.part_of == part] for part in range(HOSPITALS))
        if not all(map(len, parts)):
            raise StudyError(f"a hospital of seed {seed} would hold no image; give more images")
        return Division(parts, judged)

    def _split_off(
        self, rows: NDArray[np.int64], share: float, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that stay, and those of a share of the units."""
        plan = plan_split(
            self.labels[rows],
            dense(self.units[rows]),
            clients=1,
            test=0.0,
            holdout=share,
            seed=seed,
        )
        return rows[plan.part_of != 0], rows[plan.part_of == 0]

    def published_units(self, rows: NDArray[np.int64], *, seed: int) -> float:
        """The number of units as a data card would tell it."""
        weights = unit_weights(
            self.labels[rows], dense(self.units[rows]), n_classes=len(self.classes)
        )
        noise = UnsafeSeededNoise(seed * 1_000_003 + int(rows[0]))
        noised = noised_counts(weights, noise_multiplier=NOISE_MULTIPLIER, noise=noise)
        return max(1.0, float(noised.sum()))

    def by_hospital(self, evaluation: Evaluation, division: Division) -> Mapping[str, float]:
        """Each hospital's figure: the recall of each class, weighted by its mix of classes."""
        recall = np.array([score.recall for score in evaluation.per_class])
        found = {}
        for name, rows in zip(NAMES, division.hospitals, strict=True):
            mix = np.bincount(self.labels[rows], minlength=len(self.classes)) / len(rows)
            found[name] = float(mix @ recall)
        return found


def dense(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same units, numbered without a gap."""
    return np.unique(units, return_inverse=True)[1].astype(np.int64)
