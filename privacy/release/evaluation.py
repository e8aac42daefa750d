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
moves by at most sqrt(1 + 1) = sqrt(2). Each unit's vector goes on a grid, the integers are added
and noised (`privacy.mechanism.grid`); the whole is one Gaussian event of noise multiplier z.
Scaling back is post-processing.

Hence the noise of a matrix cell is z sqrt(2), of a histogram cell z sqrt(2 C). Nothing is clamped
here: what comes out is unbiased, and figures with their intervals are derived from it
(`models.metrics.noised`) at no further cost. A unit's vector depends on its own scores only, so a
score must not depend on who shares a batch (`models.images.alone` scores one image at a
time), and it is defined for every unit: an image whose scores or label cannot be counted is left
out, alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from dp_accounting.dp_event import DpEvent
from numpy.typing import NDArray

from privacy.accounting import gaussian
from privacy.errors import SettingsError
from privacy.mechanism import Grid, Noise

EVALUATION_SENSITIVITY = math.sqrt(2.0)
"""Joint L2 sensitivity of `counted`, see the module's docstring."""

_UNITS_AT_ONCE = 256


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
    """Count test results, a unit weighing 1. Private: not to leave; `released` is what may.

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
    if not _usable(scores, labels, units, bins).all():
        raise SettingsError(
            f"scores must be probabilities in [0, 1], and labels lie in [0, {scores.shape[1]}); "
            "check the class list"
        )
    rows = _Rows(scores, labels, units, bins)
    return rows.shaped(sum((part.sum(axis=0) for part in rows.parts()), np.zeros(rows.width)))


def released(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    *,
    bins: int,
    noise_multiplier: float,
    noise: Noise,
) -> TestCounts:
    """Test results with noise on every cell; may leave at the cost of `evaluation_event`.

    Args:
        scores: as for `counted`.
        labels: as there.
        units: as there.
        bins: as there.
        noise_multiplier: z, noise over the joint sensitivity; its range is `Grid`'s.
        noise: from `privacy.os_noise`, never from a plan.

    Returns:
        Unbiased counts; cells may be negative. No case gives noise around zero. Images with a score
        or a label out of range are not counted.

    Raises:
        EventError: the noise multiplier is not finite and > 0.
        SettingsError: it is out of range, or shapes differ.
    """
    evaluation_event(noise_multiplier=noise_multiplier)
    grid = Grid(noise_multiplier=noise_multiplier, sensitivity=EVALUATION_SENSITIVITY)
    usable = _usable(scores, labels, units, bins)
    rows = _Rows(scores[usable], labels[usable], units[usable], bins)
    total = sum((grid.total(part) for part in rows.parts()), np.zeros(rows.width, np.int64))
    return rows.shaped(grid.release(total, noise))


class _Rows:
    """What each unit adds: a row of matrix cells and scaled histogram cells."""

    def __init__(
        self,
        scores: NDArray[np.float64],
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        bins: int,
    ) -> None:
        n, classes = scores.shape
        self._classes, self._bins = classes, bins
        self._labels, self._guesses = labels, scores.argmax(axis=1) if n else labels
        self._steps = np.minimum((scores * bins).astype(int), bins - 1)
        _, self._member, images = np.unique(units, return_inverse=True, return_counts=True)
        self._weights = 1.0 / images[self._member] if n else np.zeros(0)
        self._n_units = len(images)

    @property
    def width(self) -> int:
        """Cells of the matrix and of all histograms."""
        return self._classes**2 + 2 * self._classes * self._bins

    def parts(self) -> Iterator[NDArray[np.float64]]:
        """The rows of some units at a time, float64 [n, width]."""
        for start in range(0, self._n_units, _UNITS_AT_ONCE):
            chosen = np.flatnonzero(self._member // _UNITS_AT_ONCE == start // _UNITS_AT_ONCE)
            yield self._part(chosen, start)

    def shaped(self, cells: NDArray[np.float64]) -> TestCounts:
        """Sums over units as matrix and histograms, unscaled."""
        matrix, histograms = np.split(cells, [self._classes**2])
        return TestCounts(
            matrix.reshape(self._classes, self._classes),
            histograms.reshape(self._classes, 2, self._bins) * math.sqrt(self._classes),
        )

    def _part(self, images: NDArray[np.int64], first_unit: int) -> NDArray[np.float64]:
        unit, weight = self._member[images] - first_unit, self._weights[images]
        labels = self._labels[images]
        count = min(_UNITS_AT_ONCE, self._n_units - first_unit)
        matrix = np.zeros((count, self._classes, self._classes))
        np.add.at(matrix, (unit, labels, self._guesses[images]), weight)
        histograms = np.zeros((count, self._classes, 2, self._bins))
        for c in range(self._classes):
            own = (labels == c).astype(int)
            np.add.at(histograms[:, c], (unit, own, self._steps[images, c]), weight)
        scaled = histograms / math.sqrt(self._classes)
        return np.concatenate([matrix.reshape(count, -1), scaled.reshape(count, -1)], axis=1)


def _usable(
    scores: NDArray[np.float64], labels: NDArray[np.int64], units: NDArray[np.int64], bins: int
) -> NDArray[np.bool_]:
    """Which images can be counted, [N]; NaN lies in no range."""
    n, classes = scores.shape
    if labels.shape != (n,) or units.shape != (n,) or bins < 2:
        raise SettingsError(
            f"one label and one unit a row of scores and at least 2 bins; got {scores.shape}, "
            f"{labels.shape}, {units.shape}, {bins}"
        )
    inside = ((scores >= 0) & (scores <= 1)).all(axis=1)
    return np.asarray(inside & (labels >= 0) & (labels < classes))


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
