"""One step of a run: ask every hospital, wait, and go on without those who give nothing usable.

Whatever a hospital sends or does not send ends this step for that hospital alone: its coded reason
goes into the run's `refusals`, and it is asked again in the next step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from datasites import Bundle, MailboxError, PlanError, RelayError, Status, Task
from orchestrator.errors import Document, HospitalDocumentError, VerificationError
from orchestrator.hospitals import HospitalClient, Reply
from orchestrator.rounds.progress import UNSANDBOXED, Watcher
from orchestrator.rounds.run_folder import RoundTiming, RunFolder, RunState, step_slot_s

POLL_S = 0.1
log = logging.getLogger("dura.rounds")


@dataclass(frozen=True)
class Outcome:
    """What one step's hospitals said.

    Attributes:
        replies: hospital to verified reply, those that did what was asked.
        waited_s: hospital to seconds until its answer.
        timing: the step on the clock.
    """

    replies: Mapping[str, Reply]
    waited_s: Mapping[str, float]
    timing: RoundTiming


class Asking:
    """Asks hospitals and waits for them, for one run.

    Args:
        researcher: the researcher's end of the network.
        bundle: the submitted plan.
        folder: the run's folder. state: its state.
        watcher: who is told.
    """

    def __init__(
        self,
        researcher: HospitalClient,
        bundle: Bundle,
        *,
        folder: RunFolder,
        state: RunState,
        watcher: Watcher,
    ) -> None:
        self._researcher = researcher
        self._bundle = bundle
        self._folder = folder
        self._state = state
        self._watcher = watcher

    def step(
        self, what: str, tasks: Mapping[str, Task], brought: Mapping[str, Mapping[str, bytes]]
    ) -> Outcome:
        """Ask each hospital, with its files, then wait until all answered or the time is over.

        A relay that is away is tried again until then. Waiting is measured by the machine's
        running time: a clock that is set neither ends a round early nor keeps it open.
        """
        self._watcher.begin(what, len(tasks))
        begun = time.monotonic()
        unasked, waiting = dict(tasks), dict(tasks)
        replies: dict[str, Reply] = {}
        waited: dict[str, float] = {}
        while waiting and time.monotonic() - begun < self._researcher.study.round_timeout_s:
            self._talk(unasked, brought)
            for site, task in list(waiting.items()):
                try:
                    reply = self._researcher.reply(
                        site, task.request, bundle=self._bundle, kept=self._folder.receipts
                    )
                except (VerificationError, PlanError) as error:
                    log.error("%s", error)
                    del waiting[site]
                    self.give_up(site, problem_of(error), request=task.request)
                    continue
                if reply is None:
                    continue
                del waiting[site]
                waited[site] = time.monotonic() - begun
                if self._usable(site, reply):
                    replies[site] = reply
            if waiting:
                time.sleep(POLL_S)
        for site in waiting:
            self.give_up(site, "timed_out")
        self._countersign()
        wall_s = time.monotonic() - begun
        slot_s = step_slot_s(next(iter(tasks.values())), self._bundle.plan, waited)
        return Outcome(replies, waited, RoundTiming(round=0, wall_s=wall_s, slot_s=slot_s))

    def _talk(self, unasked: dict[str, Task], brought: Mapping[str, Mapping[str, bytes]]) -> None:
        """Ask those who were not asked yet, and take what arrived, if the relay is there.

        A hospital whose own folder cannot be written to is tried again, and stops nobody else.
        """
        try:
            for site, task in list(unasked.items()):
                with suppress(MailboxError):
                    if not self._researcher.answered(site, task.request):
                        self._researcher.ask(site, task, brought.get(site, {}))
                    del unasked[site]
            self._researcher.collect()
        except RelayError as error:
            log.warning("%s", error)

    def _countersign(self) -> None:
        """Send back every receipt that was kept; what a relay does not take goes the next time."""
        try:
            for site, request, text in self._folder.receipts_to_countersign():
                with suppress(MailboxError):
                    signed = self._researcher.countersign(site, request, text)
                    self._folder.save_countersignature(site, request, signed)
        except RelayError as error:
            log.warning("%s", error)

    def _usable(self, site: str, reply: Reply) -> bool:
        if reply.answer.status in (Status.REFUSED, Status.FAILED):
            self.give_up(site, str(reply.answer.reason), request=reply.answer.request)
            return False
        if reply.receipt is not None:
            self._folder.save_receipt(site, reply.answer.request, reply.signed_receipt)
        if not reply.answer.sandboxed:
            # Shown as a problem (red on a terminal); the answer itself is used.
            self._watcher.answered(site, UNSANDBOXED)
            self._state.unsandboxed.setdefault(site, []).append(reply.answer.request)
            self._folder.save(self._state)
        self._watcher.answered(site, reply.answer.status.value)
        return True

    def give_up(self, site: str, reason: str, *, request: str | None = None) -> None:
        """Go on without a hospital; `request` is spent when it was answered with a no."""
        self._state.refusals.setdefault(site, []).append(reason)
        if request is not None:
            self._state.spent_requests.setdefault(site, []).append(request)
        self._folder.save(self._state)
        self._watcher.answered(site, reason)


def problem_of(error: Exception) -> str:
    """The code of what was wrong with an answer."""
    code = error.reason_code if isinstance(error, HospitalDocumentError) else Document.BAD_RECEIPT
    return code.value
