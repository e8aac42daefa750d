"""From an ended sandbox to a committed spend and outputs on the desk.

Two halves, so that a crash in between loses nothing:

- `collect` takes the result and every declared output from the sandbox, checks them, and keeps
  them beside the request's record. The noise-only outputs, which the job left before it opened the
  shard, are checked first and in every case: where they break a rule the job failed, for a reason
  that no image can be. Where the job's own outputs are missing or break one, or it did not end
  well, the noise-only ones are kept in their place, and the owner is told why. Nothing outside can
  tell the two apart but by the values that were noised;
- `settle`, which the agent calls when the job's slot is over, goes on from what was kept: the
  spend is **committed** with the steps actually taken; then outputs go to the desk (or, for the
  generator, into the hospital's private store, where its images wait for the owner), and those with
  standing leave are released; then a receipt is signed. All of it is stamped with the slot's end as
  planned. Called again after a crash at any point, it finds done what is done: one commit, one
  release, and one receipt that leaves, the one that the request's record holds in the end.

A receipt names the hash of every output that noise protects. For drafts, which nothing protects, it
names a commitment under `NAME.opening`: the SHA-256 of 32 random bytes followed by the drafts. That
file stays in `private/openings`, and whoever is shown it can compute its hash.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from datasites.agent.admission import ReadyJob
from datasites.agent.outputs import OPENING, event_of, taken
from datasites.agent.request_store import RequestStore
from datasites.desk import NEEDS_A_PERSON, Desk, Item, ItemKind, ItemState
from datasites.durable import write_file
from datasites.errors import DatasitesError, OutputError, ReleaseRefusedError
from datasites.owner import accept_beforehand, keep
from datasites.plans import (
    EVALUATION_FILE,
    Answer,
    GenerateTask,
    PoolTask,
    ReportTask,
    Status,
    TrainTask,
)
from datasites.sandbox import Ending, JobFolder
from datasites.site import (
    FOLDER,
    UNSAFE_NOTE,
    Cause,
    Site,
    keep_cause,
    keep_printed,
    now_utc,
    ran_unsafe,
    stamp,
    write_json,
)
from datasites.worker import (
    GENERATOR_FILE,
    NOISE_ONLY,
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
    keep_features,
)
from models import ModelsError, WeightsError
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

_STAYING = frozenset(
    {SYNTHETIC_IMAGES, SYNTHETIC_LABELS, POOLED_IMAGES, POOLED_LABELS, POOLED_SOURCES}
)
_DISCLOSED_ONLY = frozenset({REPORTS_FILE})
"""Outputs that no noise protects: of them only a commitment is told."""
STANDING = "standing leave for DP outputs"


class Completion:
    """Takes ended jobs to answers."""

    def __init__(self, site: Site, desk: Desk, book: RequestStore) -> None:
        self._site = site
        self._desk = desk
        self._book = book

    def collect(self, job: ReadyJob, folder: JobFolder, ending: Ending = Ending.DONE) -> bool:
        """Take what the job left, check it, and keep it; returns whether it is the job's own.

        Args:
            job: the job.
            folder: where it left it.
            ending: how it ended.

        Raises:
            OutputError, WeightsError: what it left without any data breaks a rule, or it ended
                badly before that was complete; nothing was kept, and no shard was opened.
        """
        if isinstance(job.task, PoolTask):  # it sees no shard
            if ending is not Ending.DONE:
                keep_printed(self._site, job.request.id, _tail(folder))
                raise OutputError(f"the job {ending}; {_for_the_owner(job, '.log')}")
            self._book.keep_results(job.request.id, taken(job, folder.outputs, ""))
            return True
        try:
            kept = taken(job, folder.outputs, NOISE_ONLY)
        except (OutputError, WeightsError) as error:
            keep_printed(self._site, job.request.id, _tail(folder))
            what = "" if ending is Ending.DONE else f"; the job {ending}"
            why = _for_the_owner(job, ".log")
            raise OutputError(f"without data: {error}{what}; {why}") from error
        problem = f"the job {ending}" if ending is not Ending.DONE else ""
        if not problem:
            try:
                kept = taken(job, folder.outputs, "")
            # Whatever is wrong with them may be so because of an image.
            except (DatasitesError, ModelsError, ValueError, KeyError, TypeError) as error:
                problem = str(error)
        if problem:
            # Why may be a figure of a case: others read this log.
            log.error("of %s noise alone leaves; %s", job.request.id, _for_the_owner(job, ".json"))
            keep_cause(
                self._site,
                Cause(
                    request=job.request.id,
                    plan_sha256=job.bundle.sha256,
                    time=_moment(job),
                    what=problem,
                    log=_tail(folder),
                ),
            )
        self._keep_features(job, folder)
        self._book.keep_results(job.request.id, kept)
        return not problem

    def _keep_features(self, job: ReadyJob, folder: JobFolder) -> None:
        """Keep what spares the next round work; without them it only works longer."""
        if not isinstance(job.task, TrainTask):
            return
        try:
            keep_features(
                self._site,
                folder.outputs,
                dataset_version=job.approval.dataset_version,
                encoder_sha256=job.bundle.plan.model.encoder_sha256,
            )
        except OutputError as error:
            log.warning("features of %s are not kept: %s", job.request.id, error)

    def settle(self, job: ReadyJob, kept: Mapping[str, bytes]) -> Answer:
        """Commit, hold or release, answer; goes on where a crash stopped it.

        Args:
            job: the job whose outputs were collected.
            kept: the collected files.
        """
        files = dict(kept)
        result = Result.model_validate_json(files.pop(RESULT_FILE))
        event = event_of(job, result)
        self._commit(job, event)
        items = self._place(job, files)
        left = {name: data for name, data in files.items() if name not in _STAYING}
        receipt = self._receipt(job, event, left)
        # The hospital's own report is always held at first; cases must not decide what is said.
        held = isinstance(job.task, ReportTask) or any(item.is_open for item in items)
        return Answer(
            request=job.request.id,
            status=Status.HELD if held else Status.DONE,
            receipt=receipt,
            sandboxed=not ran_unsafe(self._site, job.request.id),
        )

    def _commit(self, job: ReadyJob, event: DpEvent) -> None:
        if self._site.ledger.account().states.get(job.request.id) is SpendState.COMMITTED:
            return  # before a crash
        moment = _moment(job)
        self._site.ledger.transact(
            lambda account: commit(
                account, reservation=job.request.id, event=event, time=moment, actor="agent"
            )
        )

    def _place(self, job: ReadyJob, files: dict[str, bytes]) -> list[Item]:
        match job.task:
            case GenerateTask():
                keep(self._site, job.bundle.sha256, files)
                accept_beforehand(self._site, job.bundle.sha256, time=_moment(job))
                if GENERATOR_FILE not in files:
                    return []
                adapted = {GENERATOR_FILE: files[GENERATOR_FILE]}
                return [self._place_noised(job, ItemKind.GENERATOR, adapted)]
            case PoolTask():
                self._place_pool(job, job.task, files)
                accept_beforehand(self._site, job.bundle.sha256, time=_moment(job))
                return []
            case TrainTask():
                return [self._place_noised(job, ItemKind.WEIGHTS, files)]
            case ReportTask():
                drafts = DraftReports.model_validate_json(files[REPORTS_FILE])
                write_file(self._opening(job), files[OPENING])
                placed = [self._place_report(job, draft) for draft in drafts.reports]
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
                time=_moment(job),
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
        self._desk.hold(item, files, time=_moment(job))
        item = self._desk.get(item.id)
        standing = job.approval.standing_release and kind not in NEEDS_A_PERSON
        if standing and item.state is ItemState.HELD:
            by = ", ".join(job.approval.reviewers)
            try:
                return self._desk.release_standing(
                    item.id, actor=by, reason=STANDING, time=_moment(job)
                )
            except ReleaseRefusedError as error:
                # The approval was withdrawn while the job ran: the owner looks at it.
                log.warning("%s", error)
        return item

    def _opening(self, job: ReadyJob) -> Path:
        return self._site.openings / f"{job.request.id}.{OPENING}"

    def _place_report(self, job: ReadyJob, draft: DraftReport) -> Item:
        name = f"{draft.kind}.json"
        how = "the template" if draft.source == "template" else "the model"
        item = _item(
            job,
            # A slot, not the pseudonym and no rank: the id is told with the report.
            f"{job.request.id}-{draft.name}",
            ItemKind(draft.kind),
            (name,),
            note=self._note(job, f"written by {how} in {draft.attempts} attempt(s)"),
        )
        self._desk.hold(item, {name: draft.model_dump_json().encode()}, time=_moment(job))
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
            outputs={
                name: sha256_hex(data)
                for name, data in files.items()
                if name not in _DISCLOSED_ONLY
            },
            checkpoint=head,
            time=_moment(job),
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


def _moment(job: ReadyJob) -> str:
    """The end of the job's slot as it was planned: the time of all that follows from it."""
    return job.request.due or stamp(now_utc())


def _for_the_owner(job: ReadyJob, suffix: str) -> str:
    return f"why is for the owner alone, in {FOLDER}/{job.request.id}{suffix}"


def _tail(folder: JobFolder) -> str:
    return folder.log.read_bytes()[-2000:].decode(errors="replace") if folder.log.exists() else ""
