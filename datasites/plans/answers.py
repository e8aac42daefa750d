"""What a hospital answers: documents whose every field may cross its boundary.

Reasons are codes (`errors.Reason`), never text; there are no paths, no counts and no times of work:
on neighbouring data every field but what was noised is the same.

Every field is bounded, so that what a researcher parsed (`datasites.plans.parse`) can be computed
with, shown and written whatever the hospital sent: figures are finite, times are times, what
becomes a file's name is a plain one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasites.errors import Reason
from datasites.plans.generators import NoiseMultiplier
from datasites.plans.parse import MOST_COUNT, Epsilon, Hex64, Identifier, ShortText, UtcTime
from privacy import LARGEST_DELTA

ANSWER_FILE = "answer.json"
DECISION_FILE = "decision.json"
EVALUATION_FILE = "evaluation.json"
COUNTERSIGNATURE_FILE = "countersignature.json"
"""What a researcher sends back for a receipt, with that receipt."""
RECEIPT_FILE = "receipt.json"
"""The newest receipt of a site that a researcher holds, brought with each task: the site looks for
what it names in its ledger (`datasites.site.ledger_behind`)."""

_Count = Annotated[float, Field(ge=-MOST_COUNT, le=MOST_COUNT)]
_Few = Annotated[int, Field(ge=0, le=1_000_000)]
_Text = Annotated[str, Field(max_length=1_000_000)]
_ReportKind = Annotated[str, Field(pattern="^(case|hospital|global)$")]
_NoticeKind = Annotated[str, Field(pattern="^(hospital|global|evaluation)$")]
_ONE_UNIT = "(patient|near[-_]duplicate[-_ ]group|image|privacy unit)"
_Unit = Annotated[str, Field(pattern=rf"^{_ONE_UNIT}(, then {_ONE_UNIT}){{0,8}}$")]


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
        max_rounds, expires, standing_release: terms of a yes, which has all of what follows.
        budget: the epsilon that the owner allows in all.
        epsilon_plan: what the hospital computes for the whole plan, at its
        delta, per
        unit.
    """

    plan_sha256: Hex64
    approved: bool
    reason: Reason | None = None
    decided: UtcTime
    budget: Epsilon | None = None
    max_rounds: _Few = 0
    expires: UtcTime | Literal[""] = ""
    standing_release: bool = False
    epsilon_plan: Epsilon | None = None
    delta: Annotated[float, Field(gt=0, le=LARGEST_DELTA)] | None = None
    unit: _Unit | Literal[""] = ""

    @model_validator(mode="after")
    def _whole(self) -> PlanDecision:
        if self.approved:
            terms = ("budget", "expires", "epsilon_plan", "delta", "unit")
            absent = [name for name in terms if getattr(self, name) in (None, "")]
            if absent:
                raise ValueError(f"an approval without {', '.join(absent)}")
        return self

    @property
    def epsilon(self) -> float:
        """What the plan costs, of an approval."""
        return 0.0 if self.epsilon_plan is None else self.epsilon_plan


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

    request: Identifier
    status: Status
    reason: Reason | None = None
    receipt: _Text | None = None
    sandboxed: bool = True

    @model_validator(mode="after")
    def _says_why(self) -> Answer:
        if (self.reason is not None) != (self.status in (Status.REFUSED, Status.FAILED)):
            raise ValueError(f"the status {self.status} with the reason {self.reason}")
        return self


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
    item: Identifier
    kind: _ReportKind
    hospital: ShortText
    study: Identifier
    plan_sha256: Hex64
    request: Identifier
    text: _Text
    text_sha256: Hex64
    facts: _Text
    visible_facts: Annotated[dict[ShortText, ShortText], Field(max_length=10_000)] = {}
    source: Identifier
    edits: _Few = 0
    redactions: _Few = 0
    released: UtcTime
    public_key: Hex64
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{0,128}$")] = ""


class HospitalEvaluation(_Document):
    """A model on a hospital's own test cases: noised counts, from which every figure follows.

    Attributes:
        classes: class names, in label order.
        weights_sha256: the model.
        noise_multiplier: of the one Gaussian release that this is.
        confusion: [C][C], rows are true classes; unbiased, cells may be negative.
        histograms: [C][2][B]: scores of other classes' cases (0) and of the class's own (1).
    """

    classes: Annotated[tuple[ShortText, ...], Field(min_length=1, max_length=64)]
    weights_sha256: Hex64
    noise_multiplier: NoiseMultiplier
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

    item: Identifier
    kind: _NoticeKind
    reason: Reason = Reason.WITHHELD_BY_OWNER
