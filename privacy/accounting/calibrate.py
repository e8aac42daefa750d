"""The noise that a target epsilon needs.

Guarantees: the multiplier returned keeps epsilon at or below the target by the filter, whose figure
refuses (`privacy.accounting.filter`; the plan is one block), and on the grid of 0.001 the next
smaller one does not; so rounding is toward privacy. Refuses targets that no multiplier up to 1000
reaches.
"""

from collections.abc import Callable

from dp_accounting.dp_event import DpEvent

from privacy.accounting.accountant import POINTS
from privacy.accounting.checks import check_delta, check_epsilon
from privacy.accounting.filter import filter_epsilon, plan_charges
from privacy.errors import CalibrationError

GRID = 1e-3
"""Distance of neighbouring candidates for the noise multiplier."""
_MAX_INDEX = 1_000_000


def calibrate_noise(
    *, target_epsilon: float, delta: float, event_for: Callable[[float], DpEvent]
) -> float:
    """Find the smallest noise multiplier that keeps a plan within a target.

    A search on a coarse grid of losses finds the neighbourhood in milliseconds; the full grid
    decides.

    Args:
        target_epsilon: epsilon that the whole plan may cost, finite and > 0.
        delta: failure probability, in [1e-10, 1).
        event_for: the plan's event for a noise multiplier; more noise must not cost more.

    Returns:
        A multiple of 0.001 with ``filter_epsilon(plan_charges(event_for(z))) <= target_epsilon``.

    Raises:
        BudgetAmountError: the target or delta is not a usable amount.
        CalibrationError: no multiplier up to 1000 reaches the target.
        EventError: `event_for` makes an event out of range.
    """
    check_epsilon(target_epsilon)
    check_delta(delta)

    def suffices_coarsely(index: int) -> bool:
        plan = plan_charges(event_for(_noise(index)))
        return filter_epsilon(plan, delta=delta, points=POINTS // 50) <= target_epsilon

    def suffices(index: int) -> bool:
        return filter_epsilon(plan_charges(event_for(_noise(index))), delta=delta) <= target_epsilon

    start = _climb(1000, suffices_coarsely) or _MAX_INDEX
    start = _descend(start, suffices_coarsely, start // 2)
    found = _climb(start, suffices)
    if found is None:
        raise CalibrationError(
            f"no noise multiplier up to {_noise(_MAX_INDEX):g} keeps this plan at or below epsilon "
            f"{target_epsilon:g} at delta {delta:g}; plan fewer releases or a larger epsilon"
        )
    return _noise(_descend(found, suffices, 1))


def _noise(index: int) -> float:
    return index / 1000


def _climb(index: int, suffices: Callable[[int], bool]) -> int | None:
    """The first of index, 2 index, 4 index, ... (at most `_MAX_INDEX`) that suffices."""
    while not suffices(index):
        if index == _MAX_INDEX:
            return None
        index = min(2 * index, _MAX_INDEX)
    return index


def _descend(good: int, suffices: Callable[[int], bool], stride: int) -> int:
    """The smallest sufficient index below `good`, found by growing steps and then by halving."""
    bad = max(good - max(stride, 1), 0)
    while bad > 0 and suffices(bad):
        good, stride = bad, 2 * max(stride, 1)
        bad = max(good - stride, 0)
    while good - bad > 1:
        middle = (good + bad) // 2
        if suffices(middle):
            good = middle
        else:
            bad = middle
    return good
