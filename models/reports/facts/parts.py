"""The smaller documents inside facts: what was checked on one image, and figures over time.

Every part is optional in the facts that hold it, and absent means "was not done", which a text
says or leaves out, never guesses at:

    calibration     how often a score like this one was right, and by which counts
    outlier check   an energy score (Liu et al. 2020, arXiv 2010.03759) against a threshold that
                    was fixed on public images; below it, the image is unlike those images
    quality flags   what a fixed rule found wrong with the image
    region          where in the image the prediction was most sensitive, in image coordinates;
                    never an anatomical side, because images may be mirrored
    trend           the accuracy after some of the rounds
    shares          how much each hospital's updates weighed in the aggregate; or one hospital's and
                    all others' together, where no more may be known of them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from models.reports.errors import FactsError
from models.reports.facts.checks import check_name, check_number, check_whole
from models.reports.facts.strict_json import field_values

QualityFlag = Literal[
    "low contrast",
    "saturation",
    "nearly blank image",
    "tissue at the border",
    "image noise",
    "blurred image",
]
Region = Literal[
    "upper left",
    "upper middle",
    "upper right",
    "middle left",
    "centre",
    "middle right",
    "lower left",
    "lower middle",
    "lower right",
]
Basis = Literal["noised counts of this hospital", "public data", "synthetic data"]

QUALITY_FLAGS: Final[tuple[str, ...]] = get_args(QualityFlag)
REGIONS: Final[tuple[str, ...]] = get_args(Region)
BASES: Final[tuple[str, ...]] = get_args(Basis)
SCORE_LIMIT: Final = 1e6
OTHERS: Final = "all others"
"""Who has the rest of the shares, where hospitals are not named to each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A confidence that was held against counts.

    Attributes:
        share: of cases with a score like this one's, the share that were of the predicted class.
        low, high: ends of its 95 % interval.
        basis: what was counted. Never private data without noise.
    """

    share: float
    low: float
    high: float
    basis: Basis

    def __post_init__(self) -> None:
        for name in ("share", "low", "high"):
            check_number(f"calibrated {name}", getattr(self, name))
        if not self.low <= self.share <= self.high:
            raise FactsError(
                f"the calibrated share {self.share:g} lies outside its interval "
                f"{self.low:g}..{self.high:g}; give the ends in order"
            )
        check_choice("basis", self.basis, BASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierCheck:
    """How like the images it was compared with an image is.

    Attributes:
        score: energy score, log-sum-exp of the logits; higher is more familiar.
        threshold: below it an image counts as unusual.
        basis: the images that fixed the threshold.
    """

    score: float
    threshold: float
    basis: Basis

    def __post_init__(self) -> None:
        check_number("score", self.score, low=-SCORE_LIMIT, high=SCORE_LIMIT)
        check_number("threshold", self.threshold, low=-SCORE_LIMIT, high=SCORE_LIMIT)
        check_choice("basis", self.basis, BASES)

    @property
    def unusual(self) -> bool:
        """Whether the image is unlike those that fixed the threshold."""
        return self.score < self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """The accuracy after one round; `round` counts from 1, `accuracy` is 0..1."""

    round: int
    accuracy: float

    def __post_init__(self) -> None:
        check_whole("trend round", self.round, least=1)
        check_number("trend accuracy", self.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalShare:
    """How much one hospital's updates weighed in the aggregate; `share` is 0..1."""

    hospital: str
    share: float

    def __post_init__(self) -> None:
        check_name("hospital", self.hospital)
        check_number(f"share of {self.hospital!r}", self.share)


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is not one of the words that a field may hold."""
    if value not in choices:
        raise FactsError(f"{field} is {value!r}; it must be one of {list(choices)}")


def check_flags(flags: object) -> None:
    """Refuse what is not a tuple of different quality flags."""
    if not isinstance(flags, tuple):
        raise FactsError("quality must be a tuple of flags, or None where it was not checked")
    for flag in flags:
        check_choice("quality", flag, QUALITY_FLAGS)
    if len(set(flags)) != len(flags):
        raise FactsError(f"quality names a flag twice: {list(flags)}; name each once")


def check_trend(trend: object, *, rounds: int | None) -> None:
    """Refuse what is not a tuple of points in the order of their rounds, the last not too late."""
    if not isinstance(trend, tuple) or not all(isinstance(p, TrendPoint) for p in trend):
        raise FactsError("trend must be a tuple of TrendPoint; empty where it is not known")
    numbers = [point.round for point in trend]
    if numbers != sorted(set(numbers)):
        raise FactsError(f"trend gives the rounds {numbers}; give each once, in order")
    if len(trend) == 1:
        raise FactsError("a trend has at least two points; leave it empty")
    if trend and (rounds is None or numbers[-1] > rounds):
        raise FactsError(f"trend ends with round {numbers[-1]}, and there were {rounds} rounds")


def check_shares(shares: object, *, hospitals: tuple[str, ...]) -> None:
    """Refuse what is not one share for each hospital, together 1 +- 0.001.

    Where no hospital is named, it may be one hospital's and the rest, `OTHERS`.
    """
    if not isinstance(shares, tuple) or not all(isinstance(s, HospitalShare) for s in shares):
        raise FactsError("shares must be a tuple of HospitalShare; empty where they are not known")
    if not shares:
        return
    named = [share.hospital for share in shares]
    one_and_rest = not hospitals and len(named) == 2 and named[1] == OTHERS != named[0]
    if not one_and_rest and sorted(named) != sorted(hospitals):
        raise FactsError(f"shares names {sorted(named)}, hospitals {sorted(hospitals)}; match them")
    total = sum(share.share for share in shares)
    if abs(total - 1.0) > 1e-3:
        raise FactsError(f"the shares sum to {total:.6g}, not to 1 within 0.001")


def read_part(row: Any, kind: type) -> Any:
    """A part of a facts document from its JSON object; None stays None."""
    return None if row is None else kind(**field_values(row, kind))


def read_parts(rows: Any, kind: type) -> Any:
    """A tuple of parts from a JSON list; what is no list is left for the facts to refuse."""
    return tuple(read_part(row, kind) for row in rows) if isinstance(rows, list) else rows
