"""What a hospital may say about privacy: epsilon, always with delta, unit and relation."""

import math
from dataclasses import dataclass
from enum import StrEnum

from privacy.amounts import check_delta
from privacy.errors import BudgetAmountError

ADD_OR_REMOVE_ONE = "add_or_remove_one"
"""The neighbouring relation: two data sets differ by the presence of one unit."""


class Unit(StrEnum):
    """Whose presence is hidden."""

    PATIENT = "patient"
    NEAR_DUPLICATE_GROUP = "near_duplicate_group"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """An (epsilon, delta) differential privacy statement.

    Attributes:
        epsilon: upper bound on the privacy loss, >= 0, may be infinite.
        delta: failure probability.
        unit: whose presence is hidden.
        relation: the neighbouring relation; only add-or-remove-one exists here.

    Raises:
        BudgetAmountError: an amount is NaN, negative or out of range, or the relation is another.
    """

    epsilon: float
    delta: float
    unit: Unit
    relation: str = ADD_OR_REMOVE_ONE

    def __post_init__(self) -> None:
        check_delta(self.delta)
        if math.isnan(self.epsilon) or self.epsilon < 0:
            raise BudgetAmountError(f"epsilon must be >= 0, got {self.epsilon}")
        if self.relation != ADD_OR_REMOVE_ONE:
            raise BudgetAmountError(
                f"the relation must be {ADD_OR_REMOVE_ONE}, got {self.relation}"
            )

    def __str__(self) -> str:
        return (
            f"epsilon {self.epsilon:.4g} at delta {self.delta:g} per {self.unit.replace('_', ' ')} "
            f"({self.relation.replace('_', ' ')})"
        )
