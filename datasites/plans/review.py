"""What a reviewer is shown before deciding: cost and differences. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasites.plans.bundle import Bundle
from datasites.plans.costs import plan_events
from datasites.plans.plan import Plan

if TYPE_CHECKING:
    from privacy import Budget, DpEvent, SpendDecision


@dataclass(frozen=True)
class Cost:
    """What the whole plan would cost at this hospital.

    Attributes:
        epsilon_alone: of the plan by itself.
        decision: with everything spent before, or None when the budget would be exceeded.
        refusal: why the budget would be exceeded, else the empty string.
    """

    epsilon_alone: float
    decision: SpendDecision | None
    refusal: str


def plan_cost(plan: Plan, *, budget: Budget, spent: Sequence[DpEvent]) -> Cost:
    """The cost of running the plan to its end."""
    from privacy import BudgetExceededError, check_spend, epsilon

    asked = plan_events(plan)
    alone = epsilon(asked, delta=budget.delta)
    try:
        return Cost(alone, check_spend(budget=budget, spent=spent, asked=asked), "")
    except BudgetExceededError as error:
        return Cost(alone, None, str(error))


def difference(new: Bundle, last_approved: Bundle | None) -> str:
    """A unified diff from the last approved bundle, or a line that says there is none."""
    if last_approved is None:
        return "no plan of this study was approved here before"
    old = last_approved.files
    names = sorted(set(old) | set(new.files))
    parts = [
        line
        for name in names
        for line in difflib.unified_diff(
            old.get(name, b"").decode().splitlines(),
            new.files.get(name, b"").decode().splitlines(),
            fromfile=f"last approved/{name}" if name in old else "nothing",
            tofile=f"submitted/{name}" if name in new.files else "removed",
            lineterm="",
        )
    ]
    return "\n".join(parts) or "none"
