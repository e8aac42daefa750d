"""Which aggregation strategies a study may name, and what their settings mean. Pure: no Flower.

    fedavg         mean, weighted by units; guards against nothing (McMahan et al. 2017)
    fedprox        as fedavg, while hospitals train with a proximal term, which keeps unlike
                   hospitals from drifting apart (Li et al. 2020)
    scaffold       as fedavg, while each hospital's steps are corrected by how its last ones
                   differed from the others' (Karimireddy et al. 2020); see
                   `orchestrator.aggregation.scaffold`
    fedadam        Adam at the server on the weighted mean change (Reddi et al. 2020)
    fedmedian      median of each coordinate; a minority may lie (Yin et al. 2018)
    fedtrimmedavg  mean without the extremes of each coordinate; a fraction may lie (ibid.)
    krum           the one update closest to its neighbours; f may lie (Blanchard et al. 2017)
    multikrum      plain mean of the n - f - 2 best by Krum's score; f may lie (ibid.)
    bulyan         Krum's selection, then the mean of what lies nearest to the median of each
                   coordinate; f may lie (El Mhamdi et al. 2018)

Settings fail closed: an unknown name, a value out of range, and a setting that the named strategy
would silently ignore are all refused. `minimum_updates` says with how few updates a strategy still
keeps its promise; below it the aggregator refuses, where Flower would fall back to less (a trimmed
mean of four at 0.2 trims nothing; Krum scores one neighbour) without a word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from orchestrator.errors import StrategyError

SCAFFOLD: Final = "scaffold"
_OWN_SETTINGS: dict[str, frozenset[str]] = {
    "fedavg": frozenset(),
    "fedprox": frozenset({"proximal_mu"}),
    SCAFFOLD: frozenset(),
    "fedadam": frozenset({"server_learning_rate", "beta_1", "beta_2", "tau"}),
    "fedmedian": frozenset(),
    "fedtrimmedavg": frozenset({"trimmed_fraction"}),
    "krum": frozenset({"byzantine"}),
    "multikrum": frozenset({"byzantine"}),
    "bulyan": frozenset({"byzantine"}),
}
_WEIGHTED = frozenset({"fedavg", "fedprox", SCAFFOLD, "fedadam"})
_LEAST_TRIMMED_FRACTION = 0.01


def strategy_names() -> tuple[str, ...]:
    """The names a study may give, in the order of the table above."""
    return tuple(_OWN_SETTINGS)


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """One strategy and its settings, checked on construction.

    Attributes:
        name: one of `strategy_names()`.
        proximal_mu: `fedprox`: weight of the proximal term mu/2 * ||w - w_global||^2 that each
            hospital adds to its loss; positive. 0 for all other strategies.
        server_learning_rate: `fedadam`: Adam's step at the server (eta); positive. Each coordinate
            moves by about this much a round, so it is of the size of a weight, not of a client's
            learning rate; hence 0.01 here, where Flower has 0.1.
        beta_1: `fedadam`: decay of the mean of past changes, in [0, 1).
        beta_2: `fedadam`: decay of the mean of past squared changes, in [0, 1).
        tau: `fedadam`: added to the denominator; changes much smaller than it are not amplified.
        trimmed_fraction: `fedtrimmedavg`: share cut off at each end, in [0.01, 0.5).
        byzantine: `krum`, `multikrum`, `bulyan`: how many hospitals may lie (f); at least 1.

    Raises:
        StrategyError: see the module's docstring.
    """

    name: str = "fedavg"
    proximal_mu: float = 0.0
    server_learning_rate: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3
    trimmed_fraction: float = 0.2
    byzantine: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in _OWN_SETTINGS:
            known = ", ".join(strategy_names())
            raise StrategyError(f"unknown strategy {self.name!r}; choose one of {known}")
        for field in fields(self):
            if field.name != "name":
                self._check_number(field.name)
        self._check_unused()
        self._check_ranges()

    @property
    def weighted(self) -> bool:
        """Whether a hospital's number of units changes the result."""
        return self.name in _WEIGHTED

    @property
    def minimum_updates(self) -> int:
        """The fewest updates with which the strategy still does what its name says."""
        if self.name in {"krum", "multikrum"}:
            return 2 * self.byzantine + 3  # n > 2f + 2 (Blanchard et al. 2017, proposition 4.2)
        if self.name == "bulyan":
            return 4 * self.byzantine + 3  # El Mhamdi et al. 2018, section 4
        if self.name == "fedmedian":
            return 3  # the median of two is their mean
        if self.name == "fedtrimmedavg":
            # Flower cuts int(fraction * n) at each end: the same expression finds the first n.
            return next(n for n in range(1, 200) if int(self.trimmed_fraction * n) >= 1)
        return 1

    def describe(self) -> str:
        """One line for a reviewer and a report: the name and the settings that count."""
        own = [
            f"{field.name} = {getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name in _OWN_SETTINGS[self.name]
        ]
        return f"{self.name} ({', '.join(own)})" if own else self.name

    def _check_number(self, field: str) -> None:
        """Refuse what is no finite number, and a bool that poses as one."""
        value = getattr(self, field)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole or (isinstance(value, float) and math.isfinite(value) and field != "byzantine"):
            return
        kind = "whole number" if field == "byzantine" else "finite number"
        raise StrategyError(f"{field} is {value!r}; expected a {kind}")

    def _check_unused(self) -> None:
        """Refuse a setting that the strategy would ignore."""
        for field in fields(self):
            own = field.name == "name" or field.name in _OWN_SETTINGS[self.name]
            if not own and getattr(self, field.name) != field.default:
                users = ", ".join(n for n, own in _OWN_SETTINGS.items() if field.name in own)
                message = f"{self.name} does not use {field.name}; only {users} would. Leave it out"
                raise StrategyError(message)

    def _check_ranges(self) -> None:
        """Refuse values outside the ranges of the class' docstring."""
        own = _OWN_SETTINGS[self.name]
        rules = (
            ("proximal_mu", self.proximal_mu > 0, "give a positive weight, or choose fedavg"),
            ("server_learning_rate", self.server_learning_rate > 0, "expected a positive number"),
            ("beta_1", 0 <= self.beta_1 < 1, "expected a number in [0, 1)"),
            ("beta_2", 0 <= self.beta_2 < 1, "expected a number in [0, 1)"),
            ("tau", self.tau > 0, "expected a positive number"),
            (
                "trimmed_fraction",
                _LEAST_TRIMMED_FRACTION <= self.trimmed_fraction < 0.5,
                f"expected a number in [{_LEAST_TRIMMED_FRACTION}, 0.5)",
            ),
            ("byzantine", self.byzantine >= 1, "expected at least 1"),
        )
        for field, holds, advice in rules:
            if field in own and not holds:
                raise StrategyError(f"{field} is {getattr(self, field)}; {advice}")
