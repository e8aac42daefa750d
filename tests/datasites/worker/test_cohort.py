"""Figures from a noised confusion matrix.

Proven for any units and any noise: one unit moves the matrix by at most 1 in L2 norm; every figure
stays in its range however the noise falls; without noise the figures are the exact ones.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datasites.worker.cohort import cohort_from, unit_confusion

_ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=20
)


def _matrix(rows: list[tuple[int, int, int]]) -> np.ndarray:
    labels, predicted, units = (
        np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)
    )
    return unit_confusion(labels=labels, predicted=predicted, units=units, classes=3)


@given(_ROWS)
def test_one_unit_moves_the_matrix_by_at_most_one(rows):
    whole = _matrix(rows)
    units = {unit for _, _, unit in rows}
    assert whole.sum() == pytest.approx(len(units))
    for unit in units:
        rest = [row for row in rows if row[2] != unit]
        without = _matrix(rest) if rest else np.zeros((3, 3))
        assert np.linalg.norm(whole - without) <= 1 + 1e-9


@given(arrays(float, (3, 3), elements=st.floats(-1e4, 1e4)), st.floats(0, 100))
def test_every_figure_stays_in_its_range(noised, noise):
    cohort = cohort_from(noised, noise=noise)
    assert 0 <= cohort.low <= cohort.accuracy <= cohort.high <= 1
    assert cohort.n_cases >= 1
    for figure in (*cohort.precision, *cohort.recall, *cohort.f1, cohort.macro_f1):
        assert 0 <= figure <= 1
    assert all(cell >= 0 for row in cohort.confusion for cell in row)


def test_without_noise_the_figures_are_exact():
    cohort = cohort_from(np.array([[8.0, 2.0], [1.0, 9.0]]), noise=0.0)
    assert cohort.n_cases == 20
    assert cohort.accuracy == pytest.approx(17 / 20)
    assert cohort.precision == pytest.approx((8 / 9, 9 / 11))
    assert cohort.recall == pytest.approx((0.8, 0.9))
    assert cohort.f1 == pytest.approx((16 / 19, 18 / 21))
    assert cohort.macro_f1 == pytest.approx((16 / 19 + 18 / 21) / 2)
    assert cohort.confusion == ((8, 2), (1, 9))


def test_noise_widens_the_interval():
    matrix = np.array([[40.0, 10.0], [5.0, 45.0]])
    exact, noised = cohort_from(matrix, noise=0.0), cohort_from(matrix, noise=5.0)
    assert noised.high - noised.low > exact.high - exact.low


def test_nothing_left_of_the_counts_is_no_certainty():
    cohort = cohort_from(np.full((2, 2), -3.0), noise=10.0)
    assert cohort.accuracy == 0
    assert cohort.f1 == (0.0, 0.0)
    assert cohort.high == 1.0
