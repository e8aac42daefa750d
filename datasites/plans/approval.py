"""Approvals: who said yes to which bytes, on what terms, and when that yes still holds.

Pure rules. An `Approval` pins the bundle's hash, the hash of the hospital's own installed code,
the data set version and the researcher's key, and is signed by the site. `authorise` decides,
in this order, whether a task may run now; each refusal carries a coded reason:

1. the plan is approved, by enough reviewers, not revoked, not expired;
2. the one who asks is the one the approval names, with the same key;
3. plan, installed code and data set are byte for byte the approved ones;
4. no slot of the plan is longer than the hospital lets a job work;
5. the task is within the plan: its kind, its round, its ranges, the number of runs.

The budget is checked after this, in one transaction with its reservation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from datasites.errors import Reason, RefusedError
from datasites.people import count_people, is_same_person
from datasites.plans.plan import Plan
from datasites.plans.tasks import GenerateTask, PoolTask, ReportTask, Task, TrainTask
from privacy import JsonValue, Purpose, SigningKey, sign_document, verify_document

APPROVED = "approved"
REJECTED = "rejected"
APPROVAL_FORMAT = "dura.approval/2"


@dataclass(frozen=True)
class Approval:
    """A hospital's decision on one bundle.

    Attributes:
        decision: `approved` or `rejected`.
        plan_sha256: the bundle.
        runtime_sha256: the hospital's installed code at the time of the decision.
        dataset_version: of the shard the cost was computed for.
        researcher: e-mail of the one who may use it.
        researcher_key: fingerprint of their key.
        reviewers: who agreed; all of them on the same terms.
        reason: the owner's words; stays at the hospital.
        max_rounds: training runs at most.
        expires: UTC time after which nothing starts.
        standing_release: whether DP weights may leave without a further decision.
        accept_synthetic: whether synthetic images are accepted beforehand, whatever they show;
            a person must look where they are not.
        decided: UTC time of the last vote.
        revoked: whether it was withdrawn.
    """

    decision: str
    plan_sha256: str
    runtime_sha256: str
    dataset_version: str
    researcher: str
    researcher_key: str
    reviewers: tuple[str, ...]
    reason: str
    max_rounds: int
    expires: str
    standing_release: bool
    decided: str
    revoked: bool = False
    accept_synthetic: bool = False


@dataclass(frozen=True)
class SiteState:
    """What is true at the hospital when a task asks to run.

    Attributes:
        sender: the authenticated researcher, and
        sender_key: the fingerprint of the key they signed with.
        runtime_sha256: the installed code now.
        dataset_version: the shard now.
        rounds_started: round numbers of training runs that were started under this plan.
        others_started: kinds (`generate`, `pool`, `report`) of all other runs that were started.
        has_generator: whether the plan's synthetic images were made.
        has_pool: whether images of the others' generators were.
        images: what the owner decided on all of them: `accepted`, `discarded` or anything else.
        quorum: reviewers this hospital wants.
        now: UTC time.
        job_timeout_s: seconds that this hospital lets a job work.
    """

    sender: str
    sender_key: str
    runtime_sha256: str
    dataset_version: str
    rounds_started: Sequence[int]
    has_generator: bool
    quorum: int
    now: datetime
    others_started: Sequence[str] = ()
    has_pool: bool = False
    images: str = ""
    job_timeout_s: float = 604_800.0


def sign_approval(approval: Approval, key: SigningKey) -> str:
    """The site's signature over an approval."""
    return sign_document(_body(approval), purpose=Purpose.APPROVAL, key=key)


def verify_approval(approval: Approval, *, signature: str, public_hex: str) -> None:
    """Raise `privacy.SignatureError` unless the site signed exactly this approval."""
    verify_document(
        _body(approval),
        purpose=Purpose.APPROVAL,
        public_hex=public_hex,
        signature_hex=signature,
    )


def _body(approval: Approval) -> dict[str, JsonValue]:
    return {"format": APPROVAL_FORMAT, **asdict(approval)}


def add_vote(approval: Approval, *, reviewer: str, decided: str) -> Approval:
    """The same approval with one more reviewer.

    Raises:
        ValueError: the reviewer agreed already.
    """
    if any(is_same_person(reviewer, known) for known in approval.reviewers):
        raise ValueError(f"{reviewer} approved this plan already")
    return replace(approval, reviewers=(*approval.reviewers, reviewer), decided=decided)


def authorise(task: Task, *, plan: Plan, approval: Approval | None, at: SiteState) -> Approval:
    """The approval under which `task` may run; see the module's docstring for what is checked.

    Raises:
        RefusedError: with the coded reason.
    """
    granted = _granted(approval, at)
    if at.sender != granted.researcher or at.sender_key != granted.researcher_key:
        raise RefusedError(
            Reason.WRONG_RESEARCHER,
            f"{at.sender} (key {at.sender_key}) asked; approved is {granted.researcher} "
            f"(key {granted.researcher_key})",
        )
    if task.plan_sha256 != granted.plan_sha256:
        raise RefusedError(Reason.PLAN_CHANGED, "the task names another plan than the approval")
    if at.runtime_sha256 != granted.runtime_sha256:
        raise RefusedError(
            Reason.RUNTIME_CHANGED,
            "the installed Dura is not the one the plan was approved for; review it again",
        )
    if at.dataset_version != granted.dataset_version:
        raise RefusedError(
            Reason.DATASET_CHANGED,
            "the shard is not the one the plan was approved for; review it again",
        )
    if plan.slots.longest_s > at.job_timeout_s:
        raise RefusedError(
            Reason.SLOT_TOO_LONG,
            f"a slot of the plan is {plan.slots.longest_s:g} s; a job may work "
            f"{at.job_timeout_s:g} s here (job_timeout_s)",
        )
    _within_plan(task, plan=plan, approval=granted, at=at)
    return granted


def slot_s(task: Task, *, plan: Plan, rounds_started: Sequence[int]) -> float:
    """Seconds from a task's dispatch to its answer: of the requests so far, and nothing else.

    Args:
        task: the task.
        plan: its plan.
        rounds_started: round numbers of training runs that were started before under the plan.
    """
    match task:
        case TrainTask():
            return plan.slots.train_s if rounds_started else plan.slots.first_train_s
        case GenerateTask():
            return plan.slots.generate_s
        case PoolTask():
            return plan.slots.pool_s
        case ReportTask():
            return plan.slots.report_s


def _granted(approval: Approval | None, at: SiteState) -> Approval:
    if approval is None:
        raise RefusedError(Reason.NOT_APPROVED, "nobody has decided on this plan yet")
    if approval.decision != APPROVED:
        raise RefusedError(Reason.REJECTED_BY_OWNER, f"rejected: {approval.reason}")
    if approval.revoked:
        raise RefusedError(Reason.APPROVAL_REVOKED, f"revoked: {approval.reason}")
    if count_people(approval.reviewers) < at.quorum:
        raise RefusedError(
            Reason.NOT_APPROVED,
            f"{count_people(approval.reviewers)} of {at.quorum} reviewers have approved so far",
        )
    if at.now >= datetime.fromisoformat(approval.expires):
        raise RefusedError(Reason.APPROVAL_EXPIRED, f"the approval expired at {approval.expires}")
    return approval


def _within_plan(task: Task, *, plan: Plan, approval: Approval, at: SiteState) -> None:
    match task:
        case TrainTask():
            _within_train(task, plan=plan, approval=approval, at=at)
        case GenerateTask():
            if plan.generator is None:
                raise RefusedError(Reason.MALFORMED_REQUEST, "the plan has no generator")
            if at.has_generator:
                raise RefusedError(Reason.DUPLICATE_REQUEST, "the generator was trained already")
            _has_leave(task, plan=plan, approval=approval, at=at)
        case PoolTask():
            _within_pool(plan, at)
            _has_leave(task, plan=plan, approval=approval, at=at)
        case ReportTask():
            if plan.reports is None:
                raise RefusedError(Reason.MALFORMED_REQUEST, "the plan has no reports")
            if task.shares and len(task.shares) != len(plan.reports.hospitals):
                raise RefusedError(
                    Reason.MALFORMED_REQUEST,
                    f"shares of {len(task.shares)} hospitals came along; the plan names "
                    f"{len(plan.reports.hospitals)}",
                )
            _has_leave(task, plan=plan, approval=approval, at=at)


def _within_pool(plan: Plan, at: SiteState) -> None:
    if not plan.pools:
        raise RefusedError(Reason.MALFORMED_REQUEST, "the plan mixes in no images of others")
    if not at.has_generator:
        raise RefusedError(
            Reason.GENERATOR_MISSING, "images of others are mixed in with one's own, not instead"
        )
    if at.has_pool:
        raise RefusedError(Reason.DUPLICATE_REQUEST, "images of the others were drawn already")


def _has_leave(
    task: GenerateTask | PoolTask | ReportTask, *, plan: Plan, approval: Approval, at: SiteState
) -> None:
    """One run of its kind was approved; more only where more training runs than rounds were."""
    allowed = 1 + max(0, approval.max_rounds - plan.rounds)
    if list(at.others_started).count(task.kind) >= allowed:
        raise RefusedError(
            Reason.RERUN_NEEDS_LEAVE,
            f"{task.kind} was started {allowed} time(s), as approved; an approval with "
            "--max-rounds above the plan's rounds gives leave for as many reruns",
        )


def _within_train(task: TrainTask, *, plan: Plan, approval: Approval, at: SiteState) -> None:
    if len(at.rounds_started) >= approval.max_rounds:
        raise RefusedError(
            Reason.ROUNDS_USED_UP, f"all {approval.max_rounds} approved runs were used"
        )
    last = max(at.rounds_started, default=0)
    if task.round < last or task.round > plan.rounds:
        raise RefusedError(
            Reason.ROUND_OUT_OF_ORDER,
            f"round {task.round} was asked for; round {last} of {plan.rounds} was the last",
        )
    asked = [
        ("steps", task.steps <= plan.train.steps, task.steps, f"at most {plan.train.steps}"),
        *(
            (name, allowed.holds(value), value, f"{allowed.low} to {allowed.high}")
            for name, allowed, value in (
                ("learning_rate", plan.train.learning_rate, task.learning_rate),
                ("proximal_mu", plan.train.proximal_mu, task.proximal_mu),
            )
        ),
    ]
    for name, fine, value, allowed_text in asked:
        if not fine:
            raise RefusedError(
                Reason.PARAMETER_OUT_OF_RANGE, f"{name} is {value}; approved is {allowed_text}"
            )
    if task.correction_sha256 is not None and not plan.train.correction:
        raise RefusedError(
            Reason.PARAMETER_OUT_OF_RANGE, "a correction comes with the task; the plan has none"
        )
    if plan.train.synthetic_weight > 0:
        _has_images(at)


def _has_images(at: SiteState) -> None:
    """The synthetic images that a plan mixes in were made, and the owner accepted them."""
    if at.images == "discarded":
        raise RefusedError(
            Reason.SYNTHETIC_DISCARDED, "the owner discarded the plan's synthetic images"
        )
    if not at.has_generator:
        raise RefusedError(
            Reason.GENERATOR_MISSING, "the plan mixes in synthetic images, but none were made yet"
        )
    if at.images != "accepted":
        raise RefusedError(
            Reason.SYNTHETIC_UNDECIDED,
            "nobody has accepted the plan's synthetic images yet; look at `dura site copies`",
        )
