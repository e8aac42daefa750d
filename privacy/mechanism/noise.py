r"""Integer noise: the floor of a Gaussian, drawn exactly.

`OsNoise.integers` draws floor(2**24 G) for standard normal G, each independent. Added to an integer
sum S it is floor(S + 2**24 G): what the Gaussian mechanism on real numbers would release, rounded
down. Rounding is post-processing, so everything that is proved of the Gaussian mechanism holds, and
no number of floating-point type ever meets a private sum (Mironov 2012, "On significance of the
least significant bits for differential privacy", says what happens otherwise; Canonne, Kamath and
Steinke 2020, arXiv 2004.00010, section 1.1, on rounding).

**How one is drawn** (rejection from a table, after Karney 2016, "Sampling exactly from the normal
distribution", ACM TOMS 42(1)). |G| is cut into 256 steps of 1/16. A step m is drawn with
probability W[m] / 2**40 for integers W[m] >= lambda exp(-(m/16)**2 / 2), by Walker's alias table in
integers; then a place x within the step, to any number of bits; and x is accepted with probability
lambda exp(-x**2 / 2) / W[m], which is at most 1 as the density falls. Accepted x have the density
of |G| below 16. A fair bit gives the sign: floor of -x is the complement of floor of x.

**Why this is exact although it is computed in doubles.** x and the number u that decides are real
numbers of which 48 and 47 bits are looked at. Both sides of the comparison are known to 2**-39 of
their size (see `_settled`); it is decided only where they differ by 2**-23, sixty thousand times
more. What is left, one draw in four million, is decided by more bits of both and exponentials of 50
digits, until it is certain (`decide`).

**Distance from the ideal**: |G| >= 16 never occurs; the ideal has it with probability 1.3e-57. For
all the numbers that a hospital could ever draw (2**63) that is below 2**-125 together. The
accountant gives a share of delta of 2**-30 away for it (`privacy.accounting.accountant`).

Nothing depends on a plan's seed: the key comes from the operating system. `UnsafeSeededNoise` can
be repeated, for tests and simulations.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal, localcontext
from typing import Final, Protocol, final

import numpy as np
from numpy.typing import NDArray

from privacy.mechanism.randomness import KeyStream, Part, UnsafeSeededStream

NOISE_BITS: Final = 24
"""The standard deviation of `integers` is 2**24 exactly."""

_STEPS, _STEPS_A_SIGMA = 256, 16
_WEIGHT_BITS, _COLUMN_BITS, _ALIAS_BITS = 40, 8, 32
_PLACE_BITS, _DECIDE_BITS = 40, 47
_X_BITS = _PLACE_BITS + 4  # x = X / 2**44, X = (step, place)
_MARGIN = 2.0**24  # of 2**47: the comparison in doubles is believed beyond it
_BLOCK = 1 << 13
_MORE_BITS = 128
_ALONE = 1 << 17
"""Fewer numbers than that are not worth a second thread."""


class Noise(Protocol):
    """Where integer noise comes from."""

    def integers(self, count: int) -> NDArray[np.int64]:
        """`count` independent draws of floor(2**NOISE_BITS G), G standard normal: int64 [count]."""
        ...


def _weights() -> tuple[int, list[int]]:
    """Lambda and the integers W[m] >= lambda exp(-(m/16)**2 / 2), which add up to 2**40."""
    density = [math.exp(-((m / _STEPS_A_SIGMA) ** 2) / 2) for m in range(_STEPS)]
    slack = 1 + 2.0**-40
    scale = int((2**_WEIGHT_BITS - 2 * _STEPS) / (math.fsum(density) * slack))
    weights = [math.ceil(scale * value * slack) + 1 for value in density]
    weights[0] += 2**_WEIGHT_BITS - sum(weights)
    return scale, weights


def _alias_table(weights: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Walker's alias table, exact in integers: thresholds of 2**32, and the other step."""
    room = 2**_ALIAS_BITS
    left, other, threshold = list(weights), list(range(_STEPS)), [room] * _STEPS
    small = [m for m in range(_STEPS) if left[m] < room]
    large = [m for m in range(_STEPS) if left[m] >= room]
    while small:
        m, donor = small.pop(), large.pop()
        threshold[m], other[m] = left[m], donor
        left[donor] -= room - left[m]
        (small if left[donor] < room else large).append(donor)
    return np.array(threshold, np.uint64), np.array(other, np.uint64)


LAMBDA, WEIGHTS = _weights()
_THRESHOLD, _OTHER = _alias_table(WEIGHTS)
_RATIO = np.array([LAMBDA / weight * 2.0**_DECIDE_BITS for weight in WEIGHTS])


def _low(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


class _Block:
    """The draws of one numbered part of a key stream."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def integers(self, count: int) -> NDArray[np.int64]:
        out = np.empty(count, np.int64)
        done = 0
        while done < count:
            found = self._trials(count - done + (count - done) // 24 + 8)[: count - done]
            out[done : done + len(found)] = found
            done += len(found)
        return out

    def _trials(self, count: int) -> NDArray[np.int64]:
        """Those of `count` trials that were accepted, 128 bits each."""
        words = self._part.words(2 * count)
        first, second = words[:count], words[count:]
        column = (first & _low(_COLUMN_BITS)).view(np.int64)
        step = column.view(np.uint64)
        keep = (first >> np.uint64(_COLUMN_BITS)) & _low(_ALIAS_BITS)
        np.copyto(step, _OTHER[column], where=keep >= _THRESHOLD[column])
        place = (step << np.uint64(_PLACE_BITS)) | (second >> np.uint64(24))
        decide_by = ((first >> np.uint64(41)) << np.uint64(24)) | (second & _low(24))
        accepted = self._settled(step, place, decide_by)
        sign = ((first >> np.uint64(40)) & np.uint64(1)).view(np.int64)
        value = (place >> np.uint64(_X_BITS - NOISE_BITS)).view(np.int64)
        value ^= -sign
        return value[accepted]

    def _settled(
        self, step: NDArray[np.uint64], place: NDArray[np.uint64], decide_by: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Whether x is accepted.

        With x in [X, X + 1) / 2**44 below 16 the exponent is known to 16 / 2**44 = 2**-40, and the
        double exponential, its argument and the ratio add less than 2**-49; so the bound is known
        to 2**-39 of itself, and u to one unit of 2**-47.
        """
        bound = place.astype(np.float64)
        np.square(bound, out=bound)
        bound *= -0.5 * 2.0 ** (-2 * _X_BITS)
        np.exp(bound, out=bound)
        bound *= _RATIO[step.view(np.int64)]
        bound -= decide_by  # uint64 below 2**47 is exact as a double
        accepted = bound > _MARGIN
        doubtful = np.flatnonzero(np.abs(bound) <= _MARGIN)
        for index in doubtful:
            accepted[index] = decide(
                int(step[index]), int(place[index]), int(decide_by[index]), self._part
            )
        return accepted


def decide(step: int, place: int, decide_by: int, part: Part) -> bool:
    """Whether u < lambda exp(-x**2 / 2) / W[step], drawing more bits of x and u as needed.

    Args:
        step: m.
        place: X, x being in [X, X + 1) / 2**44.
        decide_by: U, u being in [U, U + 1) / 2**47.
        part: gives the further bits.
    """
    x_bits, u_bits, digits = _X_BITS, _DECIDE_BITS, 50
    while True:
        low, high = (
            _bound(step, Decimal(place + end), bits=x_bits, digits=digits) for end in (1, 0)
        )
        slack = Decimal(10) ** (6 - digits)
        scale = Decimal(2) ** -u_bits
        with localcontext(Context(prec=2 * digits)):
            if (decide_by + 1) * scale <= low - slack:
                return True
            if decide_by * scale >= high + slack:
                return False
        more = part.words(2 * _MORE_BITS // 64)
        place = place << _MORE_BITS | int(more[0]) << 64 | int(more[1])
        decide_by = decide_by << _MORE_BITS | int(more[2]) << 64 | int(more[3])
        x_bits, u_bits, digits = x_bits + _MORE_BITS, u_bits + _MORE_BITS, digits + 40


def _bound(step: int, place: Decimal, *, bits: int, digits: int) -> Decimal:
    """Lambda exp(-x**2 / 2) / W[step] at x = place / 2**bits, correct to some 10**-digits."""
    with localcontext(Context(prec=digits + 10)):
        x = place * Decimal(2) ** -bits
        return (-(x * x) / 2).exp() * LAMBDA / WEIGHTS[step]


@final
class OsNoise:
    """Integer noise under a key of the operating system's.

    Args:
        stream: what it is made of; None for a fresh one of the operating system's.
    """

    def __init__(self, stream: KeyStream | None = None) -> None:
        self._stream = KeyStream() if stream is None else stream
        self._blocks = 0

    def __repr__(self) -> str:
        return f"OsNoise({self._stream!r})"

    def integers(self, count: int) -> NDArray[np.int64]:
        """`count` independent draws of floor(2**24 G): int64 [count]."""
        out = np.empty(count, np.int64)
        starts = range(0, count, _BLOCK)
        first = self._blocks + 1
        self._blocks += len(starts)

        def fill(number: int) -> None:
            start = starts[number]
            size = min(_BLOCK, count - start)
            out[start : start + size] = _Block(self._stream.part(first + number)).integers(size)

        threads = len(os.sched_getaffinity(0)) if count > _ALONE else 1
        if threads == 1:
            for number in range(len(starts)):
                fill(number)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, range(len(starts))))
        return out


@final
class UnsafeNoNoise:
    """No noise at all, under the same arithmetic: for comparisons without privacy."""

    def integers(self, count: int) -> NDArray[np.int64]:
        """`count` zeros."""
        return np.zeros(count, np.int64)


def os_noise() -> Noise:
    """A source of integer noise, keyed by the operating system."""
    return OsNoise()


def UnsafeSeededNoise(seed: int) -> Noise:
    """Noise that everybody who knows the seed can subtract: for tests and simulations only."""
    return OsNoise(UnsafeSeededStream(seed))
