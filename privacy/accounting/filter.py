"""The filter: what is left of a budget when every next plan may be chosen after seeing outputs.

The figure that refuses, and that a hospital states, comes from here. Composing the loss
distributions of all plans (`privacy.accounting.accountant`) is a theorem only for plans that were
fixed beforehand: a second study, chosen by what the first one showed from several that each just
fit, spends more than any of them (`tests/privacy/test_filter.py` computes by how much).

**What is added up.** Each thing that runs is charged a squared shift mu**2. A full-batch Gaussian
of noise multiplier z is charged 1 / z**2 when it is reserved. Everything else (Poisson-sampled
steps, Laplace noise) is charged in *blocks*: sequences that are fixed as a whole before their first
run, a plan's sampled steps for instance, and charged whole at that moment. A block is charged the
smallest mu for which, for every epsilon >= 0 and in both directions (unit added, unit removed),

    delta_block(epsilon)  <=  s + (1 - s) * delta_mu(epsilon),                              (1)

with delta_mu the curve of one Gaussian of shift mu, and s = `SHARE` of the delta in question. With
T the sum of all charges, n the number of blocks and N = `BLOCKS`, a spend is refused unless

    n <= N    and    delta_sqrt(T)(epsilon)  <=  delta - N s                                (2)

at the budget's epsilon and delta. N s, 2 % of delta, is set aside whether blocks run or not: to let
Gaussians have what blocks leave over would be the same mistake in small, because whether a block
runs is chosen late.

**Theorem.** All that (2) lets through is (epsilon, delta)-DP, whoever chooses what runs next by
everything seen so far.

*Gaussians alone.* Let W be a Brownian motion: without the unit it has no drift, with it drift 1.
Its increment over a stretch of length m**2, divided by m, is N(0, 1) or N(m, 1). A release of noise
multiplier 1 / m is a randomised function of such an increment, since the unit moves its sum by at
most m standard deviations of the noise. So make the first release from W on [0, m_1**2]. What was
seen chooses the second, hence m_2; the next stretch of W is independent of the past, and makes
that; and so on. As long as the stretches do not pass T, the whole transcript is a randomised
function of W on [0, T], and it is the same function with and without the unit. Given its end point,
W on [0, T] is a Brownian bridge whatever its drift, so only W(T) tells anything: N(0, T) against
N(T, T), a shift of sqrt(T). (Smith and Thakurta 2022, "Fully adaptive composition for Gaussian
differential privacy", arXiv 2210.17520; Dong, Roth and Su 2022 for Gaussian DP. The filters of
Feldman and Zrnic 2021, arXiv 2008.11193, Lecuyer 2021, arXiv 2103.01379, and Whitehouse et al.
2023, arXiv 2203.05481, do the same with other residues.)

*Blocks.* By (1) and Blackwell's theorem the outcomes of all of a block's sampling and noise, drawn
at once, are a randomised function of this: with probability s the truth, else N(0, 1) against
N(mu, 1). (Below 0, (1) in one direction says the same as above 0 in the other.) So draw them when
the block is charged, from the next stretch of W, and show them step by step, whatever else runs in
between and whatever the steps ask; stopping early shows fewer. A transcript without an unlucky draw
had the same chance to be lucky with and without the unit, and is a function of W on [0, T]; there
is an unlucky draw with probability at most N s. Together delta_sqrt(T)(epsilon) + N s, with the
largest T that (2) allows, which is at most delta. (1) is checked on a grid of losses:
between two points the left side is taken at the lower and the right side at the upper one, and the
left side is dp-accounting's pessimistic curve plus what its arithmetic may lose.

**Units at once.** The proof is about one pair of data sets. It holds for two that differ by k units
if every charge is made for such a pair: a full-batch Gaussian's shift is at most k / z whatever is
added, removed or replaced, and `privacy.accounting.groups` bounds blocks. That is what `units` asks
for; with full-batch Gaussians only, epsilon for k units is that of multipliers z / k.

**What it does not say.** The bound is on what a budget may let through, and was fixed before. The
figure for what was spent *so far* is where that bound would have had to lie; whoever reads a claim
off it after seeing outputs chooses late, and the theorem does not cover that choice. A budget that
is raised, a window and a reset are new bounds: what holds is the largest sum that was let through.

The order of events and blocks does not matter. An event that is not accounted for, or a block that
no Gaussian dominates, makes the figure infinite.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from dp_accounting.dp_event import DpEvent
from numpy.typing import NDArray
from scipy import special

from privacy.accounting.accountant import (
    POINTS,
    accountable,
    composed,
    event_of,
    interval_for,
    lost_mass,
)
from privacy.accounting.checks import check_delta, paid_delta
from privacy.accounting.gdp import gaussian_delta, gaussian_epsilon
from privacy.accounting.groups import group_powers
from privacy.accounting.merging import Merged, full_batch

SHARE = 1 / 2000
"""What one block takes of delta, so that its tail need not be a Gaussian's."""
BLOCKS = 40
"""How many blocks may count at once; their shares are set aside beforehand."""
UNITS_AT_ONCE = {2: "two", 3: "three"}
"""How many units one person may change, in words: replacing one is two, bridging two is three."""
_LEAST_NOISE = 1e-3  # as in `privacy.accounting.accountant`: below, a figure would mean nothing
_LARGEST_LOSS = 600.0  # dp-accounting's curve overflows at 709; nothing is claimed out there
_GRID = 20_000
_LARGEST_MU = 1 / _LEAST_NOISE
_MU_STEP = 1e-7

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Charges:
    """What the filter adds up. A value: equal whatever the order it was put together in.

    Attributes:
        gaussians: (noise multiplier, how often) of full-batch Gaussians, sorted.
        blocks: (what a fixed sequence may cost, how many such) of everything else, sorted.
        private: False if something is among them that cannot be accounted for.
    """

    gaussians: tuple[tuple[float, int], ...] = ()
    blocks: tuple[tuple[Merged, int], ...] = ()
    private: bool = True

    def __add__(self, other: "Charges") -> "Charges":
        return charges(
            Counter(dict(self.gaussians)) + Counter(dict(other.gaussians)),
            Counter(dict(self.blocks)) + Counter(dict(other.blocks)),
            private=self.private and other.private,
        )


def charges(
    gaussians: Mapping[float, int], blocks: Mapping[Merged, int], *, private: bool = True
) -> Charges:
    """Put charges together.

    Args:
        gaussians: noise multiplier of full-batch Gaussians -> how often each ran.
        blocks: what a fixed sequence may cost -> how many such there are.
        private: whether everything can be accounted for.
    """
    return Charges(
        tuple(sorted(gaussians.items())),
        tuple(sorted(blocks.items(), key=lambda block: block[0].parts)),
        private and all(block.private for block in blocks),
    )


def plan_charges(events: DpEvent | Iterable[DpEvent]) -> Charges:
    """The charges of one plan: its full-batch Gaussians, and the rest as one block.

    Args:
        events: everything that it may cost, fixed before any of it runs.
    """
    listed = [events] if isinstance(events, DpEvent) else list(events)
    gaussians, block, private = full_batch(listed)
    return charges(gaussians, {block: 1} if block.parts else {}, private=private)


def filter_epsilon(spent: Charges, *, delta: float, units: int = 1, points: int = POINTS) -> float:
    """Epsilon of everything charged, whoever chose what ran next by what had left before.

    Args:
        spent: the charges.
        delta: failure probability, in [1e-10, 1).
        units: by how many units of privacy two data sets differ (added, removed or replaced).
        points: of the grid of losses; fewer is faster, and larger.

    Returns:
        Epsilon, >= 0; infinite where no finite one is proved.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return _epsilon(spent, check_delta(delta), units, points)


def epsilon_by_units(spent: Charges, *, delta: float) -> dict[int, float]:
    """`filter_epsilon` for one unit and for the `UNITS_AT_ONCE` that people are told about.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return {k: filter_epsilon(spent, delta=delta, units=k) for k in (1, *UNITS_AT_ONCE)}


@dataclass(frozen=True, kw_only=True)
class FilterTerms:
    """What a third party needs beside the events to compute the filter's figure again.

    Attributes:
        delta: what is left for the Gaussian of shift sqrt(T).
        share: s in (1).
        events: name of each block that counts -> everything that it may cost.
        intervals: name -> grid of losses on which it is composed.
        lost: name -> what double precision may lose of its delta.
    """

    delta: float
    share: float
    events: Mapping[str, DpEvent]
    intervals: Mapping[str, float]
    lost: Mapping[str, float]


def filter_terms(blocks: Mapping[str, Merged], *, delta: float) -> FilterTerms:
    """The terms for some blocks.

    Args:
        blocks: name -> cost of each block that counts.
        delta: failure probability of the whole.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    whole = paid_delta(check_delta(delta))
    events = {name: event_of(block) for name, block in blocks.items()}
    return FilterTerms(
        delta=whole * (1 - SHARE * BLOCKS),
        share=whole * SHARE,
        events=events,
        intervals={name: interval_for(event) for name, event in events.items()},
        lost={name: lost_mass(block) for name, block in blocks.items()},
    )


@lru_cache(maxsize=4096)
def _epsilon(spent: Charges, delta: float, units: int, points: int) -> float:
    whole = paid_delta(delta)
    share = SHARE * whole
    left = whole - share * BLOCKS
    if not spent.private or sum(count for _, count in spent.blocks) > BLOCKS:
        return math.inf
    if any(noise < _LEAST_NOISE for noise, _ in spent.gaussians):
        return math.inf
    squares = [count * (1 / noise) ** 2 for noise, count in spent.gaussians]
    if not math.fsum(squares) <= _LARGEST_MU**2:
        return math.inf
    squares = [square * units**2 for square in squares]
    squares += [
        count * block_shift(block, share=share, units=units, points=points) ** 2
        for block, count in spent.blocks
    ]
    mu = math.sqrt(math.fsum(squares))
    return gaussian_epsilon(mu=mu, delta=left) if math.isfinite(mu) else math.inf


@lru_cache(maxsize=4096)
def block_shift(block: Merged, *, share: float, units: int = 1, points: int = POINTS) -> float:
    """The smallest shift of a Gaussian that dominates a block but for `share` of probability.

    Args:
        block: everything that the fixed sequence may cost.
        share: s in (1), > 0.
        units: by how many units two data sets differ.
        points: of the grid of losses.

    Returns:
        mu, >= 0; infinite if there is none.
    """
    if not accountable(block):
        return math.inf
    if not block.parts:
        return 0.0
    lost = lost_mass(block)
    if lost >= share:
        return math.inf
    distribution = composed(block, points)
    top = float(distribution.get_epsilon(share - lost))
    if not top < _LARGEST_LOSS:
        return math.inf

    def curve(losses: Array) -> Array:
        return np.asarray(distribution.get_delta(losses)) + lost

    if units > 1:
        quantiles, power = group_powers(curve, block, near=top, units=units)
        return _smallest(partial(_powers_dominate, quantiles, power, share))
    losses = np.linspace(0.0, top, _GRID if points == POINTS else _GRID // 10)
    needed = np.maximum(curve(losses[:-1]) - share, 0.0) / (1 - share)
    return _smallest(lambda mu: bool(np.all(gaussian_delta(losses[1:], mu=mu) >= needed)))


def _powers_dominate(quantiles: Array, power: Array, share: float, mu: float) -> bool:
    """(1), said of powers of tests: none is larger than that of the mixture on the right.

    Losses >= 0 are slopes >= 1, so beyond the rate at which the Gaussian's slope is 1 the tangent
    there counts. Between two rates the power is taken at the upper, the mixture at the lower one.
    """
    tangent = float(gaussian_delta(0.0, mu=mu)) + special.ndtr(quantiles)
    gaussian = np.where(quantiles <= -mu / 2, special.ndtr(quantiles + mu), tangent)
    mixture = share + (1 - share) * gaussian
    return bool(power[0] <= share and np.all(power[1:] <= mixture[:-1]) and mixture[-1] >= 1)


def _smallest(dominates: Callable[[float], bool]) -> float:
    """The smallest shift that dominates, too large by at most 1e-7 of itself and of 1."""
    high = 1.0
    while not dominates(high):
        high *= 2
        if high > _LARGEST_MU:
            return math.inf
    low = high / 2 if high > 1 else 0.0
    while high > _MU_STEP and high - low > _MU_STEP * high:
        middle = (low + high) / 2
        if dominates(middle):
            high = middle
        else:
            low = middle
    return high
