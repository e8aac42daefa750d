"""What one training run with canaries proves about epsilon: exact lower bounds. Pure.

The game: each of m canaries joined the run or not by its own fair coin; an auditor who sees what
left guesses some of the coins and abstains from the others. The better the guesses, the more the
run must have let out:

- `p_value`: Steinke, Nasr, Jagielski 2023, "Privacy auditing with one (1) training run"
  (arXiv 2305.08846), theorem 5.2 (theorem 3.1 for delta = 0): for an (epsilon, delta)-DP run the
  number of correct guesses among r is dominated by Binomial(r, e^eps / (1 + e^eps)), up to
  ``2 m delta max_i P[v > B >= v - i] / i``;
- `rejects`: Mahloujifar, Melis, Chaudhuri 2024, "Auditing f-differential privacy in one run"
  (arXiv 2410.22235), algorithm 3: the same for a whole trade-off curve, which loses much less.
  Curves: `gaussian_curve` (mu-Gaussian DP, Dong, Roth and Su 2022) and `claimed_curve`, the curve
  that the accountant of record claims for an event at many deltas at once.

Both relations are add or remove one canary, as everywhere in Dura. A rejected claim is false with
the confidence that is stated; a claim that is not rejected is not thereby true.

Which guesses to make is chosen by looking at the scores, so every choice that was open
(`_choices`) pays its part of the error probability (Bonferroni): the figures hold together.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from dp_accounting.dp_event import DpEvent
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from privacy.accounting import check_delta, coarse_epsilon
from privacy.errors import SettingsError

Curve = Callable[[float], float]
"""Inverse blow-up: the least probability that an event of probability x can have beside it."""

_TOLERANCE = 1e-3
_LARGEST = 64.0
_FEWEST_GUESSES = 10
_DELTAS = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5)


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """How an auditor did.

    Attributes:
        canaries: m, canaries whose coin was tossed.
        made: r, coins guessed; the others were abstained from.
        correct: v, of these.

    Raises:
        SettingsError: not 0 <= correct <= made <= canaries, or no canary.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries or self.canaries < 1:
            raise SettingsError(
                f"{self.correct} of {self.made} guesses about {self.canaries} canaries is "
                "impossible; give correct <= made <= canaries"
            )


@dataclass(frozen=True, kw_only=True)
class LowerBound:
    """What the guesses prove about one run.

    Attributes:
        epsilon: the run was not (epsilon', delta)-DP for any epsilon' below this.
        epsilon_fdp: the same under the assumption that its privacy loss is a Gaussian's;
            usually larger.
        claim_rejected: whether the curve that the accountant claims is refuted.
        delta: the delta of both epsilons.
        confidence: with which all three hold together.
        guesses: those that the larger epsilon rests on.
    """

    epsilon: float
    epsilon_fdp: float
    claim_rejected: bool
    delta: float
    confidence: float
    guesses: Guesses


def p_value(guesses: Guesses, *, epsilon: float, delta: float) -> float:
    """Largest probability of so many correct guesses, were the run (epsilon, delta)-DP.

    Args:
        guesses: what happened.
        epsilon: >= 0.
        delta: in [0, 1].

    Returns:
        In (0, 1]; theorem 5.2.
    """
    m, r, v = guesses.canaries, guesses.made, guesses.correct
    accuracy = 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(binom.sf(v - 1, r, accuracy))
    distance = np.arange(1, v + 1)
    below = binom.sf(v - distance - 1, r, accuracy) - tail
    slope = float(np.max(below / distance, initial=0.0))
    return min(1.0, tail + 2.0 * m * delta * slope)


def epsilon_bound(guesses: Guesses, *, delta: float, significance: float) -> float:
    """The largest epsilon that the guesses refute at this significance (0 if none).

    Args:
        guesses: what happened.
        delta: failure probability of the claim.
        significance: allowed probability of refuting what is true.

    Returns:
        A lower bound on epsilon at `delta`, rounded down to 0.001.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    check_delta(delta)
    return _largest(lambda value: p_value(guesses, epsilon=value, delta=delta) < significance)


def rejects(guesses: Guesses, curve: Curve, *, significance: float) -> bool:
    """Whether a trade-off curve is refuted (algorithm 3 with two alternatives).

    Args:
        guesses: what happened.
        curve: inverse blow-up function of the claimed trade-off.
        significance: allowed probability of refuting what is true.

    Returns:
        True if no mechanism with this curve makes so many correct guesses that likely.
    """
    m, made, correct = guesses.canaries, guesses.made, guesses.correct
    if correct == 0:
        return False
    inner = significance * correct / m
    outer = significance * (made - correct) / m
    for index in range(correct - 1, -1, -1):
        wider = max(outer, curve(inner))
        if wider > outer:
            inner = min(1.0, inner + index / (made - index) * (wider - outer))
            outer = wider
    return inner + outer > made / m


def gaussian_curve(mu: float) -> Curve:
    """Inverse blow-up of mu-Gaussian DP: Phi(Phi^-1(x) - mu)."""
    return lambda x: float(ndtr(ndtri(min(max(x, 0.0), 1.0)) - mu))


def gaussian_mu(epsilon: float, *, delta: float) -> float:
    """The mu of the Gaussian mechanism whose epsilon at `delta` this is.

    Balle and Wang 2018 (arXiv 1805.06530), theorem 8: delta = Phi(mu/2 - eps/mu) - e^eps
    Phi(-mu/2 - eps/mu), found by halving and rounded down.
    """

    def excess(mu: float) -> float:
        return float(ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon) * ndtr(-mu / 2 - epsilon / mu))

    low, high = 1e-9, 1.0
    while excess(high) < delta:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < delta else (low, middle)
    return low


def claimed_curve(event: DpEvent) -> Curve:
    """Inverse blow-up of what the accountant of record claims for an event.

    The event satisfies (epsilon(delta), delta) at every delta; the curve is the upper envelope of
    those trade-offs on a grid of deltas (Dong, Roth and Su 2022, proposition 2.5), computed on the
    coarse grid of losses: it claims no more than the accountant does.

    Args:
        event: what the run is accounted as.

    Returns:
        The curve.
    """
    pairs = [(coarse_epsilon(event, delta=delta), delta) for delta in _DELTAS]
    finite = [(math.exp(-value), delta) for value, delta in pairs if value < 700]

    def curve(x: float) -> float:
        steep = [(x - delta) * shrink for shrink, delta in finite]
        flat = [1.0 - delta - (1.0 - x) / shrink for shrink, delta in finite]
        return max(0.0, *steep, *flat) if finite else 0.0

    return curve


def audit_scores(
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    *,
    event: DpEvent,
    delta: float,
    significance: float = 0.05,
) -> LowerBound:
    """What scores of canaries prove about the run that they were taken from.

    Args:
        scores: one a canary, larger where it looks more like a member, shape [m].
        included: whether it was one, by a fair coin each, shape [m].
        event: what the accountant claims that the run cost.
        delta: the delta of the claim.
        significance: allowed probability that anything returned is false.

    Returns:
        The bounds and whether the claim is refuted.

    Raises:
        SettingsError: fewer than ten canaries, shapes that differ, or a score that is NaN.
        BudgetAmountError: delta is out of range.
    """
    if scores.shape != included.shape or scores.ndim != 1 or len(scores) < _FEWEST_GUESSES:
        raise SettingsError(
            f"scores {scores.shape} and coins {included.shape} must be two vectors of the same "
            f"length, at least {_FEWEST_GUESSES}"
        )
    if np.isnan(scores).any():
        raise SettingsError("a canary's score is NaN; the model did not survive training")
    choices = list(_choices(scores, included))
    each = significance / (3 * len(choices))
    claim = claimed_curve(event)
    plain = [epsilon_bound(made, delta=delta, significance=each) for made in choices]
    fdp = [_gaussian_bound(made, delta=delta, significance=each) for made in choices]
    best = int(np.argmax(np.maximum(plain, fdp)))
    return LowerBound(
        epsilon=max(plain),
        epsilon_fdp=max(fdp),
        claim_rejected=any(rejects(made, claim, significance=each) for made in choices),
        delta=delta,
        confidence=1.0 - significance,
        guesses=choices[best],
    )


def _gaussian_bound(guesses: Guesses, *, delta: float, significance: float) -> float:
    def refuted(value: float) -> bool:
        curve = gaussian_curve(gaussian_mu(value, delta=delta))
        return rejects(guesses, curve, significance=significance)

    return _largest(refuted)


def _choices(scores: NDArray[np.float64], included: NDArray[np.bool_]) -> Iterator[Guesses]:
    """Guess the k highest in, with or without the k lowest out, k halving from m / 2."""
    m = len(scores)
    order = np.argsort(-scores, kind="stable")
    ranked = included[order]
    make = partial(Guesses, canaries=m)
    k = m // 2
    while 2 * k >= _FEWEST_GUESSES:
        top, bottom = int(ranked[:k].sum()), int((~ranked[m - k :]).sum())
        yield make(made=k, correct=top)
        yield make(made=2 * k, correct=top + bottom)
        k //= 2


def _largest(refuted: Callable[[float], bool]) -> float:
    """The largest refuted value on a grid of 0.001, where all below are refuted as well."""
    if not refuted(_TOLERANCE):
        return 0.0
    good, bad = _TOLERANCE, 1.0
    while refuted(bad):
        if bad >= _LARGEST:
            return _LARGEST
        good, bad = bad, 2 * bad
    while bad - good > _TOLERANCE:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if refuted(middle) else (good, middle)
    return round(math.floor(good / _TOLERANCE) * _TOLERANCE, 3)
