"""What arrives at a site: plans to be reviewed and tasks to be served.

A job that holds neither, or something malformed, is refused with a coded answer; it is never
kept half. Nothing is decided here beyond form: approval and budget come when a task starts.
"""

from __future__ import annotations

from datasites.agent.requests import Request, RequestBook, RequestState
from datasites.answers import Answer, Status
from datasites.errors import DatasitesError, Reason
from datasites.plans import TASK_FILE, WEIGHTS_FILE, open_bundle, parse_task
from datasites.plans.store import PlanStore, Submission
from datasites.site import Site, now_utc, stamp, write_file
from datasites.syftnet import InboundJob
from privacy import EntryKind, sha256_hex

MAIN = "main.py"


class Inbox:
    """Sorts verified jobs into plans and requests."""

    def __init__(self, site: Site, plans: PlanStore, book: RequestBook) -> None:
        self._site = site
        self._plans = plans
        self._book = book

    def take(self, job: InboundJob, *, sender_key: str) -> Answer | None:
        """Keep a job; returns a refusal to be sent at once, None when all is well."""
        files = {name: data for name, data in job.files.items() if name != MAIN}
        try:
            if TASK_FILE in files:
                return self._take_task(job, files)
            self._take_plan(job, files, sender_key)
        except DatasitesError:
            self._site.log(
                EntryKind.RUN_REFUSED,
                actor=job.sender,
                action="submit",
                resource=job.name,
                reason=Reason.MALFORMED_REQUEST.value,
            )
            return _refusal(job.name)
        return None

    def _take_plan(self, job: InboundJob, files: dict[str, bytes], sender_key: str) -> None:
        bundle = open_bundle(files)
        if bundle.plan.researcher != job.sender:
            raise DatasitesError("the plan names another researcher than the one who sent it")
        # The entry first: a plan that is kept was logged, whenever the agent dies.
        self._site.log(
            EntryKind.PLAN_RECEIVED,
            actor=job.sender,
            action="submit plan",
            resource=bundle.sha256,
            detail={"study": bundle.plan.study},
        )
        self._plans.add(
            Submission(
                bundle=bundle,
                sender=job.sender,
                sender_key=sender_key,
                job=job.name,
                received=stamp(now_utc()),
            )
        )

    def _take_task(self, job: InboundJob, files: dict[str, bytes]) -> Answer | None:
        task = parse_task(files[TASK_FILE])
        if set(files) - {TASK_FILE, WEIGHTS_FILE}:
            raise DatasitesError(f"a task comes with {WEIGHTS_FILE} at the most")
        expected = getattr(task, "weights_sha256", None)
        weights = files.get(WEIGHTS_FILE)
        if expected != (None if weights is None else sha256_hex(weights)):
            raise DatasitesError("the weights are not the ones the task names")
        if self._book.has(task.request):
            known = self._book.get(task.request)
            if (known.sender, known.job) == (job.sender, job.name):
                return None  # the same message once more, after a crash or a resumed run
            return Answer(
                request=task.request, status=Status.REFUSED, reason=Reason.DUPLICATE_REQUEST
            )
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


def _refusal(job: str) -> Answer:
    return Answer(request=job, status=Status.REFUSED, reason=Reason.MALFORMED_REQUEST)
