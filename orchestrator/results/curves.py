"""Values that are drawn over rounds: how good the model is, and what each hospital has spent. Pure.

A curve refuses what cannot be drawn honestly: rounds that do not ascend, a NaN, an epsilon that
falls (a hospital's total never does), an accuracy outside [0, 1].
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.aggregation import UNKNOWN_UNIT, Contribution
from orchestrator.errors import ReportingError
from orchestrator.rounds import RoundScore


@dataclass(frozen=True, kw_only=True)
class EpsilonSeries:
    """What one hospital had spent in all after each round that it took part in.

    Attributes:
        hospital: the hospital's name.
        rounds: ascending rounds, at least one.
        epsilon: the total after each of them, never falling; infinite means no guarantee.
        delta: the delta that goes with every one of them.
        budget: the epsilon that the hospital's owner allows; None where it is not known.
        unit: the unit of privacy that all of it is for.

    Raises:
        ReportingError: the series is empty, not ascending, falling or NaN.
    """

    hospital: str
    rounds: tuple[int, ...]
    epsilon: tuple[float, ...]
    delta: float
    budget: float | None = None
    unit: str = UNKNOWN_UNIT

    def __post_init__(self) -> None:
        if not self.rounds or len(self.rounds) != len(self.epsilon):
            message = f"{self.hospital}: {len(self.rounds)} rounds, {len(self.epsilon)} epsilons"
            raise ReportingError(message)
        check_ascending(self.rounds)
        falls = any(later < earlier for earlier, later in pairwise(self.epsilon))
        if falls or any(math.isnan(value) or value < 0 for value in self.epsilon):
            message = (
                f"{self.hospital}: epsilon {self.epsilon} falls or is no number; a total cannot"
            )
            raise ReportingError(message)

    @property
    def total(self) -> float:
        """What was spent in all."""
        return self.epsilon[-1]


def check_ascending(rounds: Sequence[int]) -> None:
    """Refuse rounds that are not strictly ascending.

    Raises:
        ReportingError: they are not.
    """
    if any(later <= earlier for earlier, later in pairwise(rounds)):
        raise ReportingError(f"rounds {list(rounds)} are not ascending")


def epsilon_series(
    lines: Sequence[Contribution], *, budgets: Mapping[str, float] | None = None
) -> tuple[EpsilonSeries, ...]:
    """The hospitals' spending curves out of the contribution log, sorted by hospital.

    Args:
        lines: the log, in any order.
        budgets: each hospital's own budget, where known.

    Raises:
        ReportingError: a hospital occurs twice in a round, its total falls, or its delta changes.
    """
    result = []
    for hospital in sorted({line.hospital for line in lines}):
        own = sorted((line for line in lines if line.hospital == hospital), key=lambda x: x.round)
        deltas = {line.delta for line in own}
        if len(deltas) > 1:
            raise ReportingError(f"{hospital}: epsilons at different deltas {sorted(deltas)}")
        result.append(
            EpsilonSeries(
                hospital=hospital,
                rounds=tuple(line.round for line in own),
                epsilon=tuple(line.epsilon for line in own),
                delta=deltas.pop(),
                budget=(budgets or {}).get(hospital),
                unit=own[-1].unit,
            )
        )
    return tuple(result)


def scores_csv(scores: Sequence[RoundScore]) -> str:
    """The learning curve as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["round", "loss", "accuracy", "macro_f1"])
    writer.writerows([s.round, s.loss, s.accuracy, s.macro_f1] for s in scores)
    return text.getvalue()
