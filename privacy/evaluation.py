"""A hospital's test results in one Gaussian release: confusion matrix and score histograms.

What is counted, each unit of privacy weighing 1 in all, spread evenly over its images:

- the confusion matrix, C x C, true class by predicted class;
- for each class c two histograms over B equal steps of the score of c: of the images that truly
  are of class c, and of all others; 2 x C x B cells.

**Joint L2 sensitivity.** Add or remove one unit with k images, each of weight 1/k. Its part of the
matrix is a vector of non-negative entries that add up to 1, so its L2 norm is at most its L1 norm,
1. Of each class's two histograms it adds, by the same argument, a vector of L2 norm at most 1; the
C classes lie in different cells, so together at most sqrt(C), and at most 1 after scaling the
histograms by 1/sqrt(C). Matrix and scaled histograms lie in different cells, so the concatenation
moves by at most sqrt(1 + 1) = sqrt(2). Every cell gets Gaussian noise of standard deviation
z sqrt(2); the whole is one Gaussian event of noise multiplier z. Scaling back is post-processing.

Hence the noise of a matrix cell is z sqrt(2), of a histogram cell z sqrt(2 C). Nothing is clamped
or rounded here: what comes out is unbiased, and figures with their intervals are derived from it
(`models.noised_metrics`) at no further cost.
"""

import math
from dataclasses import dataclass

import numpy as np
from dp_accounting.dp_event import DpEvent
from numpy.typing import NDArray

from privacy.errors import SettingsError
from privacy.events import gaussian

EVALUATION_SENSITIVITY = math.sqrt(2.0)
"""Joint L2 sensitivity of `counted`, see the module's docstring."""


@dataclass(frozen=True)
class TestCounts:
    """Counts of one evaluation, exact (private) or noised.

    Attributes:
        confusion: float64 [C, C], rows are true classes.
        histograms: float64 [C, 2, B]: per class, of its own cases (index 1) and the others (0).
    """

    __test__ = False  # not a test case, whatever its name says to pytest

    confusion: NDArray[np.float64]
    histograms: NDArray[np.float64]


def counted(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    *,
    bins: int,
) -> TestCounts:
    """Count test results, a unit weighing 1. Private: not to leave without noise.

    Args:
        scores: probability of each class, [N, C], in [0, 1].
        labels: true class, [N].
        units: unit of privacy, [N].
        bins: B, equal steps of the scores.

    Returns:
        The counts.

    Raises:
        SettingsError: shapes differ, or a score or label is out of range.
    """
    n, classes = scores.shape
    if labels.shape != (n,) or units.shape != (n,) or bins < 2:
        raise SettingsError(
            f"one label and one unit a row of scores and at least 2 bins; got {scores.shape}, "
            f"{labels.shape}, {units.shape}, {bins}"
        )
    if n and not (scores.min() >= 0 and scores.max() <= 1):
        raise SettingsError("scores must lie in [0, 1]; give probabilities")
    if n and not (labels.min() >= 0 and labels.max() < classes):
        raise SettingsError(f"labels must lie in [0, {classes}); check the class list")
    _, member, images = np.unique(units, return_inverse=True, return_counts=True)
    weight = 1.0 / images[member] if n else np.zeros(0)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, scores.argmax(axis=1)) if n else (labels, labels), weight)
    step = np.minimum((scores * bins).astype(int), bins - 1)
    histograms = np.zeros((classes, 2, bins))
    for c in range(classes):
        np.add.at(histograms, (c, (labels == c).astype(int), step[:, c]), weight)
    return TestCounts(confusion, histograms)


def released(
    counts: TestCounts, *, noise_multiplier: float, rng: np.random.Generator
) -> TestCounts:
    """The counts with Gaussian noise on every cell; may leave at the cost of `evaluation_event`.

    Args:
        counts: from `counted`.
        noise_multiplier: z, noise over the joint sensitivity, > 0.
        rng: seeded by the operating system (`privacy.os_rng`), never by a plan.

    Returns:
        Unbiased counts; cells may be negative.

    Raises:
        EventError: the noise multiplier is not finite and > 0.
    """
    evaluation_event(noise_multiplier=noise_multiplier)
    matrix, histogram = cell_noise(noise_multiplier, classes=len(counts.confusion))
    return TestCounts(
        counts.confusion + rng.normal(0.0, matrix, counts.confusion.shape),
        counts.histograms + rng.normal(0.0, histogram, counts.histograms.shape),
    )


def cell_noise(noise_multiplier: float, *, classes: int) -> tuple[float, float]:
    """Standard deviation of the noise of a matrix cell and of a histogram cell."""
    matrix = noise_multiplier * EVALUATION_SENSITIVITY
    return matrix, matrix * math.sqrt(classes)


def evaluation_event(*, noise_multiplier: float) -> DpEvent:
    """The one event of a `released` evaluation.

    Raises:
        EventError: the noise multiplier is not finite and > 0.
    """
    return gaussian(noise_multiplier=noise_multiplier)
