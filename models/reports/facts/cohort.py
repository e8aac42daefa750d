"""The facts of one evaluation, at a hospital or over the federation.

See `models.reports.facts.document` for what every facts document guarantees. Figures of a hospital
come from noised counts (`noised`), those of a researcher's own test set are exact. Scores that are
not defined (a class without cases) are None, and a text says so. A figure with a 95 % interval is
never written without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from models.reports.errors import FactsError
from models.reports.facts.case import Degree, degree
from models.reports.facts.checks import (
    ADD_OR_REMOVE_ONE,
    check_class_names,
    check_hash,
    check_labels,
    check_name,
    check_number,
    check_privacy,
    check_relation,
    check_version,
    check_whole,
)
from models.reports.facts.parts import (
    HospitalShare,
    TrendPoint,
    check_shares,
    check_trend,
    read_parts,
)
from models.reports.facts.scores import (
    ClassScores,
    Interval,
    check_intervals,
    read_intervals,
    read_scores,
)
from models.reports.facts.strict_json import canonical_json, field_values, parse_object

COHORT_VERSION: Final = 2
STEADY: Final = 0.02
Trend = Literal["rising", "falling", "steady"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortFacts:
    """The facts of one evaluation, at a hospital or over the federation.

    Attributes:
        kind: "hospital" or "global".
        name: the hospital's name, or the study's.
        n_cases: number of cases scored (a noised count, rounded, where `noised`).
        accuracy: share of right predictions, 0..1.
        macro_f1: unweighted mean of the classes' F-scores, 0..1.
        macro_auc: unweighted mean of the classes' areas under the ROC curve, 0..1, or None.
        intervals: ends of the 95 % intervals of `accuracy`, `macro_f1`, `macro_auc`; those that
            are not known are left out.
        per_class: class name to its figures.
        confusion: true class to predicted class to count; None where it was not released.
        hospitals: names of the hospitals that took part; empty where it is not said.
        n_hospitals: how many took part; None where it is not said. Follows from `hospitals`.
        rounds: rounds of training, or None.
        trend: accuracy after some of the rounds, in their order; empty where it is not known.
            Always on the study's own test cases, also in the facts of a hospital.
        shares: each hospital's weight in the aggregate, or one's and `OTHERS`'; empty where it is
            not known.
        epsilon: privacy loss at `delta`; None for no guarantee.
        delta: probability bound that belongs to `epsilon`.
        privacy_unit: what one unit of `epsilon` protects.
        privacy_relation: the neighbouring relation; only "add_or_remove_one" is known.
        noised: whether the figures carry differential-privacy noise.
        model_sha256: SHA-256 of the weights, 64 hexadecimal digits.

    Raises:
        FactsError: a value is missing, malformed, out of range or contradicts another.
    """

    kind: Literal["hospital", "global"]
    name: str
    n_cases: int
    accuracy: float
    macro_f1: float
    per_class: Mapping[str, ClassScores]
    epsilon: float | None
    delta: float
    privacy_unit: str
    noised: bool
    model_sha256: str
    macro_auc: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    confusion: Mapping[str, Mapping[str, float]] | None = None
    hospitals: tuple[str, ...] = ()
    n_hospitals: int | None = None
    rounds: int | None = None
    trend: tuple[TrendPoint, ...] = ()
    shares: tuple[HospitalShare, ...] = ()
    privacy_relation: str = ADD_OR_REMOVE_ONE
    version: int = COHORT_VERSION

    def __post_init__(self) -> None:
        check_version(self.kind, self.version, kinds=("hospital", "global"), known=COHORT_VERSION)
        check_name("name", self.name)
        check_whole("n_cases", self.n_cases, least=1)
        if self.rounds is not None:
            check_whole("rounds", self.rounds, least=0)
        if self.n_hospitals is not None:
            check_whole("n_hospitals", self.n_hospitals, least=1)
        check_number("accuracy", self.accuracy)
        check_number("macro_f1", self.macro_f1)
        if self.macro_auc is not None:
            check_number("macro_auc", self.macro_auc)
        check_hash("model_sha256", self.model_sha256)
        check_privacy(epsilon=self.epsilon, delta=self.delta, unit=self.privacy_unit)
        if not isinstance(self.noised, bool):
            raise FactsError(f"noised is {self.noised!r}; it must be true or false")
        check_relation(self.privacy_relation)
        values = {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "macro_auc": self.macro_auc}
        check_intervals("intervals", self.intervals, values)
        self._check_classes()
        check_trend(self.trend, rounds=self.rounds)
        check_shares(self.shares, hospitals=self.hospitals)
        self._freeze()

    def _check_classes(self) -> None:
        if not isinstance(self.per_class, Mapping):
            raise FactsError("per_class must map each class name to its figures")
        check_class_names(tuple(self.per_class))
        for name, scores in self.per_class.items():
            if not isinstance(scores, ClassScores):
                raise FactsError(f"per_class[{name!r}] must be ClassScores, not {scores!r}")
        if not isinstance(self.hospitals, tuple):
            raise FactsError("hospitals must be a tuple of names")
        for index, hospital in enumerate(self.hospitals):
            check_name(f"hospitals[{index}]", hospital)
        if len(set(self.hospitals)) != len(self.hospitals):
            raise FactsError("hospitals names one hospital twice; name each once")
        if self.hospitals and self.n_hospitals not in (None, len(self.hospitals)):
            raise FactsError(
                f"n_hospitals is {self.n_hospitals}, and {len(self.hospitals)} are named"
            )
        labels = {f"hospitals[{i}]": name for i, name in enumerate(self.hospitals)}
        labels |= {"name": self.name, "privacy_unit": self.privacy_unit}
        check_labels(labels, classes=tuple(self.per_class))
        if self.confusion is not None:
            self._check_confusion(self.confusion)

    def _check_confusion(self, confusion: Mapping[str, Mapping[str, float]]) -> None:
        if not isinstance(confusion, Mapping) or set(confusion) != set(self.per_class):
            raise FactsError("confusion must have one row for each class of per_class")
        for true, row in confusion.items():
            if not isinstance(row, Mapping) or set(row) != set(self.per_class):
                raise FactsError(f"confusion row {true!r} must have one count for each class")
            for predicted, count in row.items():
                # Noise may push a count below zero; an exact count may not be.
                check_number(
                    f"confusion[{true!r}][{predicted!r}]",
                    count,
                    low=-1e9 if self.noised else 0.0,
                    high=1e9,
                )

    def _freeze(self) -> None:
        object.__setattr__(self, "per_class", MappingProxyType(dict(self.per_class)))
        object.__setattr__(self, "intervals", MappingProxyType(dict(self.intervals)))
        if self.confusion is not None:
            rows = {k: MappingProxyType(dict(row)) for k, row in self.confusion.items()}
            object.__setattr__(self, "confusion", MappingProxyType(rows))

    @property
    def ranked(self) -> tuple[str, ...]:
        """Class names by falling F-score, undefined ones last, equal ones by name."""

        def key(name: str) -> tuple[bool, float, str]:
            f1 = self.per_class[name].f1
            return (f1 is None, -(f1 or 0.0), name)

        return tuple(sorted(self.per_class, key=key))

    @property
    def best(self) -> str | None:
        """The one class with the highest F-score; None where it is shared or not defined."""
        return self._extreme(sign=-1.0)

    @property
    def weakest(self) -> str | None:
        """The one class with the lowest F-score; None where it is shared or not defined."""
        return self._extreme(sign=1.0)

    def _extreme(self, *, sign: float) -> str | None:
        scored = [(sign * s.f1, name) for name, s in self.per_class.items() if s.f1 is not None]
        if len(scored) < max(2, len(self.per_class)):
            return None
        scored.sort()
        return None if scored[0][0] == scored[1][0] else scored[0][1]

    @property
    def level(self) -> Degree:
        """The accuracy in a word."""
        return degree(self.accuracy)

    @property
    def trend_word(self) -> Trend | None:
        """From the first point to the last: steady within 2 percentage points."""
        if not self.trend:
            return None
        change = self.trend[-1].accuracy - self.trend[0].accuracy
        if abs(change) < STEADY:
            return "steady"
        return "rising" if change > 0 else "falling"

    @property
    def top_confusion(self) -> tuple[str, str, int] | None:
        """True class, class it was most often taken for, and count; None where there is no one."""
        if self.confusion is None:
            return None
        pairs = [
            (round(count), true, predicted)
            for true, row in self.confusion.items()
            for predicted, count in row.items()
            if true != predicted
        ]
        pairs.sort(key=lambda pair: -pair[0])
        if pairs[0][0] < 1 or (len(pairs) > 1 and pairs[0][0] == pairs[1][0]):
            return None
        return pairs[0][1], pairs[0][2], pairs[0][0]

    def to_json(self) -> str:
        """The document as canonical JSON (RFC 8785)."""
        return canonical_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> CohortFacts:
        """Read a document that `to_json` wrote.

        Raises:
            FactsError: not JSON, not these keys, or values that the class refuses.
        """
        values = field_values(parse_object(text), cls)
        values["per_class"] = read_scores(values["per_class"])
        values["intervals"] = read_intervals(values.get("intervals", {}))
        values["trend"] = read_parts(values.get("trend", ()), TrendPoint)
        values["shares"] = read_parts(values.get("shares", ()), HospitalShare)
        if isinstance(values.get("hospitals"), list):
            values["hospitals"] = tuple(values["hospitals"])
        return cls(**values)
