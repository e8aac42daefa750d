"""How well a classifier does, from probabilities and true labels. Pure; the figures are sklearn's.

A class that no image has keeps its row: recall and F1 are 0, its ROC curve is absent and its AUC
None, so that nobody reads a perfect score where nothing was tested. NaN and an empty test set are
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sklearn.metrics import (
    auc,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_curve,
)

from models.errors import MetricsError

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class ClassScore:
    """One class against the others.

    Attributes:
        name: the class. precision, recall, f1: in [0, 1].
        support: images that truly have the class. auc: of its ROC curve, None without support.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    auc: float | None


@dataclass(frozen=True)
class RocCurve:
    """One class's ROC curve: false and true positive rates, ascending, and the area under it."""

    name: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    auc: float


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation.

    Attributes:
        n: images. classes: names in label order.
        accuracy, balanced_accuracy, macro_f1: in [0, 1].
        per_class: one entry a class. confusion: [C][C], rows are true classes.
        roc: one curve for each class that has images and is not alone.
        expected_calibration_error: over ten equal bins of confidence.
        loss: mean cross-entropy in nats.
    """

    n: int
    classes: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    roc: tuple[RocCurve, ...]
    expected_calibration_error: float
    loss: float

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values; `per_class` is keyed by class name."""
        document = asdict(self)
        document["per_class"] = {score.name: asdict(score) for score in self.per_class}
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Evaluation:
        """What `to_json` gave.

        Raises:
            MetricsError: it is something else.
        """
        try:
            scores = list(document["per_class"].values())
            return TypeAdapter(cls).validate_python(document | {"per_class": scores})
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise MetricsError(f"no evaluation: {error}") from error


def evaluate(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]
) -> Evaluation:
    """Score probabilities [N, C] against labels [N].

    Raises:
        MetricsError: nothing to score, shapes that do not fit, NaN, or labels out of range.
    """
    _check(probabilities, labels, len(classes))
    names = tuple(classes)
    indices = list(range(len(names)))
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=indices, zero_division=0.0
    )
    curves = {index: _roc(probabilities, labels, index, names[index]) for index in indices}
    present = np.unique(labels)
    return Evaluation(
        n=len(labels),
        classes=names,
        accuracy=float((predicted == labels).mean()),
        balanced_accuracy=float(recall[present].mean()),
        macro_f1=float(f1.mean()),
        per_class=tuple(
            ClassScore(
                name=names[index],
                precision=float(precision[index]),
                recall=float(recall[index]),
                f1=float(f1[index]),
                support=int(support[index]),
                auc=curve.auc if (curve := curves[index]) is not None else None,
            )
            for index in indices
        ),
        confusion=tuple(
            tuple(int(cell) for cell in row)
            for row in confusion_matrix(labels, predicted, labels=indices)
        ),
        roc=tuple(curve for curve in curves.values() if curve is not None),
        expected_calibration_error=_calibration_error(probabilities, labels),
        loss=float(log_loss(labels, probabilities, labels=indices)),
    )


def _check(probabilities: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> None:
    if len(labels) == 0:
        raise MetricsError("there is nothing to score: no image")
    if probabilities.shape != (len(labels), classes):
        raise MetricsError(
            f"probabilities are {probabilities.shape}; expected ({len(labels)}, {classes})"
        )
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise MetricsError("probabilities hold NaN, infinity or negative values")
    if not np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-4):
        raise MetricsError("probabilities of an image do not add up to 1")
    if labels.min() < 0 or labels.max() >= classes:
        raise MetricsError(f"labels run from {labels.min()} to {labels.max()}; classes: {classes}")


def _roc(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], index: int, name: str
) -> RocCurve | None:
    truth = labels == index
    if truth.all() or not truth.any():
        return None
    fpr, tpr, _ = roc_curve(truth, probabilities[:, index])
    return RocCurve(name, tuple(map(float, fpr)), tuple(map(float, tpr)), float(auc(fpr, tpr)))


def _calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        abs(correct[bins == index].mean() - confidence[bins == index].mean())
        * (bins == index).mean()
        for index in np.unique(bins)
    ]
    return float(sum(gaps))
