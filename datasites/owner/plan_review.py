"""The owner's decisions on plans: look, approve, reject, revoke. Used by every owner's surface.

Checks everything, records in the ledger, then acts (writes the signed approval), alone on the desk
(`datasites.site.locks`) from the look at what was decided before to the last write. So of two who
decide at once the second sees what the first did. What was revoked or rejected is so for good: the
ledger says it, and no file that is written later says otherwise (`PlanStore.approval`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from datasites.desk import must_be_reviewer
from datasites.errors import DeskError, PlanError, Reason, RefusedError
from datasites.owner.model_check import bundle_facts, encoder_facts, start_problem
from datasites.people import count_people, is_researcher
from datasites.plans import (
    APPROVED,
    REJECTED,
    Approval,
    Bundle,
    Cost,
    Finding,
    Severity,
    add_vote,
    check_assumptions,
    difference,
    plan_cost,
    voids,
)
from datasites.site import (
    PlanStore,
    Seen,
    Site,
    Submission,
    desk_lock,
    now_utc,
    runtime_sha256,
    stamp,
)
from privacy import ADD_OR_REMOVE_ONE, EntryKind, entries_of_kind

_IS_CLOSED = "this plan was rejected or revoked; the researcher can submit another version of it"


@dataclass(frozen=True)
class Review:
    """What a reviewer sees.

    Attributes:
        submission: what was sent, by whom.
        approval: the decision so far.
        cost: of the whole plan here.
        difference: from the last approved version of the same study, a unified diff.
        findings: how every assumption that epsilon rests on stands, the worst first.
    """

    submission: Submission
    approval: Approval | None
    cost: Cost
    difference: str
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> list[str]:
        """What to look at twice, in words."""
        return [
            f"{finding.what}; {finding.do}" if finding.do else finding.what
            for finding in self.findings
            if finding.severity is not Severity.HOLDS
        ]


@dataclass(frozen=True)
class Terms:
    """On what terms a plan is approved.

    Attributes:
        max_rounds: training runs at most; None for the plan's own number.
        days: days until the approval expires; None for the site's setting.
        standing_release: whether DP weights may leave without a further decision.
        accept_synthetic: whether synthetic images are accepted beforehand, whatever they show.
    """

    max_rounds: int | None = None
    days: int | None = None
    standing_release: bool = False
    accept_synthetic: bool = False


def review(site: Site, plan: str) -> Review:
    """Everything a reviewer needs about a plan.

    Raises:
        PlanError: no such plan. SettingsError: the site has no data yet.
    """
    store = PlanStore(site)
    submission = store.get(plan)
    account = site.ledger.account()
    bundle = submission.bundle
    return Review(
        submission=submission,
        approval=store.approval(bundle.sha256),
        cost=plan_cost(bundle.plan, account=account, time=stamp(now_utc())),
        difference=difference(bundle, store.last_approved(bundle.plan.study, before=bundle.sha256)),
        findings=check_assumptions(
            bundle.plan,
            units_published=site.card().units,
            model=bundle_facts(bundle),
            start_problem=start_problem(bundle.plan, checkpoint=site.settings.generator_checkpoint),
            encoder=encoder_facts(bundle.plan, folder=site.settings.encoder),
            unit=site.unit(account),
        ),
    )


def approve(site: Site, plan: str, *, reviewer: str, reason: str, terms: Terms) -> Approval:
    """One reviewer's yes, signed by the site.

    Raises:
        PlanError: unknown plan, unknown or repeated reviewer, decided otherwise before, the plan
            voids epsilon, or it does not fit this site or its budget.
        RefusedError: its slots are longer than a job may work here.
    """
    reviewer = _must_be_reviewer(site, reviewer)
    seen = review(site, plan)
    _must_hold(seen.findings)
    with desk_lock(site.root):
        return _approve(site, seen, reviewer=reviewer, reason=reason, terms=terms)


def _approve(site: Site, seen: Review, *, reviewer: str, reason: str, terms: Terms) -> Approval:
    """Decide by what is true now, whatever was so when the plan was looked at."""
    store = PlanStore(site)
    submission = store.get(seen.submission.bundle.sha256)
    bundle = submission.bundle
    account = site.ledger.account()
    moment = site.now()
    cost = plan_cost(bundle.plan, account=account, time=stamp(moment))
    _must_be_another(reviewer, submission.sender)
    _must_be_paired(site, submission.sender)
    _must_fit(site, bundle, cost)
    days = terms.days if terms.days is not None else site.settings.approval_days
    fresh = Approval(
        decision=APPROVED,
        plan_sha256=bundle.sha256,
        runtime_sha256=runtime_sha256(),
        dataset_version=site.card().dataset_version,
        researcher=submission.sender,
        researcher_key=submission.sender_key,
        reviewers=(reviewer,),
        reason=reason,
        max_rounds=terms.max_rounds if terms.max_rounds is not None else bundle.plan.rounds,
        expires=stamp(moment + timedelta(days=days)),
        standing_release=terms.standing_release,
        accept_synthetic=terms.accept_synthetic,
        decided=stamp(moment),
    )
    before = store.approval(bundle.sha256)
    if before is None and store.is_closed(bundle.sha256):
        raise PlanError(_IS_CLOSED)  # a crash came between the entry and the file
    decision = _with_vote(before, fresh, reviewer)
    site.log(
        EntryKind.PLAN_APPROVED,
        actor=reviewer,
        action="approve",
        resource=bundle.sha256,
        reason=reason,
        detail={
            "reviewers": list(decision.reviewers),
            "max_rounds": decision.max_rounds,
            "expires": decision.expires,
            "standing_release": decision.standing_release,
            "accept_synthetic": decision.accept_synthetic,
            "epsilon_plan": cost.epsilon_alone,
            "delta": account.required_budget().delta,
            "unit": site.unit(account),
            "relation": ADD_OR_REMOVE_ONE,
        },
    )
    store.decide(decision)
    return decision


def reject(site: Site, plan: str, *, reviewer: str, reason: str) -> None:
    """A reviewer's no; the reason stays at the hospital.

    Raises:
        PlanError: unknown plan or reviewer, no reason, or decided before.
    """
    with desk_lock(site.root):
        _reject(site, plan, reviewer=reviewer, reason=reason)


def _reject(site: Site, plan: str, *, reviewer: str, reason: str) -> None:
    store = PlanStore(site)
    submission = store.get(plan)
    reviewer = _must_be_reviewer(site, reviewer)
    if not reason.strip():
        raise PlanError("say why: --reason TEXT (it stays at this hospital)")
    before = store.approval(submission.bundle.sha256)
    if before is not None and before.decision == REJECTED:
        raise PlanError("this plan was rejected already")
    if before is not None and count_people(before.reviewers) >= site.settings.quorum:
        raise PlanError("this plan was approved; use `dura site revoke` to withdraw that")
    decision = Approval(
        decision=REJECTED,
        plan_sha256=submission.bundle.sha256,
        runtime_sha256=runtime_sha256(),
        dataset_version=site.card().dataset_version,
        researcher=submission.sender,
        researcher_key=submission.sender_key,
        reviewers=(reviewer,),
        reason=reason,
        max_rounds=0,
        expires=stamp(now_utc()),
        standing_release=False,
        decided=stamp(now_utc()),
    )
    site.log(
        EntryKind.PLAN_REJECTED,
        actor=reviewer,
        action="reject",
        resource=decision.plan_sha256,
        reason=reason,
    )
    store.decide(decision)


def revoke(site: Site, plan: str, *, reviewer: str, reason: str) -> None:
    """Withdraw an approval: nothing starts under it any more; what was spent stays spent.

    Raises:
        PlanError: unknown plan or reviewer, no reason, or not approved.
    """
    with desk_lock(site.root):  # nothing is released under it between check and revocation
        _revoke(site, plan, reviewer=reviewer, reason=reason)


def _revoke(site: Site, plan: str, *, reviewer: str, reason: str) -> None:
    store = PlanStore(site)
    sha = store.get(plan).bundle.sha256
    reviewer = _must_be_reviewer(site, reviewer)
    if not reason.strip():
        raise PlanError("say why: --reason TEXT (it stays at this hospital)")
    withdraw(site, sha, actor=reviewer, reason=reason)


def withdraw(site: Site, sha: str, *, actor: str, reason: str) -> None:
    """Record and write that the approval of the plan `sha` holds no more; alone on the desk.

    Raises:
        PlanError: there is none.
    """
    store = PlanStore(site)
    before = store.approval(sha)
    if before is None or before.decision != APPROVED or before.revoked:
        raise PlanError(f"plan {sha[:12]} is not approved, so there is nothing to revoke")
    site.log(EntryKind.APPROVAL_REVOKED, actor=actor, action="revoke", resource=sha, reason=reason)
    store.decide(replace(before, revoked=True, reason=reason))


def _with_vote(before: Approval | None, fresh: Approval, reviewer: str) -> Approval:
    if before is None:
        return fresh
    if before.decision != APPROVED or before.revoked:
        raise PlanError(_IS_CLOSED)
    same_terms = replace(
        before,
        reviewers=fresh.reviewers,
        decided=fresh.decided,
        reason=fresh.reason,
        expires=fresh.expires,
    )
    if same_terms != fresh:
        raise PlanError(
            f"the earlier approval by {', '.join(before.reviewers)} has other terms, code or "
            "data; revoke it first, then all approve on the same terms"
        )
    try:
        return add_vote(before, reviewer=reviewer, decided=fresh.decided)
    except ValueError as error:
        raise PlanError(str(error)) from error


def _must_be_reviewer(site: Site, reviewer: str) -> str:
    """Who decides, as the site's settings spell them."""
    try:
        return must_be_reviewer(reviewer, site.settings.reviewers)
    except DeskError as error:
        raise PlanError(str(error)) from error


def _must_hold(findings: tuple[Finding, ...]) -> None:
    broken = voids(findings)
    if broken:
        texts = "; ".join(f"{finding.what} [{finding.code}]" for finding in broken)
        raise PlanError(f"epsilon would be fiction, so the plan cannot be approved: {texts}")


def _must_be_another(reviewer: str, submitter: str) -> None:
    """Nobody approves what they submitted, under no spelling (`datasites.people`)."""
    if is_researcher(reviewer, submitter):
        raise PlanError(
            f"{reviewer!r} is {submitter}, who submitted this plan; somebody else must review it. "
            "Who only shares the name says their own address in site.toml: "
            f'reviewers = ["{reviewer} <ADDRESS>"]'
        )


def _must_be_paired(site: Site, sender: str) -> None:
    """Nothing is approved of somebody who was turned away since they sent it."""
    about = (EntryKind.PEER_PAIRED, EntryKind.PEER_UNPAIRED)
    found = [entry for _, entry in entries_of_kind(site.ledger_path, *about)]
    last = [entry.kind for entry in found if entry.resource == sender][-1:]
    if last == [EntryKind.PEER_UNPAIRED]:
        raise PlanError(f"{sender} was unpaired; pair with them first, then they submit it anew")


def _must_fit(site: Site, bundle: Bundle, cost: Cost) -> None:
    card = site.card()
    plan = bundle.plan
    if tuple(plan.classes) != card.classes or plan.model.image_size != card.image_size:
        raise PlanError(
            f"the plan wants classes {list(plan.classes)} at {plan.model.image_size} px; "
            f"the shard has {list(card.classes)} at {card.image_size} px"
        )
    limit_s = site.settings.job_timeout_s
    if plan.slots.longest_s > limit_s:
        raise RefusedError(
            Reason.SLOT_TOO_LONG,
            f"a slot of the plan is {plan.slots.longest_s:g} s; a job may work {limit_s} s here: "
            "raise job_timeout_s in site.toml, or ask for shorter slots",
        )
    if cost.decision is None:
        raise PlanError(f"the plan does not fit the budget: {cost.refusal}")


def list_submissions(site: Site) -> list[tuple[Submission, Approval | None]]:
    """Every plan with its decision, oldest first."""
    found = PlanStore(site).intact()
    return sorted(found, key=lambda pair: pair[0].received)


def altered_submissions(site: Site) -> list[Seen]:
    """Plans that are no longer what was received, or whose decision this site did not sign."""
    return [seen for seen in PlanStore(site).seen() if seen.problem]
