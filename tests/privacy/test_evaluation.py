"""One Gaussian release over confusion matrix and score histograms.

Proven: adding or removing one unit moves the scaled concatenation by at most sqrt(2), whatever the
units, and that bound is reached; the noise has the standard deviation that is stated; the event is
one Gaussian; what comes out is unbiased.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import epsilon, gaussian
from privacy.errors import EventError, SettingsError
from privacy.mechanism.noise import UnsafeNoNoise, UnsafeSeededNoise
from privacy.release.evaluation import (
    EVALUATION_SENSITIVITY,
    TestCounts,
    cell_noise,
    counted,
    evaluation_event,
    released,
)

CLASSES, BINS = 3, 5
_ROWS = st.lists(
    st.tuples(
        st.integers(0, CLASSES - 1),
        st.integers(0, 4),
        st.tuples(*[st.floats(0, 1, allow_nan=False)] * CLASSES),
    ),
    min_size=1,
    max_size=15,
)


def _columns(rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([row[2] for row in rows], float).reshape(-1, CLASSES),
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
    )


def _counts(rows) -> TestCounts:
    return counted(*_columns(rows), bins=BINS)


def _released(rows, noise=None, *, noise_multiplier: float = 2.0) -> TestCounts:
    source = noise or UnsafeNoNoise()
    return released(*_columns(rows), bins=BINS, noise_multiplier=noise_multiplier, noise=source)


def _scaled(counts: TestCounts) -> np.ndarray:
    return np.concatenate(
        [counts.confusion.ravel(), counts.histograms.ravel() / math.sqrt(CLASSES)]
    )


@given(_ROWS)
def test_one_unit_moves_the_concatenation_by_at_most_the_sensitivity(rows):
    whole = _scaled(_counts(rows))
    for unit in {row[1] for row in rows}:
        without = _scaled(_counts([row for row in rows if row[1] != unit]))
        assert np.linalg.norm(whole - without) <= EVALUATION_SENSITIVITY + 1e-9


@given(_ROWS)
def test_every_unit_weighs_one(rows):
    counts, units = _counts(rows), len({row[1] for row in rows})
    assert counts.confusion.sum() == pytest.approx(units)
    assert counts.histograms.sum(axis=(1, 2)) == pytest.approx(np.full(CLASSES, units))
    assert counts.histograms[:, 1].sum(axis=1) == pytest.approx(counts.confusion.sum(axis=1))


def test_one_image_reaches_the_bound():
    one = _counts([(0, 0, (0.9, 0.1, 0.0))])
    assert np.linalg.norm(_scaled(one)) == pytest.approx(EVALUATION_SENSITIVITY)


@given(_ROWS)
def test_without_noise_it_is_what_was_counted(rows):
    found, exact = _released(rows), _counts(rows)
    assert _scaled(found) == pytest.approx(_scaled(exact), abs=1e-4)


def test_more_units_than_are_held_at_once_are_all_counted():
    rows = [(index % 3, index, (0.2, 0.7, 0.1)) for index in range(1300)]
    assert _scaled(_released(rows)) == pytest.approx(_scaled(_counts(rows)), abs=0.01)


@pytest.mark.parametrize("rows", [[], [(0, 0, (0.9, 0.1, 0.0))]])
def test_every_cell_lies_on_the_grid_whether_empty_or_not(rows):
    """As doubles, an empty cell had finer bits than one that holds 1, and told its absence."""
    found = _scaled(_released(rows, UnsafeSeededNoise(3)))
    steps = found / (2.0 * EVALUATION_SENSITIVITY / 2**24) - 0.5
    assert np.abs(steps - np.rint(steps)).max() < 1e-6


def test_the_noise_is_the_stated_one_and_unbiased():
    noise = UnsafeSeededNoise(1)
    exact = _counts([(0, 0, (0.9, 0.1, 0.0))])
    draws = [_released([(0, 0, (0.9, 0.1, 0.0))], noise) for _ in range(4000)]
    matrix, histogram = cell_noise(2.0, classes=CLASSES)
    assert matrix == pytest.approx(2 * EVALUATION_SENSITIVITY)
    for name, noise in (("confusion", matrix), ("histograms", histogram)):
        off = np.stack([getattr(draw, name) - getattr(exact, name) for draw in draws])
        assert off.std() == pytest.approx(noise, rel=0.02)
        assert abs(off.mean()) < 4 * noise / math.sqrt(off.size)


def test_it_is_one_gaussian_event():
    assert evaluation_event(noise_multiplier=2.5) == gaussian(noise_multiplier=2.5)
    assert epsilon(evaluation_event(noise_multiplier=2.5), delta=1e-5) < 2.0
    with pytest.raises(EventError):
        _released([(0, 0, (1, 0, 0))], noise_multiplier=0.0)


def test_no_case_is_counted_too():
    empty = counted(np.zeros((0, CLASSES)), np.zeros(0, np.int64), np.zeros(0, np.int64), bins=BINS)
    assert empty.confusion.sum() == 0
    assert empty.histograms.shape == (CLASSES, 2, BINS)


@pytest.mark.parametrize(
    ("scores", "labels", "units"),
    [
        ([[0.5, 0.5]], [0, 1], [0]),
        ([[0.5, 0.5]], [0], [0, 1]),
        ([[0.5, 1.5]], [0], [0]),
        ([[0.5, 0.5]], [2], [0]),
    ],
)
def test_what_cannot_be_counted_is_refused(scores, labels, units):
    with pytest.raises(SettingsError):
        counted(np.array(scores), np.array(labels), np.array(units), bins=4)
    with pytest.raises(SettingsError, match="2 bins"):
        counted(np.array([[0.5, 0.5]]), np.array([0]), np.array([0]), bins=1)


@pytest.mark.parametrize("odd", [math.nan, -0.1, 1.5])
def test_an_image_that_cannot_be_counted_is_left_out_of_a_release_alone(odd):
    """A release fails for nobody: what one image shows must not end it."""
    rows = [(0, 0, (0.9, 0.1, 0.0)), (1, 1, (0.2, 0.8, 0.0)), (2, 2, (0.1, 0.1, 0.8))]
    scores, labels, units = _columns(rows)
    how = {"bins": BINS, "noise_multiplier": 2.0, "noise": UnsafeNoNoise()}
    expected = released(scores[:2], labels[:2], units[:2], **how)
    broken = scores.copy()
    broken[2, 1] = odd
    for found in (
        released(broken, labels, units, **how),
        released(scores, np.array([0, 1, CLASSES]), units, **how),
        released(scores, np.array([0, 1, -1]), units, **how),
    ):
        assert np.array_equal(found.confusion, expected.confusion)
        assert np.array_equal(found.histograms, expected.histograms)
