"""A hospital's test results as figures that a report may state: from noised counts only.

The noised confusion matrix is half of one Gaussian release (`privacy.evaluation`); what is derived
from it costs nothing more (post-processing). The same figures, with the same intervals, are what
the researcher derives from the released counts: both ask `models.noised_metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import class_figures, noised_accuracy


@dataclass(frozen=True)
class Cohort:
    """Figures derived from a noised confusion matrix.

    Attributes:
        n_cases: estimated number of units, at least 1.
        accuracy, low, high: estimate and 95 % interval (sampling and noise).
        precision, recall, f1: per class.
        confusion: the noised matrix, rounded, no cell below zero; rows are true classes.
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


def cohort_from(noised: NDArray[np.float64], *, noise: float) -> Cohort:
    """Figures from a noised confusion matrix [C, C]; `noise` is its cells' standard deviation."""
    accuracy = noised_accuracy(noised, noise=noise)
    classes = [class_figures(noised, index, noise=noise) for index in range(len(noised))]
    precision, recall, f1 = zip(*classes, strict=True)
    return Cohort(
        n_cases=max(1, round(float(noised.sum()))),
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        precision=tuple(estimate.value for estimate in precision),
        recall=tuple(estimate.value for estimate in recall),
        f1=tuple(estimate.value for estimate in f1),
        confusion=tuple(tuple(max(0, round(cell)) for cell in row) for row in noised.tolist()),
    )
