"""What a benchmark of accuracy measures: one case, in words and in settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models import ENCODER_HEAD
from orchestrator.bench.ablation import Synthetic
from orchestrator.study import DEFAULT, RECIPES, recipe_for, recipe_names

HEAD, TUNED = ENCODER_HEAD, "tuned"
TENTH = 0.1
"""Share of the training units that the hospitals of a small study hold."""

STRATEGIES = {
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "fedadam": "one step a round, Adam at the server",
}
"""Those that `tuned` is measured with, in words."""

ADDED = {
    Synthetic.NONE: "",
    Synthetic.CLASSICAL: "classical augmentation",
    Synthetic.LOCAL_DP: "local DP diffusion",
    Synthetic.POOLED_DP: "pooled DP diffusion",
    Synthetic.NON_PRIVATE: "diffusion without privacy, the head's noise that of epsilon 8",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure.

    Attributes:
        recipe: `encoder_head`, `tuned`, or the name of a recipe of `dura study init`.
        alpha: of the Dirichlet draw that divides each class among hospitals; None for equal shares.
        epsilon: of the whole study, None without differential privacy.
        seed: of the division, the noise and the order.
        strategy: one of `STRATEGIES`, of `tuned` only; a recipe has its own.
        added: what is added to real images, of `encoder_head` only.
        share: of the training units that the hospitals hold at all.
    """

    recipe: str
    alpha: float | None
    epsilon: float | None
    seed: int
    strategy: str = "fedavg"
    added: Synthetic = Synthetic.NONE
    share: float = 1.0

    @property
    def name(self) -> str:
        """The recipe in words."""
        if self.recipe == TUNED:
            return f"encoder's late blocks trained along, {STRATEGIES[self.strategy]}"
        if self.added is not Synthetic.NONE:
            return f"the default plan and {ADDED[self.added]}"
        return RECIPES[DEFAULT if self.recipe == HEAD else self.recipe].words

    @property
    def partition(self) -> str:
        """The division in words."""
        over = "IID" if self.alpha is None else f"Dirichlet {self.alpha:g}"
        return over if self.share == 1.0 else f"{over}, {self.share:.0%} of the data"

    @property
    def guaranteed(self) -> float | None:
        """The epsilon that holds for the whole; None where images of patients may have leaked."""
        return None if self.added is Synthetic.NON_PRIVATE else self.epsilon


def cases(*, quick: bool, seeds: int) -> list[Case]:
    """The curve: the whole table, or what ten minutes allow."""
    epsilons = (8.0, 3.0, 1.0, None)
    alphas = (None, 0.1) if quick else (None, 0.5, 0.1)
    return [
        Case(recipe=HEAD, alpha=alpha, epsilon=epsilon, seed=seed)
        for alpha in alphas
        for epsilon in epsilons
        for seed in range(seeds)
    ]


def tuned_cases(*, seeds: int) -> list[Case]:
    """What noise takes: late blocks trained along without privacy, IID and skewed hospitals."""
    return [
        Case(recipe=TUNED, alpha=alpha, epsilon=None, seed=seed, strategy=strategy)
        for seed in range(seeds)
        for alpha, strategy in (
            (None, "fedavg"),
            (0.1, "fedavg"),
            (0.1, "fedprox"),
            (0.1, "fedadam"),
        )
    ]


def ablation_cases(*, seeds: int) -> list[Case]:
    """What augmentation does at epsilon 8: all data, a tenth of them, and skewed hospitals.

    In an order in which those that share generators follow one another.
    """
    return [
        Case(recipe=HEAD, alpha=alpha, epsilon=8.0, seed=seed, added=added, share=share)
        for alpha, share in ((None, 1.0), (None, TENTH), (0.1, 1.0))
        for seed in range(seeds)
        for added in Synthetic
    ]


def recipe_cases(
    *, seeds: int, names: Sequence[str] = recipe_names(), alpha: float = 0.5
) -> list[Case]:
    """Recipes beside each other at epsilon 8, over IID and skewed hospitals.

    Args:
        seeds: how many, of each.
        names: which.
        alpha: of the skewed hospitals' Dirichlet draw.

    Raises:
        StudyError: a name is no recipe's.
    """
    known = {name: recipe_for(recipe=name) for name in names}
    return [
        Case(recipe=name, alpha=division, epsilon=8.0, seed=seed)
        for name in known
        for division in (None, alpha)
        for seed in range(seeds)
    ]
