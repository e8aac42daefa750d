import math

import pytest

from privacy.accounting.accountant import guarantee
from privacy.accounting.claim import ADD_OR_REMOVE_ONE, Guarantee, Unit
from privacy.accounting.events import gaussian, non_private
from privacy.errors import BudgetAmountError


def test_it_reads_as_a_complete_statement() -> None:
    stated = Guarantee(epsilon=3.25, delta=1e-5, unit=Unit.NEAR_DUPLICATE_GROUP)
    assert stated.relation == ADD_OR_REMOVE_ONE
    assert str(stated) == (
        "epsilon 3.25 at delta 1e-05 per near-duplicate group (add or remove one)"
    )


@pytest.mark.parametrize("epsilon", [math.nan, -1e-9, -math.inf])
def test_impossible_epsilon(epsilon: float) -> None:
    with pytest.raises(BudgetAmountError):
        Guarantee(epsilon=epsilon, delta=1e-5, unit=Unit.PATIENT)


def test_impossible_delta_or_relation() -> None:
    with pytest.raises(BudgetAmountError):
        Guarantee(epsilon=1.0, delta=0.0, unit=Unit.PATIENT)
    with pytest.raises(BudgetAmountError, match="relation"):
        Guarantee(epsilon=1.0, delta=1e-5, unit=Unit.PATIENT, relation="replace_one")


def test_from_events() -> None:
    stated = guarantee(gaussian(noise_multiplier=1.0), delta=1e-5, unit=Unit.PATIENT)
    assert 4.377 < stated.epsilon < 4.378
    assert guarantee(non_private(), delta=1e-5, unit=Unit.IMAGE).epsilon == math.inf
