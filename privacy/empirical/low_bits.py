"""What the last bits of released numbers tell of the sum beneath the noise. Pure.

A release is some noise added to a sum, and the attacker knows the two sums that are possible: one
without a unit, one with it. In real numbers every value can come of either. In a computer it
depends on how the numbers are kept (Mironov 2012, "On significance of the least significant bits
for differential privacy"). Two attacks, neither of which needs to know how the noise was made:

- **impossible values** (`impossible`): of which released values can no number of the release's own
  type, added to the sum in that type's arithmetic, be the origin? One such value *proves* that the
  sum is another, if sum and noise were added in that arithmetic. Whether they were, the attacker
  finds out beforehand on releases that it makes itself (`Lesson.proves`): a proof that ever
  excluded the truth is none;
- **telling figures** (`figures`): how many bits the exact difference of release and sum takes, how
  far down its lowest bit lies, and how sharply differences lie on lattices of many steps. Which
  figures differ between the right and the wrong sum, and by how much, is learnt from the attacker's
  own releases (`learn`); decided is on others (`Lesson.guess`).

If noise and sum lie on one lattice whatever the data, both attacks find as much as the noise lets
through and no more: every value is possible, and differences lie on the lattice under either sum.
How much that is, `privacy.empirical.distinguishing` bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SettingsError

Floats = NDArray[Any]
"""float32 or float64, one entry a coordinate."""

_MOST_BITS: Final = 64
_TELLING: Final = 6.0
"""Standard errors by which a figure must differ to be used; of 200 figures chance gives none."""


def impossible(released: Floats, total: Floats) -> NDArray[np.bool_]:
    """Which released values no number of their type added to the sum can give.

    Rounded addition is monotone in each term, so only the numbers next to the exact difference need
    be tried.

    Args:
        released: what left, float32 or float64.
        total: the sum under one hypothesis, of the same type and shape.

    Raises:
        SettingsError: types or shapes differ.
    """
    _must_match(released, total)
    kind = released.dtype.type
    near = released - total
    origins = [near]
    for way in (-np.inf, np.inf):
        step = near
        for _ in range(2):
            step = np.nextafter(step, kind(way))
            origins.append(step)
    return ~np.any([total + origin == released for origin in origins], axis=0)


def figures(
    released: Floats, total: Floats, *, steps: Sequence[float], units: Sequence[float] = (1.0,)
) -> NDArray[np.float64]:
    """What is looked at in one release, under one hypothesis.

    Args:
        released: what left, float32 or float64.
        total: the sum under the hypothesis.
        steps: of the lattices that noise may lie on.
        units: what the numbers may have been multiplied by last; bits are looked at in each.

    Returns:
        For each unit: shares of the coordinates whose exact difference takes 0 to 64 bits, shares
        by how far the difference's lowest bit lies below the precision of the release, and the
        share of impossible values. Then for each step how sharply differences lie on its lattice,
        in [-1, 1].

    Raises:
        SettingsError: types or shapes differ.
    """
    _must_match(released, total)
    kind = released.dtype.type
    bits = [_bits(released / kind(unit), total / kind(unit)) for unit in units]
    high, _ = _exact_difference(released, total)
    lattices = [float(np.mean(np.cos(2 * np.pi * np.fmod(high / s, 1.0)))) for s in steps]
    return np.concatenate([*bits, lattices])


def _bits(released: Floats, total: Floats) -> NDArray[np.float64]:
    high, low = _exact_difference(released, total)
    top, bottom = _exponent(high), _lowest_bit(np.where(low == 0, high, low))
    none = high == 0
    width = np.where(none, 0, np.clip(top - bottom + 1, 0, _MOST_BITS))
    unit = _exponent(np.spacing(np.abs(released)).astype(np.float64))
    below = np.where(none, 0, np.clip(unit - bottom, -_MOST_BITS // 2, _MOST_BITS // 2))
    shares = [
        np.bincount(width.astype(int), minlength=_MOST_BITS + 1),
        np.bincount(below.astype(int) + _MOST_BITS // 2, minlength=_MOST_BITS + 1),
    ]
    return np.append(np.concatenate(shares) / len(high), impossible(released, total).mean())


def lattice_steps(scale: float) -> tuple[float, ...]:
    """Steps that a lattice of noise of this standard deviation may have: halves, over and over.

    Args:
        scale: a number that steps are likely to be made of: the noise's standard deviation, the
            clipping norm, 1.
    """
    return tuple(scale * 2.0**-power for power in range(4, 31))


@dataclass(frozen=True)
class Lesson:
    """What an attacker learnt from its own releases.

    Attributes:
        weights: of the differences of figures; zero for those that tell nothing.
        proves: whether impossible values never excluded the truth, and did exclude what is wrong.
        steps: as for `figures`.
        units: as for `figures`.
    """

    weights: NDArray[np.float64]
    proves: bool
    steps: tuple[float, ...]
    units: tuple[float, ...]

    def guess(
        self, released: Floats, without: Floats, with_unit: Floats, *, by_proof: bool
    ) -> bool | None:
        """Whether the unit is in: True, False, or None for no answer.

        Args:
            released: what left.
            without: the sum if the unit is out.
            with_unit: the sum if it is in.
            by_proof: by impossible values alone, where they prove; else by figures alone.
        """
        if by_proof:
            return proved(released, without, with_unit) if self.proves else None
        contrast = _contrast(released, without, with_unit, self.steps, self.units)
        score = float(self.weights @ contrast)
        return None if score == 0 else score > 0


def proved(released: Floats, without: Floats, with_unit: Floats) -> bool | None:
    """Whether the unit is in, if one hypothesis alone has impossible values; else None."""
    out, inside = impossible(released, without).any(), impossible(released, with_unit).any()
    return None if out == inside else bool(out)


def learn(
    absent: Sequence[Floats],
    present: Sequence[Floats],
    *,
    without: Floats,
    with_unit: Floats,
    steps: tuple[float, ...],
    units: tuple[float, ...] = (1.0,),
) -> Lesson:
    """Learn from releases of which it is known whether the unit is in.

    Args:
        absent: releases without the unit; not those to be judged later.
        present: releases with it.
        without: the sum without the unit.
        with_unit: the sum with it.
        steps: as for `figures`.
        units: as for `figures`.

    Raises:
        SettingsError: fewer than ten releases on either side, or types or shapes differ.
    """
    if min(len(absent), len(present)) < 10:
        raise SettingsError("an attacker learns from ten releases a side at least")
    rows = np.array(
        [
            *(-_contrast(each, without, with_unit, steps, units) for each in absent),
            *(_contrast(each, without, with_unit, steps, units) for each in present),
        ]
    )
    mean, spread = rows.mean(axis=0), rows.std(axis=0, ddof=1)
    error = spread / np.sqrt(len(rows))
    telling = (np.abs(mean) > _TELLING * error) & (np.abs(mean) > 0)
    floor = np.maximum(spread, 0.1 * np.abs(mean) + 1e-12)
    weights = np.where(telling, mean / floor**2, 0.0)
    said = [proved(each, without, with_unit) for each in absent]
    told = [proved(each, without, with_unit) for each in present]
    right = said.count(False) + told.count(True)
    return Lesson(weights, True not in said and False not in told and right >= 10, steps, units)


def _contrast(
    released: Floats,
    without: Floats,
    with_unit: Floats,
    steps: tuple[float, ...],
    units: tuple[float, ...],
) -> NDArray[np.float64]:
    """Figures if the unit is in, less figures if it is out."""
    inside = figures(released, with_unit, steps=steps, units=units)
    return inside - figures(released, without, steps=steps, units=units)


def _exact_difference(
    released: Floats, total: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two doubles that add up to the exact difference (Knuth's two-sum)."""
    a, b = released.astype(np.float64), -total.astype(np.float64)
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def _exponent(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Power of two of each value's highest bit; 0 for zero."""
    return np.where(values == 0, 0, np.frexp(values)[1] - 1).astype(np.int64)


def _lowest_bit(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Power of two of each value's lowest bit; 0 for zero."""
    fraction, exponent = np.frexp(values)
    whole = np.abs(np.ldexp(fraction, 53)).astype(np.int64)
    bit = whole & -whole
    power = np.frexp(bit.astype(np.float64))[1] - 1
    return np.where(whole == 0, 0, exponent - 53 + power).astype(np.int64)


def _must_match(released: Floats, total: Floats) -> None:
    same = released.dtype == total.dtype and released.shape == total.shape
    if not same or released.dtype not in (np.float32, np.float64) or released.ndim != 1:
        raise SettingsError(
            f"a release and its sum are vectors of one float type; got {released.dtype} "
            f"{list(released.shape)} and {total.dtype} {list(total.shape)}"
        )
