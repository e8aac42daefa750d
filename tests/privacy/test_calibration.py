import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.calibrate import GRID, calibrate_noise
from privacy.accounting.events import DpEvent, compose, gaussian, non_private, poisson_gaussian
from privacy.accounting.filter import filter_epsilon, plan_charges
from privacy.errors import BudgetAmountError, CalibrationError, EventError

DELTA = 1e-5


def epsilon(event: DpEvent, *, delta: float) -> float:
    """Of the figure that refuses."""
    return filter_epsilon(plan_charges(event), delta=delta)


@settings(max_examples=3, deadline=None)
@given(
    st.sampled_from([0.02, 0.1, 0.5, 1.0]),
    st.integers(1, 300),
    st.floats(0.05, 30.0),
    st.sampled_from([1e-4, 1e-5, 1e-7]),
)
def test_never_undershoots_and_is_the_smallest(
    rate: float, steps: int, target: float, delta: float
) -> None:
    def plan(z: float) -> object:
        return poisson_gaussian(sampling_rate=rate, noise_multiplier=z, steps=steps)

    noise = calibrate_noise(target_epsilon=target, delta=delta, event_for=plan)
    assert noise == round(noise / GRID) / 1000
    assert epsilon(plan(noise), delta=delta) <= target
    if noise > GRID:
        assert epsilon(plan(round(noise - GRID, 3)), delta=delta) > target


def test_a_plan_with_fixed_parts() -> None:
    def plan(z: float) -> object:
        training = poisson_gaussian(sampling_rate=0.1, noise_multiplier=z, steps=60)
        return compose([training, gaussian(noise_multiplier=10.0)])

    noise = calibrate_noise(target_epsilon=3.0, delta=DELTA, event_for=plan)
    assert epsilon(plan(noise), delta=DELTA) <= 3.0 < epsilon(plan(noise - GRID), delta=DELTA)


def test_hardly_any_noise_needed() -> None:
    noise = calibrate_noise(
        target_epsilon=1e9, delta=DELTA, event_for=lambda z: gaussian(noise_multiplier=z)
    )
    assert noise == pytest.approx(GRID)


@pytest.mark.parametrize(
    "hopeless", [lambda _: non_private(), lambda _: gaussian(noise_multiplier=1)]
)
def test_out_of_reach(hopeless: object) -> None:
    with pytest.raises(CalibrationError, match="no noise multiplier up to 1000"):
        calibrate_noise(target_epsilon=1.0, delta=DELTA, event_for=hopeless)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf, True])
def test_unusable_targets(target: float) -> None:
    with pytest.raises(BudgetAmountError):
        calibrate_noise(
            target_epsilon=target, delta=DELTA, event_for=lambda z: gaussian(noise_multiplier=z)
        )
    with pytest.raises(BudgetAmountError):
        calibrate_noise(
            target_epsilon=1.0, delta=0.0, event_for=lambda z: gaussian(noise_multiplier=z)
        )


def test_a_bad_plan_is_its_own_error() -> None:
    with pytest.raises(EventError):
        calibrate_noise(
            target_epsilon=1.0, delta=DELTA, event_for=lambda _: gaussian(noise_multiplier=0.0)
        )
