"""Counts: units weigh 1 in total, and the noise is of the stated size."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.counts import counts_event, noised_counts, shown_counts, unit_counts
from privacy.errors import EventError, SettingsError
from privacy.events import gaussian

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=20)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(PAIRS)
def test_the_weights_add_up_to_the_number_of_units(pairs: list[tuple[int, int]]) -> None:
    counts = unit_counts(*columns(pairs), n_classes=4)
    assert counts.shape == (4,)
    assert counts.sum() == pytest.approx(len({unit for _, unit in pairs}))


@given(PAIRS, st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_one_more_unit_moves_the_counts_by_one_at_most(
    pairs: list[tuple[int, int]], added: list[int]
) -> None:
    before = unit_counts(*columns(pairs), n_classes=4)
    after = unit_counts(*columns([*pairs, *((label, 99) for label in added)]), n_classes=4)
    assert np.abs(after - before).sum() == pytest.approx(1.0)  # L1, so at most 1 in L2
    assert np.linalg.norm(after - before) <= 1 + 1e-9


def test_a_unit_is_spread_over_the_classes_of_its_images() -> None:
    counts = unit_counts(np.array([0, 0, 1, 2]), np.array([7, 7, 7, 8]), n_classes=3)
    assert counts == pytest.approx([2 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize(
    ("classes", "units"), [([0, 1], [0]), ([[0]], [[0]]), ([3], [0]), ([-1], [0])]
)
def test_unusable_columns_are_refused(classes: list[int], units: list[int]) -> None:
    with pytest.raises(SettingsError):
        unit_counts(np.array(classes), np.array(units), n_classes=3)


def test_noise_has_the_stated_deviation_and_no_bias_far_from_zero() -> None:
    exact = np.full((300, 400), 1000.25)
    noised = noised_counts(exact, noise_multiplier=3.0, rng=np.random.default_rng(1))
    error, n = noised - exact, exact.size
    deviation = 3.0
    assert noised.dtype == np.float64
    assert abs(error.mean()) < 5 * deviation / math.sqrt(n)
    assert abs(error.std() / deviation - 1) < 5 / math.sqrt(2 * n)


def test_small_cells_are_unbiased_until_they_are_shown() -> None:
    """Clamped before use, an empty cell would count 0.4 z units on average."""
    exact = np.full(40_000, 0.25)
    noised = noised_counts(exact, noise_multiplier=5.0, rng=np.random.default_rng(3))
    assert abs(noised.mean() - 0.25) < 5 * 5.0 / math.sqrt(len(exact))
    shown = shown_counts(noised)
    assert shown.dtype == np.int64
    assert shown.min() == 0
    assert shown.mean() > 1.5


def test_cells_are_independent_and_the_argument_is_left_alone() -> None:
    exact, rng = np.full(2, 500.0), np.random.default_rng(2)
    draws = np.array([noised_counts(exact, noise_multiplier=9.0, rng=rng) for _ in range(4000)])
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / math.sqrt(4000)
    assert (exact == 500.0).all()


@pytest.mark.parametrize("noise_multiplier", [0.0, -1.0, math.nan, math.inf, True])
def test_unusable_noise_is_refused(noise_multiplier: float) -> None:
    with pytest.raises(EventError):
        noised_counts(np.zeros(2), noise_multiplier=noise_multiplier, rng=np.random.default_rng(6))


@pytest.mark.parametrize("cell", [math.nan, math.inf, -0.5])
def test_broken_counts_are_refused(cell: float) -> None:
    with pytest.raises(SettingsError, match="finite"):
        noised_counts(np.array([1.0, cell]), noise_multiplier=1.0, rng=np.random.default_rng(7))


def test_the_event_is_one_gaussian_release() -> None:
    assert counts_event(noise_multiplier=2.5) == gaussian(noise_multiplier=2.5)


def test_torch_stays_unloaded() -> None:
    code = "import sys, privacy.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
