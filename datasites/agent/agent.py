"""The agent's loop: one step looks at everything once and never waits for a job.

A step, in order: take what arrived; look after the running job, or start the next queued request;
send cards and decisions; release what the owner's rules cover; send released reports and answers
that are due; keep a warm sandbox for what comes next. A relay that fails stops only what needs it,
and is tried again at the next step. While the ledger is behind (`datasites.site.ledger_behind`)
nothing runs and no rule releases: what is asked is refused.

**Slots.** A job's slot begins when it is handed to a sandbox that is ready, and its length is the
plan's. When the job ends its outputs are checked and kept at once; one that does not end in time is
ended. Nothing else happens before the slot is over: then the spend is committed and the answer
leaves, and only then the next job starts. So neither the time of an answer nor that of the next job
tells how long the images took.

An agent may be killed at any point, and its disk may fill up at any write. It begins by settling
what its predecessor left open (`datasites.agent.recovery`); a step that failed is treated as such
a death, so the next one begins in the same way. One agent serves a site: a second one is refused.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

from datasites.agent.admission import Admission, ReadyJob
from datasites.agent.completion import Completion
from datasites.agent.failures import Failures
from datasites.agent.inbox import Inbox
from datasites.agent.outbox import Outbox
from datasites.agent.recovery import RecoveryAction, course
from datasites.agent.refusals import RefusalLog
from datasites.agent.request_store import Request, RequestState, RequestStore, in_turn
from datasites.agent.sandbox_pool import SandboxPool, next_profile
from datasites.agent.slots import Running, left_after_restart_s
from datasites.desk import Desk, RuleBook
from datasites.errors import (
    DatasitesError,
    OutputError,
    Reason,
    RefusedError,
    RelayError,
    SandboxError,
)
from datasites.owner import participant
from datasites.plans import COUNTERSIGNATURE_FILE, Approval, work_time_s
from datasites.sandbox import Ending, SandboxProcess, UnsafeNoSandbox
from datasites.site import (
    PlanStore,
    Site,
    agent_lock,
    discard,
    log_unsafe_run,
    must_not_be_behind,
    now_utc,
    stamp,
    take_own_records,
)
from datasites.syftnet import OwnerLink
from datasites.worker import Profile
from models import WeightsError
from privacy import LedgerBusyError, LedgerWriteError, PrivacyError

log = logging.getLogger("dura.agent")

# What passes by itself: storage that is away, a disk that is full, a ledger that is in use.
_PASSING = (RelayError, OSError, LedgerWriteError, LedgerBusyError)
_LONGEST_PAUSE_S = 30.0
_QUIET_AFTER_S = 15.0
_QUIET_POLL_S = 1.0


class Agent:
    """Serves one site; see the module's docstring.

    Args:
        site: the site.
        unsafe: jobs run without a sandbox; each use is logged and said in its answer.

    Raises:
        SiteBusyError: another agent serves it.
        RelayError: the relay is not there at the start.
    """

    def __init__(self, site: Site, *, unsafe: UnsafeNoSandbox | None = None) -> None:
        self._site = site
        self._unsafe = unsafe
        self._lock = agent_lock(site)
        with ExitStack() as undo:  # an agent that cannot begin holds nothing
            undo.callback(os.close, self._lock)
            self._refusals = RefusalLog(site)
            self._link = OwnerLink(participant(site), self._message_refused)
            self._plans = PlanStore(site)
            self._book = RequestStore(site, alone=True)
            self._desk = Desk(site)
            self._rules = RuleBook(site, self._desk)
            self._inbox = Inbox(site, self._plans, self._book, self._refusals)
            self._admission = Admission(site, self._plans, self._book)
            self._failures = Failures(site, self._book, self._refusals)
            self._completion = Completion(site, self._desk, self._book)
            self._outbox = Outbox(site, self._link, self._plans, self._desk)
            self._warm = SandboxPool(site, unsafe)
            self._running: Running | None = None
            self._served: dict[str, int] = {}
            self._complaints: set[str] = set()
            self._last_event = time.monotonic()
            self._book.clean()
            self._unsettled = True
            take_own_records(site, self._book.receipts())
            self._recover()
            undo.pop_all()

    def serve(self, *, stopped: Callable[[], bool]) -> None:
        """Step until `stopped()`; then end every sandbox.

        What passes by itself is logged and tried again, at ever longer intervals.
        """
        try:
            pause_s = self._site.settings.poll_s
            while not stopped():
                try:
                    self.step()
                    pause_s = self._pause_s()
                except _PASSING as error:
                    log.error("nothing was lost, trying again: %s", error)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                time.sleep(min(pause_s, self._left_s()))
        finally:
            self.close()

    def _pause_s(self) -> float:
        """Seconds to the next look: longer once nothing has come or run for a while."""
        poll_s = self._site.settings.poll_s
        if self._running is not None:
            self._last_event = time.monotonic()
        quiet = time.monotonic() - self._last_event > _QUIET_AFTER_S
        return max(poll_s, _QUIET_POLL_S) if quiet else poll_s

    def _left_s(self) -> float:
        """Seconds to the end of the slot, if something waits for nothing else."""
        return _LONGEST_PAUSE_S if self._running is None else self._running.left_s()

    def step(self) -> None:
        """Look at everything once.

        Raises:
            RelayError: the relay failed; all that does not need it was done.
            OSError, LedgerWriteError, LedgerBusyError: the disk failed; the next step settles it.
        """
        if self._unsettled:
            self._recover()
        self._unsettled = True
        paired = self._link.paired()
        away: RelayError | None = None
        try:
            self._receive()
        except RelayError as error:
            away = error
        stopped = self._behind()
        self._advance(paired, stopped=stopped)
        if away is None:
            if not stopped:
                self._rules.apply()
            self._outbox.send_due(paired, self._book)
        if not stopped:
            self._keep_warm()
        self._unsettled = False
        if away is not None:
            raise away

    def _receive(self) -> None:
        for inbound in self._link.fetch():
            self._last_event = time.monotonic()
            key = self._link.paired().get(inbound.sender)
            if key is None:
                continue  # unpaired in this very moment
            refusal = self._inbox.take(inbound, sender_key=key)
            if refusal is not None:
                self._link.publish(
                    recipient=inbound.sender,
                    job=inbound.name,
                    files={"answer.json": refusal.model_dump_json().encode()},
                )
            if refusal is not None or COUNTERSIGNATURE_FILE in inbound.files:
                self._link.discard_inputs(sender=inbound.sender, job=inbound.name)

    def _behind(self) -> str:
        """Why nothing may run, empty while all is well; said in the log once."""
        try:
            must_not_be_behind(self._site)
        except RefusedError as error:
            if str(error) not in self._complaints:
                log.error("%s", error)
            self._complaints.add(str(error))
            return str(error)
        return ""

    def close(self) -> None:
        """End every sandbox and give the site free."""
        if self._running is not None and self._running.sandbox is not None:
            discard(self._site, self._running.sandbox)
        self._warm.end()
        os.close(self._lock)

    # --- jobs -----------------------------------------------------------------------------

    def _advance(self, paired: dict[str, str], *, stopped: str = "") -> None:
        if self._running is not None and stopped:
            self._failures.fail(self._running.request, Reason.LEDGER_BEHIND, stopped)
            self._drop(self._running.sandbox)
            self._running = None
        if self._running is not None:
            self._end_if_unpaired(self._running, paired)
        if self._running is not None:
            self._look_after(self._running)
        if self._running is not None:
            return
        for request in in_turn(self._book.current(), served=self._served):
            if request.sender not in paired:
                message = "its sender is not paired any more"
                self._failures.refuse(request, Reason.PEER_UNPAIRED, message)
            elif self._start(request, paired[request.sender]):
                return
        self._warm.await_none()

    def _end_if_unpaired(self, running: Running, paired: dict[str, str]) -> None:
        """A job whose researcher was unpaired ends; what was reserved for it stays spent."""
        if running.request.sender in paired:
            return
        self._failures.fail(running.request, Reason.PEER_UNPAIRED, "its sender was unpaired")
        self._drop(running.sandbox)
        self._running = None

    def _look_after(self, running: Running) -> None:
        """Collect what an ended job left; settle it once its slot is over, and not before."""
        if running.sandbox is not None and running.job is not None:
            ending = running.sandbox.poll()
            if ending is None:
                return
            left_s, slot_s = running.due - time.monotonic(), running.request.slot_s
            log.info("%s %s in %.1f s of %g", running.request.id, ending, slot_s - left_s, slot_s)
            try:
                self._completion.collect(running.job, running.sandbox.folder, ending)
            except (OutputError, WeightsError) as error:
                code = Reason.OUTPUT_REFUSED if ending is Ending.DONE else Reason.JOB_FAILED
                self._failures.fail(running.request, code, str(error))
                self._running = None
            else:
                self._running = replace(running, sandbox=None)
            discard(self._site, running.sandbox)
        if self._running is not None and time.monotonic() >= running.due:
            self._settle(running.request, running.job)
            self._running = None

    def _start(self, request: Request, sender_key: str) -> bool:
        """Check, have a ready sandbox, reserve, and only then hand over the job and the data.

        Returns whether the request has the agent now: it runs, or waits for its sandbox.

        Raises:
            OSError, LedgerWriteError, LedgerBusyError: see `step`; no sandbox is left behind.
        """
        sandbox: SandboxProcess | None = None
        try:
            checked = self._admission.check(request, sender_key=sender_key)
            sandbox = self._warm.take(checked.bundle.sha256, checked.profile)
            if sandbox is None:
                return True
            job = self._admission.reserve(checked)
            due = stamp(now_utc() + timedelta(seconds=job.slot_s))
            request = self._book.change(
                request, state=RequestState.RUNNING, slot_s=job.slot_s, due=due
            )
            if self._unsafe is not None:
                log_unsafe_run(self._site, request.id)
            ends = time.monotonic() + job.slot_s
            sandbox.dispatch(job.inputs, within_s=work_time_s(job.slot_s))
        except _PASSING:
            self._drop(sandbox)
            raise
        except RefusedError as error:
            self._failures.refuse(request, error.code, str(error))
        except SandboxError as error:
            self._no_sandbox(request, str(error))
        except (DatasitesError, PrivacyError) as error:
            self._failures.refuse(request, Reason.MALFORMED_REQUEST, str(error))
        else:
            log.info("running %s for %s", request.id, request.sender)
            self._running = Running(request, replace(job, request=request), sandbox, ends)
            self._served[request.sender] = 1 + max(self._served.values(), default=0)
            self._link.set_status(sender=request.sender, job=request.job, status="running")
            return True
        self._drop(sandbox)
        return False

    def _no_sandbox(self, request: Request, message: str) -> None:
        """Before anything was reserved it is a refusal; after that the spend stays spent."""
        reserved = request.id in self._site.ledger.account().states
        end = self._failures.fail if reserved else self._failures.refuse
        end(request, Reason.NO_SANDBOX, message)

    def _settle(self, request: Request, job: ReadyJob | None = None) -> None:
        """From collected outputs to a closed record; again after a crash, if need be."""
        kept = self._book.results(request.id)
        try:
            must_not_be_behind(self._site)
            job = job or self._admission.reopen(request)
            answer = self._completion.settle(job, kept or {})
        except (LedgerWriteError, LedgerBusyError):
            raise
        except RefusedError as error:
            behind = error.code is Reason.LEDGER_BEHIND
            code = error.code if behind else Reason.JOB_FAILED
            self._failures.fail(request, code, str(error))
        except (DatasitesError, PrivacyError) as error:
            self._failures.fail(request, Reason.JOB_FAILED, str(error))
        else:
            self._book.change(request, state=RequestState.DONE, answer=answer.model_dump_json())
            log.info("finished %s: %s", request.id, answer.status.value)

    def _recover(self) -> None:
        """Settle what was left open by a death, or by a step that failed."""
        self._desk.reconcile()
        ours = "" if self._running is None else self._running.request.id
        left = {one.id: one for one in self._book.current() if one.is_open}
        spends = self._site.ledger.account().states if left else {}
        endings = self._failures.recorded(set(left))
        for name, request in left.items():
            way = course(
                ended=name in endings,
                collected=self._book.results(name) is not None,
                reserved=name in spends,
            )
            if way is RecoveryAction.CLOSE:
                kind, code = endings[name]
                self._failures.close(request, kind, code)
            elif name == ours:
                continue  # its sandbox is here, and says how it ends
            elif way is RecoveryAction.FINISH:
                left_s = left_after_restart_s(request, now=now_utc())
                if left_s > 0 and self._running is None:
                    self._running = Running(request, None, None, time.monotonic() + left_s)
                else:
                    self._settle(request)
            elif way is RecoveryAction.FAIL:
                message = "the agent ended while the job ran; its reservation stays spent"
                self._failures.fail(request, Reason.JOB_INTERRUPTED, message)
        if ours in endings:
            self._drop(self._running.sandbox if self._running else None)
            self._running = None
        self._unsettled = False

    # --- warm sandboxes --------------------------------------------------------------------

    def _keep_warm(self) -> None:
        for submission, approval in self._plans.intact():
            sha = submission.bundle.sha256
            profile = None
            if approval is not None and self._usable(approval):
                at = self._admission.circumstances(submission.bundle, sender="", sender_key="")
                job = self._running.job if self._running is not None else None
                busy = job.profile if job is not None else None
                profile = next_profile(
                    submission.bundle.plan,
                    rounds_started=len(at.rounds_started),
                    has_generator=at.has_generator or busy is Profile.GENERATE,
                    has_pool=at.has_pool or busy is Profile.POOL,
                )
            try:
                self._warm.keep(sha, profile)
            except DatasitesError as error:  # no sandbox, or a card that nobody can read
                if str(error) not in self._complaints:  # it looks several times a second
                    log.error("%s", error)
                self._complaints.add(str(error))

    def _usable(self, approval: Approval) -> bool:
        return (
            approval.decision == "approved"
            and not approval.revoked
            and len(approval.reviewers) >= self._site.settings.quorum
            and stamp(now_utc()) < approval.expires
        )

    def _message_refused(self, peer: str, code: str) -> None:
        log.warning("a message from %s was refused: %s", peer, code)
        self._refusals.record(peer=peer, action="send message", resource="inbox", code=code)

    def _drop(self, sandbox: SandboxProcess | None) -> None:
        if sandbox is not None:
            discard(self._site, sandbox)
