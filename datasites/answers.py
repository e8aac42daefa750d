"""What a hospital answers: documents whose every field may cross its boundary.

Reasons are codes (`errors.Reason`), never text; there are no paths, no counts and no times of work:
on neighbouring data every field but what was noised is the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasites.errors import Reason

ANSWER_FILE = "answer.json"
DECISION_FILE = "decision.json"
EVALUATION_FILE = "evaluation.json"
COUNTERSIGNATURE_FILE = "countersignature.json"
"""What a researcher sends back for a receipt, with that receipt."""
RECEIPT_FILE = "receipt.json"
"""The newest receipt of a site that a researcher holds, brought with each task: the site looks for
what it names in its ledger (`datasites.behind`)."""

_Count = Annotated[float, Field(allow_inf_nan=False)]


class Status(StrEnum):
    """How far a request is."""

    DONE = "done"
    HELD = "held"
    REFUSED = "refused"
    FAILED = "failed"


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1


class PlanDecision(_Document):
    """The hospital's decision on a plan.

    Attributes:
        plan_sha256: the bundle decided on.
        approved: yes or no.
        reason: the coded reason of a no.
        decided: UTC time of the decision.
        max_rounds, expires, standing_release: terms of a yes.
        budget: the epsilon that the owner allows in all.
        epsilon_plan: what the hospital computes for the whole plan, at its
        delta, per
        unit.
    """

    plan_sha256: str
    approved: bool
    reason: Reason | None = None
    decided: str = ""
    budget: float | None = None
    max_rounds: int = 0
    expires: str = ""
    standing_release: bool = False
    epsilon_plan: float | None = None
    delta: float | None = None
    unit: str = ""


class Answer(_Document):
    """The hospital's answer to one request.

    Attributes:
        request: the request id.
        status: done, held, refused or failed.
        reason: the coded reason when refused or failed.
        receipt: the signed receipt, JSON, when something was spent.
        sandboxed: whether the job ran in a sandbox; no, where the hospital said
            `--unsafe-no-sandbox`.
    """

    request: str
    status: Status
    reason: Reason | None = None
    receipt: str | None = None
    sandboxed: bool = True


class ReleasedReport(BaseModel):
    """A report that the owner released, signed by the site.

    Attributes:
        item: its id on the desk.
        kind: case, hospital or global.
        hospital: display name.
        study, plan_sha256, request: what it was asked in.
        text: the verified text; every redacted span is a block.
        text_sha256: of the text, in UTF-8.
        facts: the facts document it was checked against, JSON; empty when it is redacted.
        visible_facts: of a redacted report, the facts that its text still writes out.
        source: `llama` or `template`.
        edits: how often the owner changed the words; each edit was verified again.
        redactions: how many blocks stand in the text.
        released: UTC time.
        public_key, signature: of the site, over everything else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[3] = 3
    item: str
    kind: str
    hospital: str
    study: str
    plan_sha256: str
    request: str
    text: str
    text_sha256: str
    facts: str
    visible_facts: dict[str, str] = {}
    source: str
    edits: Annotated[int, Field(ge=0)] = 0
    redactions: Annotated[int, Field(ge=0)] = 0
    released: str
    public_key: str
    signature: str = ""


class HospitalEvaluation(_Document):
    """A model on a hospital's own test cases: noised counts, from which every figure follows.

    Attributes:
        classes: class names, in label order.
        weights_sha256: the model.
        noise_multiplier: of the one Gaussian release that this is.
        confusion: [C][C], rows are true classes; unbiased, cells may be negative.
        histograms: [C][2][B]: scores of other classes' cases (0) and of the class's own (1).
    """

    classes: tuple[str, ...]
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    noise_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    confusion: tuple[tuple[_Count, ...], ...]
    histograms: tuple[tuple[tuple[_Count, ...], ...], ...]

    @model_validator(mode="after")
    def _whole(self) -> HospitalEvaluation:
        count = len(self.classes)
        steps = {len(own) for rows in self.histograms for own in rows}
        if [len(row) for row in self.confusion] != [count] * count:
            raise ValueError(f"the confusion matrix is not {count} by {count}")
        if [len(rows) for rows in self.histograms] != [2] * count or len(steps) != 1:
            raise ValueError(f"there are not two equal histograms for each of {count} classes")
        return self


class WithheldNotice(_Document):
    """An output that is always there was withheld; the owner's words stay, the code is told.

    There is none for a case report: whether its slot held one is nobody else's business.
    """

    item: str
    kind: str
    reason: Reason = Reason.WITHHELD_BY_OWNER
