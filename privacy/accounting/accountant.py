"""Epsilon of events that were fixed beforehand, recomputed from them.

By Google's dp-accounting, privacy loss distributions (PLD), add-or-remove-one relation, pessimistic
"connect the dots" discretisation (Doroshenko et al. 2022, arXiv 2207.04380). Composing the loss
distributions of several plans is a theorem only if all of them were fixed before any output was
seen. Plans are chosen later; what refuses a spend is `privacy.accounting.filter`, and this stands
beside it.

Guarantees:
- never NaN, never negative; infinite for non-private or unknown events, and where a figure would
  mean nothing: noise multipliers below 0.001 after merging, more than 2,000,000 runs of one
  mechanism, losses in the millions;
- the same events give the same figure, in any order and however they are nested;
- fast: events are merged (`privacy.accounting.merging`), results cached, and the grid fits the
loss.

Rounding. Losses are rounded to multiples of `interval_for(events)`, chosen from 1, 2, 5 times a
power of ten so that the whole loss spans at most about 100,000 grid points: 1e-5 for weak
mechanisms, 1e-3 for an epsilon around 50. For 60 to 500 steps at multipliers 0.5 to 20 and
rates 0.01 to 1 the figure exceeds the one on a grid of 1e-5 by less than 0.1 %. Who recomputes
must use the same interval, and `evaluated_delta`, to get the same digits.

Upper bound down to the smallest delta. On the reals a coarser grid only makes the figure larger,
but dp-accounting composes k equal distributions by the k-th power of a Fourier transform in double
precision, and what that loses is absolute, not relative: with 0.6.0 composed Gaussians came out up
to 5e-13 of delta too low (100,000 runs; epsilon 119.06 instead of 119.59 at delta 1e-12), about
1e-17 a run. `lost_mass` is a hundred times that, scaled by how far the loss of one run reaches;
epsilon is computed at a delta smaller by it, and budgets start at 1e-10.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.dp_event import DpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from privacy.accounting.checks import check_delta, paid_delta
from privacy.accounting.claim import Guarantee, Unit
from privacy.accounting.merging import Merged, Part, merge
from privacy.errors import AccountantError

ACCOUNTANT = "dp-accounting 0.6.0 PLD"
_RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE
POINTS = 100_000
_LADDER = tuple(m * 10.0**e for e in range(-5, 3) for m in (1, 2, 5))
_LEAST_NOISE = 1e-3
_MAX_COUNT = 2_000_000  # dp-accounting takes size ** count as an integer: beyond, it hangs
_TAIL = 10.0  # dp-accounting cuts Gaussian tails at a mass of exp(-50), 10 standard deviations
_LOST_ONCE, _LOST_A_RUN = 1e-13, 1e-15
_PRV_MAX_EPSILON = 50.0
_PRV_MAX_COUNT = 20_000
_PRV_ERROR = 0.01
_RDP_ORDERS = (*range(2, 65), 128, 256, 512, 1024)  # fractional ones fail to converge, loudly


def epsilon(events: DpEvent | Iterable[DpEvent], *, delta: float) -> float:
    """Epsilon of all events together, if all of them were fixed beforehand.

    Args:
        events: one event or several on the same units, in any order.
        delta: failure probability, in [1e-10, 1).

    Returns:
        An upper bound on epsilon at `delta`, >= 0, infinite if there is no finite one.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return _pld_epsilon(merge(_listed(events)), check_delta(delta), POINTS)


def naive_sum(events: Iterable[DpEvent], *, delta: float) -> float:
    """Epsilons of single releases, added up: no guarantee, only shown beside the composed figure.

    Basic composition would put the delta of each release together as well: for k releases this is
    epsilon at k times `delta`. `epsilon` composes exactly, at `delta` itself.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return math.fsum(epsilon(event, delta=delta) for event in events)


def coarse_epsilon(events: DpEvent | Iterable[DpEvent], *, delta: float) -> float:
    """Epsilon on a grid 50 times coarser: also an upper bound, in milliseconds, for searching.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return _pld_epsilon(merge(_listed(events)), check_delta(delta), POINTS // 50)


def guarantee(events: DpEvent | Iterable[DpEvent], *, delta: float, unit: Unit) -> Guarantee:
    """`epsilon` as a complete statement.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return Guarantee(epsilon=epsilon(events, delta=delta), delta=delta, unit=unit)


def interval_for(events: DpEvent | Iterable[DpEvent]) -> float:
    """The discretisation interval of privacy loss that `epsilon` uses for these events."""
    return _interval(merge(_listed(events)).parts, POINTS)


def evaluated_delta(events: DpEvent | Iterable[DpEvent], *, delta: float) -> float:
    """The delta that dp-accounting is asked for these events, so that the answer holds at `delta`.

    Smaller by what samplers may be off and by what the computation may lose (`lost_mass`).

    Raises:
        BudgetAmountError: delta is out of range.
    """
    return paid_delta(check_delta(delta)) - lost_mass(merge(_listed(events)))


def second_opinions(events: DpEvent | Iterable[DpEvent], *, delta: float) -> Mapping[str, float]:
    """Epsilon by two independent methods, for comparison with the record.

    ``"rdp"``: dp-accounting's Renyi accountant, looser by some per cent. ``"prv"``: Opacus'
    numerical composition (Gopi et al. 2021, arXiv 2106.02848), upper bound with error 0.01; only
    Gaussian mechanisms can be expressed, and only up to an epsilon of about 50 and 20,000 releases
    (beyond, its grid takes gigabytes).

    Args:
        events: one event or several on the same units.
        delta: failure probability.

    Returns:
        Name -> epsilon (>= 0, may be infinite); a method that cannot express the events is absent.

    Raises:
        BudgetAmountError: delta is out of range.
    """
    merged = merge(_listed(events))
    check_delta(delta)
    if not accountable(merged):
        return {"rdp": math.inf, "prv": math.inf}
    opinions = {"rdp": _rdp_epsilon(merged, delta)}
    expressible = all(part.mechanism == "gaussian" for part in merged.parts)
    count = sum(part.count for part in merged.parts)
    if expressible and opinions["rdp"] <= _PRV_MAX_EPSILON and count <= _PRV_MAX_COUNT:
        opinions["prv"] = _prv_epsilon(merged, delta)
    return opinions


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """Three accountants that agree.

    Attributes:
        record: epsilon by the accountant of record.
        opinions: name -> epsilon by a second one; one that cannot express the events is absent.
        delta: the delta of all.
        interval: grid of privacy loss that the record was computed on.
    """

    record: float
    opinions: Mapping[str, float]
    delta: float
    interval: float


def agreed_opinions(events: DpEvent | Iterable[DpEvent], *, delta: float) -> Opinions:
    """The record and the second opinions, compared; what an audit shows.

    Tolerance. PRV computes the same quantity as the record: they may differ by 0.02 plus 1 % of the
    record (seen: 0.010, PRV's own error bound). RDP is an upper bound by another road: the record
    may not lie above it by more than 0.01 plus 1 % (one of the two would be wrong), nor below it by
    more than 1.5 plus half of RDP's figure (seen: RDP 0.6 higher for one weak release and a third
    higher for strong ones; beyond that the record would be suspiciously small).

    Args:
        events: one event or several on the same units.
        delta: failure probability.

    Returns:
        All figures.

    Raises:
        AccountantError: one differs from the record by more than that; carries all figures.
        BudgetAmountError: delta is out of range.
    """
    listed = _listed(events)
    record = epsilon(listed, delta=delta)
    opinions = second_opinions(listed, delta=delta)
    wrong = tuple(
        f"{name} says epsilon {figure:.4f}, the record {record:.4f}"
        for name, figure in opinions.items()
        if not _plausible(name, figure, record)
    )
    if wrong:
        raise AccountantError(record=record, opinions=opinions, delta=delta, disagreements=wrong)
    return Opinions(record=record, opinions=opinions, delta=delta, interval=interval_for(listed))


def _plausible(name: str, figure: float, record: float) -> bool:
    if math.isinf(record):
        return True  # nothing is claimed, so nothing can be claimed too low
    if name == "rdp":
        return record - (0.01 + 0.01 * record) <= figure <= record + (1.5 + 0.5 * figure)
    return abs(figure - record) <= 0.02 + 0.01 * record


def _listed(events: DpEvent | Iterable[DpEvent]) -> list[DpEvent]:
    return [events] if isinstance(events, DpEvent) else list(events)


def accountable(merged: Merged) -> bool:
    """Whether a finite figure exists that is worth computing; if not, epsilon is infinite."""
    return (
        merged.private
        and all(p.noise_multiplier >= _LEAST_NOISE for p in merged.parts)
        and all(p.count <= _MAX_COUNT for p in merged.parts)
        and sum(map(_span, merged.parts)) <= _LADDER[-1] * POINTS
    )


def _clean(value: float) -> float:
    return math.inf if math.isnan(value) else max(0.0, float(value))


@lru_cache(maxsize=4096)
def _pld_epsilon(merged: Merged, delta: float, points: int) -> float:
    if not accountable(merged):
        return math.inf
    if not merged.parts:
        return 0.0
    left = paid_delta(delta) - lost_mass(merged)
    return _clean(composed(merged, points).get_epsilon(left)) if left > 0 else math.inf


@lru_cache(maxsize=8)
def composed(merged: Merged, points: int = POINTS) -> PLDAccountant:
    """The loss distribution of an accountable list of events, to be asked and not to be changed."""
    accountant = PLDAccountant(_RELATION, _interval(merged.parts, points))
    for part in merged.parts:
        accountant.compose(_event(part), part.count)
    return accountant


def event_of(merged: Merged) -> DpEvent:
    """An event that merges to this; non-private if it is not."""
    if not merged.private:
        return dp_event.NonPrivateDpEvent()
    parts = [dp_event.SelfComposedDpEvent(_event(part), part.count) for part in merged.parts]
    return dp_event.ComposedDpEvent(parts) if parts else dp_event.NoOpDpEvent()


def lost_mass(merged: Merged) -> float:
    """What double precision may have lost of delta in `composed`; see the module's docstring."""
    runs = math.fsum(part.count * max(1.0, _peak(part)) for part in merged.parts)
    return _LOST_ONCE + _LOST_A_RUN * runs


@lru_cache(maxsize=1024)
def _rdp_epsilon(merged: Merged, delta: float) -> float:
    accountant = RdpAccountant(_RDP_ORDERS, _RELATION)
    for part in merged.parts:
        accountant.compose(_event(part), part.count)
    return _clean(accountant.get_epsilon(delta))


@lru_cache(maxsize=1024)
def _prv_epsilon(merged: Merged, delta: float) -> float:
    if not merged.parts:
        return 0.0
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(p.noise_multiplier, p.sampling_rate, p.count) for p in merged.parts]
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # log(1 - q) at q = 1; and a hint about the RDP bound that only sizes Opacus' grid.
        warnings.filterwarnings("ignore", message="Optimal order is the largest alpha")
        return _clean(accountant.get_epsilon(delta, eps_error=_PRV_ERROR))


def _event(part: Part) -> DpEvent:
    if part.mechanism == "gaussian":
        release = dp_event.GaussianDpEvent(part.noise_multiplier)
    else:
        release = dp_event.LaplaceDpEvent(part.noise_multiplier)
    if part.sampling_rate == 1.0:
        return release
    return dp_event.PoissonSampledDpEvent(part.sampling_rate, release)


def _interval(parts: tuple[Part, ...], points: int) -> float:
    span = sum(_span(part) for part in parts)
    return next((step for step in _LADDER if span / step <= points), _LADDER[-1])


def _peak(part: Part) -> float:
    """The largest loss of one unsampled run of `part`, 10 standard deviations out."""
    z = part.noise_multiplier
    return _TAIL / z + 0.5 / z**2 if part.mechanism == "gaussian" else 1 / z


def _span(part: Part) -> float:
    """About how far the privacy loss of `part` spreads, composed `count` times; no bound needed."""
    q, z, peak = part.sampling_rate, part.noise_multiplier, _peak(part)
    up = float(np.logaddexp(math.log1p(-q), math.log(q) + peak)) if q < 1 else peak
    down = min(peak, -math.log1p(-q)) if q < 1 else peak
    mean = min(q / (2 * z**2), up)
    if part.mechanism == "gaussian":
        mean = min(mean, math.log1p(q**2 * math.expm1(min(z**-2, 700.0))))
    total = part.count * mean
    return up + down + min(part.count * (up + down), 2 * total + 20 * math.sqrt(2 * total))
