"""Lower bounds on epsilon from guesses about canaries.

Proven: the p-value is theorem 5.2 of arXiv 2305.08846, term by term in exact fractions; both bounds
agree with Google's jax-privacy 2.0.0 (`auditing.py`, values computed with it once); neither test
refutes a true claim more often than it says (exactly, over all outcomes); a bound never falls with
more correct guesses; choosing among guesses is paid for.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from privacy import epsilon, gaussian, poisson_gaussian
from privacy.empirical.one_run import (
    Guesses,
    _gaussian_bound,
    audit_scores,
    claimed_curve,
    epsilon_bound,
    gaussian_curve,
    gaussian_mu,
    p_value,
    rejects,
)
from privacy.errors import BudgetAmountError, SettingsError


def _exactly(m: int, r: int, v: int, accuracy: Fraction, delta: Fraction) -> Fraction:
    """Theorem 5.2 in fractions: P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i."""
    mass = [
        math.comb(r, k) * accuracy**k * (1 - accuracy) ** (r - k) if k >= 0 else Fraction(0)
        for k in range(r + 1)
    ]
    slope = max(
        (sum(mass[max(0, v - i) : v], Fraction(0)) / i for i in range(1, m + 1)),
        default=Fraction(0),
    )
    return min(Fraction(1), sum(mass[v:], Fraction(0)) + 2 * m * delta * slope)


@given(
    st.integers(1, 25).flatmap(
        lambda m: st.integers(0, m).flatmap(
            lambda r: st.tuples(st.just(m), st.just(r), st.integers(0, r))
        )
    ),
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    st.sampled_from([0, 1e-5, 0.01]),
)
def test_the_p_value_is_the_theorems(counts, value, delta):
    m, r, v = counts
    truth = _exactly(m, r, v, 1 / (1 + Fraction(math.exp(-value))), Fraction(delta))
    found = p_value(Guesses(canaries=m, made=r, correct=v), epsilon=value, delta=delta)
    assert found == pytest.approx(float(truth), rel=1e-9)


@pytest.mark.parametrize(
    ("counts", "plain", "fdp"),
    [
        ((1000, 1000, 600), 0.29722, 0.58354),
        ((1000, 100, 98), 2.71096, 4.22787),
        ((500, 500, 500), 5.10100, 11.14476),
        ((1000, 1000, 1000), 5.78228, 12.33457),
        ((100, 50, 45), 1.39279, 2.79302),
        ((1000, 200, 120), 0.15788, 0.21866),
    ],
)
def test_bounds_agree_with_another_implementation(counts, plain, fdp):
    made = Guesses(canaries=counts[0], made=counts[1], correct=counts[2])
    assert epsilon_bound(made, delta=1e-5, significance=0.05) == pytest.approx(plain, abs=2e-3)
    assert _gaussian_bound(made, delta=1e-5, significance=0.05) == pytest.approx(fdp, abs=2e-3)


@pytest.mark.parametrize("value", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("m", [20, 200])
def test_randomised_response_is_refuted_as_rarely_as_promised(value, m):
    accuracy = 1 / (1 + math.exp(-value))
    refuted = sum(
        binom.pmf(v, m, accuracy)
        for v in range(m + 1)
        if p_value(Guesses(canaries=m, made=m, correct=v), epsilon=value, delta=0.0) < 0.05
    )
    assert refuted <= 0.05
    assert m == 20 or refuted > 0.01


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("m", [20, 200])
def test_the_gaussian_mechanism_is_refuted_as_rarely_as_promised(mu, m):
    # The best guess of one coin is right with probability Phi(mu / 2).
    accuracy = norm.cdf(mu / 2)
    refuted = sum(
        binom.pmf(v, m, accuracy)
        for v in range(m + 1)
        if rejects(Guesses(canaries=m, made=m, correct=v), gaussian_curve(mu), significance=0.05)
    )
    assert refuted <= 0.05
    # And it can fail: with a quarter of the noise it is refuted.
    louder = round(m * norm.cdf(4 * mu / 2))
    if m == 200 and mu <= 1:
        made = Guesses(canaries=m, made=m, correct=louder)
        assert rejects(made, gaussian_curve(mu), significance=0.05)


@given(st.integers(10, 200), st.data())
def test_more_correct_guesses_never_prove_less(made, data):
    fewer = data.draw(st.integers(0, made - 1))
    low, high = (Guesses(canaries=200, made=made, correct=v) for v in (fewer, fewer + 1))
    for bound in (epsilon_bound, _gaussian_bound):
        assert bound(low, delta=1e-5, significance=0.05) <= bound(
            high, delta=1e-5, significance=0.05
        )


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 10), st.sampled_from([1e-8, 1e-5, 1e-2]))
def test_mu_and_epsilon_belong_together(value, delta):
    found = epsilon(gaussian(noise_multiplier=1 / gaussian_mu(value, delta=delta)), delta=delta)
    assert found == pytest.approx(value, rel=2e-3, abs=2e-3)


def test_the_claimed_curve_lies_below_the_true_one_and_close_to_it():
    claimed, true = claimed_curve(gaussian(noise_multiplier=1.0)), gaussian_curve(1.0)
    for x in np.linspace(0.01, 0.99, 50):
        assert claimed(x) <= true(x) + 1e-9
        assert claimed(x) >= true(x) - 0.03


def test_chance_proves_nothing_and_certainty_refutes():
    rng = np.random.default_rng(1)
    coins = rng.random(400) < 0.5
    event = poisson_gaussian(sampling_rate=0.5, noise_multiplier=3.7, steps=12)
    blind = audit_scores(rng.normal(size=400), coins, event=event, delta=1e-5)
    assert (blind.epsilon, blind.claim_rejected) == (0.0, False)
    seeing = audit_scores(coins.astype(float), coins, event=event, delta=1e-5)
    assert seeing.claim_rejected
    assert seeing.epsilon_fdp > seeing.epsilon > epsilon(event, delta=1e-5)
    assert seeing.confidence == 0.95


def test_choosing_among_guesses_is_paid_for():
    coins = np.arange(400) % 2 == 0
    free = epsilon_bound(
        Guesses(canaries=400, made=400, correct=400), delta=1e-5, significance=0.05
    )
    event = gaussian(noise_multiplier=1.0)
    assert audit_scores(coins.astype(float), coins, event=event, delta=1e-5).epsilon < free


@pytest.mark.parametrize("counts", [(0, 0, 0), (5, 6, 1), (5, 3, 4), (5, 3, -1)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(SettingsError, match="impossible"):
        Guesses(canaries=counts[0], made=counts[1], correct=counts[2])


def test_scores_that_cannot_be_judged_are_refused():
    event, coins = gaussian(noise_multiplier=1.0), np.ones(20, bool)
    for scores in (np.zeros(19), np.zeros((20, 1))):
        with pytest.raises(SettingsError, match="same"):
            audit_scores(scores, coins, event=event, delta=1e-5)
    with pytest.raises(SettingsError, match="NaN"):
        audit_scores(np.full(20, np.nan), coins, event=event, delta=1e-5)
    with pytest.raises(SettingsError, match="at least"):
        audit_scores(np.zeros(9), coins[:9], event=event, delta=1e-5)
    with pytest.raises(BudgetAmountError):
        audit_scores(np.zeros(20), coins, event=event, delta=0.0)
