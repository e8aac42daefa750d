"""A researcher's end of a study: submit the plan, ask hospitals, read their answers.

What hospitals send is taken from the relay by `collect` and lies on local disk from then on; all
reading is from there, so a crash loses nothing and an answer is never asked for twice. A receipt is
checked against the key that its hospital's data card named, against the task that was sent and its
plan, and against the weights that came with it, before anything is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
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
    parse_model,
    parse_task,
    task_bytes,
    verify_released,
    write_file,
)
from orchestrator.errors import HospitalRefusedError, VerificationError
from orchestrator.receipts import (
    check_implied,
    check_kept,
    check_receipt,
    is_newer,
    read_receipt,
)
from orchestrator.study import Study
from privacy import (
    Receipt,
    SignatureError,
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


class Researcher:
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
            VerificationError: its receipt or its files are not what was signed, or the receipt is
                not for what was asked, or contradicts an earlier one.
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
        task = self._sent(site, request)
        receipt = self._receipt(site, task, answer.receipt, bundle)
        if kept is not None:
            _check_kept(site, answer.receipt, kept(site))
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
            try:
                verify_released(report, public_hex=key)
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

    def _sent(self, site: str, request: str) -> Task:
        """The task that was sent as a request, from local disk."""
        data = self.link.sent(site, request).get(TASK_FILE)
        if data is None:
            raise VerificationError(f"{site}: {request} was answered, but never asked from here")
        return parse_task(data)

    def _receipt(self, site: str, task: Task, text: str, bundle: Bundle) -> Receipt:
        try:
            receipt = check_receipt(text, public_hex=self.card(site).public_key).receipt
            if receipt.site != site:
                raise VerificationError("its receipt is for another request, plan, study or site")
            check_implied(receipt, bundle=bundle, task=task)
        except VerificationError as error:
            raise VerificationError(f"{site}: {error}") from error
        return receipt


def _check_kept(site: str, text: str, kept: Mapping[str, str]) -> None:
    try:
        check_kept(text, kept)
    except VerificationError as error:
        raise VerificationError(f"{site}: {error}") from error


def _check_times(site: str, *times: str) -> None:
    for text in times:
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise VerificationError(f"{site}: {text[:40]!r} is not a time") from error


def plan_job(bundle: Bundle) -> str:
    """The syft job name a plan travels under."""
    return f"plan-{bundle.sha256[:24]}"
