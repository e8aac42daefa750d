"""What the numbers of a privacy event may be; no library is needed to say so.

Every process that trains checks its settings by these rules, and none of them computes an epsilon:
dp-accounting, and with it half of SciPy, is imported where events are made
(`privacy.accounting.events`).
"""

import math

from privacy.errors import EventError

MAX_COUNT = 10**6
"""Largest count in one self-composed event."""


def _real(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventError(f"{what} must be a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError as error:
        raise EventError(f"{what} must be finite, got a huge integer") from error
    if not math.isfinite(number):
        raise EventError(f"{what} must be finite, got {number}")
    return number


def check_noise(value: object) -> float:
    """A noise multiplier: finite and > 0.

    Raises:
        EventError: anything else, bools and strings included.
    """
    number = _real(value, "noise multiplier")
    if number <= 0:
        raise EventError(
            f"noise multiplier must be > 0, got {number}; a release without noise is non_private()"
        )
    return number


def check_rate(value: object) -> float:
    """A sampling rate: in (0, 1].

    Raises:
        EventError: anything else, bools and strings included.
    """
    number = _real(value, "sampling rate")
    if not 0 < number <= 1:
        raise EventError(f"sampling rate must lie in (0, 1], got {number}")
    return number


def check_count(value: object) -> int:
    """A number of releases: an integer in [1, MAX_COUNT].

    Raises:
        EventError: anything else, bools and strings included.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_COUNT:
        raise EventError(f"a count must be an integer in [1, {MAX_COUNT}], got {value!r}"[:120])
    return value
