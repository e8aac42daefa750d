"""A privacy budget, and whether a spend fits into it. Pure: no file, no clock, no state.

Order: compose everything already spent or reserved with everything asked for, compute epsilon at
the budget's delta, and refuse if it is larger than the budget's epsilon. Adding up epsilons would
refuse too early; comparing only the new part would never refuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dp_accounting.dp_event import DpEvent

from privacy.accounting import epsilon
from privacy.amounts import check_delta, check_epsilon
from privacy.errors import BudgetExceededError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What an owner allows to leave about one unit of privacy, over all time.

    Attributes:
        epsilon: finite, > 0.
        delta: within [1e-12, 1).

    Raises:
        BudgetAmountError: an amount is NaN, infinite, zero, negative, a bool or a string.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", check_epsilon(self.epsilon))
        object.__setattr__(self, "delta", check_delta(self.delta))


@dataclass(frozen=True, kw_only=True)
class SpendDecision:
    """A spend that fits, in figures.

    Attributes:
        epsilon_before: epsilon of everything spent or reserved so far.
        epsilon_after: epsilon with the spend asked for.
        epsilon_left: budget minus `epsilon_after`, >= 0.
        delta: the delta of all three.
    """

    epsilon_before: float
    epsilon_after: float
    epsilon_left: float
    delta: float


def check_spend(
    *, budget: Budget, spent: Sequence[DpEvent], asked: Sequence[DpEvent]
) -> SpendDecision:
    """Decide whether a spend fits.

    Args:
        budget: the owner's budget.
        spent: events already spent or reserved.
        asked: events asked for.

    Returns:
        The figures of a spend that fits.

    Raises:
        BudgetExceededError: epsilon of all of it together would exceed the budget.
    """
    before = epsilon(spent, delta=budget.delta)
    after = epsilon([*spent, *asked], delta=budget.delta)
    if not after <= budget.epsilon:
        raise BudgetExceededError(
            epsilon_before=before,
            epsilon_after=after,
            epsilon_budget=budget.epsilon,
            delta=budget.delta,
        )
    return SpendDecision(
        epsilon_before=before,
        epsilon_after=after,
        epsilon_left=budget.epsilon - after,
        delta=budget.delta,
    )
