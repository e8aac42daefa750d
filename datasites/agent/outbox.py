"""What an agent sends: decisions, answers, released outputs. Each is sent until it was, then noted.

Sending twice after a crash is harmless: a receiver takes the same bytes under the same name once.
A recipient whose folder on the relay cannot be written to gets its own later, and holds up nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from datasites.agent.request_store import Request, RequestStore
from datasites.desk import WITH_ANSWER, Desk, Item, ItemKind, ItemState, sign_released
from datasites.durable import write_file
from datasites.errors import DatasitesError, DeskError, MailboxError, Reason, RelayError
from datasites.plans import (
    ANSWER_FILE,
    APPROVED,
    DECISION_FILE,
    EVALUATION_FILE,
    Answer,
    Approval,
    PlanDecision,
    Status,
    WithheldNotice,
    plan_events,
)
from datasites.site import PlanStore, Site, Submission
from datasites.syftnet import OwnerLink
from privacy import filter_epsilon, plan_charges

log = logging.getLogger("dura.agent")


class Outbox:
    """Sends what is due."""

    def __init__(self, site: Site, link: OwnerLink, plans: PlanStore, desk: Desk) -> None:
        self._site = site
        self._link = link
        self._plans = plans
        self._desk = desk
        self._refused: set[str] = set()

    def send_due(self, paired: Mapping[str, str], book: RequestStore) -> None:
        """Send everything that is due to anybody.

        Raises:
            RelayError: the relay as a whole failed.
        """
        for send in self._due(paired, book):
            # Noted in the log by the relay, once for a folder.
            with suppress(MailboxError):
                self._send(send)

    def _send(self, send: Callable[[], None]) -> None:
        """Send one thing; what cannot be read of this site's own is named once and stays here."""
        try:
            send()
        except RelayError:
            raise
        except DatasitesError as error:
            if str(error) not in self._refused:
                log.error("not sent: %s", error)
            self._refused.add(str(error))

    def _due(self, paired: Mapping[str, str], book: RequestStore) -> Iterator[Callable[[], None]]:
        for email in paired if self._site.has_data else ():
            yield partial(self._send_card, email)
        for submission, approval in self._plans.intact():
            if approval is not None and not self._undecided(approval):
                yield partial(self._send_decision_once, submission, approval)
        for item in self._desk.items():
            if item.researcher in paired:
                yield partial(self._send_report, item)
        for request in book.current():
            if request.answer:
                yield partial(self.send_answer, request, book, paired)

    def _send_card(self, email: str) -> None:
        """Send the current data card to a paired researcher once; a damaged one is not sent."""
        card = (self._site.root / "card.json").read_bytes()
        version = self._site.card().dataset_version
        mark = self._site.root / "sent" / f"card-{version[:16]}-{email}"
        if not mark.exists():
            self._link.publish_card(recipient=email, card=card)
            write_file(mark, b"")

    def _send_decision_once(self, submission: Submission, approval: Approval) -> None:
        """Send a complete decision on a plan once; a revocation is one more."""
        state = "revoked" if approval.revoked else approval.decision
        mark = self._site.root / "sent" / f"plan-{submission.bundle.sha256}-{state}"
        if not mark.exists():
            self._send_decision(submission, approval, state)
            write_file(mark, b"")

    def send_answer(self, request: Request, book: RequestStore, paired: Mapping[str, str]) -> None:
        """Send the answer to a request, unless it waits for a decision on what travels with it.

        A generator that is withheld is a generator less, not a request that failed.
        Nothing that was released goes to a researcher who was unpaired since, only the code.
        """
        if any(name.startswith(f"{request.id}-") for name in self._desk.broken()):
            return  # nobody can say whether what travels with it was released
        answer = Answer.model_validate_json(request.answer)
        if request.sender not in paired and answer.reason is None:
            answer = Answer(request=request.id, status=Status.REFUSED, reason=Reason.PEER_UNPAIRED)
        files: dict[str, bytes] = {}
        decided: list[Item] = []
        for item in self._desk.items() if request.sender in paired else ():
            if item.request != request.id:
                continue
            if item.kind is ItemKind.EVALUATION and item.state is ItemState.RELEASED:
                files |= self._desk.outgoing(item)
                decided.append(item)
            if item.kind not in WITH_ANSWER:
                continue
            if item.is_open:
                return
            if item.state is ItemState.RELEASED:
                files |= self._desk.outgoing(item)
            elif item.kind is ItemKind.WEIGHTS:
                told = Reason(item.code or Reason.WITHHELD_BY_OWNER)
                answer = answer.model_copy(update={"status": Status.REFUSED, "reason": told})
            decided.append(item)
        # Last, because a receiver that dies in the middle must not take the answer for all of it.
        files[ANSWER_FILE] = answer.model_dump_json().encode()
        self._link.set_status(
            sender=request.sender,
            job=request.job,
            status="failed" if answer.reason else "done",
            reason=answer.reason.value if answer.reason else None,
        )
        self._link.publish(recipient=request.sender, job=request.job, files=files)
        for item in decided:
            self._desk.mark_sent(item)
        self._link.discard_inputs(sender=request.sender, job=request.job)
        book.change(request, answered=True)
        book.discard_files(request)

    def _send_report(self, item: Item) -> None:
        """Send a released report or evaluation, or a notice, once; one that was altered stays."""
        if item.kind in WITH_ANSWER or item.sent or item.is_open:
            return
        if item.state is ItemState.WITHHELD and not item.is_always_there:
            return  # nor is it told that there was one
        try:
            name, document = self._document(item)
        except DeskError as error:
            if item.id not in self._refused:
                log.error("%s", error)
            self._refused.add(item.id)
            return
        self._link.publish(recipient=item.researcher, job=item.job, files={name: document.encode()})
        self._desk.mark_sent(item)

    def _document(self, item: Item) -> tuple[str, str]:
        """Name and contents of what the researcher is sent about a decided item."""
        if item.state is ItemState.RELEASED:
            files = self._desk.outgoing(item)
            if item.kind is ItemKind.EVALUATION:
                return EVALUATION_FILE, files[EVALUATION_FILE].decode()
            released = sign_released(
                item,
                self._desk.report(item),
                hospital=self._site.settings.name,
                key=self._site.key,
            )
            return f"{item.id}.report.json", released.model_dump_json()
        code = Reason(item.code or Reason.WITHHELD_BY_OWNER)
        notice = WithheldNotice(item=item.id, kind=item.kind.value, reason=code)
        return f"{item.id}.withheld.json", notice.model_dump_json()

    def _undecided(self, approval: Approval) -> bool:
        return (
            approval.decision == APPROVED and len(approval.reviewers) < self._site.settings.quorum
        )

    def _send_decision(self, submission: Submission, approval: Approval, state: str) -> None:
        approved = state == APPROVED
        decision = (
            self._yes(submission, approval)
            if approved
            else PlanDecision(
                plan_sha256=approval.plan_sha256,
                approved=False,
                decided=approval.decided,
                reason=Reason.APPROVAL_REVOKED if approval.revoked else Reason.REJECTED_BY_OWNER,
            )
        )
        self._link.set_status(
            sender=submission.sender,
            job=submission.job,
            status="approved" if approved else "rejected",
            reason=decision.reason.value if decision.reason else None,
        )
        name = DECISION_FILE if state != "revoked" else "revoked.json"
        self._link.publish(
            recipient=submission.sender,
            job=submission.job,
            files={name: decision.model_dump_json().encode()},
        )

    def _yes(self, submission: Submission, approval: Approval) -> PlanDecision:
        account = self._site.ledger.account()
        budget = account.required_budget()
        charges = plan_charges(plan_events(submission.bundle.plan))
        return PlanDecision(
            plan_sha256=approval.plan_sha256,
            approved=True,
            decided=approval.decided,
            budget=budget.epsilon,
            max_rounds=approval.max_rounds,
            expires=approval.expires,
            standing_release=approval.standing_release,
            epsilon_plan=filter_epsilon(charges, delta=budget.delta),
            delta=budget.delta,
            unit=self._site.unit(account),
        )
