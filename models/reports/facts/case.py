"""The facts of one classified study, and the fixed rules that turn figures into words.

See `models.reports.facts.document` for what every facts document guarantees. Ranking is by
probability, downwards; equal probabilities rank by class name, except that the predicted class
leads those it is tied with. Thresholds are compared with the exact figures, not with the rounded
ones a text shows.

The confidence word is the degree of the calibrated confidence in the predicted class. Without a
calibration nothing says how often such a probability is right, so the word is at most "moderate".
It is "low" where the image is unusual or has a quality flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from models.classes import HEALTHY_NAMES
from models.reports.errors import FactsError
from models.reports.facts.checks import (
    ADD_OR_REMOVE_ONE,
    check_class_names,
    check_dataset,
    check_hash,
    check_identifier,
    check_labels,
    check_name,
    check_number,
    check_privacy,
    check_relation,
    check_version,
)
from models.reports.facts.parts import (
    REGIONS,
    Calibration,
    OutlierCheck,
    QualityFlag,
    Region,
    check_choice,
    check_flags,
    read_part,
)
from models.reports.facts.strict_json import canonical_json, field_values, parse_object

CASE_VERSION: Final = 2
HIGH: Final = 0.9
MODERATE: Final = 0.7
WIDE_MARGIN: Final = 0.5
NARROW_MARGIN: Final = 0.15
SUM_TOLERANCE: Final = 1e-3

Degree = Literal["high", "moderate", "low"]
MarginWord = Literal["wide", "fair", "narrow"]
Family = Literal["glioma", "meningioma", "pituitary", "healthy", "other"]


def degree(fraction: float) -> Degree:
    """The rule for confidence and accuracy words: high from 0.9, moderate from 0.7, else low."""
    if fraction >= HIGH:
        return "high"
    return "moderate" if fraction >= MODERATE else "low"


def family_of(class_name: str) -> Family:
    """The kind of finding a class name stands for; decides which recommendations make sense."""
    lowered = class_name.lower()
    if lowered.replace("-", "_").replace(" ", "_") in HEALTHY_NAMES:
        return "healthy"
    if "meningioma" in lowered:
        return "meningioma"
    if "pituitary" in lowered:
        return "pituitary"
    if any(part in lowered for part in ("glioma", "glioblastoma", "astrocytoma")):
        return "glioma"
    return "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """The facts of one classified study.

    Attributes:
        hospital: name of the hospital that holds the study.
        case_id: pseudonym, never a record number.
        predicted: the class the model chose; must have the highest probability.
        probabilities: class name to probability, at least two classes, summing to 1 +- 0.001.
        model_sha256: SHA-256 of the weights, 64 hexadecimal digits.
        dataset_version: identifier or SHA-256 of the data set the study belongs to.
        epsilon: privacy loss of the model at `delta`; None for no guarantee.
        delta: probability bound that belongs to `epsilon`.
        privacy_unit: what one unit of `epsilon` protects, for example "patient".
        privacy_relation: the neighbouring relation; only "add_or_remove_one" is known.
        calibration: how often a score like this one was right; None where nothing says so.
        outlier: how like known images this one is; None where it was not checked.
        quality: what is wrong with the image, empty for nothing; None where it was not checked.
        region: where the prediction was most sensitive; None where it was not looked at, or
            was no one place.

    Raises:
        FactsError: a value is missing, malformed, out of range or contradicts another.
    """

    hospital: str
    case_id: str
    predicted: str
    probabilities: Mapping[str, float]
    model_sha256: str
    dataset_version: str
    epsilon: float | None
    delta: float
    privacy_unit: str
    privacy_relation: str = ADD_OR_REMOVE_ONE
    calibration: Calibration | None = None
    outlier: OutlierCheck | None = None
    quality: tuple[QualityFlag, ...] | None = None
    region: Region | None = None
    kind: Literal["case"] = "case"
    version: int = CASE_VERSION

    def __post_init__(self) -> None:
        check_version(self.kind, self.version, kinds=("case",), known=CASE_VERSION)
        check_name("hospital", self.hospital)
        check_identifier("case_id", self.case_id)
        check_dataset("dataset_version", self.dataset_version)
        check_hash("model_sha256", self.model_sha256)
        check_privacy(epsilon=self.epsilon, delta=self.delta, unit=self.privacy_unit)
        check_relation(self.privacy_relation)
        self._check_probabilities()
        self._check_image()
        check_labels(
            {
                "hospital": self.hospital,
                "case_id": self.case_id,
                "dataset_version": self.dataset_version,
                "privacy_unit": self.privacy_unit,
            },
            classes=tuple(self.probabilities),
        )
        frozen = MappingProxyType({k: float(self.probabilities[k]) for k in self.probabilities})
        object.__setattr__(self, "probabilities", frozen)

    def _check_probabilities(self) -> None:
        if not isinstance(self.probabilities, Mapping):
            raise FactsError("probabilities must map each class name to a number")
        check_class_names(tuple(self.probabilities))
        for name, value in self.probabilities.items():
            check_number(f"probability of {name!r}", value)
        total = sum(self.probabilities.values())
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise FactsError(
                f"the probabilities sum to {total:.6g}, not to 1 within {SUM_TOLERANCE:g}; "
                f"pass the softmax of one study over all classes"
            )
        if not isinstance(self.predicted, str) or self.predicted not in self.probabilities:
            raise FactsError(
                f"predicted is {self.predicted!r}, which has no probability; "
                f"classes are {sorted(self.probabilities)}"
            )
        if self.probabilities[self.predicted] < max(self.probabilities.values()):
            raise FactsError(
                f"predicted is {self.predicted!r}, but another class is more probable; "
                f"predicted must be the most probable class"
            )

    def _check_image(self) -> None:
        if not isinstance(self.calibration, Calibration | None):
            raise FactsError(f"calibration is {self.calibration!r}; it must be a Calibration")
        if not isinstance(self.outlier, OutlierCheck | None):
            raise FactsError(f"outlier is {self.outlier!r}; it must be an OutlierCheck")
        if self.quality is not None:
            check_flags(self.quality)
        if self.region is not None:
            check_choice("region", self.region, REGIONS)

    @property
    def ranked(self) -> tuple[str, ...]:
        """Class names by falling probability; the predicted class first."""
        others = [name for name in self.probabilities if name != self.predicted]
        others.sort(key=lambda name: (-self.probabilities[name], name))
        return (self.predicted, *others)

    @property
    def margin(self) -> float:
        """Probability of the predicted class minus that of the next one."""
        ranked = self.ranked
        return self.probabilities[ranked[0]] - self.probabilities[ranked[1]]

    @property
    def margin_word(self) -> MarginWord:
        """The margin in a word: wide from 0.5, fair from 0.15, else narrow."""
        if self.margin >= WIDE_MARGIN:
            return "wide"
        return "fair" if self.margin >= NARROW_MARGIN else "narrow"

    @property
    def calibrated(self) -> float | None:
        """How often a score like this one was right, 0..1; None for uncalibrated ones."""
        return None if self.calibration is None else self.calibration.share

    @property
    def unusual(self) -> bool:
        """Whether the outlier check was done and the image is unlike known ones."""
        return self.outlier is not None and self.outlier.unusual

    @property
    def confidence(self) -> Degree:
        """The confidence in a word; see the module's docstring for the rule."""
        if self.unusual or self.quality:
            return "low"
        if self.calibrated is not None:
            return degree(self.calibrated)
        word = degree(self.probabilities[self.predicted])
        return "moderate" if word == "high" else word

    @property
    def tied(self) -> bool:
        """Whether another class is exactly as probable as the predicted one."""
        return self.margin == 0.0

    @property
    def runner_up(self) -> str | None:
        """The one class next to the predicted one; None where there is a tie or nothing is left."""
        ranked = self.ranked
        next_value = self.probabilities[ranked[1]]
        shared = len(ranked) > 2 and self.probabilities[ranked[2]] == next_value
        return None if self.tied or shared or next_value == 0.0 else ranked[1]

    @property
    def family(self) -> Family:
        """What kind of finding the predicted class is."""
        return family_of(self.predicted)

    def to_json(self) -> str:
        """The document as canonical JSON (RFC 8785)."""
        return canonical_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> CaseFacts:
        """Read a document that `to_json` wrote.

        Raises:
            FactsError: not JSON, not these keys, or values that the class refuses.
        """
        values = field_values(parse_object(text), cls)
        values["calibration"] = read_part(values.get("calibration"), Calibration)
        values["outlier"] = read_part(values.get("outlier"), OutlierCheck)
        if isinstance(values.get("quality"), list):
            values["quality"] = tuple(values["quality"])
        return cls(**values)
