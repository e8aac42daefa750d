"""What report tasks tell a hospital of the study beyond its own data. Pure.

Told to each: the accuracy over the rounds on the researcher's own test set, and the hospital's own
share. Every hospital's share goes to the one that writes about the global model, and only where the
plan, which all of them approved, names them. Nothing here was computed from unreleased data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datasites import RoundAccuracy
from orchestrator.aggregation import mean_shares
from orchestrator.rounds.run_folder import RunState
from orchestrator.study import Study


@dataclass(frozen=True)
class Told:
    """What a run has to tell.

    Attributes:
        trend: accuracy after each round. shares: hospital to its mean share; empty where the
            strategy weighs no hospital by its units.
        named: every hospital's share in the order of the plan's names; empty where it has none.
        took_part: hospitals whose updates are in the weights; None where that is not known.
    """

    trend: tuple[RoundAccuracy, ...] = ()
    shares: Mapping[str, float] | None = None
    named: tuple[float, ...] = ()
    took_part: int | None = None

    @classmethod
    def of(cls, state: RunState, study: Study) -> Told:
        """What the rounds so far have to tell."""
        trend = tuple(
            RoundAccuracy(round=score.round, accuracy=score.accuracy)
            for score in state.scores
            if score.round > 0
        )
        took_part = len({line.hospital for line in state.contributions}) or None
        if took_part is None or not study.strategy.settings().weighted:
            return cls(trend, took_part=took_part)
        shares = mean_shares(state.contributions)
        named = study.reports is not None and bool(study.reports.hospitals)
        every = tuple(shares.get(site, 0.0) for site in study.hospitals) if named else ()
        return cls(trend, shares, every, took_part)

    def share(self, hospital: str) -> float | None:
        """A hospital's own share; None where none is known."""
        return None if self.shares is None else self.shares.get(hospital, 0.0)
