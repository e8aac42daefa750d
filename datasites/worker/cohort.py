"""A hospital's test results as figures that a report may state: from noised counts only.

The noised confusion matrix is half of one Gaussian release (`privacy.release.evaluation`); what is
derived from it costs nothing more (post-processing). The same figures, with the same intervals, are
what the researcher derives from the released counts: both ask `models.metrics.noised`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import ClassScores, Estimate, class_figures, noised_accuracy


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


def class_scores(
    confusion: NDArray[np.float64], *, noise: float, areas: Sequence[Estimate] = ()
) -> tuple[ClassScores, ...]:
    """The scores of each class for a report, with their intervals.

    A class whose (noised) count rounds to nothing has no recall, no F-score and no area; one that
    was never called has no precision. They are None, and a report says "not defined".

    Args:
        confusion: [C, C], exact or noised, rows are true classes.
        noise: standard deviation of its cells.
        areas: each class's area under the ROC curve; empty where there is none.
    """
    found = []
    for index in range(len(confusion)):
        cases = max(0, round(float(confusion[index].sum())))
        known: dict[str, Estimate] = {}
        figures = dict(
            zip(
                ("precision", "recall", "f1"),
                class_figures(confusion, index, noise=noise),
                strict=True,
            )
        )
        if float(confusion[:, index].sum()) > 0.0:
            known["precision"] = figures["precision"]
        if cases:
            known |= {"recall": figures["recall"], "f1": figures["f1"]}
            known |= {"auc": areas[index]} if areas else {}
        found.append(
            ClassScores(
                precision=_value(known, "precision"),
                recall=_value(known, "recall"),
                f1=_value(known, "f1"),
                auc=_value(known, "auc"),
                cases=cases,
                intervals={name: (each.low, each.high) for name, each in known.items()},
            )
        )
    return tuple(found)


def _value(known: dict[str, Estimate], name: str) -> float | None:
    return known[name].value if name in known else None
