"""The study's report: one value in, one self-contained HTML page out. No file is written here.

The page can be mailed, archived and printed as it is: style inside, pictures as data URIs, nothing
fetched from anywhere and nothing that runs (a content security policy in the page itself forbids
both). It follows the reader's light or dark setting.

Everything that comes from outside (names, reasons, released texts) is escaped by the template
engine; no value is ever marked safe. Epsilons and deltas are rounded up, always stand together,
and stand with their unit of privacy. An infinite epsilon reads "no guarantee".

The page says what was approved by whom and what was spent; it also says, in plain words, what
that does not promise: `STANDARD_LIMITS` are part of the report, not an option of it.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.aggregation import UNKNOWN_UNIT, Contribution
from orchestrator.errors import ReportingError
from orchestrator.pages import environment
from orchestrator.rounds import RoundScore

if TYPE_CHECKING:
    from models import Evaluation
    from orchestrator.results.hospital_figures import HospitalFigures

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 24
_TEMPLATE = "report.html.j2"

STANDARD_LIMITS = (
    "This model is decision support, not a diagnosis. It has not been validated clinically. A "
    "physician who knows the patient decides, on the original images.",
    "Accuracy was measured on the test images named above. Other scanners, protocols, populations "
    "or kinds of tumour can give much worse results, and a class that is not in the list cannot be "
    "recognised at all.",
    "Differential privacy limits how much any one privacy unit of a hospital can change what left "
    "it. It does not hide that a hospital took part, nor what holds for patients in general: "
    "a finding that would have been the same without a person's data is not protected.",
    "Epsilon is an upper bound and not a probability of harm. A larger one promises less: at "
    "epsilon 1 one unit changes the probability of any outcome at most by a factor of about 2.7, "
    "at epsilon 8 by one of about 3000 (apart from delta).",
    "The guarantee is for one privacy unit at one hospital. Where a unit is a near-duplicate "
    "group it is not one for a person: one person may be in several groups, change one that is "
    "there without them, or join two into one. The figures for two and three groups say what "
    "holds then; nothing bounds how many it can be.",
    "Units of two hospitals are taken for different people's. Whoever was treated at more than one "
    "hospital is not covered by the figure of either alone.",
    "Released reports and logs left by a person's decision. The epsilon above is for the training "
    "and for metrics that were noised; it says nothing about the text of a released report.",
    "A verified ledger shows that no recorded spend was changed, removed or reordered later. It "
    "cannot show that a hospital's computer ran nothing else.",
)


@dataclass(frozen=True, kw_only=True)
class ApprovalRow:
    """One reviewer's signed approval of the plan at one hospital.

    Attributes:
        approver: who approved.
        approved_at: when (UTC).
        expires_at: when it ends (UTC).
        maximum_rounds: how many rounds it covers.
        standing_release: whether DP weights may leave without a further decision.
    """

    approver: str
    approved_at: datetime
    expires_at: datetime
    maximum_rounds: int
    standing_release: bool


@dataclass(frozen=True, kw_only=True)
class LedgerStatus:
    """What an offline verification of one hospital's ledger found.

    Attributes:
        verified: whether chain, signatures and receipts all hold.
        entries: number of entries.
        head_sha256: hash of the last entry, hex.
        problem: what was found, naming the entry; None where it is verified.
    """

    verified: bool
    entries: int
    head_sha256: str
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class HospitalReport:
    """One hospital's part in the study.

    Attributes:
        name: the hospital's name.
        units: privacy units, as the noised count that it published.
        rounds_joined: rounds whose aggregate holds an update of this hospital.
        epsilon: its own total for the study; infinite where there is no guarantee.
        delta: the delta that goes with it.
        budget: the epsilon its owner allows; None where it is not known.
        approvals: who approved the plan there; empty where nobody did.
        ledger: what verification found; None where it was not looked at.
        unit: the unit of privacy that epsilon and delta are for.
    """

    name: str
    units: float
    rounds_joined: int
    epsilon: float
    delta: float
    budget: float | None
    approvals: tuple[ApprovalRow, ...]
    ledger: LedgerStatus | None
    unit: str = UNKNOWN_UNIT


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """A text that a hospital's data owner let out.

    Attributes:
        hospital: whose it is.
        title: what it is about.
        text: the text as released, plain; empty lines part paragraphs.
        released_by: who decided.
        released_at: when (UTC).
    """

    hospital: str
    title: str
    text: str
    released_by: str
    released_at: datetime


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of the report.

    Attributes:
        title: its heading.
        description: what it shows, for readers who do not see it.
        png: PNG bytes, as `orchestrator.results.plots` gives them.
    """

    title: str
    description: str
    png: bytes

    def __post_init__(self) -> None:
        if not self.png.startswith(_PNG) or len(self.png) < _HEADER_BYTES:
            raise ReportingError(f"picture {self.title!r} is not PNG")

    @property
    def wide(self) -> bool:
        """Whether it needs the page's full width; others stand side by side."""
        # A PNG's first chunk holds width and height, big-endian (PNG specification, 11.2.1).
        width, height = struct.unpack(">II", self.png[16:_HEADER_BYTES])
        return bool(width > 1.5 * height)

    @property
    def data_uri(self) -> str:
        """The picture as a `data:` address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """All that the report says.

    Attributes:
        name: the study's name.
        researcher: who ran it.
        created_at: when the report was made (UTC).
        plan_sha256: hash over everything that was approved and executed, hex.
        model_sha256: hash of the final weights file, hex.
        strategy: the aggregation strategy, as `StrategySettings.describe` says it.
        rounds: rounds that were aggregated.
        neighbouring: the neighbouring relation, such as "add or remove one unit".
        hospitals: one entry for each hospital.
        evaluation: the final model's scores; None where it was not evaluated.
        evaluation_data: what it was evaluated on, in words.
        scores: the learning curve.
        contributions: the contribution log.
        pictures: in the order of the page.
        reports: what was released.
        reports_held: reports that wait for an owner's decision.
        reports_withheld: reports that an owner refused.
        at_hospitals: the model on each hospital's own test cases, from noised counts.
        further_limits: limits of this study, shown after `STANDARD_LIMITS`.

    Raises:
        ReportingError: no hospital, a time without UTC, or a NaN among the spends.
    """

    name: str
    researcher: str
    created_at: datetime
    plan_sha256: str
    model_sha256: str
    strategy: str
    rounds: int
    neighbouring: str
    hospitals: tuple[HospitalReport, ...]
    evaluation: Evaluation | None
    evaluation_data: str
    scores: tuple[RoundScore, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    pictures: tuple[Picture, ...] = ()
    reports: tuple[ReportRow, ...] = ()
    reports_held: int = 0
    reports_withheld: int = 0
    at_hospitals: tuple[HospitalFigures, ...] = ()
    further_limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.hospitals:
            raise ReportingError(f"study {self.name!r} has no hospital; there is nothing to report")
        for hospital in self.hospitals:
            if math.isnan(hospital.epsilon) or math.isnan(hospital.delta):
                raise ReportingError(f"{hospital.name}: what was spent is not a number")
        for time in self._times():
            if time.utcoffset() is None:
                raise ReportingError(f"{time} has no time zone; give times in UTC")

    @property
    def largest(self) -> HospitalReport:
        """The hospital that spent most."""
        return max(self.hospitals, key=lambda hospital: hospital.epsilon)

    @property
    def units_of_privacy(self) -> str:
        """Whom the guarantee is for, such as "patient"; every kind that a hospital has."""
        return " or ".join(sorted({hospital.unit for hospital in self.hospitals}))

    @property
    def verified(self) -> int:
        """How many hospitals' ledgers hold."""
        return sum(h.ledger is not None and h.ledger.verified for h in self.hospitals)

    @property
    def limits(self) -> tuple[str, ...]:
        """All limits, the standing ones first."""
        return STANDARD_LIMITS + self.further_limits

    def _times(self) -> tuple[datetime, ...]:
        approvals = [a for hospital in self.hospitals for a in hospital.approvals]
        spans = [time for a in approvals for time in (a.approved_at, a.expires_at)]
        return (self.created_at, *spans, *(r.released_at for r in self.reports))


def render_html(report: StudyReport) -> str:
    """The report as one HTML page; the same value gives the same page."""
    return environment().get_template(_TEMPLATE).render(report=report)
