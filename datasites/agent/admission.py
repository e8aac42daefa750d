"""From a queued request to a reserved job: check everything, record, then act.

Order, and nothing later happens unless all before it held: the ledger is not behind what this site
signed; the plan's bytes are the received ones; the approval holds (`authorise`); the encoder that
the plan names, if it names one, is here and unaltered; a sandbox is there; the approval is looked
at once more while nobody can decide (`datasites.site.locks`), and while nobody can the spend, if it
fits the budget, is **reserved** in the ledger, in one transaction; only then does the sandbox get
the job. A request whose reservation is there already was interrupted by a crash: it is not run a
second time, but `reopen` finds what its collected outputs need to be settled.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from datasites.agent.request_store import Request, RequestStore
from datasites.errors import DatasitesError, Reason, RefusedError
from datasites.ingest import published_version, shard_version
from datasites.owner import Synthetic, encoder_problem, state_of
from datasites.plans import (
    APPROVED,
    TASK_FILE,
    Approval,
    Bundle,
    ReportTask,
    SiteState,
    Task,
    TrainTask,
    authorise,
    files_of,
    parse_task,
    plan_events,
    slot_s,
    task_event,
    task_mechanisms,
)
from datasites.sandbox import INSIDE
from datasites.site import (
    TRAIN,
    PlanStore,
    Site,
    desk_lock,
    must_not_be_behind,
    now_utc,
    runtime_sha256,
    stamp,
)
from datasites.worker import JOB_FILE, POOLED_IMAGES, Claim, Job, Profile
from privacy import BudgetExceededError, Reservation, compose, reserve, sha256_hex, weakest

TRAIN_REQUEST = "train/"


log = logging.getLogger("dura.agent")


@dataclass(frozen=True)
class ReadyJob:
    """A job that may run; it has its inputs once its spend is reserved.

    Attributes:
        request: the request. task: what was asked. bundle: the approved bundle.
        approval: its approval. profile: the sandbox it needs.
        inputs: the files for the sandbox.
        slot_s: seconds from its dispatch to its answer.
    """

    request: Request
    task: Task
    bundle: Bundle
    approval: Approval
    profile: Profile
    inputs: dict[str, bytes]
    slot_s: float = 0.0


class Admission:
    """Takes queued requests to reserved jobs."""

    def __init__(self, site: Site, plans: PlanStore, book: RequestStore) -> None:
        self._site = site
        self._plans = plans
        self._book = book
        self._named: set[str] = set()

    def check(self, request: Request, *, sender_key: str) -> ReadyJob:
        """Check everything but the budget; nothing is reserved yet.

        Raises:
            RefusedError: with the coded reason.
            PlanError: the plan the task names is not here.
        """
        must_not_be_behind(self._site)
        if request.id in self._site.ledger.account().states:
            raise RefusedError(
                Reason.JOB_INTERRUPTED,
                f"{request.id} was reserved before the agent ended; what was reserved stays spent",
            )
        task, bundle, approval = self._asked(request)
        at = self.circumstances(bundle, sender=request.sender, sender_key=sender_key)
        granted = authorise(task, plan=bundle.plan, approval=approval, at=at)
        self._must_have_encoder(task, bundle)
        return ReadyJob(
            request,
            task,
            bundle,
            granted,
            Profile(task.kind),
            self._brought(request, task),
            slot_s(task, plan=bundle.plan, rounds_started=at.rounds_started),
        )

    def _must_have_encoder(self, task: Task, bundle: Bundle) -> None:
        if not isinstance(task, TrainTask | ReportTask):
            return
        problem = encoder_problem(bundle.plan, folder=self._site.settings.encoder)
        if problem:
            raise RefusedError(Reason.ENCODER_MISSING, f"the plan's encoder: {problem}")

    def _brought(self, request: Request, task: Task) -> dict[str, bytes]:
        """The files that came with a task, if they still are the ones it names."""
        found = {}
        for name, expected in files_of(task).items():
            found[name] = (self._book.inputs(request.id) / name).read_bytes()
            if sha256_hex(found[name]) != expected:
                raise RefusedError(
                    Reason.PLAN_CHANGED, f"{name} of {request.id} is not the received one"
                )
        return found

    def reopen(self, request: Request) -> ReadyJob:
        """The job of a request that ran before the agent died; it may not run again.

        An approval that was withdrawn since gives no standing leave to release.

        Raises:
            RefusedError: plan or approval were altered on disk. PlanError: the plan is gone.
        """
        task, bundle, approval = self._asked(request)
        if approval is None:
            raise RefusedError(Reason.NOT_APPROVED, f"the decision on {bundle.sha256[:12]} is gone")
        if approval.revoked or approval.decision != APPROVED:
            approval = replace(approval, standing_release=False)
        return ReadyJob(request, task, bundle, approval, Profile(task.kind), {})

    def reserve(self, job: ReadyJob) -> ReadyJob:
        """Reserve the job's spend; returns the job with its inputs.

        Raises:
            RefusedError: the budget does not allow it, or the approval holds no more.
        """
        with desk_lock(self._site.root):  # no decision falls between this look and the spend
            approval = self._plans.approval(job.bundle.sha256)
            at = self.circumstances(
                job.bundle, sender=job.request.sender, sender_key=job.approval.researcher_key
            )
            granted = authorise(job.task, plan=job.bundle.plan, approval=approval, at=at)
            job = replace(job, approval=granted)
            self._reserve(job)
        inputs = dict(job.bundle.files)
        inputs[JOB_FILE] = self._job(job).model_dump_json().encode()
        return replace(job, inputs=inputs | job.inputs)

    def circumstances(self, bundle: Bundle, *, sender: str, sender_key: str) -> SiteState:
        """What is true here and now for a task under `bundle`."""
        synthetic = self._site.synthetic(bundle.sha256)
        images = state_of(self._site, bundle.sha256)
        return SiteState(
            sender=sender,
            sender_key=sender_key,
            runtime_sha256=runtime_sha256(),
            dataset_version=self._dataset_version(),
            rounds_started=self.rounds_started(bundle.sha256),
            has_generator=images in (Synthetic.UNDECIDED, Synthetic.ACCEPTED),
            has_pool=(synthetic / POOLED_IMAGES).exists(),
            quorum=self._site.settings.quorum,
            now=self._site.now(),
            others_started=[
                name for name in self.requests(bundle.sha256) if not name.startswith(TRAIN_REQUEST)
            ],
            images=images.value,
            job_timeout_s=self._site.settings.job_timeout_s,
        )

    def _dataset_version(self) -> str:
        """Of the shard, where shard and card agree; nothing while an ingest is between the two.

        Nothing either, which fits no approval, where a file that says so cannot be read.
        """
        try:
            version = self._site.card().dataset_version
            return version if self._site.published_version() == version else ""
        except DatasitesError as error:
            if str(error) not in self._named:  # it is asked several times a second
                log.error("no task can run: %s", error)
            self._named.add(str(error))
            return ""

    def _approved_shard(self, version: str) -> str:
        """The private hash of the shard here if it is `version`; nothing, which fits none, if not.

        A shard that was put in its place since the job was checked is not what the job may see.
        """
        found = shard_version(self._site.shard(TRAIN))
        if found is None or published_version(found, key=self._site.dataset_key) != version:
            return ""
        return found

    def _asked(self, request: Request) -> tuple[Task, Bundle, Approval | None]:
        task = parse_task((self._book.inputs(request.id) / TASK_FILE).read_bytes())
        bundle = self._plans.get(task.plan_sha256).bundle
        return task, bundle, self._plans.approval(bundle.sha256)

    def rounds_started(self, plan_sha256: str) -> list[int]:
        """Round numbers of every training run that was reserved under a plan, from the ledger."""
        return [
            int(name.removeprefix(TRAIN_REQUEST))
            for name in self.requests(plan_sha256)
            if name.startswith(TRAIN_REQUEST)
        ]

    def requests(self, plan_sha256: str) -> list[str]:
        """What was ever reserved under a plan: `generate`, `train/1`, ... `report`."""
        runs = self._site.ledger.account().runs.get(plan_sha256, {})
        return [name for name, count in runs.items() for _ in range(count)]

    def _reserve(self, job: ReadyJob) -> None:
        request, task, bundle = job.request, job.task, job.bundle
        card = self._site.card()
        moment = stamp(now_utc())
        name = f"{TRAIN_REQUEST}{task.round}" if isinstance(task, TrainTask) else task.kind
        again = name in self.requests(bundle.sha256)
        wanted = Reservation(
            reservation=request.id,
            event=task_event(bundle.plan, task),
            mechanisms=task_mechanisms(bundle.plan, task, published_units=card.units),
            researcher=request.sender,
            study=bundle.plan.study,
            dataset_version=job.approval.dataset_version,
            code_sha256=bundle.sha256,
            request=name,
            # The plan fixed each run once; another one of the same is a sequence of its own.
            block=None if again else compose(plan_events(bundle.plan)),
        )
        try:
            self._site.ledger.transact(
                lambda account: reserve(account, wanted, time=moment, actor=request.sender)
            )
        except BudgetExceededError as error:
            raise RefusedError(Reason.BUDGET_EXCEEDED, str(error)) from error

    def _job(self, ready: ReadyJob) -> Job:
        card = self._site.card()
        account = self._site.ledger.account()
        return Job(
            plan=ready.bundle.plan,
            task=ready.task,
            dataset_version=ready.approval.dataset_version,
            shard_sha256=self._approved_shard(ready.approval.dataset_version),
            published_units=card.units,
            hospital=self._site.settings.name,
            pseudonym_key=self._site.pseudonym_key,
            claim=Claim(
                epsilon=account.epsilon(),
                delta=account.required_budget().delta,
                unit=weakest(account.units or (card.unit,)).words,
            ),
            report_dtype=self._site.settings.report_dtype,
            report_device="cpu" if self._site.settings.report_device == "cpu" else INSIDE,
        )
