"""From an ended sandbox to a committed spend and outputs on the desk.

Two halves, so that a crash in between loses nothing:

- `collect` takes the result and every declared output from the sandbox, checks them, and keeps
  them beside the request's record. A job that broke a rule leaves nothing, and what was reserved
  for it stays spent;
- `settle` goes on from what was kept: the spend is **committed** with the steps actually taken;
  then outputs go to the desk (or, for the generator, into the hospital's private store, where its
  images wait for the owner), and those with standing leave are released; then a receipt is signed.
  Called again after a crash at any point, it finds done what is done: one commit, one release, and
  one receipt that leaves, the one that the request's record holds in the end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from datasites.agent.requests import RequestBook
from datasites.agent.start import ReadyJob
from datasites.answers import EVALUATION_FILE, Answer, HospitalEvaluation, Status, Timing
from datasites.desk import NEEDS_A_PERSON, Desk, Item, ItemKind, ItemState
from datasites.errors import OutputError, ReleaseRefusedError
from datasites.features import keep_features, read_array
from datasites.plans import (
    GenerateTask,
    PoolTask,
    ReportTask,
    TrainTask,
    task_event,
    train_event,
)
from datasites.sandbox import JobFolder, take_output
from datasites.site import Site, now_utc, stamp, write_file, write_json
from datasites.synthetic import accept_by_rule, keep
from datasites.unsafe import UNSAFE_NOTE, ran_unsafe
from datasites.worker.protocol import (
    GENERATOR_FILE,
    POOLED_ABOUT,
    POOLED_IMAGES,
    POOLED_LABELS,
    POOLED_SOURCES,
    REPORTS_FILE,
    RESULT_FILE,
    SYNTHETIC_IMAGES,
    SYNTHETIC_LABELS,
    DraftReport,
    DraftReports,
    Result,
)
from models import check_plain_weights, check_weights
from privacy import (
    DpEvent,
    EntryKind,
    Receipt,
    SpendState,
    canonical_bytes,
    commit,
    event_to_json,
    sha256_hex,
    sign_receipt,
    signed_receipt_to_json,
    weakest,
)

log = logging.getLogger("dura.agent")

_RESULT_BYTES = 65_536
_IMAGES_BYTES = 64 * 1024 * 1024
_STAYING = frozenset(
    {SYNTHETIC_IMAGES, SYNTHETIC_LABELS, POOLED_IMAGES, POOLED_LABELS, POOLED_SOURCES}
)
_Arrays = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
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
                files = _synthetic(folder.outputs, job) | _generator(folder.outputs, job)
            case PoolTask():
                files = _pooled(folder.outputs, job, job.task)
            case TrainTask():
                keep_features(
                    self._site,
                    folder.outputs,
                    dataset_version=job.approval.dataset_version,
                    encoder_sha256=job.bundle.plan.model.encoder_sha256,
                )
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
        left = {name: data for name, data in files.items() if name not in _STAYING}
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
                keep(self._site, job.bundle.sha256, files)
                accept_by_rule(self._site, job.bundle.sha256)
                if GENERATOR_FILE not in files:
                    return []
                adapted = {GENERATOR_FILE: files[GENERATOR_FILE]}
                return [self._place_noised(job, ItemKind.GENERATOR, adapted)]
            case PoolTask():
                self._place_pool(job, job.task, files)
                accept_by_rule(self._site, job.bundle.sha256)
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

    def _place_pool(self, job: ReadyJob, task: PoolTask, files: dict[str, bytes]) -> None:
        """Keep images of others' generators beside one's own, and say in the ledger whose."""
        target = self._site.synthetic(job.bundle.sha256)
        if (target / POOLED_IMAGES).exists():
            return  # before a crash
        sources = [source.model_dump() for source in task.sources]
        if not self._pool_logged(job):
            self._site.log(
                EntryKind.IMAGES_POOLED,
                actor="agent",
                action="draw images",
                resource=job.bundle.sha256,
                reason="post-processing of generators that others adapted with DP and released; "
                "no shard was read, so it costs no epsilon",
                detail={"request": job.request.id, "sources": sources},
            )
        about = {"version": 1, "synthetic": True, "sources": sources}
        write_json(target / POOLED_ABOUT, about)
        for name in (POOLED_SOURCES, POOLED_LABELS, POOLED_IMAGES):  # the images make it complete
            write_file(target / name, files[name])

    def _pool_logged(self, job: ReadyJob) -> bool:
        entries = (sealed.entry for sealed in self._site.ledger.entries())
        return any(
            entry.kind is EntryKind.IMAGES_POOLED and entry.detail.get("request") == job.request.id
            for entry in entries
        )

    def _place_noised(self, job: ReadyJob, kind: ItemKind, files: dict[str, bytes]) -> Item:
        """Hold what noise protects; it goes at once where the approval says so."""
        name = f"{job.request.id}-{kind.value}"
        item = _item(job, name, kind, tuple(files), note=self._note(job))
        self._desk.hold(item, files)
        item = self._desk.get(item.id)
        standing = job.approval.standing_release and kind not in NEEDS_A_PERSON
        if standing and item.state is ItemState.HELD:
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
        # In one look, or another process may add what the named entry does not vouch for.
        head, account = self._site.ledger.standing()
        card = self._site.card()
        receipt = Receipt(
            site=self._site.settings.email,
            study=job.bundle.plan.study,
            request=job.request.id,
            round=job.task.round if isinstance(job.task, TrainTask) else 0,
            plan_sha256=job.bundle.sha256,
            dataset_version=job.approval.dataset_version,
            event=event_to_json(event),
            epsilon_total=account.epsilon(),
            delta=account.required_budget().delta,
            unit=weakest(account.units or (card.unit,)),
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
    count, size = _drawn(job)
    wanted: _Arrays = {
        SYNTHETIC_IMAGES: (np.dtype(np.uint8), (count, size, size)),
        SYNTHETIC_LABELS: (np.dtype(np.int64), (count,)),
    }
    return _arrays(folder, wanted)


def _pooled(folder: Path, job: ReadyJob, task: PoolTask) -> dict[str, bytes]:
    count, size = _drawn(job)
    count *= len(task.sources)
    wanted: _Arrays = {
        POOLED_IMAGES: (np.dtype(np.uint8), (count, size, size)),
        POOLED_LABELS: (np.dtype(np.int64), (count,)),
        POOLED_SOURCES: (np.dtype(np.int64), (count,)),
    }
    return _arrays(folder, wanted)


def _generator(folder: Path, job: ReadyJob) -> dict[str, bytes]:
    """What training changed, where the plan declares that it may leave."""
    declared = [output for output in job.bundle.plan.outputs if output.kind == "generator"]
    if not declared:
        return {}
    if [output.name for output in declared] != [GENERATOR_FILE]:
        raise OutputError(f"the plan does not declare {GENERATOR_FILE!r} as its generator")
    data = take_output(folder, GENERATOR_FILE, max_bytes=declared[0].max_bytes)
    check_plain_weights(data, max_bytes=declared[0].max_bytes)
    return {GENERATOR_FILE: data}


def _drawn(job: ReadyJob) -> tuple[int, int]:
    """How many images the plan's generator draws, and their side in pixels."""
    part = job.bundle.plan.generator
    if part is None:
        raise OutputError("the plan has no generator")
    return part.images_per_class * len(job.bundle.plan.classes), part.image_size


def _arrays(folder: Path, wanted: _Arrays) -> dict[str, bytes]:
    files = {}
    for name, (dtype, shape) in wanted.items():
        files[name] = take_output(folder, name, max_bytes=_IMAGES_BYTES)
        array = read_array(files[name], name, dtype=dtype)
        if array.shape != shape:
            raise OutputError(f"{name} has the shape {array.shape}; declared {shape}")
    return files
