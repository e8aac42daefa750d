"""From an ended sandbox to a committed spend and outputs on the desk.

Two halves, so that a crash in between loses nothing:

- `collect` takes the result and every declared output from the sandbox, checks them, and keeps
  them beside the request's record. A job that broke a rule leaves nothing, and what was reserved
  for it stays spent;
- `settle` goes on from what was kept: the spend is **committed** with the steps actually taken;
  then outputs go to the desk (or, for the generator, into the hospital's private store), and those
  with standing leave are released; then a receipt is signed. Called again after a crash at any
  point, it finds done what is done: one commit, one release, and one receipt that leaves, the one
  that the request's record holds in the end.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydantic

from datasites.agent.requests import RequestBook
from datasites.agent.start import ReadyJob
from datasites.answers import EVALUATION_FILE, Answer, HospitalEvaluation, Status, Timing
from datasites.desk import Desk, Item, ItemKind, ItemState
from datasites.errors import OutputError, ReleaseRefusedError
from datasites.plans import GenerateTask, ReportTask, TrainTask, task_event, train_event
from datasites.sandbox import JobFolder, take_output
from datasites.site import Site, now_utc, stamp, write_file
from datasites.unsafe import UNSAFE_NOTE, ran_unsafe
from datasites.worker.protocol import (
    REPORTS_FILE,
    RESULT_FILE,
    SYNTHETIC_IMAGES,
    SYNTHETIC_LABELS,
    DraftReport,
    DraftReports,
    Result,
)
from models import check_weights
from privacy import (
    DpEvent,
    Receipt,
    SpendState,
    Unit,
    canonical_bytes,
    commit,
    event_to_json,
    sha256_hex,
    sign_receipt,
    signed_receipt_to_json,
)

log = logging.getLogger("dura.agent")

_RESULT_BYTES = 65_536
_IMAGES_BYTES = 64 * 1024 * 1024
STANDING = "standing leave for DP outputs"


class Finisher:
    """Takes ended jobs to answers."""

    def __init__(self, site: Site, desk: Desk, book: RequestBook) -> None:
        self._site = site
        self._desk = desk
        self._book = book

    def collect(self, job: ReadyJob, folder: JobFolder) -> None:
        """Take what the job left, check it, and keep it.

        Raises:
            OutputError: the job's outputs break a rule; nothing was kept.
        """
        result = _result(folder.outputs)
        self._event(job, result)
        match job.task:
            case GenerateTask():
                files = _synthetic(folder.outputs, job)
            case TrainTask():
                files = _weights(folder.outputs, job)
            case ReportTask():
                files = _reports(folder.outputs, job)
        kept = {**files, RESULT_FILE: result.model_dump_json().encode()}
        self._book.keep_results(job.request.id, kept)

    def settle(self, job: ReadyJob, kept: Mapping[str, bytes]) -> Answer:
        """Commit, hold or release, answer; goes on where a crash stopped it.

        Args:
            job: the job whose outputs were collected.
            kept: the collected files.
        """
        files = dict(kept)
        result = Result.model_validate_json(files.pop(RESULT_FILE))
        event = self._event(job, result)
        self._commit(job, event)
        items = self._place(job, files)
        left = {} if isinstance(job.task, GenerateTask) else files
        receipt = self._receipt(job, event, left)
        held = any(item.is_open for item in items)
        return Answer(
            request=job.request.id,
            status=Status.HELD if held else Status.DONE,
            receipt=receipt,
            timing=Timing(started=result.started, ended=result.ended),
            items=sum(item.kind is not ItemKind.EVALUATION for item in items),
            sandboxed=not ran_unsafe(self._site, job.request.id),
        )

    def _event(self, job: ReadyJob, result: Result) -> DpEvent:
        plan = job.bundle.plan
        if not isinstance(job.task, TrainTask):
            return task_event(plan, job.task)
        if not 0 < result.steps_taken <= job.task.steps:
            raise OutputError(
                f"the job claims {result.steps_taken} steps of {job.task.steps} reserved"
            )
        return train_event(plan, steps=result.steps_taken)

    def _commit(self, job: ReadyJob, event: DpEvent) -> None:
        if self._site.ledger.account().states.get(job.request.id) is SpendState.COMMITTED:
            return  # before a crash
        moment = stamp(now_utc())
        self._site.ledger.transact(
            lambda account: commit(
                account, reservation=job.request.id, event=event, time=moment, actor="agent"
            )
        )

    def _place(self, job: ReadyJob, files: dict[str, bytes]) -> list[Item]:
        match job.task:
            case GenerateTask():
                target = self._site.synthetic(job.bundle.sha256)
                write_file(target / SYNTHETIC_LABELS, files[SYNTHETIC_LABELS])
                write_file(target / SYNTHETIC_IMAGES, files[SYNTHETIC_IMAGES])
                return []
            case TrainTask():
                return [self._place_noised(job, ItemKind.WEIGHTS, files)]
            case ReportTask():
                drafts = DraftReports.model_validate_json(files[REPORTS_FILE])
                placed = [
                    self._place_report(job, draft, number)
                    for number, draft in enumerate(drafts.reports, start=1)
                ]
                if EVALUATION_FILE in files:
                    counts = {EVALUATION_FILE: files[EVALUATION_FILE]}
                    placed.append(self._place_noised(job, ItemKind.EVALUATION, counts))
                return placed

    def _place_noised(self, job: ReadyJob, kind: ItemKind, files: dict[str, bytes]) -> Item:
        """Hold what noise protects; it goes at once where the approval says so."""
        name = f"{job.request.id}-{kind.value}"
        item = _item(job, name, kind, tuple(files), note=self._note(job))
        self._desk.hold(item, files)
        item = self._desk.get(item.id)
        if job.approval.standing_release and item.state is ItemState.HELD:
            by = ", ".join(job.approval.reviewers)
            try:
                return self._desk.release_standing(item.id, actor=by, reason=STANDING)
            except ReleaseRefusedError as error:
                # The approval was withdrawn while the job ran: the owner looks at it.
                log.warning("%s", error)
        return item

    def _place_report(self, job: ReadyJob, draft: DraftReport, number: int) -> Item:
        name = f"{draft.kind}.json"
        how = "the template" if draft.source == "template" else "the model"
        item = _item(
            job,
            # A number, not the pseudonym: the id is told with a redacted or withheld report.
            f"{job.request.id}-{draft.kind}-{number}",
            ItemKind(draft.kind),
            (name,),
            note=self._note(job, f"written by {how} in {draft.attempts} attempt(s)"),
        )
        self._desk.hold(item, {name: draft.model_dump_json().encode()})
        return self._desk.get(item.id)

    def _note(self, job: ReadyJob, text: str = "") -> str:
        parts = [text, UNSAFE_NOTE if ran_unsafe(self._site, job.request.id) else ""]
        return "; ".join(part for part in parts if part)

    def _receipt(self, job: ReadyJob, event: DpEvent, files: dict[str, bytes]) -> str:
        head = self._site.ledger.head()
        account = self._site.ledger.account()
        card = self._site.card()
        receipt = Receipt(
            site=self._site.settings.email,
            study=job.bundle.plan.study,
            request=job.request.id,
            round=job.task.round if isinstance(job.task, TrainTask) else 0,
            plan_sha256=job.bundle.sha256,
            dataset_version=card.dataset_version,
            event=event_to_json(event),
            epsilon_total=account.epsilon(),
            delta=account.required_budget().delta,
            unit=Unit(card.unit.replace("-", "_").replace(" ", "_")),
            disclosed=account.disclosed_by_kind(),
            outputs={name: sha256_hex(data) for name, data in files.items()},
            checkpoint=head,
            time=stamp(now_utc()),
        )
        signed = sign_receipt(receipt, self._site.key)
        return canonical_bytes(signed_receipt_to_json(signed)).decode()


def _item(
    job: ReadyJob, item_id: str, kind: ItemKind, files: tuple[str, ...], note: str = ""
) -> Item:
    return Item(
        id=item_id,
        kind=kind,
        study=job.bundle.plan.study,
        plan_sha256=job.bundle.sha256,
        researcher=job.request.sender,
        request=job.request.id,
        job=job.request.job,
        state=ItemState.HELD,
        files=files,
        note=note,
    )


def _result(folder: Path) -> Result:
    data = take_output(folder, RESULT_FILE, max_bytes=_RESULT_BYTES)
    try:
        return Result.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise OutputError(f"the job's result is malformed: {error}") from error


def _weights(folder: Path, job: ReadyJob) -> dict[str, bytes]:
    declared = job.bundle.plan.weights_output
    data = take_output(folder, declared.name, max_bytes=declared.max_bytes)
    check_weights(data, like=job.inputs["weights.safetensors"], max_bytes=declared.max_bytes)
    return {declared.name: data}


def _declared(
    folder: Path, job: ReadyJob, *, kind: str, name: str, form: type[pydantic.BaseModel]
) -> dict[str, bytes]:
    """The document `name` of a `form`, where the plan declares that one such output leaves."""
    declared = [output for output in job.bundle.plan.outputs if output.kind == kind]
    if not declared:
        return {}
    if [output.name for output in declared] != [name]:
        raise OutputError(f"the plan does not declare {name!r} as its {kind}")
    data = take_output(folder, name, max_bytes=declared[0].max_bytes)
    try:
        form.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise OutputError(f"the job's {kind} is malformed: {error}") from error
    return {name: data}


def _reports(folder: Path, job: ReadyJob) -> dict[str, bytes]:
    """The drafts, and the noised counts where they were declared."""
    drafts = _declared(folder, job, kind="report", name=REPORTS_FILE, form=DraftReports)
    if not drafts:
        raise OutputError(f"the plan does not declare {REPORTS_FILE!r} as its report")
    return drafts | _declared(
        folder, job, kind="evaluation", name=EVALUATION_FILE, form=HospitalEvaluation
    )


def _synthetic(folder: Path, job: ReadyJob) -> dict[str, bytes]:
    part = job.bundle.plan.generator
    if part is None:
        raise OutputError("the plan has no generator")
    count = part.images_per_class * len(job.bundle.plan.classes)
    wanted = {
        SYNTHETIC_IMAGES: (np.dtype(np.uint8), (count, part.image_size, part.image_size)),
        SYNTHETIC_LABELS: (np.dtype(np.int64), (count,)),
    }
    files = {}
    for name, (dtype, shape) in wanted.items():
        files[name] = take_output(folder, name, max_bytes=_IMAGES_BYTES)
        try:
            array = np.load(io.BytesIO(files[name]), allow_pickle=False)
        except (ValueError, OSError) as error:
            raise OutputError(f"{name} is not an array: {error}") from error
        if array.dtype != dtype or array.shape != shape:
            raise OutputError(f"{name} is {array.dtype}{array.shape}; declared {dtype}{shape}")
    return files
