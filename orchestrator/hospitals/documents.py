"""What hospitals send a researcher, read once: into a value safe to use, or a coded problem.

Nothing of a hospital is parsed anywhere else. A value from here has finite figures in plausible
ranges, times that are times, and names that may become file names; it is about the plan, request
and hospital that it was asked of. A problem is a `HospitalDocumentError`, which whoever asked turns
into "this hospital is left out, and why", and never into the end of the study for the others.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel

from datasites import (
    MOST_EPSILON,
    Answer,
    Bundle,
    DataCard,
    HospitalEvaluation,
    PlanDecision,
    PlanError,
    ReleasedReport,
    ReportTask,
    Task,
    WithheldNotice,
    parse_model,
    verify_released,
)
from orchestrator.errors import Document, HospitalDocumentError, VerificationError
from orchestrator.hospitals.receipts import check_implied, check_receipt
from privacy import Receipt, SignatureError, sha256_hex

T = TypeVar("T", bound=BaseModel)

REPORT_ENDING, NOTICE_ENDING = ".report.json", ".withheld.json"
_KINDS_OF_COHORT = 2
_BESIDE_REPORTS = 8


def read_card(site: str, data: bytes | None) -> DataCard:
    """A hospital's data card.

    Raises:
        HospitalDocumentError: it sent none, or garbage, or another hospital's.
    """
    if data is None:
        raise HospitalDocumentError(
            site, Document.NO_CARD, "it has sent no data card yet; is it served?"
        )
    card = _parsed(DataCard, site, data, Document.BAD_CARD)
    if card.email != site:
        raise HospitalDocumentError(site, Document.BAD_CARD, "its data card is of somebody else")
    return card


def read_decision(site: str, data: bytes, *, bundle: Bundle) -> PlanDecision:
    """A hospital's decision on a plan.

    Raises:
        HospitalDocumentError: it is none, or on another plan.
    """
    decision = _parsed(PlanDecision, site, data, Document.BAD_DECISION)
    if decision.plan_sha256 != bundle.sha256:
        raise HospitalDocumentError(site, Document.BAD_DECISION, "its decision is on another plan")
    return decision


def read_answer(site: str, data: bytes, *, request: str) -> Answer:
    """A hospital's answer to a request.

    Raises:
        HospitalDocumentError: it is none, or to another request.
    """
    answer = _parsed(Answer, site, data, Document.BAD_ANSWER)
    if answer.request != request:
        raise HospitalDocumentError(
            site, Document.BAD_ANSWER, f"its answer to {request} names another request"
        )
    return answer


def verified_receipt(
    site: str, text: str, *, public_hex: str, bundle: Bundle, task: Task
) -> Receipt:
    """A receipt that this hospital signed for what was asked.

    Raises:
        HospitalDocumentError: it is none, somebody else's, or for something else.
    """
    try:
        receipt = check_receipt(text, public_hex=public_hex).receipt
        if receipt.site != site:
            raise VerificationError("its receipt is for another request, plan, study or site")
        check_implied(receipt, bundle=bundle, task=task)
    except VerificationError as error:
        raise HospitalDocumentError(site, Document.BAD_RECEIPT, str(error)) from error
    if MOST_EPSILON < receipt.epsilon_total < math.inf:
        raise HospitalDocumentError(
            site, Document.BAD_RECEIPT, f"epsilon {receipt.epsilon_total:g} is no figure"
        )
    return receipt


def read_reports(
    site: str, files: Mapping[str, bytes], *, public_hex: str, bundle: Bundle
) -> list[ReleasedReport]:
    """The released reports among the files of a request, each signed by the hospital.

    Raises:
        HospitalDocumentError: one is none, was not signed by this hospital, names another plan or
            another file than it came as, or there are more than the plan has.
    """
    named = {name: data for name, data in files.items() if name.endswith(REPORT_ENDING)}
    part = bundle.plan.reports
    most = 0 if part is None else part.cases + _KINDS_OF_COHORT
    if len(named) > most:
        raise HospitalDocumentError(
            site, Document.BAD_REPORT, f"it sent {len(named)} reports, the plan has {most}"
        )
    found = []
    for name, data in named.items():
        report = _parsed(ReleasedReport, site, data, Document.BAD_REPORT)
        try:
            verify_released(report, public_hex=public_hex)
        except SignatureError as error:
            raise HospitalDocumentError(
                site, Document.BAD_REPORT, f"{name} is not signed by it"
            ) from error
        # The item becomes a file name here, so it must be the plain one it came under.
        if name != f"{report.item}{REPORT_ENDING}":
            raise HospitalDocumentError(site, Document.BAD_REPORT, f"{name} names another item")
        if report.plan_sha256 != bundle.sha256:
            raise HospitalDocumentError(site, Document.BAD_REPORT, f"{name} is of another plan")
        found.append(report)
    return found


def read_notices(site: str, request: str, files: Mapping[str, bytes]) -> list[WithheldNotice]:
    """What the owner said about each withheld report of a request: a code, no more.

    Raises:
        HospitalDocumentError: one is none, or there are more than there can be.
    """
    named = {
        name: data
        for name, data in files.items()
        if name.endswith(NOTICE_ENDING) and name != f"{request}-evaluation{NOTICE_ENDING}"
    }
    if len(named) > _BESIDE_REPORTS:
        raise HospitalDocumentError(site, Document.BAD_NOTICE, f"it sent {len(named)} notices")
    return [_parsed(WithheldNotice, site, data, Document.BAD_NOTICE) for data in named.values()]


def read_evaluation(site: str, data: bytes, *, bundle: Bundle, task: Task) -> HospitalEvaluation:
    """A hospital's noised evaluation, of the model and with the noise that were asked for.

    Raises:
        HospitalDocumentError: it is none, or of something else.
    """
    found = _parsed(HospitalEvaluation, site, data, Document.BAD_EVALUATION)
    part = bundle.plan.reports
    if found.classes != tuple(bundle.plan.classes):
        raise HospitalDocumentError(
            site, Document.BAD_EVALUATION, "its evaluation is of other classes"
        )
    if part is None or not isinstance(task, ReportTask):
        raise HospitalDocumentError(
            site, Document.BAD_EVALUATION, "it evaluated what nobody asked for"
        )
    asked = (task.weights_sha256, part.metrics_noise_multiplier, part.score_bins)
    told = (found.weights_sha256, found.noise_multiplier, len(found.histograms[0][0]))
    if told != asked:
        raise HospitalDocumentError(
            site, Document.BAD_EVALUATION, "its evaluation is of another model, noise or steps"
        )
    return found


def check_files(site: str, receipt: Receipt, files: Mapping[str, bytes]) -> None:
    """Check that the files which a receipt names are those that came.

    Raises:
        HospitalDocumentError: one is another.
    """
    for name in set(files) & set(receipt.outputs):
        if sha256_hex(files[name]) != receipt.outputs[name]:
            raise HospitalDocumentError(
                site, Document.BAD_RECEIPT, f"{name} is not the file its receipt was signed for"
            )


def _parsed(kind: type[T], site: str, data: bytes, problem: Document) -> T:
    try:
        return parse_model(kind, data, what=problem.value.removeprefix("bad_"))
    except PlanError as error:
        raise HospitalDocumentError(site, problem, str(error)) from error
