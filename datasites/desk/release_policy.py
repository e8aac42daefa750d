"""May this output leave now? Pure; one function for each way out.

By a person (`must_be_releasable`), in this order:

1. the plan it was made under is approved, by enough reviewers, and that was not revoked (an
   approval that ran out meanwhile is no obstacle to a person: the work was done while it held);
2. a report is verified, and not an un-noised report about the whole cohort.

By a rule (`must_be_covered`), all of that, and: rule and approval have not run out, the rule is
in force, is about this plan and this kind of report, and no identifier is marked. A rule can
never cover a case report, weights, or a report with un-noised figures.

DP weights under an approval with standing release leave without a rule
(`must_be_releasable` alone); the approval itself says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from datasites.desk.assessment import Assessment
from datasites.desk.items import Item, ItemKind
from datasites.desk.release_rule import RULE_KINDS, ReleaseRule
from datasites.errors import DeskError, Obstacle, ReleaseRefusedError
from datasites.people import count_people, listed_as, plain_name
from datasites.plans import APPROVED, Approval


def must_be_reviewer(actor: str, allowed: Sequence[str]) -> str:
    """Refuse a decision by nobody, or by somebody who may not take it.

    Returns the name as it is recorded: one person has one, however they type it.

    Args:
        actor: who decides.
        allowed: the site's reviewers; empty means anyone with access to its account.

    Raises:
        DeskError: with what to do.
    """
    try:
        name = plain_name(actor)
    except ValueError as error:
        raise DeskError(str(error)) from error
    if not allowed:
        return name
    listed = listed_as(name, allowed)
    if listed is None:
        raise DeskError(f"{actor!r} is not a reviewer here; reviewers: {', '.join(allowed)}")
    return listed


def must_be_releasable(
    item: Item, assessment: Assessment | None, approval: Approval | None, *, quorum: int
) -> Approval:
    """The approval under which a person may release an item.

    Args:
        item: the item, open.
        assessment: of a report; None for weights.
        approval: the decision on the item's plan.
        quorum: reviewers this hospital wants.

    Raises:
        ReleaseRefusedError: with the obstacle.
    """
    plan = item.plan_sha256[:12]
    if (
        approval is None
        or approval.decision != APPROVED
        or count_people(approval.reviewers) < quorum
    ):
        raise ReleaseRefusedError(
            Obstacle.NOT_APPROVED,
            f"{item.id} cannot leave: plan {plan} is not approved here; withhold it, or approve "
            "the plan first",
        )
    if approval.revoked:
        raise ReleaseRefusedError(
            Obstacle.APPROVAL_REVOKED,
            f"{item.id} cannot leave: the approval of plan {plan} was revoked; withhold it",
        )
    if item.is_report:
        _must_be_true(item, assessment)
    return approval


def must_be_covered(
    item: Item,
    assessment: Assessment,
    approval: Approval | None,
    rule: ReleaseRule,
    *,
    quorum: int,
    now: datetime,
) -> None:
    """Whether `rule` lets an item go without a further decision.

    Raises:
        ReleaseRefusedError: with the obstacle.
    """
    granted = must_be_releasable(item, assessment, approval, quorum=quorum)
    if item.kind not in RULE_KINDS or not assessment.noised:
        raise _not_covered(item, rule, "no rule may let un-noised outputs or case reports go")
    if rule.revoked or count_people(rule.reviewers) < quorum:
        raise _not_covered(item, rule, "the rule is not in force")
    if rule.plan_sha256 != item.plan_sha256 or item.kind not in rule.kinds:
        raise _not_covered(item, rule, "the rule is about other outputs")
    for what, expires in (("rule", rule.expires), ("approval", granted.expires)):
        if now >= datetime.fromisoformat(expires):
            raise _not_covered(item, rule, f"the {what} expired at {expires}")
    if assessment.marks:
        raise _not_covered(item, rule, f"{len(assessment.marks)} identifier(s) are marked in it")


def _must_be_true(item: Item, assessment: Assessment | None) -> None:
    if assessment is None or not assessment.verified:
        problems = assessment.problems if assessment is not None else ("it was never checked",)
        raise ReleaseRefusedError(
            Obstacle.NOT_VERIFIED,
            f"{item.id} cannot leave: its facts do not bear it out ({problems[0]}); edit or "
            "withhold it",
        )
    if item.kind is ItemKind.HOSPITAL_REPORT and not assessment.noised:
        raise ReleaseRefusedError(
            Obstacle.NOT_NOISED,
            f"{item.id} cannot leave: figures about all cases of this hospital without noise "
            "would end the guarantee of every unit in it; withhold it",
        )


def _not_covered(item: Item, rule: ReleaseRule, why: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(
        Obstacle.NOT_COVERED, f"{item.id} waits for a person: {why} (rule {rule.id})"
    )
