from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    roc_auc_score,
)

from models.errors import MetricsError
from models.metrics.exact import Evaluation, evaluate

NAMES = ("a", "b", "c")


def _probabilities(n: int, seed: int) -> Any:
    return np.random.default_rng(seed).dirichlet([0.5, 0.5, 0.5], n)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 60), st.integers(0, 1000))
def test_the_figures_are_scikit_learns(n: int, seed: int) -> None:
    p = _probabilities(n, seed)
    y = np.concatenate([[0, 1, 2], np.random.default_rng(seed + 1).integers(0, 3, n - 3)])
    called = p.argmax(axis=1)
    e = evaluate(p, y, NAMES)
    assert e.n == n
    assert e.accuracy == pytest.approx(accuracy_score(y, called))
    assert e.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, called))
    assert e.macro_f1 == pytest.approx(f1_score(y, called, average="macro", zero_division=0))
    assert e.loss == pytest.approx(log_loss(y, p))
    assert e.confusion == tuple(map(tuple, confusion_matrix(y, called).tolist()))
    for k, score in enumerate(e.per_class):
        assert score.auc == pytest.approx(roc_auc_score(y == k, p[:, k]))
        assert score.support == (y == k).sum()
        assert score.recall * score.support == pytest.approx(e.confusion[k][k])
    for curve in e.roc:
        assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(curve.auc)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000), st.randoms())
def test_the_order_of_rows_does_not_matter_and_figures_stay_in_range(
    n: int, seed: int, random: Any
) -> None:
    p, y = _probabilities(n, seed), np.random.default_rng(seed + 1).integers(0, 3, n)
    order = list(range(n))
    random.shuffle(order)
    one, two = evaluate(p, y, NAMES), evaluate(p[order], y[order], NAMES)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss", "expected_calibration_error"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-12)
        assert getattr(one, name) >= 0
    assert one.accuracy <= 1
    assert one.expected_calibration_error <= 1


def test_a_perfect_and_certain_classifier() -> None:
    y = np.array([0, 1, 2, 2])
    e = evaluate(np.eye(3)[y], y, NAMES)
    assert (e.accuracy, e.balanced_accuracy, e.macro_f1) == (1, 1, 1)
    assert e.expected_calibration_error == pytest.approx(0)
    assert e.loss == pytest.approx(0, abs=1e-9)
    assert all(score.auc == 1 for score in e.per_class)


def test_calibration_error_by_hand() -> None:
    """Confidence 0.8 four times, right three times: a gap of 0.05."""
    p = np.array([[0.8, 0.2]] * 4)
    e = evaluate(p, np.array([0, 0, 0, 1]), ("a", "b"))
    assert e.expected_calibration_error == pytest.approx(0.05)
    assert e.loss == pytest.approx(-(3 * math.log(0.8) + math.log(0.2)) / 4)


def test_an_absent_class_has_no_curve_and_does_not_count_for_balanced_accuracy() -> None:
    p = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    e = evaluate(p, np.array([0, 1, 1]), NAMES)
    assert e.balanced_accuracy == pytest.approx((1 + 0.5) / 2)
    absent = e.per_class[2]
    assert (absent.support, absent.auc, absent.recall, absent.f1) == (0, None, 0, 0)
    assert [curve.name for curve in e.roc] == ["a", "b"]
    assert e.confusion[2] == (0, 0, 0)


def test_a_single_class_of_labels_has_no_curve_at_all() -> None:
    e = evaluate(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), ("a", "b"))
    assert e.roc == ()
    assert e.accuracy == 0.5


@given(st.integers(1, 40), st.integers(0, 1000))
def test_json_gives_the_evaluation_back(n: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, n)
    found = evaluate(_probabilities(n, seed), labels, NAMES)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "change", [{"n": "many"}, {"per_class": []}, {"per_class": {"a": 1}}, {"roc": None}]
)
def test_what_is_no_evaluation_is_refused(change: dict[str, Any]) -> None:
    document = evaluate(_probabilities(5, 0), np.array([0, 1, 2, 0, 1]), NAMES).to_json()
    for broken in (document | change, {}, []):
        with pytest.raises(MetricsError, match="no evaluation"):
            Evaluation.from_json(broken)  # type: ignore[arg-type]


def test_json_has_the_documented_keys_and_is_strict() -> None:
    p, y = _probabilities(9, 0), np.arange(9) % 2
    document = evaluate(p, y, NAMES).to_json()
    text = json.dumps(document, allow_nan=False)
    back = json.loads(text)
    assert {"accuracy", "balanced_accuracy", "macro_f1", "per_class", "n"} <= set(back)
    assert back["per_class"]["c"]["auc"] is None
    assert back["per_class"]["a"]["support"] == 5


@pytest.mark.parametrize(
    ("p", "y"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.array([[math.nan, 0.5, 0.5]]), np.array([0])),
        (np.array([[math.inf, 0.0, 0.0]]), np.array([0])),
        (np.array([[1.5, -0.5, 0.0]]), np.array([0])),
        (np.array([[0.3, 0.3, 0.3]]), np.array([0])),
        (np.array([[0.5, 0.5]]), np.array([0])),
        (np.array([[1.0, 0.0, 0.0]]), np.array([0, 1])),
        (np.array([[1.0, 0.0, 0.0]]), np.array([3])),
        (np.array([[1.0, 0.0, 0.0]]), np.array([-1])),
    ],
)
def test_what_cannot_be_scored_is_refused(p: Any, y: Any) -> None:
    with pytest.raises(MetricsError):
        evaluate(p, y, NAMES)
