"""A privacy budget, and whether a spend fits into it. Pure: no file, no clock, no state.

Order: add what is asked for to everything charged so far, compute the filter's epsilon at the
budget's delta (`privacy.accounting.filter`: valid for plans chosen after outputs were seen), and
refuse if it is larger than the budget's epsilon. Adding up epsilons would refuse too early;
comparing only the new part would never refuse; composing loss distributions of plans chosen late is
no theorem.

A budget belongs to the whole hospital, or caps one researcher or one study within it; a spend must
fit all that apply. With a refresh window of D days only what was spent within the last D days
counts against it. A window limits the rate of spending and **changes no guarantee**: what left,
left, and epsilon over all time composes every spend there ever was (`Account.epsilon`). After k
windows filled to the brim the guarantee is the composition of k budgets, not one.
"""

from dataclasses import dataclass
from enum import StrEnum

from privacy.accounting import Charges, check_epsilon, check_promised_delta, filter_epsilon
from privacy.errors import BudgetAmountError, BudgetExceededError

MAX_WINDOW_DAYS = 36_500


class Scope(StrEnum):
    """Whose spending a budget bounds."""

    HOSPITAL = "hospital"
    RESEARCHER = "researcher"
    STUDY = "study"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What an owner allows to leave about one unit of privacy.

    Attributes:
        epsilon: finite, > 0.
        delta: within [1e-10, 0.001].
        window_days: None: over all time. Else only spends of the last so many days count.

    Raises:
        BudgetAmountError: an amount is NaN, infinite, zero, negative, a bool or a string.
    """

    epsilon: float
    delta: float
    window_days: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", check_epsilon(self.epsilon))
        object.__setattr__(self, "delta", check_promised_delta(self.delta))
        days = self.window_days
        if days is None:
            return
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_WINDOW_DAYS:
            raise BudgetAmountError(
                f"a window is a whole number of days from 1 to {MAX_WINDOW_DAYS}, got {days!r}"[
                    :200
                ]
            )

    def __str__(self) -> str:
        window = f" in any {self.window_days} days" if self.window_days else ""
        return f"epsilon {self.epsilon:g} at delta {self.delta:g}{window}"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A budget and whose it is.

    Attributes:
        scope: the whole hospital, one researcher or one study.
        name: the researcher's address or the study's name; empty for the hospital.
        budget: the amount.
    """

    scope: Scope
    name: str
    budget: Budget

    def __str__(self) -> str:
        return f"{self.scope} {self.name}".strip()


@dataclass(frozen=True, kw_only=True)
class SpendDecision:
    """A spend that fits, in the filter's figures.

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
    *, budget: Budget, spent: Charges, after: Charges, whose: str = "hospital"
) -> SpendDecision:
    """Decide whether a spend fits.

    Args:
        budget: the owner's budget.
        whose: what the budget bounds, for the message.
        spent: what is charged already, reservations included.
        after: what would be charged with the spend asked for.

    Returns:
        The figures of a spend that fits.

    Raises:
        BudgetExceededError: epsilon of all of it together would exceed the budget.
    """
    before = filter_epsilon(spent, delta=budget.delta)
    then = filter_epsilon(after, delta=budget.delta)
    if not then <= budget.epsilon:
        raise BudgetExceededError(
            epsilon_before=before,
            epsilon_after=then,
            epsilon_budget=budget.epsilon,
            delta=budget.delta,
            whose=whose,
        )
    return SpendDecision(
        epsilon_before=before,
        epsilon_after=then,
        epsilon_left=budget.epsilon - then,
        delta=budget.delta,
    )
