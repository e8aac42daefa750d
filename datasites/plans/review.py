"""What a reviewer is shown before deciding: cost and differences. Pure."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasites.plans.bundle import Bundle
from datasites.plans.costs import plan_events
from datasites.plans.plan import Plan

if TYPE_CHECKING:
    from privacy import Account, SpendDecision


@dataclass(frozen=True)
class Cost:
    """What the whole plan would cost at this hospital.

    Attributes:
        epsilon_alone: of the plan by itself.
        epsilon_ever: of everything ever spent here and the plan together, whatever the budget's
            window or resets; infinite if everything was disclosed without noise before.
        decision: against the hospital's budget, or None when it or a cap would be exceeded.
        refusal: which would be exceeded and by how much, else the empty string.
    """

    epsilon_alone: float
    epsilon_ever: float
    decision: SpendDecision | None
    refusal: str


def plan_cost(plan: Plan, *, account: Account, time: str) -> Cost:
    """The cost of running the plan to its end.

    Args:
        plan: what is asked.
        account: fresh state of the ledger, with a budget.
        time: now, UTC.
    """
    from privacy import BudgetExceededError, check_fits, epsilon

    asked = plan_events(plan)
    delta = account.required_budget().delta
    alone = epsilon(asked, delta=delta)
    ever = epsilon([*account.spent_events(), *asked], delta=delta)
    if account.everything_disclosed:
        ever = math.inf
    try:
        fits = check_fits(
            account, events=asked, researcher=plan.researcher, study=plan.study, time=time
        )
    except BudgetExceededError as error:
        return Cost(alone, ever, None, str(error))
    return Cost(alone, ever, fits, "")


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
