"""The one mechanism by which anything noised leaves: integers on a grid, summed, noised, scaled.

1. Each unit's contribution is a vector of L2 norm at most C. It is put on a grid of step
   z C / 2**24, toward zero, so that its norm does not grow.
2. **What sensitivity counts is the vector of integers**: its squared norm, in steps, must be at
   most `Grid.bound`, the whole part of (2**24 / z)**2. A unit that is above counts nothing.
3. The integers are added as int64. That addition is exact and has no order.
4. Integer noise is added: floor(2**24 G), G standard normal (`privacy.mechanism.noise`). As the sum
S is
   whole, S + floor(2**24 G) = floor(S + 2**24 G).
5. Only then comes a floating-point number: (n + 1/2) times the step (the half takes back what
   rounding down costs on average).

**Theorem.** On data sets that differ by one unit the sums differ by an integer vector of norm at
most 2**24 / z. So S + 2**24 G is a Gaussian mechanism of noise multiplier at least z (Dwork and
Roth 2014, theorem A.1; as a trade-off curve Dong, Roth and Su 2022, theorem 2.7), and steps 4 and 5
are post-processing. Poisson sampling of units before step 1 gives the Poisson-sampled Gaussian.
What the theorem needs of the caller: a unit's contribution may depend on that unit and on fresh
randomness only, to the last bit (`privacy.training.dpsgd`, `privacy.release.evaluation` and
`privacy.release.counts` say how).

Contributions are shrunk by 2**-12 (gradients, whose norms are computed in float32) or 2**-19 before
they are put on the grid, so that rounding errors of their norms make no unit count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SettingsError
from privacy.mechanism.noise import NOISE_BITS, Noise

if TYPE_CHECKING:
    from torch import Tensor

LEAST_NOISE, MOST_NOISE = 0.02, 2.0**16
LEAST_SENSITIVITY, MOST_SENSITIVITY = 2.0**-20, 2.0**20
_SHRINK = 1 - 2.0**-19
_SHRINK_GRADIENTS = 1 - 2.0**-12
_COLUMNS, _ENTRIES = 1 << 13, 1 << 16  # of gradients at a time, so that they stay in the cache


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where contributions of norm `sensitivity` are added under a noise multiplier.

    Attributes:
        noise_multiplier: z, noise over sensitivity, in [0.02, 65,536].
        sensitivity: C, largest L2 norm of one unit's contribution, in [2**-20, 2**20].

    Raises:
        SettingsError: one is outside of the range in which the arithmetic is safe.
    """

    noise_multiplier: float
    sensitivity: float

    def __post_init__(self) -> None:
        _check("noise multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE)
        _check("sensitivity", self.sensitivity, LEAST_SENSITIVITY, MOST_SENSITIVITY)

    @cached_property
    def step(self) -> float:
        """Distance of two points of the grid, in the unit of the contributions."""
        return self.noise_multiplier * self.sensitivity / 2**NOISE_BITS

    @cached_property
    def bound(self) -> int:
        """Largest squared L2 norm of one unit's integers: the whole part of (2**24 / z)**2."""
        exact = Fraction(2**NOISE_BITS) / Fraction(self.noise_multiplier)
        return int(exact * exact)

    def total(self, contributions: NDArray[np.float64]) -> NDArray[np.int64]:
        """The sum of what units contribute, on the grid.

        Args:
            contributions: one row a unit, float64 [n, d], each of L2 norm at most `sensitivity`.

        Returns:
            int64 [d]. Rows that are not finite, or too large, count nothing. Private.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = np.asarray(contributions, np.float64) * (_SHRINK / self.step)
            # What becomes whole toward zero does not grow; 2**-20 covers 2**32 roundings.
            inside = np.square(scaled).sum(axis=1) * (1 + 2.0**-20) <= self.bound
        return np.asarray(scaled[inside].astype(np.int64).sum(axis=0, dtype=np.int64))

    def add_gradients(self, totals: list[Tensor], samples: list[Tensor]) -> None:
        """Add units' gradients, clipped to norm `sensitivity`, to sums on the grid.

        Args:
            totals: one int64 tensor a parameter, of its shape; changed in place. Private.
            samples: one tensor a parameter, [n_units, *shape], every entry finite. A unit's
                gradient is its row in all of them.
        """
        import torch

        flat = [sample.flatten(1) for sample in samples]
        # Piece by piece: in float32 the norm of some millions of entries at once is wrong by more
        # than the shrinking allows, so that no unit would count.
        pieces = [piece for rows in flat for piece in rows.split(_ENTRIES, dim=1)]
        norms = torch.stack([torch.linalg.vector_norm(p, dim=1) for p in pieces]).double()
        norms = torch.linalg.vector_norm(norms, dim=0)
        factors = (self.sensitivity / norms).clamp(max=1.0) * (_SHRINK_GRADIENTS / self.step)
        sums = [total.view(-1) for total in totals]
        squares = _add(sums, flat, factors, sign=1)
        outside = squares * (1 + 2.0**-20) > self.bound
        if outside.any():  # never, if the norms were right; what was added is taken back exactly
            _add(sums, [rows[outside] for rows in flat], factors[outside], sign=-1)

    def release(self, total: NDArray[np.int64], noise: Noise) -> NDArray[np.float64]:
        """What may leave of a sum: noised integers, scaled back.

        Args:
            total: int64, any shape: a sum of `total` or `add_gradients`.
            noise: from `privacy.os_noise`, never from a plan.

        Returns:
            float64 of the same shape, in the unit of the contributions; its noise has standard
            deviation `noise_multiplier` times `sensitivity`.
        """
        noised = total.reshape(-1) + noise.integers(total.size)
        return np.asarray(((noised + 0.5) * self.step).reshape(total.shape))


def _add(sums: list[Tensor], flat: list[Tensor], factors: Tensor, *, sign: int) -> Tensor:
    """Add ``factors * flat`` on the grid, or take it away; returns units' squared norms.

    What becomes whole toward zero does not grow, so the norm before bounds that after.
    """
    import torch

    squares = torch.zeros(len(factors), dtype=torch.float64)
    columns = max(_COLUMNS, _ENTRIES // max(len(factors), 1))
    for total, rows in zip(sums, flat, strict=True):
        by = factors.to(rows.dtype)[:, None]
        for start in range(0, rows.shape[1], columns):
            some = slice(start, start + columns)
            scaled = rows[:, some] * by
            squares += torch.linalg.vector_norm(scaled, dim=1, dtype=torch.float64).square()
            whole = scaled.to(torch.int32)
            total[some].add_(whole[0] if len(whole) == 1 else whole.sum(0), alpha=sign)
    return squares


def _check(what: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not (isinstance(value, int | float) and low <= value <= high):
        raise SettingsError(
            f"a {what} of {value!r} is outside of [{low:g}, {high:g}], where integer arithmetic is "
            "safe; choose one within"
        )
