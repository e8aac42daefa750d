"""What guesses about one unit prove: the bound holds for the best attack there is, and is useful.

Proven: an attacker on a Gaussian of known mu, with any threshold, is bounded above it no more often
than stated; one who is always right is bounded far above it; counts that cannot be are refused. The
rank test agrees with SciPy's, and equal times prove nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from privacy import Guessed, SettingsError, least_mu, rank_chance


def test_the_best_attack_on_a_gaussian_is_rarely_bounded_above_it():
    """Thresholds from rash to cautious: each is as telling as mu-GDP allows."""
    rng = np.random.default_rng(5)
    mu, tries, runs = 0.5, 200, 400
    for low, high in ((0.25, 0.25), (-1.0, 1.5), (-2.0, 2.5)):
        wrong = 0
        for _ in range(runs):
            absent, present = rng.normal(0, 1, tries), rng.normal(mu, 1, tries)
            found = least_mu(
                Guessed(
                    absent=tries,
                    present=tries,
                    absent_right=int((absent < low).sum()),
                    absent_wrong=int((absent > high).sum()),
                    present_right=int((present > high).sum()),
                    present_wrong=int((present < low).sum()),
                ),
                significance=0.05,
            )
            wrong += found > mu
        assert wrong <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)


def test_who_is_always_right_is_bounded_far_above():
    sure = Guessed(absent=25, present=25, absent_right=25, present_right=25)
    assert least_mu(sure, significance=2e-4) > 0.7
    assert (sure.tries, sure.right, sure.wrong) == (50, 50, 0)
    # One side alone is enough: 15 % of releases prove absence, and presence is never proved.
    half = Guessed(absent=1000, present=1000, absent_right=150, present_right=0)
    assert least_mu(half, significance=2e-4) > 1.0


@given(st.integers(1, 60), st.integers(1, 60))
def test_who_says_nothing_proves_nothing(absent, present):
    silent = Guessed(absent=absent, present=present, absent_right=0, present_right=0)
    assert least_mu(silent, significance=0.01) == 0.0


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match="no counts"):
        Guessed(absent=1, present=1, absent_right=2, present_right=0)
    with pytest.raises(SettingsError, match="no counts"):
        Guessed(absent=1, present=1, absent_right=-1, present_right=0)
    good = Guessed(absent=1, present=1, absent_right=1, present_right=1)
    with pytest.raises(SettingsError, match="significance"):
        least_mu(good, significance=0.0)


@given(
    st.lists(st.floats(0, 10, allow_nan=False), min_size=2, max_size=5, unique=True),
    st.lists(st.floats(11, 20, allow_nan=False), min_size=2, max_size=5, unique=True),
)
def test_the_rank_test_is_scipys(low, high):
    mixed = ([low[0], *high[1:]], [high[0], *low[1:]])
    for shorter, longer in ((low, high), mixed):
        theirs = mannwhitneyu(longer, shorter, alternative="greater", method="exact").pvalue
        assert rank_chance(shorter, longer) == pytest.approx(theirs)


def test_equal_times_prove_nothing():
    assert rank_chance([3.0] * 8, [3.0] * 8) == 1.0
    assert rank_chance([], [1.0]) == 1.0
    assert rank_chance([1.0, 1.0], [1.0, 2.0]) == pytest.approx(0.5)
