"""Figures of a report from a noised confusion matrix.

Proven: every figure stays in its range however the noise falls; without noise the figures are the
exact ones; they are the ones that the researcher derives from the same counts.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datasites.worker.cohort import cohort_from
from models import noised_evaluation


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


def test_a_report_states_what_the_researcher_derives():
    rng = np.random.default_rng(3)
    matrix = rng.normal(20, 10, (3, 3))
    cohort = cohort_from(matrix, noise=4.0)
    seen = noised_evaluation(
        matrix, np.ones((3, 2, 4)), classes="abc", confusion_noise=4.0, histogram_noise=1.0
    )
    assert (cohort.accuracy, cohort.low, cohort.high) == (
        seen.accuracy.value, seen.accuracy.low, seen.accuracy.high
    )  # fmt: skip
    assert cohort.recall == tuple(score.recall.value for score in seen.per_class)
    assert cohort.f1 == tuple(score.f1.value for score in seen.per_class)


def test_noise_widens_the_interval():
    matrix = np.array([[40.0, 10.0], [5.0, 45.0]])
    exact, noised = cohort_from(matrix, noise=0.0), cohort_from(matrix, noise=5.0)
    assert noised.high - noised.low > exact.high - exact.low


def test_nothing_left_of_the_counts_is_no_certainty():
    cohort = cohort_from(np.full((2, 2), -3.0), noise=10.0)
    assert cohort.accuracy == 0
    assert cohort.f1 == (0.0, 0.0)
    assert cohort.high == 1.0
