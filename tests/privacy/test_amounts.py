import math

import pytest

from privacy.accounting.checks import check_delta, check_epsilon
from privacy.errors import BudgetAmountError

NOT_AMOUNTS = [math.nan, math.inf, -math.inf, True, False, "1", None, 10**400, [1.0]]


@pytest.mark.parametrize("value", [*NOT_AMOUNTS, 0, 0.0, -1, -1e-300])
def test_not_an_epsilon(value: object) -> None:
    with pytest.raises(BudgetAmountError):
        check_epsilon(value)


@pytest.mark.parametrize("value", [*NOT_AMOUNTS, 0, 1, 1.0, -0.1, 2, 1e-13])
def test_not_a_delta(value: object) -> None:
    with pytest.raises(BudgetAmountError):
        check_delta(value)


def test_amounts() -> None:
    assert check_epsilon(3) == 3.0
    assert isinstance(check_epsilon(3), float)
    assert check_delta(1e-5) == 1e-5
