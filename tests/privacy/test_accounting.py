import math
import time

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from privacy.accounting import accountant as accounting
from privacy.accounting.accountant import (
    agreed_opinions,
    coarse_epsilon,
    epsilon,
    evaluated_delta,
    interval_for,
    naive_sum,
    second_opinions,
)
from privacy.accounting.checks import SAMPLER_SHARE, paid_delta
from privacy.accounting.events import compose, gaussian, laplace, non_private, poisson_gaussian
from privacy.accounting.gdp import gaussian_epsilon
from privacy.errors import AccountantError, BudgetAmountError

DELTA = 1e-5


def sgd(*, q: float = 0.1, z: float = 1.0, steps: int = 60) -> dp_event.DpEvent:
    return poisson_gaussian(sampling_rate=q, noise_multiplier=z, steps=steps)


def analytic_gaussian(*, noise: float, delta: float) -> float:
    """Balle and Wang 2018 (arXiv 1805.06530), theorem 8: exact epsilon of one Gaussian."""

    def excess(eps: float) -> float:
        lost = norm.sf(eps * noise - 0.5 / noise)
        return float(lost - math.exp(eps + norm.logsf(eps * noise + 0.5 / noise)) - delta)

    return float(brentq(excess, 0.0, 1e4, xtol=1e-12))


@pytest.mark.parametrize("noise", [0.3, 0.7, 1.0, 3.730632, 20.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8, 1e-10])
def test_one_gaussian_is_exact_and_never_below(noise: float, delta: float) -> None:
    exact = analytic_gaussian(noise=noise, delta=delta)
    ours = epsilon(gaussian(noise_multiplier=noise), delta=delta)
    assert exact <= ours <= exact * 1.0005 + 1e-6


@pytest.mark.parametrize("runs", [100, 1_000, 10_000, 100_000])
@pytest.mark.parametrize("mu", [0.3, 3.0, 10.0])
def test_many_compositions_are_never_below_near_the_smallest_delta(runs: int, mu: float) -> None:
    """Sampling at a rate of 1 to 14 digits is a full batch, but is composed by Fourier transform.

    Asked at 1e-12 itself dp-accounting 0.6.0 is too low, by up to half of delta.
    """
    noise = math.sqrt(runs) / mu
    event = sgd(q=1 - 1e-14, z=noise, steps=runs)
    for delta in (1e-10, 3e-10, 1e-9, 1e-8, 1e-5):
        assert epsilon(event, delta=delta) >= analytic_gaussian(noise=1 / mu, delta=delta)


def test_the_library_itself_is_too_low_at_1e_12() -> None:
    """Why the smallest delta is not 1e-12: if this fails, the library is right, and it may be."""
    event = sgd(q=1 - 1e-14, z=math.sqrt(100_000) / 10, steps=100_000)
    library = PLDAccountant(value_discretization_interval=interval_for(event))
    library.compose(event)
    assert library.get_epsilon(1e-12) < analytic_gaussian(noise=0.1, delta=1e-12) - 0.3


@settings(max_examples=40, deadline=None)
@given(st.floats(-1.5, 2.5), st.floats(-10.0, -0.5))
def test_any_gaussian_at_any_delta_is_never_below(log_noise: float, log_delta: float) -> None:
    noise, delta = 10**log_noise, 10**log_delta
    ours = epsilon(gaussian(noise_multiplier=noise), delta=delta)
    assert ours >= gaussian_epsilon(mu=1 / noise, delta=delta) - 1e-9
    assert evaluated_delta(gaussian(noise_multiplier=noise), delta=delta) < delta


def test_samplers_are_paid_for() -> None:
    """Whoever draws from a distribution nearby has a share of delta for it."""
    assert evaluated_delta([], delta=1e-5) < 1e-5 * (1 - SAMPLER_SHARE / 2)
    assert paid_delta(1e-5) == 1e-5 * (1 - 2.0**-30)


def test_published_analytic_gaussian() -> None:
    # Balle and Wang's calibration for epsilon 1, delta 1e-5 gives a noise multiplier of 3.7306.
    assert epsilon(gaussian(noise_multiplier=3.7306), delta=DELTA) == pytest.approx(1.0, rel=1e-4)


def test_published_moments_accountant() -> None:
    # Abadi et al. 2016 (arXiv 1607.00133), section 3.2: q = 0.01, sigma = 4, T = 10,000,
    # delta = 1e-5: 1.26 by the moments accountant (9.34 by strong composition).
    event = sgd(q=0.01, z=4.0, steps=10_000)
    assert 0.8 < epsilon(event, delta=DELTA) < 1.26
    assert second_opinions(event, delta=DELTA)["rdp"] < 1.27


def test_laplace_is_pure() -> None:
    assert epsilon(laplace(noise_multiplier=2.0), delta=1e-9) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(("q", "z"), [(0.02, 1.0), (0.1, 0.7), (0.1, 3.0), (0.5, 1.0)])
def test_agrees_with_dp_accounting_on_a_finer_grid(q: float, z: float) -> None:
    event = sgd(q=q, z=z)
    finer = PLDAccountant(value_discretization_interval=interval_for(event) / 4)
    finer.compose(event)
    reference = finer.get_epsilon(DELTA)
    assert reference * (1 - 1e-7) <= epsilon(event, delta=DELTA) <= reference * 1.001


@pytest.mark.parametrize(("q", "z", "steps"), [(0.01, 1.0, 500), (0.1, 1.0, 60), (1.0, 5.0, 60)])
def test_three_accountants_agree(q: float, z: float, steps: int) -> None:
    event = sgd(q=q, z=z, steps=steps)
    ours, others = epsilon(event, delta=DELTA), second_opinions(event, delta=DELTA)
    assert ours <= others["prv"] <= ours + 0.03
    assert ours <= others["rdp"] <= ours * 1.5


def test_agreement_is_shown_with_all_figures() -> None:
    found = agreed_opinions([sgd(), gaussian(noise_multiplier=10.0)], delta=DELTA)
    assert found.record == epsilon([sgd(), gaussian(noise_multiplier=10.0)], delta=DELTA)
    assert set(found.opinions) == {"rdp", "prv"}
    assert (found.delta, found.interval) == (DELTA, interval_for([sgd()]))
    assert agreed_opinions([non_private()], delta=DELTA).record == math.inf
    assert agreed_opinions([], delta=DELTA).record == 0.0


@pytest.mark.parametrize(
    ("wrong", "who"),
    [
        ({"record": 0.95}, {"prv"}),  # 5 % too little
        ({"record": 1.05}, {"prv"}),
        ({"record": 0.3}, {"rdp", "prv"}),
        ({"rdp": 0.6}, {"rdp"}),
        ({"prv": 0.98}, {"prv"}),
        ({"prv": math.inf}, {"prv"}),
    ],
)
def test_disagreement_is_an_alarm(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, float], who: set[str]
) -> None:
    """An accountant that is off, by a bug or a changed library, is found by the two others."""
    event = sgd(z=0.7)
    factors = {"record": 1.0, "rdp": 1.0, "prv": 1.0, **wrong}
    record = epsilon(event, delta=DELTA) * factors["record"]
    others = {n: e * factors[n] for n, e in second_opinions(event, delta=DELTA).items()}
    monkeypatch.setattr(accounting, "epsilon", lambda *_a, **_k: record)
    monkeypatch.setattr(accounting, "second_opinions", lambda *_a, **_k: others)
    with pytest.raises(AccountantError, match="take epsilon for infinite") as caught:
        agreed_opinions(event, delta=DELTA)
    assert {line.split()[0] for line in caught.value.disagreements} == who
    assert (caught.value.record, caught.value.opinions) == (record, others)


def test_the_naive_sum_is_larger() -> None:
    rounds = [sgd(steps=20)] * 5
    assert naive_sum(rounds, delta=DELTA) == pytest.approx(5 * epsilon(rounds[0], delta=DELTA))
    assert naive_sum(rounds, delta=DELTA) > 2 * epsilon(rounds, delta=DELTA)


@pytest.mark.parametrize(
    ("n", "batch", "z", "epochs", "delta", "published"),
    [(60_000, 150, 1.3, 15, 1e-5, 0.7242234026), (100_000, 100, 1.0, 30, 1e-7, 1.4154988495)],
)
def test_published_training_runs(
    n: int, batch: int, z: float, epochs: int, delta: float, published: float
) -> None:
    """TensorFlow Privacy, compute_dp_sgd_privacy_lib_test.py: Renyi figures of two runs."""
    event = sgd(q=batch / n, z=z, steps=epochs * n // batch)
    assert second_opinions(event, delta=delta)["rdp"] == pytest.approx(published, abs=1e-6)
    assert 0.7 * published < epsilon(event, delta=delta) < published


def test_prv_is_left_out_where_it_cannot_say() -> None:
    assert set(second_opinions(laplace(noise_multiplier=3.0), delta=DELTA)) == {"rdp"}
    assert set(second_opinions(sgd(q=0.5, z=0.4), delta=DELTA)) == {"rdp"}
    assert second_opinions([], delta=DELTA) == {"rdp": 0.0, "prv": 0.0}
    assert second_opinions([non_private()], delta=DELTA) == {"rdp": math.inf, "prv": math.inf}


@pytest.mark.parametrize(
    "event",
    [
        non_private(),
        compose([sgd(), non_private()]),
        dp_event.UnsupportedDpEvent(),
        dp_event.ZCDpEvent(rho=1e-9),
        dp_event.GaussianDpEvent(0.0),
        dp_event.GaussianDpEvent(math.nan),
        dp_event.GaussianDpEvent(-1.0),
        gaussian(noise_multiplier=1e-4),
        gaussian(noise_multiplier=0.9, count=10**6),
        dp_event.SelfComposedDpEvent(sgd(steps=10**6), 10**6),
        sgd(q=0.9, z=1e-3, steps=10**6),
    ],
)
def test_no_finite_figure_means_infinity(event: dp_event.DpEvent) -> None:
    assert epsilon([sgd(), event], delta=DELTA) == math.inf
    assert coarse_epsilon([sgd(), event], delta=DELTA) == math.inf


def test_nothing_costs_nothing() -> None:
    assert epsilon([], delta=DELTA) == 0.0
    assert epsilon(dp_event.NoOpDpEvent(), delta=DELTA) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan, True, "1e-5", 1e-13])
def test_delta_out_of_range(delta: float) -> None:
    for compute in (epsilon, coarse_epsilon, second_opinions):
        with pytest.raises(BudgetAmountError):
            compute(sgd(), delta=delta)


mechanisms = st.one_of(
    st.builds(
        lambda q, z, n: sgd(q=q, z=z, steps=n),
        st.sampled_from([0.01, 0.1, 0.5, 1.0]),
        st.floats(0.6, 20.0).map(lambda z: round(z, 2)),
        st.integers(1, 300),
    ),
    st.floats(1.0, 50.0).map(lambda z: gaussian(noise_multiplier=round(z, 2))),
    st.floats(1.0, 50.0).map(lambda z: laplace(noise_multiplier=round(z, 2))),
)


@settings(max_examples=4, deadline=None)
@given(mechanisms, mechanisms)
def test_composition_never_costs_less_and_never_more_than_the_sum(
    first: dp_event.DpEvent, second: dp_event.DpEvent
) -> None:
    together = epsilon([first, second], delta=2 * DELTA)
    assert together >= epsilon(first, delta=2 * DELTA) * (1 - 1e-9)
    naive_sum = epsilon(first, delta=DELTA) + epsilon(second, delta=DELTA)
    assert together <= naive_sum * 1.001 + 1e-6
    assert together == epsilon([second, first], delta=2 * DELTA)
    assert together == epsilon(compose([first, second]), delta=2 * DELTA)


@settings(max_examples=4, deadline=None)
@given(
    st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    st.floats(0.5, 20.0),
    st.integers(1, 400),
    st.integers(1, 400),
)
def test_more_steps_never_cost_less(q: float, z: float, fewer: int, more: int) -> None:
    low = epsilon(sgd(q=q, z=z, steps=fewer), delta=DELTA)
    high = epsilon(sgd(q=q, z=z, steps=fewer + more), delta=DELTA)
    assert 0 <= low <= high * (1 + 1e-6)
    assert epsilon(sgd(q=q, z=z * 1.1, steps=fewer), delta=DELTA) <= low * (1 + 1e-6)


def test_coarse_is_an_upper_bound_too() -> None:
    for q, z in ((0.01, 0.7), (0.1, 1.0), (1.0, 6.0)):
        event = sgd(q=q, z=z)
        assert epsilon(event, delta=DELTA) <= coarse_epsilon(event, delta=DELTA)


def test_sixty_rounds_cost_what_one_does() -> None:
    rounds = [sgd(q=0.25, z=1.37, steps=20) for _ in range(60)]
    start = time.perf_counter()
    whole = epsilon(rounds, delta=DELTA)
    assert time.perf_counter() - start < 5.0  # measured: 0.1 s
    assert whole == epsilon(sgd(q=0.25, z=1.37, steps=1200), delta=DELTA)
