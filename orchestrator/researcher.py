"""A researcher's end of a study: submit the plan, ask hospitals, read their answers.

What hospitals send is taken from the relay by `collect` and lies on local disk from then on; all
reading is from there, so a crash loses nothing and an answer is never asked for twice. A receipt is
checked against the key that its hospital's data card named, and against the weights that came
with it, before anything is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from datasites import (
    ANSWER_FILE,
    COUNTERSIGNATURE_FILE,
    DECISION_FILE,
    EVALUATION_FILE,
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
    parse_model,
    released_payload,
    task_bytes,
)
from orchestrator.errors import HospitalRefusedError, VerificationError
from orchestrator.receipts import check_receipt, read_receipt
from orchestrator.study import Study
from privacy import (
    Receipt,
    SignatureError,
    canonical_bytes,
    countersign,
    countersignature_to_json,
    sha256_hex,
    verify,
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


class Researcher:
    """The researcher of one study."""

    def __init__(self, folder: Path, study: Study) -> None:
        self.study = study
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
            PlanError: what it sent is not a decision.
            VerificationError: its times are none.
        """
        files = self.link.received(site, plan_job(bundle))
        data = files.get(REVOKED_FILE) or files.get(DECISION_FILE)
        if data is None:
            return None
        decision = parse_model(PlanDecision, data, what="decision")
        if decision.approved:
            _check_times(site, decision.decided, decision.expires)
        return decision

    def card(self, site: str) -> DataCard:
        """A hospital's data card.

        Raises:
            HospitalRefusedError: it has sent none.
        """
        data = self.link.card(site)
        if data is None:
            raise HospitalRefusedError(site, "no_card", "has sent no data card yet; is it served?")
        return parse_model(DataCard, data, what=f"data card of {site}")

    def ask(self, site: str, task: Task, brought: Mapping[str, bytes]) -> None:
        """Send a task and the files that it names; sending the same again is harmless."""
        files = {TASK_FILE: task_bytes(task), **brought}
        self.link.submit(site=site, job=task.request, files=files)

    def countersign(self, site: str, request: str, signed_receipt: str) -> bytes:
        """Sign what a verified receipt says of a hospital's ledger, and send it there.

        Sending the same again is harmless. Returns the countersignature, JSON.
        """
        receipt = read_receipt(signed_receipt).receipt
        signed = countersign(
            site=site,
            request=request,
            receipt_sha256=sha256_hex(signed_receipt.encode()),
            checkpoint=receipt.checkpoint,
            key=self.link.signing_key,
        )
        data = canonical_bytes(countersignature_to_json(signed))
        job = f"countersigned-{sha256_hex(data)[:24]}"
        self.link.submit(site=site, job=job, files={COUNTERSIGNATURE_FILE: data})
        return data

    def answered(self, site: str, request: str) -> bool:
        """Whether an answer to the request lies here already."""
        return ANSWER_FILE in self.link.received(site, request)

    def reply(self, site: str, request: str, *, bundle: Bundle) -> Reply | None:
        """A hospital's answer to a request, None while there is none.

        Raises:
            VerificationError: its receipt or its files are not what was signed.
        """
        files = self.link.received(site, request)
        data = files.pop(ANSWER_FILE, None)
        if data is None:
            return None
        answer = parse_model(Answer, data, what=f"answer of {site}")
        if answer.request != request:
            raise VerificationError(f"{site}: its answer to {request} names another request")
        if answer.receipt is None:
            return Reply(answer, None, "", {})
        receipt = self._receipt(site, request, answer.receipt, bundle)
        for name in set(files) & set(receipt.outputs):
            if sha256_hex(files[name]) != receipt.outputs[name]:
                raise VerificationError(
                    f"{site}: {name} is not the file its receipt was signed for"
                )
        return Reply(answer, receipt, answer.receipt, files)

    def reports(self, site: str, request: str) -> list[ReleasedReport]:
        """Every released report of a request, its signature checked.

        Raises:
            VerificationError: a report was not signed by this hospital.
        """
        key = self.card(site).public_key
        found = []
        for name, data in self.link.received(site, request).items():
            if not name.endswith(".report.json"):
                continue
            report = parse_model(ReleasedReport, data, what=f"report of {site}")
            payload = released_payload(report)
            try:
                verify(public_hex=key, signature_hex=report.signature, payload=payload)
            except SignatureError as error:
                raise VerificationError(f"{site}: {name} is not signed by it") from error
            # The item becomes a file name here, so it must be the plain one it came under.
            if name != f"{report.item}.report.json":
                raise VerificationError(f"{site}: {name} names another item")
            _check_times(site, report.released)
            found.append(report)
        return found

    def evaluation(self, site: str, request: str, *, bundle: Bundle) -> HospitalEvaluation | None:
        """A hospital's noised evaluation, None while it has not left.

        Raises:
            VerificationError: it is not what the receipt was signed for, or of another plan.
            PlanError: it is malformed.
        """
        reply = self.reply(site, request, bundle=bundle)
        if reply is None or reply.receipt is None or EVALUATION_FILE not in reply.files:
            return None
        if EVALUATION_FILE not in reply.receipt.outputs:
            raise VerificationError(f"{site}: its receipt names no evaluation")
        data = reply.files[EVALUATION_FILE]
        found = parse_model(HospitalEvaluation, data, what=f"evaluation of {site}")
        if found.classes != tuple(bundle.plan.classes):
            raise VerificationError(f"{site}: its evaluation is of other classes")
        return found

    def withheld_notices(self, site: str, request: str) -> list[WithheldNotice]:
        """What the owner said about each withheld report of a request: a code, no more.

        Raises:
            PlanError: what it sent is no such notice.
        """
        return [
            parse_model(WithheldNotice, data, what=f"notice of {site}")
            for name, data in self.link.received(site, request).items()
            if name.endswith(".withheld.json") and name != f"{request}-evaluation.withheld.json"
        ]

    def _receipt(self, site: str, request: str, text: str, bundle: Bundle) -> Receipt:
        try:
            signed = check_receipt(text, public_hex=self.card(site).public_key)
        except VerificationError as error:
            raise VerificationError(f"{site}: {error}") from error
        receipt = signed.receipt
        named = (receipt.request, receipt.plan_sha256, receipt.study, receipt.site)
        if named != (request, bundle.sha256, bundle.plan.study, site):
            raise VerificationError(
                f"{site}: its receipt is for another request, plan, study or site"
            )
        return receipt


def _check_times(site: str, *times: str) -> None:
    for text in times:
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise VerificationError(f"{site}: {text[:40]!r} is not a time") from error


def plan_job(bundle: Bundle) -> str:
    """The syft job name a plan travels under."""
    return f"plan-{bundle.sha256[:24]}"
