"""What a reviewer is shown before deciding: cost and differences. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasites.plans.bundle import Bundle
from datasites.plans.events import plan_events
from datasites.plans.plan import Plan

if TYPE_CHECKING:
    from privacy import Account, SpendDecision


@dataclass(frozen=True)
class Cost:
    """What the whole plan would cost at this hospital.

    Attributes:
        alone: epsilon of the plan by itself, by how many units are changed at once (1, 2, 3).
        ever: epsilon of everything ever spent here and the plan together, whatever the budget's
            window or resets, likewise; infinite if everything was disclosed without noise before.
        ever_if_fixed: `ever` for one unit if all plans had been fixed beforehand.
        decision: against the hospital's budget, or None when it or a cap would be exceeded.
        refusal: which would be exceeded and by how much, else the empty string.
    """

    alone: Mapping[int, float]
    ever: Mapping[int, float]
    ever_if_fixed: float
    decision: SpendDecision | None
    refusal: str

    @property
    def epsilon_alone(self) -> float:
        """Of the plan by itself, for one unit."""
        return self.alone[1]

    @property
    def epsilon_ever(self) -> float:
        """Of everything ever spent here and the plan together, for one unit."""
        return self.ever[1]


def plan_cost(plan: Plan, *, account: Account, time: str) -> Cost:
    """The cost of running the plan to its end.

    Args:
        plan: what is asked.
        account: fresh state of the ledger, with a budget.
        time: now, UTC.
    """
    from privacy import (
        BudgetExceededError,
        check_fits,
        epsilon,
        epsilon_by_units,
        plan_charges,
    )

    asked = plan_events(plan)
    delta = account.required_budget().delta
    mine = plan_charges(asked)
    alone = epsilon_by_units(mine, delta=delta)
    ever = epsilon_by_units(account.charges() + mine, delta=delta)
    fixed = epsilon([*account.spent_events(), *asked], delta=delta)
    if account.everything_disclosed:
        ever, fixed = dict.fromkeys(ever, math.inf), math.inf
    try:
        fits = check_fits(
            account, events=asked, researcher=plan.researcher, study=plan.study, time=time
        )
    except BudgetExceededError as error:
        return Cost(alone, ever, fixed, None, str(error))
    return Cost(alone, ever, fixed, fits, "")


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
