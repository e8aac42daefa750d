"""Recipes: kinds of plan that `dura study init --recipe NAME` writes, each with all its settings.

    head           a linear head on the frozen encoder, DP-FedSGD: one full step a round (default)
    head-fedavg    the same head, DP-FedAvg: ten local steps a round, fewer rounds
    head-scaffold  the same as head-fedavg, its local steps corrected where hospitals are unlike
    head-fedadam   the same head, one full step a round, Adam at the server

All ask for the same guarantee; noise is calibrated to it when the study is checked. Settings of
`head` follow epsilon; those of the others are for epsilon 8. How far each was searched stands in
`docs/recipes.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.errors import StudyError

DEFAULT: Final = "head"
MIXING_S: Final = 4.0
_IMAGE_SIZE: Final = 160
"""Side at which hospitals store images unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the template gives a kind of plan; names are those of `study.toml`.

    Attributes:
        words: what it is, for people.
        generator: whether a generator is trained and its images are mixed in.
        averaged: share of the rounds, the last ones, whose weights are averaged.
        strategy: how updates become a model.
        server_learning_rate: of a strategy that has one.
        first_train_s, train_s, generate_s, pool_s, report_s: the slots of the plan; with room for
            five hospitals on two cores, each with some three hundred images. Mixing in a
            generator's images takes `MIXING_S` more.
    """

    words: str
    model: str
    steps: int
    rate: float = 1.0
    clipping_norm: float
    learning_rate: float
    highest: float
    momentum: float = 0.0
    augment: bool = False
    generator: bool = False
    rounds: int
    averaged: float = 0.25
    image_size: int = _IMAGE_SIZE
    strategy: str = "fedavg"
    server_learning_rate: float | None = None
    first_train_s: float = 50.0
    train_s: float = 90.0
    generate_s: float = 70.0
    pool_s: float = 70.0
    report_s: float = 45.0


# DP-FedSGD: one full-batch step a round, whose mean over hospitals does not depend on how the data
# lie between them. Large steps, because features have length 1 and a small clip bounds each unit.
# No generator: its images would cost epsilon, and a linear head has few weights to learn.
_HEAD: Final = Recipe(
    words="linear head on the frozen encoder, DP-FedSGD (default plan)",
    model="encoder_head",
    steps=1,
    clipping_norm=0.3,
    learning_rate=120.0,
    highest=400.0,
    rounds=40,
    train_s=6.0,
)
_LOCAL_STEPS: Final = replace(
    _HEAD,
    words="linear head on the frozen encoder, DP-FedAvg",
    steps=10,
    learning_rate=60.0,
    rounds=8,
)
RECIPES: Final[Mapping[str, Recipe]] = {
    DEFAULT: _HEAD,
    "head-fedavg": _LOCAL_STEPS,
    "head-scaffold": replace(
        _LOCAL_STEPS,
        words="linear head on the frozen encoder, DP-SCAFFOLD",
        strategy="scaffold",
    ),
    "head-fedadam": replace(
        _HEAD,
        words="linear head on the frozen encoder, DP-FedSGD with Adam at the server",
        strategy="fedadam",
        server_learning_rate=0.25,
    ),
}
_WHOLE_NETWORK: Final = Recipe(
    words="a whole network",
    model="small_cnn",
    image_size=64,
    steps=24,
    rate=0.3,
    clipping_norm=1.0,
    learning_rate=0.5,
    highest=8.0,
    momentum=0.9,
    augment=True,
    generator=True,
    rounds=4,
    averaged=0.0,
    first_train_s=120.0,
    train_s=120.0,
)
"""For a `--model` of which no recipe tells: `small_cnn`, `resnet18` and `model.py`."""

_BY_EPSILON: Final = ((5.0, 40, 120.0), (2.0, 40, 90.0), (0.0, 24, 60.0))
"""From this epsilon on: rounds and learning rate of `head`; more noise wants fewer steps.

Chosen on the validation part that `dura bench accuracy --validation` judges on, at epsilon 8, 3
and 1, by a sweep that is not kept.
"""


def recipe_names() -> tuple[str, ...]:
    """What `--recipe` takes, the default first."""
    return tuple(RECIPES)


def recipe_for(
    model: str | None = None,
    *,
    recipe: str | None = None,
    epsilon: float = 8.0,
    rounds: int | None = None,
    generator: bool | None = None,
) -> Recipe:
    """The recipe of a study.

    Args:
        model: a classifier; without a name, the recipe that is its own.
        recipe: a name; the default without both.
        epsilon: of the study.
        rounds: None leaves them to the recipe.
        generator: likewise.

    Raises:
        StudyError: there is no such recipe, or it trains another model.
    """
    name = _name(model) if recipe is None else recipe
    base = _WHOLE_NETWORK if name is None else _named(name)
    if name is None and model is not None:
        base = replace(base, model=model)
    if model is not None and base.model != model:
        raise StudyError(
            f"recipe {recipe!r} trains {base.model}, but the model asked for is {model!r}; "
            "leave out one of the two"
        )
    if name == DEFAULT:
        found = ((n, rate) for least, n, rate in _BY_EPSILON if epsilon >= least)
        count, rate = next(found, _BY_EPSILON[-1][1:])
        base = replace(base, rounds=count, learning_rate=rate)
    mixes = base.generator if generator is None else generator
    return replace(
        base,
        rounds=base.rounds if rounds is None else rounds,
        generator=mixes,
        train_s=base.train_s + (MIXING_S if mixes else 0.0),
    )


def _named(name: str) -> Recipe:
    if name not in RECIPES:
        raise StudyError(f"no recipe is called {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _name(model: str | None) -> str | None:
    """Of the recipe that is a model's own; None for a whole network."""
    if model is None:
        return DEFAULT
    return next((name for name, recipe in RECIPES.items() if recipe.model == model), None)
