"""What arrives at a site: plans to be reviewed, tasks to be served, countersigned receipts.

A job that holds none of them, or something malformed, is refused with a coded answer; it is never
kept half. Nothing is decided here beyond form: approval and budget come when a task starts. How
much of one researcher's may wait is bounded, so that nobody fills the hospital's disk.
"""

from __future__ import annotations

import json
from dataclasses import replace

from datasites.agent.refusals import RefusalLog
from datasites.agent.request_store import Request, RequestState, RequestStore
from datasites.durable import write_file
from datasites.errors import DatasitesError, Reason, RefusedError
from datasites.plans import (
    COUNTERSIGNATURE_FILE,
    RECEIPT_FILE,
    TASK_FILE,
    Answer,
    Status,
    files_of,
    open_bundle,
    parse_task,
)
from datasites.site import (
    PlanStore,
    Site,
    Submission,
    must_not_be_behind,
    now_utc,
    stamp,
    take_witness,
)
from datasites.syftnet import InboundJob
from privacy import (
    Countersignature,
    EntryKind,
    PrivacyError,
    countersignature_entry,
    countersignature_from_json,
    fingerprint,
    parse_json,
    sha256_hex,
    signed_receipt_from_json,
    verify_countersignature,
)

MAIN = "main.py"
MAX_OPEN_REQUESTS = 16
MAX_OPEN_PLANS = 32
_COUNTERSIGNED = frozenset({COUNTERSIGNATURE_FILE, RECEIPT_FILE})


class Inbox:
    """Sorts verified jobs into plans and requests."""

    def __init__(
        self, site: Site, plans: PlanStore, book: RequestStore, refusals: RefusalLog
    ) -> None:
        self._site = site
        self._refusals = refusals
        self._plans = plans
        self._book = book

    def take(self, job: InboundJob, *, sender_key: str) -> Answer | None:
        """Keep a job; returns a refusal to be sent at once, None when all is well."""
        files = {name: data for name, data in job.files.items() if name != MAIN}
        try:
            if TASK_FILE in files:
                return self._take_task(job, files)
            if set(files) <= _COUNTERSIGNED and COUNTERSIGNATURE_FILE in files:
                self._take_witness(job, files)
                must_not_be_behind(self._site)
                self._take_countersignature(job, files[COUNTERSIGNATURE_FILE], sender_key)
                return None
            self._take_plan(job, files, sender_key)
        except DatasitesError as error:
            code = error.code if isinstance(error, RefusedError) else Reason.MALFORMED_REQUEST
            self._refusals.record(
                peer=job.sender, action="submit", resource=job.name, code=code.value
            )
            return Answer(request=job.name, status=Status.REFUSED, reason=code)
        return None

    def _take_plan(self, job: InboundJob, files: dict[str, bytes], sender_key: str) -> None:
        bundle = open_bundle(files)
        if bundle.plan.researcher != job.sender:
            raise DatasitesError("the plan names another researcher than the one who sent it")
        submission = Submission(
            bundle=bundle,
            sender=job.sender,
            sender_key=sender_key,
            job=job.name,
            received=stamp(now_utc()),
        )
        if self._known(submission):
            return  # the same plan once more, after a crash or a resumed study
        # The entry first: a plan that is kept was logged, whenever the agent dies.
        self._site.log(
            EntryKind.PLAN_RECEIVED,
            actor=job.sender,
            action="submit plan",
            resource=bundle.sha256,
            detail={"study": bundle.plan.study},
        )
        self._plans.add(submission)

    def _known(self, submission: Submission) -> bool:
        """Whether this very submission is here already.

        Raises:
            RefusedError: too many plans of this researcher wait for a decision.
        """
        waiting = 0
        for known, approval in self._plans.intact():
            if known == replace(submission, received=known.received):
                return True
            waiting += known.sender == submission.sender and approval is None
        if waiting >= MAX_OPEN_PLANS:
            raise RefusedError(
                Reason.TOO_MANY_REQUESTS, f"{waiting} plans of {submission.sender} wait already"
            )
        return False

    def _take_task(self, job: InboundJob, files: dict[str, bytes]) -> Answer | None:
        task = parse_task(files[TASK_FILE])
        self._take_witness(job, files)
        files.pop(RECEIPT_FILE, None)
        brought = {name: data for name, data in files.items() if name != TASK_FILE}
        if {name: sha256_hex(data) for name, data in brought.items()} != files_of(task):
            raise DatasitesError("the files that came with the task are not the ones it names")
        if self._book.has(task.request):
            known = self._book.get(task.request)
            if (known.sender, known.job) == (job.sender, job.name):
                # Asked once more, after a crash or by a resumed run: what was answered may be lost.
                if known.answered:
                    self._book.change(known, answered=False)
                return None
            return Answer(
                request=task.request, status=Status.REFUSED, reason=Reason.DUPLICATE_REQUEST
            )
        self._must_have_room(job.sender)
        for name, data in files.items():
            write_file(self._book.inputs(task.request) / name, data)
        self._book.put(
            Request(
                id=task.request,
                job=job.name,
                sender=job.sender,
                received=stamp(now_utc()),
                state=RequestState.QUEUED,
            )
        )
        return None

    def _take_witness(self, job: InboundJob, files: dict[str, bytes]) -> None:
        """Compare the ledger with a receipt of ours that came along.

        Raises:
            DatasitesError: it is none of ours.
        """
        if RECEIPT_FILE in files:
            text = files[RECEIPT_FILE].decode(errors="surrogateescape")
            take_witness(self._site, text, told_by=job.sender)

    def _take_countersignature(self, job: InboundJob, data: bytes, sender_key: str) -> None:
        """Keep a researcher's signature for a receipt in the ledger, once.

        Raises:
            DatasitesError: it is not by the paired key, or not for a receipt that was sent to them.
        """
        signed = _countersignature(data, sender_key=sender_key)
        if not self._book.has(signed.request):
            raise DatasitesError(f"no request {signed.request!r} was answered here"[:200])
        request = self._book.get(signed.request)
        answer = Answer.model_validate_json(request.answer) if request.answer else None
        if request.sender != job.sender or answer is None or answer.receipt is None:
            raise DatasitesError(f"{job.sender} was sent no receipt for {request.id}")
        receipt = signed_receipt_from_json(json.loads(answer.receipt)).receipt
        told = (receipt.site, sha256_hex(answer.receipt.encode()), receipt.checkpoint)
        if told != (signed.site, signed.receipt_sha256, signed.checkpoint):
            raise DatasitesError(f"what was countersigned is not the receipt of {request.id}")
        if request.countersigned:
            return
        self._site.ledger.append(
            countersignature_entry(signed, actor=job.sender, time=stamp(now_utc()))
        )
        # A death in between writes the same signature once more, which says nothing else.
        self._book.change(request, countersigned=True)

    def _must_have_room(self, sender: str) -> None:
        waiting = [one for one in self._book.current() if one.sender == sender and one.is_open]
        if len(waiting) >= MAX_OPEN_REQUESTS:
            raise RefusedError(
                Reason.TOO_MANY_REQUESTS, f"{len(waiting)} requests of {sender} wait already"
            )


def _countersignature(data: bytes, *, sender_key: str) -> Countersignature:
    try:
        signed = countersignature_from_json(parse_json(data))
        verify_countersignature(signed)
        same = fingerprint(signed.public_hex).replace(" ", "-") == sender_key
    except PrivacyError as error:
        raise DatasitesError(f"{COUNTERSIGNATURE_FILE} does not hold: {error}"[:300]) from error
    if not same:
        raise DatasitesError("a receipt is countersigned with the key that was paired")
    return signed
