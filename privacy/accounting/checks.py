"""What counts as an amount: finite, positive, a real number, never a bool or a string.

Negative, NaN and infinite amounts have raised budgets in other systems; here they raise errors.
"""

import math

from privacy.errors import BudgetAmountError

SMALLEST_DELTA = 1e-10
"""Below this the rounding of discretised accountants (`accountant`) is no longer small."""
SAMPLER_SHARE = 2.0**-30
"""The share of every delta that is kept for samplers: a figure at delta is computed at
``delta * (1 - SAMPLER_SHARE)``. Noise that is drawn from a distribution at a total variation
distance eta (over everything that one account holds) of the ideal one costs
``(1 + exp(epsilon)) * eta`` of delta; that must be below this share of it."""

LARGEST_DELTA = 1e-3
"""A budget's delta may not be larger: what holds but for one chance in a thousand is no promise."""


def check_epsilon(epsilon: object) -> float:
    """Return `epsilon` as a float if it is a usable amount.

    Args:
        epsilon: amount of privacy loss; must be finite and > 0.

    Returns:
        The same number as a float.

    Raises:
        BudgetAmountError: anything else, bools and strings included.
    """
    value = _real(epsilon, "epsilon")
    if value <= 0:
        raise BudgetAmountError(f"epsilon must be > 0, got {value}; give a positive amount")
    return value


def check_delta(delta: object) -> float:
    """Return `delta` as a float if it is a usable failure probability.

    Args:
        delta: must be within [1e-10, 1).

    Returns:
        The same number as a float.

    Raises:
        BudgetAmountError: anything else, bools and strings included.
    """
    value = _real(delta, "delta")
    if not SMALLEST_DELTA <= value < 1:
        raise BudgetAmountError(
            f"delta must lie in [{SMALLEST_DELTA:g}, 1), got {value}; "
            "take one far below 1 / number of units, 1e-5 for instance"
        )
    return value


def check_promised_delta(delta: object) -> float:
    """Return `delta` as a float if a budget may promise it.

    Args:
        delta: must be within [1e-10, 0.001].

    Returns:
        The same number as a float.

    Raises:
        BudgetAmountError: anything else. With a delta near 1 every epsilon is 0.
    """
    value = check_delta(delta)
    if value > LARGEST_DELTA:
        raise BudgetAmountError(
            f"a budget's delta must be at most {LARGEST_DELTA:g}, got {value:g}; "
            "take one far below 1 / number of units, 1e-5 for instance"
        )
    return value


def _real(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BudgetAmountError(f"{name} must be a number, got {type(value).__name__} {value!r}")
    try:
        number = float(value)
    except OverflowError as error:
        raise BudgetAmountError(
            f"{name} must be finite, got a {len(str(value))}-digit integer"
        ) from error
    if not math.isfinite(number):
        raise BudgetAmountError(f"{name} must be finite, got {number}")
    return number


def paid_delta(delta: float) -> float:
    """What is left of `delta` for the mechanisms themselves, once samplers have had their share."""
    return delta * (1 - SAMPLER_SHARE)
