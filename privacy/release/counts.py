"""Counts that may be published: one Gaussian release over units of privacy.

Every unit has a total weight of 1, however many images it holds, spread over the classes of its
images. So adding or removing one unit changes the vector of counts by at most 1 in L1 and therefore
in L2 norm; on the grid of `privacy.mechanism.grid` that is a Gaussian event of noise multiplier z.
What is computed from noised counts (sums, ratios, intervals) uses them as they are: the noise has
mean zero, so they are unbiased, whereas a count clamped at zero is too large on average, by 0.4 z
for an empty cell. Clamping and rounding are for showing only (`shown_counts`); they come after the
noise and cost nothing.
"""

import numpy as np
from dp_accounting.dp_event import DpEvent
from numpy.typing import NDArray

from privacy.accounting import gaussian
from privacy.errors import SettingsError
from privacy.mechanism import Grid, Noise


def unit_weights(
    classes: NDArray[np.int64], units: NDArray[np.int64], *, n_classes: int
) -> NDArray[np.float64]:
    """What each unit adds to a class histogram, every unit weighing 1 in total.

    Args:
        classes: class index of each image, shape [n_images].
        units: unit of privacy of each image, shape [n_images].
        n_classes: number of classes.

    Returns:
        Shape [n_units, n_classes], one row a unit, in the order of `units`' values; rows add up
        to 1. Private: not to be published un-noised.

    Raises:
        SettingsError: the shapes differ, or a class index is out of range.
    """
    if classes.ndim != 1 or classes.shape != units.shape:
        raise SettingsError(f"one class and one unit an image; got {classes.shape}, {units.shape}")
    if classes.size and not (classes.min() >= 0 and classes.max() < n_classes):
        raise SettingsError(f"class indices must lie in [0, {n_classes}); check the class list")
    _, member, images = np.unique(units, return_inverse=True, return_counts=True)
    weights = np.zeros((len(images), n_classes))
    np.add.at(weights, (member, classes), 1.0 / images[member] if classes.size else 0.0)
    return weights


def noised_counts(
    weights: NDArray[np.float64], *, noise_multiplier: float, noise: Noise
) -> NDArray[np.float64]:
    """The sums of what units add, with noise: unbiased, so possibly negative and never whole.

    Args:
        weights: one row a unit, float64 [n_units, d], each of L2 norm at most 1 (see
            `unit_weights`).
        noise_multiplier: standard deviation of the noise; its range is `Grid`'s.
        noise: from `privacy.os_noise`, never from a plan.

    Returns:
        Shape [d]; may be published at the cost of `counts_event(noise_multiplier)`.

    Raises:
        SettingsError: a weight is negative, not finite or its row too large, or the noise is out
            of range.
        EventError: the noise multiplier is not finite and > 0.
    """
    counts_event(noise_multiplier=noise_multiplier)
    rows = np.asarray(weights, np.float64)
    if rows.ndim != 2 or not np.all(np.isfinite(rows)) or np.any(rows < 0):
        raise SettingsError(
            "weights must be finite and >= 0, one row a unit; check what is counted"
        )
    if np.any(np.square(rows).sum(axis=1) > 1 + 1e-9):
        raise SettingsError("a unit may add a vector of norm 1 at most; scale its weights")
    grid = Grid(noise_multiplier=noise_multiplier, sensitivity=1.0)
    return grid.release(grid.total(rows), noise)


def shown_counts(noised: NDArray[np.float64]) -> NDArray[np.int64]:
    """Noised counts as a reader expects them: whole, and not below zero. For display only."""
    return np.rint(np.maximum(noised, 0.0)).astype(np.int64)


def counts_event(*, noise_multiplier: float) -> DpEvent:
    """The event of one `noised_counts` release.

    Raises:
        EventError: the noise multiplier is not finite and > 0.
    """
    return gaussian(noise_multiplier=noise_multiplier)
