"""How well one class is recognised, with 95 % intervals where they are known.

A score that is not defined is None: precision where the class was never called, recall and the
area under the ROC curve where it has no cases. A class without cases cannot have a recall, and one
that says so is refused. An interval holds its figure and lies within 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from models.reports.errors import FactsError
from models.reports.facts.checks import check_number, check_whole
from models.reports.facts.strict_json import field_values

Interval = tuple[float, float]
SCORES: Final = ("precision", "recall", "f1", "auc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """How well one class is recognised; None where a score is not defined or not known.

    Attributes:
        precision: share of calls of this class that were right, 0..1.
        recall: share of this class's cases that were found, 0..1.
        f1: harmonic mean of both, 0..1.
        auc: area under the ROC curve, this class against the rest, 0..1.
        cases: number of cases of this class (noised and rounded, where the figures are).
        intervals: ends of the 95 % intervals, by the name of the score.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None = None
    cases: int | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in SCORES:
            value = getattr(self, name)
            if value is not None:
                check_number(name, value)
        if self.cases is not None:
            check_whole("cases", self.cases, least=0)
            if self.cases == 0 and (self.recall is not None or self.auc is not None):
                raise FactsError("a class without cases has no recall and no auc; give None")
        check_intervals("intervals", self.intervals, {name: getattr(self, name) for name in SCORES})
        object.__setattr__(self, "intervals", MappingProxyType(dict(self.intervals)))


def check_intervals(name: str, intervals: object, values: Mapping[str, float | None]) -> None:
    """Refuse intervals of figures that are not there, or that do not hold their figure.

    Args:
        name: of the field.
        intervals: figure's name to lower and upper end.
        values: the figures that may have an interval.
    """
    if not isinstance(intervals, Mapping):
        raise FactsError(f"{name} must map the name of a figure to its two ends")
    for figure, ends in intervals.items():
        value = values.get(figure)
        if value is None:
            raise FactsError(f"{name} has {figure!r}, which is no figure here; leave it out")
        if not isinstance(ends, tuple) or len(ends) != 2:
            raise FactsError(f"{name} of {figure} is {ends!r}; give the lower and the upper end")
        for end in ends:
            check_number(f"interval of {figure}", end)
        if not ends[0] <= value <= ends[1]:
            raise FactsError(
                f"{figure} {value:g} lies outside its interval {ends[0]:g}..{ends[1]:g}; "
                f"give the ends in order"
            )


def read_intervals(rows: Any) -> Any:
    """Intervals from JSON; what is malformed is left for `check_intervals` to refuse."""
    if not isinstance(rows, dict):
        return rows
    return {name: tuple(ends) if isinstance(ends, list) else ends for name, ends in rows.items()}


def read_scores(rows: Any) -> dict[str, ClassScores]:
    """The scores of all classes from JSON.

    Raises:
        FactsError: no object, unknown keys, or values that `ClassScores` refuses.
    """
    if not isinstance(rows, dict):
        raise FactsError(f"per_class is {rows!r}; it must map each class name to its figures")
    return {name: _read_class(row) for name, row in rows.items()}


def _read_class(row: Any) -> ClassScores:
    values = field_values(row, ClassScores)
    values["intervals"] = read_intervals(values.get("intervals", {}))
    return ClassScores(**values)
