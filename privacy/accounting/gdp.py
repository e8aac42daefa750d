"""Gaussian differential privacy: the trade-off between N(0, 1) and N(mu, 1), and its inverse.

``gaussian_delta`` is Balle and Wang 2018 (arXiv 1805.06530), theorem 8, with mu = 1 / (noise
multiplier); Dong, Roth and Su 2022, corollary 2.13. Computed by scaled complementary error
functions where the plain difference would cancel. The inverse is rounded toward more epsilon.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

_ROUNDING = 1e-11
_HALVINGS = 80


def gaussian_delta(epsilon: ArrayLike, *, mu: float) -> NDArray[np.float64]:
    """The smallest delta at which one Gaussian of shift `mu` is (epsilon, delta)-DP.

    Args:
        epsilon: >= 0, any shape.
        mu: shift over standard deviation, > 0.

    Returns:
        Delta, same shape, in [0, 1].
    """
    eps = np.asarray(epsilon, dtype=np.float64)
    x = eps / mu - mu / 2
    out = np.maximum(x, 0.0)
    root = math.sqrt(2)
    tail = special.erfcx(out / root) - special.erfcx((out + mu) / root)
    inner = np.minimum(x, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        beyond = 0.5 * np.exp(-out * out / 2) * tail
        within = special.ndtr(-inner) - np.exp(
            np.minimum(eps, mu * mu / 2) + special.log_ndtr(-inner - mu)
        )
    return np.clip(np.where(x > 0, beyond, within), 0.0, 1.0)


def gaussian_epsilon(*, mu: float, delta: float) -> float:
    """The smallest epsilon at which one Gaussian of shift `mu` is (epsilon, delta)-DP.

    Args:
        mu: shift over standard deviation, >= 0 and finite.
        delta: in (0, 1).

    Returns:
        Epsilon, >= 0, too large by at most 1e-11 of itself and of 1.
    """
    if mu == 0 or float(gaussian_delta(0.0, mu=mu)) <= delta:
        return 0.0
    # delta(epsilon) is at most the upper tail at epsilon / mu - mu / 2.
    low, high = 0.0, mu * mu / 2 + mu * max(0.0, -float(special.ndtri(delta)))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(gaussian_delta(middle, mu=mu)) <= delta:
            high = middle
        else:
            low = middle
    return high * (1 + _ROUNDING) + _ROUNDING
