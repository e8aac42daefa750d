"""A hospital's test results as figures that may be stated: from noised counts only.

Each privacy unit contributes total weight 1 to the confusion matrix, spread evenly over its
images, so the matrix has L2 sensitivity at most 1 under add or remove one unit. What is
derived from the noised matrix costs nothing more (post-processing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_Z = 1.96


@dataclass(frozen=True)
class Cohort:
    """Figures derived from a noised confusion matrix.

    Attributes:
        n_cases: estimated number of units.
        accuracy, low, high: estimate and 95 % interval (sampling and noise).
        precision, recall, f1: per class.
        confusion: the noised matrix, rounded, rows are true classes.
    """

    n_cases: int
    accuracy: float
    low: float
    high: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def macro_f1(self) -> float:
        """The unweighted mean of the classes' F1."""
        return sum(self.f1) / len(self.f1)


def unit_confusion(
    *,
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    units: NDArray[np.int64],
    classes: int,
) -> NDArray[np.float64]:
    """Confusion matrix [C, C] in which each unit weighs 1 in all."""
    _, unit_of, sizes = np.unique(units, return_inverse=True, return_counts=True)
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (labels, predicted), 1.0 / sizes[unit_of])
    return matrix


def cohort_from(noised: NDArray[np.float64], *, noise: float) -> Cohort:
    """Figures from a noised confusion matrix [C, C]; `noise` is its cells' standard deviation."""
    matrix = np.clip(noised, 0.0, None)
    total = max(float(matrix.sum()), 1.0)
    hits = np.diag(matrix)
    accuracy = float(hits.sum()) / total
    classes = len(matrix)
    spread = math.sqrt(
        accuracy * (1 - accuracy) / total
        + classes * (1 - accuracy) ** 2 * noise**2 / total**2
        + classes * (classes - 1) * accuracy**2 * noise**2 / total**2
    )
    precision = _ratio(hits, matrix.sum(axis=0))
    recall = _ratio(hits, matrix.sum(axis=1))
    f1 = tuple(
        0.0 if p + r == 0 else 2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)
    )
    return Cohort(
        n_cases=max(1, round(total)),
        accuracy=accuracy,
        low=max(0.0, accuracy - CONFIDENCE_Z * spread),
        high=min(1.0, accuracy + CONFIDENCE_Z * spread),
        precision=precision,
        recall=recall,
        f1=f1,
        confusion=tuple(tuple(round(cell) for cell in row) for row in matrix.tolist()),
    )


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(p) / float(w) if w > 0 else 0.0 for p, w in zip(part, whole, strict=True))
