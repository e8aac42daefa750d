"""The mechanism on integers: bounded sensitivity, exact sums, and nothing finer than the grid."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest

from privacy.errors import SettingsError
from privacy.mechanism.grid import Grid
from privacy.mechanism.noise import NOISE_BITS, UnsafeNoNoise, UnsafeSeededNoise

NOISES = st.floats(0.02, 2.0**16)
NORMS = st.floats(2.0**-20, 2.0**20)
ROWS = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    elements=st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf, 1e-310]),
)


def exact_norm_squared(steps: np.ndarray) -> int:
    return sum(int(v) ** 2 for v in steps)


def gradients(grid: Grid, samples: list[torch.Tensor]) -> list[torch.Tensor]:
    totals = [torch.zeros(sample.shape[1:], dtype=torch.int64) for sample in samples]
    grid.add_gradients(totals, samples)
    return totals


@settings(deadline=None)
@given(ROWS, NOISES, NORMS)
def test_no_row_moves_the_sum_beyond_the_bound(rows: np.ndarray, noise: float, norm: float) -> None:
    """Adding one unit, whatever it holds: the theorem's premise, in whole numbers."""
    grid = Grid(noise_multiplier=noise, sensitivity=norm)
    others, both = grid.total(rows[1:]), grid.total(rows)
    assert exact_norm_squared(both - others) <= grid.bound
    assert Fraction(grid.bound) <= (Fraction(2**NOISE_BITS) / Fraction(noise)) ** 2


@settings(deadline=None)
@given(
    arrays(np.float32, (5, 7), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
    st.floats(0.02, 1e3),
    st.floats(1e-3, 1e3),
)
def test_no_gradient_moves_the_sum_beyond_the_bound(
    rows: np.ndarray, noise: float, norm: float
) -> None:
    grid = Grid(noise_multiplier=noise, sensitivity=norm)
    parts = [torch.from_numpy(rows[:, :3].copy()), torch.from_numpy(rows[:, 3:].reshape(5, 2, 2))]
    both, others = gradients(grid, parts), gradients(grid, [part[1:] for part in parts])
    moved = torch.cat([(a - b).flatten() for a, b in zip(both, others, strict=True)])
    assert exact_norm_squared(moved.numpy()) <= grid.bound


@settings(deadline=None)
@given(arrays(np.float64, (6, 4), elements=st.floats(-0.5, 0.5)), st.permutations(range(6)))
def test_the_sum_has_no_order_and_no_company(rows: np.ndarray, order: list[int]) -> None:
    grid = Grid(noise_multiplier=1.3, sensitivity=1.0)
    whole = grid.total(rows)
    assert np.array_equal(whole, grid.total(rows[order]))
    assert np.array_equal(whole, sum(grid.total(row[None]) for row in rows))


def test_what_fits_counts_in_full_and_what_does_not_counts_nothing() -> None:
    grid = Grid(noise_multiplier=2.0, sensitivity=3.0)
    rows = np.array([[3.0, 0.0], [0.0, -3.0], [3.1, 0.0], [math.nan, 0.0], [math.inf, 1.0]])
    found = grid.total(rows) * grid.step
    assert found == pytest.approx([3.0, -3.0], rel=1e-5)


def test_gradients_are_clipped_to_the_norm_and_no_further() -> None:
    grid = Grid(noise_multiplier=1.0, sensitivity=0.5)
    large, small = torch.tensor([[30.0, 40.0]]), torch.tensor([[0.03, 0.04]])
    for rows, expected in ((large, [0.3, 0.4]), (small, [0.03, 0.04])):
        (found,) = gradients(grid, [rows])
        assert (found * grid.step).tolist() == pytest.approx(expected, rel=1e-3)
    (found,) = gradients(grid, [torch.full((1, 3), 3e38)])  # its norm is no float32
    assert found.tolist() == [0, 0, 0]


def test_a_gradient_whose_norm_was_misjudged_counts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check on the integers stands by itself: it does not believe the clipping factor."""
    grid = Grid(noise_multiplier=1.0, sensitivity=1.0)
    rows = torch.tensor([[0.6, 0.8], [0.3, 0.4]])
    real = torch.linalg.vector_norm
    monkeypatch.setattr(
        torch.linalg,
        "vector_norm",
        lambda x, **o: real(x, **o) * (1.0 if "dtype" in o else 0.5),
    )
    (found,) = gradients(grid, [rows * 4])
    assert found.tolist() == [0, 0]


def test_a_gradient_counts_whatever_its_length() -> None:
    """At once its norm came out too small by 0.4 percent in float32, and the unit did not count."""
    total = torch.zeros(5_000_000, dtype=torch.int64)
    grid = Grid(noise_multiplier=1.0, sensitivity=1.0)
    grid.add_gradients([total], [torch.full((1, len(total)), 0.1)])
    squares = int(total.square().sum())
    assert 0.998 * grid.bound < squares <= grid.bound


@pytest.mark.parametrize("data", [0.0, 1.0])
def test_what_is_released_lies_on_the_grid_whatever_the_data(data: float) -> None:
    """Mironov's attack asks which floating-point values can come out; here all are the same."""
    grid = Grid(noise_multiplier=math.sqrt(2), sensitivity=math.sqrt(2))
    total = grid.total(np.full((3, 500), data / math.sqrt(500)))
    out = grid.release(total, UnsafeSeededNoise(1))
    steps = out / grid.step - 0.5
    assert np.array_equal(out, (np.rint(steps) + 0.5) * grid.step)


def test_the_noise_has_the_stated_deviation_and_no_bias() -> None:
    grid = Grid(noise_multiplier=2.5, sensitivity=0.7)
    out = grid.release(np.zeros((400, 500), np.int64), UnsafeSeededNoise(2))
    assert out.shape == (400, 500)
    assert kstest(out.ravel() / (2.5 * 0.7), "norm").pvalue > 1e-4


def test_without_noise_the_sum_comes_back() -> None:
    grid = Grid(noise_multiplier=1.0, sensitivity=1.0)
    rows = np.array([[0.25, 0.5], [0.125, -0.5]])
    found = grid.release(grid.total(rows), UnsafeNoNoise())
    assert found == pytest.approx([0.375, 0.0], abs=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-3, 1e9, math.nan, math.inf, "1", None])
def test_numbers_outside_of_safe_arithmetic_are_refused(value: float) -> None:
    with pytest.raises(SettingsError, match="noise multiplier"):
        Grid(noise_multiplier=value, sensitivity=1.0)
    with pytest.raises(SettingsError, match="sensitivity"):
        Grid(noise_multiplier=1.0, sensitivity=7.5e-46 if value == 1e-3 else value)


def test_no_unit_at_all_is_a_sum_too() -> None:
    grid = Grid(noise_multiplier=1.0, sensitivity=1.0)
    assert grid.total(np.zeros((0, 4))).tolist() == [0, 0, 0, 0]
