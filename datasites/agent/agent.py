"""The agent's loop: one step looks at everything once and never waits for a job.

A step, in order: take what arrived; send decisions, answers and released reports that are due;
finish the running job if it ended, else start the next queued request; keep a warm sandbox for
what comes next. A relay that fails is tried again at the next step; nothing is lost by it. One
agent serves a site: a second one is refused.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from datasites.agent.finish import Finisher
from datasites.agent.inbound import Inbox
from datasites.agent.outbox import Outbox
from datasites.agent.requests import Request, RequestBook, RequestState
from datasites.agent.start import ReadyJob, Starter
from datasites.agent.warm import WarmSandboxes, next_profile
from datasites.answers import Answer, Status
from datasites.desk import Desk
from datasites.errors import (
    DatasitesError,
    OutputError,
    Reason,
    RefusedError,
    RelayError,
    SandboxError,
    SiteBusyError,
)
from datasites.plans import Approval
from datasites.plans.store import PlanStore
from datasites.sandbox import Ending, SandboxProcess
from datasites.site import Site, now_utc, stamp
from datasites.syftnet import OwnerLink
from datasites.syftnet.client import Participant
from models import WeightsError
from privacy import EntryKind, PrivacyError

log = logging.getLogger("dura.agent")


@dataclass(frozen=True)
class _Running:
    job: ReadyJob
    sandbox: SandboxProcess


def participant(site: Site) -> Participant:
    """The site as a participant of the network."""
    return Participant(
        email=site.settings.email,
        relay_url=site.settings.relay,
        syftbox=site.syftbox,
        own_folder=site.keys,
        is_site=True,
    )


class Agent:
    """Serves one site; see the module's docstring.

    Raises:
        SiteBusyError: another agent serves it.
        RelayError: the relay is not there at the start.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = _lock(site)
        self._link = OwnerLink(participant(site), self._message_refused)
        self._plans = PlanStore(site)
        self._book = RequestBook(site)
        self._desk = Desk(site)
        self._inbox = Inbox(site, self._plans, self._book)
        self._starter = Starter(site, self._plans, self._book)
        self._finisher = Finisher(site, self._desk)
        self._outbox = Outbox(site, self._link, self._plans, self._desk)
        self._warm = WarmSandboxes(site)
        self._running: _Running | None = None
        self._recover()

    def serve(self, *, stopped: Callable[[], bool]) -> None:
        """Step until `stopped()`; then end every sandbox."""
        try:
            while not stopped():
                try:
                    self.step()
                except RelayError as error:
                    log.warning("%s", error)
                time.sleep(self._site.settings.poll_s)
        finally:
            self.close()

    def step(self) -> None:
        """Look at everything once."""
        paired = self._link.paired()
        for inbound in self._link.fetch():
            refusal = self._inbox.take(inbound, sender_key=paired[inbound.sender])
            if refusal is not None:
                self._link.publish(
                    recipient=inbound.sender,
                    job=inbound.name,
                    files={"answer.json": refusal.model_dump_json().encode()},
                )
        if self._site.has_data:
            self._outbox.send_cards(paired)
        self._outbox.send_decisions()
        self._outbox.send_reports()
        self._advance(paired)
        for request in self._book.all():
            if request.answer and not request.answered:
                self._outbox.send_answer(request, self._book)
        self._keep_warm()

    def close(self) -> None:
        """End every sandbox and give the site free."""
        if self._running is not None:
            self._running.sandbox.end()
        self._warm.end()
        os.close(self._lock)

    # --- jobs -----------------------------------------------------------------------------

    def _advance(self, paired: dict[str, str]) -> None:
        if self._running is not None:
            ending = self._running.sandbox.poll()
            if ending is None:
                return
            self._finish(self._running, ending)
            self._running = None
        for request in self._book.all():
            if request.state is RequestState.QUEUED:
                self._running = self._start(request, paired.get(request.sender, ""))
            if self._running is not None:
                return

    def _start(self, request: Request, sender_key: str) -> _Running | None:
        """Check, have a sandbox, reserve, and only then hand over the job and the data."""
        sandbox: SandboxProcess | None = None
        try:
            checked = self._starter.check(request, sender_key=sender_key)
            sandbox = self._warm.take(checked.bundle.sha256, checked.profile)
            job = self._starter.reserve(checked)
            request = self._book.change(request, state=RequestState.RUNNING)
            sandbox.dispatch(job.inputs)
        except RefusedError as error:
            self._refuse(request, error.code, str(error))
        except SandboxError as error:
            self._fail(request, Reason.NO_SANDBOX, str(error))
        except (DatasitesError, PrivacyError) as error:
            self._refuse(request, Reason.MALFORMED_REQUEST, str(error))
        else:
            self._link.set_status(sender=request.sender, job=request.job, status="running")
            log.info("running %s for %s", request.id, request.sender)
            return _Running(job, sandbox)
        if sandbox is not None:
            sandbox.end()
            shutil.rmtree(sandbox.folder.root, ignore_errors=True)
        return None

    def _finish(self, running: _Running, ending: Ending) -> None:
        request = running.job.request
        folder = running.sandbox.folder
        if ending is not Ending.DONE:
            tail = folder.log.read_bytes()[-2000:].decode(errors="replace")
            self._fail(request, Reason.JOB_FAILED, f"the job {ending}; it printed: {tail}")
        else:
            try:
                answer = self._finisher.finish(running.job, folder)
            except (OutputError, WeightsError) as error:
                self._fail(request, Reason.OUTPUT_REFUSED, str(error))
            except (DatasitesError, PrivacyError) as error:
                self._fail(request, Reason.JOB_FAILED, str(error))
            else:
                self._book.change(request, state=RequestState.DONE, answer=answer.model_dump_json())
                log.info("finished %s: %s", request.id, answer.status.value)
        shutil.rmtree(folder.root, ignore_errors=True)

    def _refuse(self, request: Request, code: Reason, message: str) -> None:
        log.warning("refused %s: %s (%s)", request.id, code.value, message)
        self._site.log(
            EntryKind.RUN_REFUSED,
            actor=request.sender,
            action="run",
            resource=request.id,
            reason=code.value,
        )
        self._close_request(request, RequestState.REFUSED, Status.REFUSED, code)

    def _fail(self, request: Request, code: Reason, message: str) -> None:
        log.error("failed %s: %s (%s)", request.id, code.value, message)
        self._site.log(
            EntryKind.JOB_FAILED,
            actor="agent",
            action="run",
            resource=request.id,
            reason=code.value,
        )
        self._close_request(request, RequestState.FAILED, Status.FAILED, code)

    def _close_request(
        self, request: Request, state: RequestState, status: Status, code: Reason
    ) -> None:
        answer = Answer(request=request.id, status=status, reason=code)
        self._book.change(request, state=state, reason=code, answer=answer.model_dump_json())

    def _recover(self) -> None:
        self._desk.reconcile()
        for request in self._book.all():
            if request.state is RequestState.RUNNING:
                self._fail(
                    request,
                    Reason.JOB_INTERRUPTED,
                    "the agent ended while the job ran; what was reserved for it stays spent",
                )

    # --- warm sandboxes --------------------------------------------------------------------

    def _keep_warm(self) -> None:
        for submission, approval in self._plans.intact():
            sha = submission.bundle.sha256
            profile = None
            if approval is not None and self._usable(approval):
                at = self._starter.circumstances(submission.bundle, sender="", sender_key="")
                busy = self._running is not None and self._running.job.profile == "generate"
                profile = next_profile(
                    submission.bundle.plan,
                    rounds_started=len(at.rounds_started),
                    has_generator=at.has_generator or busy,
                )
            try:
                self._warm.keep(sha, profile)
            except SandboxError as error:
                log.error("%s", error)

    def _usable(self, approval: Approval) -> bool:
        return (
            approval.decision == "approved"
            and not approval.revoked
            and len(approval.reviewers) >= self._site.settings.quorum
            and stamp(now_utc()) < approval.expires
        )

    def _message_refused(self, peer: str, code: str) -> None:
        log.warning("a message from %s was refused: %s", peer, code)
        self._site.log(
            EntryKind.RUN_REFUSED, actor=peer, action="send message", resource="inbox", reason=code
        )


def _lock(site: Site) -> int:
    descriptor = os.open(site.root / "agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SiteBusyError(
            f"another agent already serves {site.root}; end it before starting a second"
        ) from error
    return descriptor
