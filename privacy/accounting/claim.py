"""What a hospital may say about privacy: epsilon, always with delta, unit and relation."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from privacy.accounting.checks import check_delta
from privacy.errors import BudgetAmountError

ADD_OR_REMOVE_ONE = "add_or_remove_one"
"""The neighbouring relation: two data sets differ by the presence of one unit."""


RELATION = "add or remove one"
"""The same in words, as it stands beside every epsilon that a person sees."""


class Unit(StrEnum):
    """Whose presence is hidden; the strongest first."""

    PATIENT = "patient"
    NEAR_DUPLICATE_GROUP = "near_duplicate_group"
    IMAGE = "image"

    @property
    def words(self) -> str:
        """As data cards name it."""
        return "near-duplicate group" if self is Unit.NEAR_DUPLICATE_GROUP else self.value


def per_unit(unit: str) -> str:
    """What follows an epsilon and its delta wherever a person sees them.

    Args:
        unit: in words; of the hospital that spends, or `privacy unit` where several may differ.
    """
    return f"per {unit}, {RELATION}"


def weakest(units: Iterable[str]) -> Unit:
    """The weakest of some kinds of unit; what is not known is an image.

    Args:
        units: in words or as `Unit` writes them.
    """
    known = {name: unit for unit in Unit for name in (unit.value, unit.words)}
    order = list(Unit)
    found = [known.get(name, Unit.IMAGE) for name in units]
    return max(found, key=order.index, default=Unit.IMAGE)


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
            f"epsilon {self.epsilon:.4g} at delta {self.delta:g} per {self.unit.words} ({RELATION})"
        )
