import math

import pytest

from privacy.accounting.events import gaussian, non_private
from privacy.accounting.filter import Charges, filter_epsilon, plan_charges
from privacy.errors import BudgetAmountError, BudgetExceededError
from privacy.spending.budget import Budget, check_spend

ROUND = plan_charges(gaussian(noise_multiplier=1.5))
SIX = plan_charges(gaussian(noise_multiplier=1.5, count=6))
BUDGET = Budget(epsilon=8.0, delta=1e-5)


@pytest.mark.parametrize("amount", [0, -1, math.nan, math.inf, True, "8", None, 10**400])
def test_not_a_budget(amount: object) -> None:
    with pytest.raises(BudgetAmountError):
        Budget(epsilon=amount, delta=1e-5)  # type: ignore[arg-type]
    with pytest.raises(BudgetAmountError):
        Budget(epsilon=8.0, delta=amount)  # type: ignore[arg-type]


def test_a_spend_that_fits() -> None:
    decision = check_spend(budget=BUDGET, spent=ROUND, after=ROUND + ROUND)
    assert decision.epsilon_before == filter_epsilon(ROUND, delta=1e-5)
    assert decision.epsilon_after == filter_epsilon(ROUND + ROUND, delta=1e-5)
    assert decision.epsilon_left == BUDGET.epsilon - decision.epsilon_after
    assert decision.delta == 1e-5


def test_composition_is_tighter_than_adding_up() -> None:
    budget = Budget(epsilon=2 * filter_epsilon(ROUND, delta=1e-5) - 0.5, delta=1e-5)
    assert check_spend(budget=budget, spent=ROUND, after=ROUND + ROUND).epsilon_left > 0


def test_exactly_the_budget_fits_and_a_hair_more_does_not() -> None:
    whole = filter_epsilon(ROUND + ROUND, delta=1e-5)
    exact = Budget(epsilon=whole, delta=1e-5)
    assert check_spend(budget=exact, spent=ROUND, after=ROUND + ROUND).epsilon_left == 0
    with pytest.raises(BudgetExceededError):
        check_spend(
            budget=Budget(epsilon=math.nextafter(whole, 0), delta=1e-5),
            spent=ROUND,
            after=ROUND + ROUND,
        )


def test_a_refusal_carries_the_figures() -> None:
    with pytest.raises(
        BudgetExceededError, match=r"would become .* budget of the hospital is 8\.0000"
    ) as caught:
        check_spend(budget=BUDGET, spent=SIX, after=SIX + ROUND)
    assert caught.value.epsilon_before <= 8.0 < caught.value.epsilon_after
    assert (caught.value.epsilon_budget, caught.value.delta) == (8.0, 1e-5)


@pytest.mark.parametrize("asked", [non_private(), "event", None])
def test_a_non_private_spend_never_fits(asked: object) -> None:
    with pytest.raises(BudgetExceededError, match="inf"):
        check_spend(
            budget=Budget(epsilon=1e300, delta=1e-5),
            spent=Charges(),
            after=plan_charges([asked]),  # type: ignore[list-item]
        )


def test_an_overspent_budget_refuses_even_nothing() -> None:
    with pytest.raises(BudgetExceededError):
        check_spend(budget=Budget(epsilon=0.1, delta=1e-5), spent=ROUND, after=ROUND)
