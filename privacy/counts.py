"""Counts that may be published: one Gaussian release over units of privacy.

Every unit has a total weight of 1, however many images it holds, spread over the classes of its
images. So adding or removing one unit changes the vector of counts by at most 1 in L1 and therefore
in L2 norm, and Gaussian noise of standard deviation z is a Gaussian event of noise multiplier z.
What is computed from noised counts (sums, ratios, intervals) uses them as they are: the noise has
mean zero, so they are unbiased, whereas a count clamped at zero is too large on average, by 0.4 z
for an empty cell. Clamping and rounding are for showing only (`shown_counts`); they come after the
noise and cost nothing.
"""

import numpy as np
from dp_accounting.dp_event import DpEvent
from numpy.typing import NDArray

from privacy.errors import SettingsError
from privacy.events import gaussian


def unit_counts(
    classes: NDArray[np.int64], units: NDArray[np.int64], *, n_classes: int
) -> NDArray[np.float64]:
    """Weight of each class, every unit weighing 1 in total.

    Args:
        classes: class index of each image, shape [n_images].
        units: unit of privacy of each image, shape [n_images].
        n_classes: number of classes.

    Returns:
        Shape [n_classes]; sums to the number of units. Private: not to be published un-noised.

    Raises:
        SettingsError: the shapes differ, or a class index is out of range.
    """
    if classes.ndim != 1 or classes.shape != units.shape:
        raise SettingsError(f"one class and one unit an image; got {classes.shape}, {units.shape}")
    if classes.size and not (classes.min() >= 0 and classes.max() < n_classes):
        raise SettingsError(f"class indices must lie in [0, {n_classes}); check the class list")
    _, member, images = np.unique(units, return_inverse=True, return_counts=True)
    weights = 1.0 / images[member] if classes.size else np.zeros(0)
    return np.bincount(classes, weights=weights, minlength=n_classes).astype(np.float64)


def noised_counts(
    counts: NDArray[np.float64], *, noise_multiplier: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Counts with Gaussian noise: unbiased, so possibly negative and never whole.

    Args:
        counts: any shape; one unit may change it by at most 1 in L2 norm (see `unit_counts`).
        noise_multiplier: standard deviation of the noise, > 0.
        rng: seeded by the operating system; never by a plan.

    Returns:
        Same shape; may be published at the cost of `counts_event(noise_multiplier)`.

    Raises:
        SettingsError: a count is negative or not finite.
        EventError: the noise multiplier is not finite and > 0.
    """
    counts_event(noise_multiplier=noise_multiplier)
    if not np.all(np.isfinite(counts)) or np.any(np.asarray(counts) < 0):
        raise SettingsError("counts must be finite and >= 0; check what was counted")
    return np.asarray(counts + rng.normal(0.0, noise_multiplier, size=np.shape(counts)))


def shown_counts(noised: NDArray[np.float64]) -> NDArray[np.int64]:
    """Noised counts as a reader expects them: whole, and not below zero. For display only."""
    return np.rint(np.maximum(noised, 0.0)).astype(np.int64)


def counts_event(*, noise_multiplier: float) -> DpEvent:
    """The event of one `noised_counts` release.

    Raises:
        EventError: the noise multiplier is not finite and > 0.
    """
    return gaussian(noise_multiplier=noise_multiplier)
