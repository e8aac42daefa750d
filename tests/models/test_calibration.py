"""Calibrated confidence: the share that counts give, none where they do not carry one."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics.calibration import WIDEST, calibrated_from

BINS = 20


def histogram(temperature: float, *, cases: int = 300_000, seed: int = 1) -> np.ndarray:
    """Scores [2, B] for a class, of a classifier that is `temperature` times too confident."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, cases)
    own = rng.random(cases) < 1 / (1 + np.exp(-logits))
    scores = 1 / (1 + np.exp(-logits * temperature))
    edges = np.linspace(0, 1, BINS + 1)
    return np.stack([np.histogram(scores[own == k], edges)[0] for k in (False, True)]).astype(float)


@pytest.mark.parametrize("score", [0.525, 0.725, 0.875])
def test_an_overconfident_score_is_held_against_counts(score: float) -> None:
    found = calibrated_from(histogram(3.0), score, noise=1.0)
    assert found is not None
    truth = 1 / (1 + np.exp(-np.log(score / (1 - score)) / 3.0))
    assert found.share == pytest.approx(truth, abs=0.04)
    # The last step holds scores up to 1: its share is theirs, and far below them.
    last = calibrated_from(histogram(3.0), 0.999, noise=1.0)
    assert last is not None
    assert last.high < 0.9
    assert found.basis == "noised counts of this hospital"


def test_a_calibrated_classifier_keeps_its_scores() -> None:
    for score in np.arange(0.525, 1.0, 0.1):
        found = calibrated_from(histogram(1.0), float(score), noise=0.0)
        assert found is not None
        assert found.share == pytest.approx(score, abs=0.05)


def test_the_ends_of_the_range_have_a_step() -> None:
    counts = histogram(1.0)
    assert calibrated_from(counts, 1.0, noise=0.0) == calibrated_from(counts, 0.99, noise=0.0)
    assert calibrated_from(counts, 0.0, noise=0.0) == calibrated_from(counts, 0.01, noise=0.0)


def test_counts_that_cannot_carry_it_leave_the_probability_uncalibrated() -> None:
    assert calibrated_from(np.zeros((2, BINS)), 0.9, noise=0.0) is None
    assert calibrated_from(histogram(1.0), 0.9, noise=5000.0) is None
    assert calibrated_from(histogram(1.0, cases=60), 0.55, noise=1.0) is None
    assert calibrated_from(np.full((2, BINS), -3.0), 0.9, noise=1.0) is None


def test_the_interval_covers_the_truth_under_noise() -> None:
    exact = histogram(2.0)
    truth = exact[1, 15] / exact[:, 15].sum()
    inside = 0
    for seed in range(60):
        noised = exact + np.random.default_rng(seed).normal(0, 30.0, exact.shape)
        found = calibrated_from(noised, 0.76, noise=30.0)
        assert found is not None
        assert found.high - found.low <= WIDEST
        inside += found.low <= truth <= found.high
    assert inside >= 54
