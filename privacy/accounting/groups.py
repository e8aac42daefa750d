"""What a fixed sequence of sampled steps may show of k units of privacy at once.

One person may be more than one unit: two near-duplicate groups, say. Or one unit is *replaced*
(a person's image joins or leaves a group: two changes), or two groups become one (three). Data sets
then differ by k changes of one unit, each of them an addition or a removal, and k times epsilon is
no bound: loss grows faster.

Bound (Dong, Roth and Su 2022, theorem 2.14). Let g(a) bound the probability, under one of two
neighbours, of a set that has probability a under the other, whichever of the two has the unit. Then
g(g(...g(a))), k times, does so for data sets that are k changes apart: neighbour by neighbour. It
is valid for any mixture of additions, removals and replacements. It is not tight: for k units that
are all added, or all removed, the mixture of Gaussians of Ganesh 2024 (arXiv 2401.10294) is smaller
(by 3 to 50 % of epsilon in the tests, least for long sequences with much noise), but it is not
known to bound replacements.

g is the lower envelope of the lines ``exp(e) a + delta(e)`` over losses e of both signs. Delta is
the smaller of two upper bounds: the loss distribution's, which has absolute errors and is of no use
far out, and Renyi's, which has relative ones. Any grid of losses gives a valid g.

Renyi divergence of Poisson-sampled Gaussians: Mironov, Talwar and Zhang 2019 (arXiv 1908.10530),
section 3.3, integer orders. Laplace noise is (e, 0)-DP, so the divergence of order a is at most
min(e, a e**2 / 2) (Bun and Steinke 2016, proposition 3.3). It becomes delta by Balle et al. 2020
(arXiv 1905.09982), theorem 21.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from privacy.accounting.merging import Merged, Part

Array = NDArray[np.float64]
Curve = Callable[[Array], Array]

_ORDERS = np.array(
    [*range(2, 65), *range(68, 129, 4), *range(144, 257, 16), *range(320, 1025, 64)], dtype=float
)
_FAR = 1e-120  # delta up to which losses are looked at
_NEAR_LOSSES, _FAR_LOSSES = 1200, 400
_QUANTILES = np.linspace(-38.0, 8.0, 4601)


def group_powers(curve: Curve, block: Merged, *, near: float, units: int) -> tuple[Array, Array]:
    """Upper bound on the power of any test between data sets that are `units` changes apart.

    Args:
        curve: losses >= 0 -> delta of the block between neighbours, in both directions.
        block: everything that the fixed sequence may cost.
        near: the loss up to which `curve` is of use.
        units: number of changes, >= 1.

    Returns:
        Normal quantiles of false positive rates, increasing; the powers there.
    """
    far, log_tail = _renyi(block)
    losses = np.concatenate(
        [np.linspace(0.0, near, _NEAR_LOSSES), np.linspace(near, max(far, near), _FAR_LOSSES)]
    )
    delta = np.minimum(np.minimum(curve(losses), 1.0), np.exp(np.minimum(log_tail(losses), 0.0)))
    power: Array = special.ndtr(_QUANTILES)
    for _ in range(units):
        power = _envelope(power, losses, delta)
    return _QUANTILES, power


def _envelope(rates: Array, losses: Array, delta: Array) -> Array:
    """The bound g at `rates`."""
    best = np.ones_like(rates)
    with np.errstate(over="ignore"):
        for loss, lost in zip(losses, delta, strict=True):
            ahead = math.exp(min(loss, 700.0)) if loss < 700 else math.inf
            np.minimum(best, rates * ahead + lost, out=best)
            np.minimum(best, 1.0 - (1.0 - lost - rates) * math.exp(-loss), out=best)
    return best


def _renyi(block: Merged) -> tuple[float, Curve]:
    """The loss from which Renyi's bound is below `_FAR`, and the logarithm of that bound."""
    divergence = np.sum([part.count * _one(part) for part in block.parts], axis=0)
    constant = (_ORDERS - 1) * (divergence + np.log1p(-1 / _ORDERS)) - np.log(_ORDERS)

    def log_tail(losses: Array) -> Array:
        found = np.zeros_like(losses)
        for order, offset in zip(_ORDERS, constant, strict=True):
            np.minimum(found, offset - (order - 1) * losses, out=found)
        return found

    return float(np.min((constant - math.log(_FAR)) / (_ORDERS - 1))), log_tail


@lru_cache(maxsize=256)
def _one(part: Part) -> Array:
    """Renyi divergence of one run of a part at `_ORDERS`, one unit."""
    q, noise = part.sampling_rate, part.noise_multiplier
    if part.mechanism == "laplace":
        loss = math.log1p(q * math.expm1(min(1 / noise, 700.0)))
        return np.minimum(loss, _ORDERS * loss**2 / 2)
    found = []
    for order in _ORDERS:
        k = np.arange(order + 1)
        ways = special.gammaln(order + 1) - special.gammaln(k + 1) - special.gammaln(order - k + 1)
        chance = special.xlog1py(order - k, -q) + k * math.log(q)
        power = special.logsumexp(ways + chance + (k * k - k) / (2 * noise**2))
        found.append(float(power) / (order - 1))
    return np.array(found) * (1 + 1e-9) + 1e-12
