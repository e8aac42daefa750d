"""Counts: units weigh 1 in total, and the noise is of the stated size."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import gaussian
from privacy.errors import EventError, SettingsError
from privacy.mechanism.noise import UnsafeNoNoise, UnsafeSeededNoise
from privacy.release.counts import counts_event, noised_counts, shown_counts, unit_weights

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=20)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def sums(pairs: list[tuple[int, int]]) -> np.ndarray:
    return unit_weights(*columns(pairs), n_classes=4).sum(axis=0)


@given(PAIRS)
def test_the_weights_add_up_to_the_number_of_units(pairs: list[tuple[int, int]]) -> None:
    weights = unit_weights(*columns(pairs), n_classes=4)
    assert weights.shape == (len({unit for _, unit in pairs}), 4)
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(weights)))


@given(PAIRS, st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_one_more_unit_moves_the_counts_by_one_at_most(
    pairs: list[tuple[int, int]], added: list[int]
) -> None:
    before = sums(pairs)
    after = sums([*pairs, *((label, 99) for label in added)])
    assert np.abs(after - before).sum() == pytest.approx(1.0)  # L1, so at most 1 in L2
    assert np.linalg.norm(after - before) <= 1 + 1e-9


def test_a_unit_is_spread_over_the_classes_of_its_images() -> None:
    weights = unit_weights(np.array([0, 0, 1, 2]), np.array([7, 7, 7, 8]), n_classes=3)
    assert weights[0] == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert weights[1] == pytest.approx([0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("classes", "units"), [([0, 1], [0]), ([[0]], [[0]]), ([3], [0]), ([-1], [0])]
)
def test_unusable_columns_are_refused(classes: list[int], units: list[int]) -> None:
    with pytest.raises(SettingsError):
        unit_weights(np.array(classes), np.array(units), n_classes=3)


def test_noise_has_the_stated_deviation_and_no_bias_far_from_zero() -> None:
    exact = np.full((4, 120_000), 0.002)
    noised = noised_counts(exact, noise_multiplier=3.0, noise=UnsafeSeededNoise(1))
    exact = exact.sum(axis=0)
    error, n = noised - exact, exact.size
    deviation = 3.0
    assert noised.dtype == np.float64
    assert abs(error.mean()) < 5 * deviation / math.sqrt(n)
    assert abs(error.std() / deviation - 1) < 5 / math.sqrt(2 * n)


def test_small_cells_are_unbiased_until_they_are_shown() -> None:
    """Clamped before use, an empty cell would count 0.4 z units on average."""
    noised = noised_counts(np.zeros((1, 40_000)), noise_multiplier=5.0, noise=UnsafeSeededNoise(3))
    assert abs(noised.mean()) < 5 * 5.0 / math.sqrt(noised.size)
    shown = shown_counts(noised)
    assert shown.dtype == np.int64
    assert shown.min() == 0
    assert shown.mean() > 1.5


def test_cells_are_independent_and_the_argument_is_left_alone() -> None:
    exact, noise = np.full((2, 2), 0.5), UnsafeSeededNoise(2)
    draws = np.array([noised_counts(exact, noise_multiplier=9.0, noise=noise) for _ in range(4000)])
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / math.sqrt(4000)
    assert (exact == 0.5).all()


@pytest.mark.parametrize("noise_multiplier", [0.0, -1.0, math.nan, math.inf, True])
def test_unusable_noise_is_refused(noise_multiplier: float) -> None:
    with pytest.raises(EventError):
        noised_counts(np.zeros((1, 2)), noise_multiplier=noise_multiplier, noise=UnsafeNoNoise())


@pytest.mark.parametrize("cell", [math.nan, math.inf, -0.5])
def test_broken_weights_are_refused(cell: float) -> None:
    with pytest.raises(SettingsError, match="finite"):
        noised_counts(np.array([[1.0, cell]]), noise_multiplier=1.0, noise=UnsafeNoNoise())


def test_a_unit_that_would_weigh_too_much_is_refused() -> None:
    with pytest.raises(SettingsError, match="norm 1"):
        noised_counts(np.array([[1.0, 0.1]]), noise_multiplier=1.0, noise=UnsafeNoNoise())


def test_the_sums_are_those_of_the_weights() -> None:
    found = noised_counts(
        np.array([[0.5, 0.5], [0.0, 1.0]]), noise_multiplier=1.0, noise=UnsafeNoNoise()
    )
    assert found == pytest.approx([0.5, 1.5], abs=1e-4)


def test_the_event_is_one_gaussian_release() -> None:
    assert counts_event(noise_multiplier=2.5) == gaussian(noise_multiplier=2.5)


def test_torch_stays_unloaded() -> None:
    code = "import sys, privacy.release.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
