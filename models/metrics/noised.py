"""Figures from noised counts, each with an interval that includes sampling and noise. Pure.

Inputs are unbiased counts with known Gaussian noise on every cell (`privacy.release.evaluation`);
what is derived from them costs no privacy. An interval holds with 95 % confidence over both what a
hospital's cases could have been and the noise that was added.

A share a / b of noised counts has a noised denominator, so "estimate plus or minus" fails where
counts are small. Intervals are Fieller's (1954) instead: all values r for which a - r b is no
further from 0 than chance allows,

    (a - r b)^2 <= q^2 Var(a - r b),  Var = sampling(r) + noise(r),

searched over a grid of [0, 1]. Where the noise drowns the counts, the interval is [0, 1]: nothing
is known, and the figure says so. The same is done for the area under a ROC curve, with the larger
of the variances of DeLong et al. (1988), over histogram steps, and of Hanley and McNeil (1982),
plus that of the noise, product terms included.

AUC and ROC are those of the scores rounded to B equal steps; cases within a step count as ties.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricsError

QUANTILE = 1.959963984540054
"""Of the normal distribution, for 95 %."""
_GRID = np.linspace(0.0, 1.0, 2001)


@dataclass(frozen=True)
class Estimate:
    """A share in [0, 1] with its 95 % interval, low <= value <= high."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RocPoint:
    """One threshold: false positive rate, and true positive rate with its interval."""

    fpr: float
    tpr: Estimate


@dataclass(frozen=True)
class NoisedClass:
    """One class against the others.

    Attributes:
        name: the class. support: its units, noised, >= 0.
        precision, recall, f1, auc: with intervals.
        roc: from (0, 0) to (1, 1), rates ascending.
    """

    name: str
    support: float
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auc: Estimate
    roc: tuple[RocPoint, ...]


@dataclass(frozen=True)
class NoisedEvaluation:
    """All figures of one hospital's evaluation.

    Attributes:
        n: units scored, noised, with its 95 % interval.
        accuracy: with its interval. macro_f1: mean of the classes' F1.
        per_class: one entry a class.
    """

    n: float
    n_low: float
    n_high: float
    accuracy: Estimate
    macro_f1: float
    per_class: tuple[NoisedClass, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values; `per_class` is keyed by class name."""
        document = asdict(self)
        document["per_class"] = {score.name: asdict(score) for score in self.per_class}
        return document


def noised_evaluation(
    confusion: NDArray[np.float64],
    histograms: NDArray[np.float64],
    *,
    classes: Sequence[str],
    confusion_noise: float,
    histogram_noise: float,
) -> NoisedEvaluation:
    """Every figure that the noised counts give.

    Args:
        confusion: [C, C], rows are true classes.
        histograms: [C, 2, B]: score histograms of the others (0) and of the class's own (1).
        classes: names, in label order.
        confusion_noise: standard deviation of a matrix cell.
        histogram_noise: standard deviation of a histogram cell.

    Raises:
        MetricsError: shapes do not fit, or a value is not finite.
    """
    count = len(classes)
    if confusion.shape != (count, count) or histograms.shape[:2] != (count, 2):
        raise MetricsError(
            f"counts {confusion.shape} and {histograms.shape} do not fit {count} classes"
        )
    if not (np.isfinite(confusion).all() and np.isfinite(histograms).all()):
        raise MetricsError("counts hold NaN or infinity")
    total = float(confusion.sum())
    spread = QUANTILE * count * confusion_noise
    per_class = tuple(
        _class(name, index, confusion, histograms[index], (confusion_noise, histogram_noise))
        for index, name in enumerate(classes)
    )
    return NoisedEvaluation(
        n=max(0.0, total),
        n_low=max(0.0, total - spread),
        n_high=max(0.0, total + spread),
        accuracy=noised_accuracy(confusion, noise=confusion_noise),
        macro_f1=sum(score.f1.value for score in per_class) / count,
        per_class=per_class,
    )


def noised_accuracy(confusion: NDArray[np.float64], *, noise: float) -> Estimate:
    """Share of right predictions from a noised matrix [C, C] with this noise in each cell."""
    classes = len(confusion)
    return _share(
        float(np.trace(confusion)),
        float(confusion.sum()),
        cells=(classes, classes * classes),
        noise=noise,
    )


def class_figures(
    confusion: NDArray[np.float64], index: int, *, noise: float
) -> tuple[Estimate, Estimate, Estimate]:
    """Precision, recall and F1 of one class from a noised matrix [C, C]."""
    hits = float(confusion[index, index])
    row, column = float(confusion[index].sum()), float(confusion[:, index].sum())
    cells = (1, len(confusion))
    return (
        _share(hits, column, cells=cells, noise=noise),
        _share(hits, row, cells=cells, noise=noise),
        _f_score(hits, row + column, classes=len(confusion), noise=noise),
    )


def _class(
    name: str,
    index: int,
    confusion: NDArray[np.float64],
    histogram: NDArray[np.float64],
    noise: tuple[float, float],
) -> NoisedClass:
    precision, recall, f1 = class_figures(confusion, index, noise=noise[0])
    return NoisedClass(
        name=name,
        support=max(0.0, float(confusion[index].sum())),
        precision=precision,
        recall=recall,
        f1=f1,
        auc=_auc(histogram, noise=noise[1]),
        roc=_roc(histogram, noise=noise[1]),
    )


def _share(part: float, whole: float, *, cells: tuple[int, int], noise: float) -> Estimate:
    """Part / whole, where part is a sum of cells[0] cells and whole of cells[1], part included."""
    inside, outside = cells[0], cells[1] - cells[0]

    def variance(r: NDArray[np.float64]) -> NDArray[np.float64]:
        sampling = max(whole, 0.0) * r * (1 - r)
        return sampling + noise**2 * (inside * (1 - r) ** 2 + outside * r**2)

    return _fieller(part, whole, variance)


def _f_score(hits: float, both: float, *, classes: int, noise: float) -> Estimate:
    """F1 = 2 hits / (row + column); hits stand twice in the denominator."""

    def variance(f: NDArray[np.float64]) -> NDArray[np.float64]:
        sampling = max(both, 0.0) * f * (1 - f) * (2 - f)
        return sampling + noise**2 * (4 * (1 - f) ** 2 + 2 * (classes - 1) * f**2)

    return _fieller(2 * hits, both, variance)


def _fieller(
    part: float, whole: float, variance: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Estimate:
    likely = _GRID[(part - _GRID * whole) ** 2 <= QUANTILE**2 * variance(_GRID)]
    value = min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
    return _estimate(value, likely)


def _estimate(value: float, likely: NDArray[np.float64]) -> Estimate:
    """The interval that holds every likely value and the estimate; a grid step of slack."""
    step = float(_GRID[1])
    low = min(value, float(likely.min()) - step if len(likely) else value)
    high = max(value, float(likely.max()) + step if len(likely) else value)
    return Estimate(value, max(0.0, low), min(1.0, high))


def _auc(histogram: NDArray[np.float64], *, noise: float) -> Estimate:
    others, own = histogram
    positives, negatives = float(own.sum()), float(others.sum())
    kernel = np.tri(len(own), k=-1) + 0.5 * np.eye(len(own))  # [own step, other step]
    wins, pairs = float(own @ kernel @ others), positives * negatives
    below, above = kernel @ others, own @ kernel  # what one own, one other case adds to wins
    value = wins / pairs if min(positives, negatives, pairs) > 0 else 0.5
    area = _GRID[:, None]
    own_pull = (below - area * negatives) ** 2
    other_pull = (above - area * positives) ** 2
    delong = own_pull @ np.clip(own, 0, None) + other_pull @ np.clip(others, 0, None)
    sampling = np.maximum(delong, _hanley_mcneil(max(positives, 0.0), max(negatives, 0.0)))
    added = noise**2 * (own_pull.sum(axis=1) + other_pull.sum(axis=1))
    # The sum over all pairs of steps of (kernel - area)^2, without spelling the pairs out.
    squares = (kernel**2).sum() - 2 * _GRID * kernel.sum() + _GRID**2 * kernel.size
    product = noise**4 * squares
    distance = (wins - _GRID * pairs) ** 2
    likely = _GRID[distance <= QUANTILE**2 * (sampling + added + product)]
    return _estimate(min(1.0, max(0.0, value)), likely)


def _hanley_mcneil(positives: float, negatives: float) -> NDArray[np.float64]:
    """Variance of the number of wins if the area were each value of the grid (1982, table 2).

    Near an area of 1 the observed spread is too small to be believed; this one is not.
    """
    a = _GRID
    lucky, hard = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2
    each = a * (1 - a) + max(positives - 1, 0.0) * lucky + max(negatives - 1, 0.0) * hard
    return positives * negatives * each


def _roc(histogram: NDArray[np.float64], *, noise: float) -> tuple[RocPoint, ...]:
    """Rates at every threshold between steps, from the highest down, made ascending."""
    others, own = histogram[:, ::-1]
    bins = len(own)
    points, before = [], (0.0, 0.0)
    for k in range(bins + 1):
        ends = k in (0, bins)
        rate = _share(float(own[:k].sum()), float(own.sum()), cells=(k, bins), noise=noise)
        fall = _share(float(others[:k].sum()), float(others.sum()), cells=(k, bins), noise=noise)
        fpr = max(before[0], fall.value) if not ends else k / bins
        tpr = max(before[1], rate.value) if not ends else k / bins
        estimate = rate if not ends else Estimate(tpr, tpr, tpr)
        points.append(RocPoint(fpr, Estimate(tpr, min(estimate.low, tpr), max(estimate.high, tpr))))
        before = (fpr, tpr)
    return tuple(points)


def is_informative(estimate: Estimate) -> bool:
    """Whether the interval excludes anything: where noise drowns counts it is all of [0, 1]."""
    return not (estimate.low <= 0.0 and math.isclose(estimate.high, 1.0))
