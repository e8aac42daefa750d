"""A researcher's end of a study: submit the plan, ask hospitals, read their answers.

What hospitals send is taken from the relay by `collect` and lies on local disk from then on; all
reading is from there, so a crash loses nothing and an answer is never asked for twice. It is parsed
in `orchestrator.hospitals.documents`: a value, or a `HospitalDocumentError`. A receipt is checked
against the key that its hospital's data card named, against the task that was sent and its plan,
and against the weights that came with it, before anything is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasites import (
    ANSWER_FILE,
    COUNTERSIGNATURE_FILE,
    DECISION_FILE,
    EVALUATION_FILE,
    RECEIPT_FILE,
    TASK_FILE,
    Answer,
    Bundle,
    DataCard,
    HospitalEvaluation,
    MailboxError,
    Participant,
    PlanDecision,
    ReleasedReport,
    ResearcherLink,
    Task,
    WithheldNotice,
    parse_task,
    task_bytes,
    write_file,
)
from orchestrator.errors import Document, HospitalDocumentError, VerificationError
from orchestrator.hospitals.documents import (
    check_files,
    read_answer,
    read_card,
    read_decision,
    read_evaluation,
    read_notices,
    read_reports,
    verified_receipt,
)
from orchestrator.hospitals.receipts import check_kept, is_newer, read_receipt
from orchestrator.study import Study
from privacy import (
    Receipt,
    canonical_bytes,
    countersign,
    countersignature_to_json,
    sha256_hex,
)

REVOKED_FILE = "revoked.json"


@dataclass(frozen=True)
class Reply:
    """A hospital's answer with what came along.

    Attributes:
        answer: the answer. receipt: the verified receipt, None when nothing was spent.
        signed_receipt: the same as it is kept, JSON.
        files: output name to bytes, hashes checked against the receipt.
    """

    answer: Answer
    receipt: Receipt | None
    signed_receipt: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Heard:
    """What a hospital has said of a plan; whatever it sent, this can be made.

    Attributes:
        decision: its decision, None while there is none that is one.
        card: its data card, likewise.
        problem: the code of a document that is not what it should be; empty for none.
        details: the same in words.
    """

    decision: PlanDecision | None = None
    card: DataCard | None = None
    problem: str = ""
    details: str = ""

    @property
    def takes_part(self) -> bool:
        """Whether it approved, and sent what is needed to work with it."""
        return self.card is not None and self.decision is not None and self.decision.approved

    @property
    def why_not(self) -> str:
        """Why it does not take part, as a code; empty where it does."""
        if self.takes_part or self.problem:
            return self.problem
        return "undecided" if self.decision is None else str(self.decision.reason)

    @property
    def is_over(self) -> bool:
        """Whether it is not to be waited for: it decided, or what it sent is no decision."""
        return self.decision is not None or self.problem == Document.BAD_DECISION


class HospitalClient:
    """The researcher of one study."""

    def __init__(self, folder: Path, study: Study) -> None:
        self.study = study
        self.receipts = folder / "newest-receipts"
        self.link = ResearcherLink(
            Participant(
                email=study.researcher,
                relay_url=study.relay,
                syftbox=folder / "syftbox",
                own_folder=folder / "keys",
                is_site=False,
            )
        )

    def collect(self) -> None:
        """Take everything new from the relay."""
        self.link.collect()

    def submit_plan(self, bundle: Bundle) -> None:
        """Send the plan to every hospital of the study; sending it again is harmless.

        Raises:
            MailboxError: a hospital's own folder could not be written to; all others have it.
        """
        away: MailboxError | None = None
        for site in self.study.hospitals:
            try:
                self.link.submit(site=site, job=plan_job(bundle), files=bundle.files)
            except MailboxError as error:
                away = error
        if away is not None:
            raise away

    def decision(self, site: str, bundle: Bundle) -> PlanDecision | None:
        """A hospital's last decision on the plan, None when it has not decided.

        Raises:
            HospitalDocumentError: what it sent is not a decision on it.
        """
        files = self.link.received(site, plan_job(bundle))
        data = files.get(REVOKED_FILE, files.get(DECISION_FILE))
        if data is None:
            return None
        return read_decision(site, data, bundle=bundle)

    def card(self, site: str) -> DataCard:
        """A hospital's data card.

        Raises:
            HospitalDocumentError: it has sent none, or garbage.
        """
        return read_card(site, self.link.card(site))

    def heard(self, site: str, bundle: Bundle) -> Heard:
        """What a hospital has said of the plan. A card is asked for once it has approved."""
        decision = None
        try:
            decision = self.decision(site, bundle)
            return Heard(decision, self.card(site))
        except HospitalDocumentError as error:
            if error.reason_code is Document.NO_CARD and not (decision and decision.approved):
                return Heard(decision)
            return Heard(decision, None, error.reason_code.value, str(error))

    def ask(self, site: str, task: Task, brought: Mapping[str, bytes]) -> None:
        """Send a task and the files that it names; sending the same again is harmless.

        The newest receipt of this hospital that is held here goes along: the hospital compares its
        ledger with it, and runs nothing if the ledger was set back.
        """
        files = {TASK_FILE: task_bytes(task), **brought}
        before = self.link.sent(site, task.request)
        receipt = before.get(RECEIPT_FILE, b"") if before else self.newest(site).encode()
        if receipt:
            files[RECEIPT_FILE] = receipt
        self.link.submit(site=site, job=task.request, files=files)

    def newest(self, site: str) -> str:
        """The newest receipt of a hospital that any run of the study kept; empty without one."""
        path = self.receipts / f"{site}.json"
        return path.read_text() if path.exists() else ""

    def keep_newest(self, site: str, signed_receipt: str) -> None:
        """Keep a verified receipt if it is newer than the one that is kept."""
        before = self.newest(site)
        if not before or is_newer(signed_receipt, before):
            write_file(self.receipts / f"{site}.json", signed_receipt.encode())

    def countersign(self, site: str, request: str, signed_receipt: str) -> bytes:
        """Sign what a verified receipt says of a hospital's ledger, and send both there.

        It is kept as the newest one, if it is. Sending the same again is harmless. Returns the
        countersignature, JSON.
        """
        receipt = read_receipt(signed_receipt).receipt
        self.keep_newest(site, signed_receipt)
        signed = countersign(
            site=site,
            request=request,
            receipt_sha256=sha256_hex(signed_receipt.encode()),
            checkpoint=receipt.checkpoint,
            key=self.link.signing_key,
        )
        data = canonical_bytes(countersignature_to_json(signed))
        job = f"countersigned-{sha256_hex(data)[:24]}"
        files = {COUNTERSIGNATURE_FILE: data, RECEIPT_FILE: signed_receipt.encode()}
        self.link.submit(site=site, job=job, files=files)
        return data

    def answered(self, site: str, request: str) -> bool:
        """Whether an answer to the request lies here already."""
        return ANSWER_FILE in self.link.received(site, request)

    def reply(
        self,
        site: str,
        request: str,
        *,
        bundle: Bundle,
        kept: Callable[[str], Mapping[str, str]] | None = None,
    ) -> Reply | None:
        """A hospital's answer to a request, None while there is none.

        Args:
            site: the hospital.
            request: what was asked.
            bundle: the plan it was asked under.
            kept: gives the receipts kept of a hospital, by request; the new one is held against
                them.

        Raises:
            HospitalDocumentError: what it sent is no answer, its receipt or its files are not what
                was signed, or the receipt is not for what was asked, or contradicts an earlier one.
            VerificationError: it answers what was never asked from here.
        """
        files = self.link.received(site, request)
        data = files.pop(ANSWER_FILE, None)
        if data is None:
            return None
        answer = read_answer(site, data, request=request)
        if answer.receipt is None:
            return Reply(answer, None, "", {})
        task = self._sent(site, request)
        receipt = verified_receipt(
            site, answer.receipt, public_hex=self.card(site).public_key, bundle=bundle, task=task
        )
        if kept is not None:
            _check_kept(site, answer.receipt, kept(site))
        check_files(site, receipt, files)
        return Reply(answer, receipt, answer.receipt, files)

    def reports(self, site: str, request: str, *, bundle: Bundle) -> list[ReleasedReport]:
        """Every released report of a request, its signature checked.

        Raises:
            HospitalDocumentError: a report is none, or was not signed by this hospital.
        """
        files = self.link.received(site, request)
        return read_reports(site, files, public_hex=self.card(site).public_key, bundle=bundle)

    def evaluation(self, site: str, request: str, *, bundle: Bundle) -> HospitalEvaluation | None:
        """A hospital's noised evaluation, None while it has not left.

        Raises:
            HospitalDocumentError: it is none, not what the receipt was signed for, or not of what
                was asked.
        """
        reply = self.reply(site, request, bundle=bundle)
        if reply is None or reply.receipt is None or EVALUATION_FILE not in reply.files:
            return None
        if EVALUATION_FILE not in reply.receipt.outputs:
            raise HospitalDocumentError(
                site, Document.BAD_EVALUATION, "its receipt names no evaluation"
            )
        data = reply.files[EVALUATION_FILE]
        return read_evaluation(site, data, bundle=bundle, task=self._sent(site, request))

    def withheld_notices(self, site: str, request: str) -> list[WithheldNotice]:
        """What the owner said about each withheld report of a request: a code, no more.

        Raises:
            HospitalDocumentError: what it sent is no such notice.
        """
        return read_notices(site, request, self.link.received(site, request))

    def _sent(self, site: str, request: str) -> Task:
        """The task that was sent as a request, from local disk."""
        data = self.link.sent(site, request).get(TASK_FILE)
        if data is None:
            raise VerificationError(f"{site}: {request} was answered, but never asked from here")
        return parse_task(data)


def _check_kept(site: str, text: str, kept: Mapping[str, str]) -> None:
    try:
        check_kept(text, kept)
    except VerificationError as error:
        raise HospitalDocumentError(site, Document.BAD_RECEIPT, str(error)) from error


def plan_job(bundle: Bundle) -> str:
    """The syft job name a plan travels under."""
    return f"plan-{bundle.sha256[:24]}"
