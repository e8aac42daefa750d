"""Any recipe in a benchmark: the plan that `dura study init --recipe` writes, in one process.

As in `orchestrator.accuracy_head`, which is the default recipe with all that may be added to it:
the study's own plan with its noise calibrated for epsilon, `privacy.train_dp` at each hospital
with noise of its own, Flower's aggregation by the plan's strategy, the mean of the last rounds.
Rows of a step are those of a job (`datasites.worker.train`): each image in as many augmented views
as the plan says, of one unit. What no step changes is computed once for all cases.

Settings stand in `orchestrator.recipes`; where they were searched, on the validation part. What was
tried, and what was not, stands in `docs/recipes.md`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites import MOST_IMAGES, MOST_ROWS, Plan, correction_term, public_rows
from models import (
    AugmentSettings,
    FrozenStart,
    build_augment,
    build_model,
    initial_weights,
    normalise,
)
from orchestrator.accuracy_cases import Case
from orchestrator.accuracy_data import NAMES, BenchData, Division, dense
from orchestrator.accuracy_head import default_study
from orchestrator.accuracy_rounds import federate
from orchestrator.aggregation import Aggregator
from orchestrator.errors import StudyError
from privacy import DpSgdSettings, Sgd, UnsafeSeededNoise, UnsafeSeededStream, train_dp

_IMAGES = 64


class RecipesBench:
    """Trains any recipe; features of one frozen part at a time are kept."""

    def __init__(self, data: BenchData) -> None:
        self._data = data
        self._kept: tuple[str, Tensor] | None = None

    def train(self, case: Case, division: Division) -> tuple[NDArray[np.float64], float, int]:
        """Probabilities [J, C] of the judged images, the noise multiplier, and the rounds taken."""
        if case.epsilon is None:
            raise StudyError("a recipe is measured for an epsilon; give one")
        study, plan = default_study(
            epsilon=case.epsilon, classes=self._data.classes, recipe=case.recipe
        )
        model = self._model(plan, seed=case.seed)
        draws = torch.Generator().manual_seed(case.seed)
        sampling, noise = UnsafeSeededStream(case.seed), UnsafeSeededNoise(case.seed)
        counts = [self._data.published_units(r, seed=case.seed) for r in division.hospitals]
        losses = [self._losses(model, plan, rows, draws) for rows in division.hospitals]
        aggregator = Aggregator(
            study.strategy.settings(), travel=study.train.steps * study.train.learning_rate
        )

        def local(place: int, _round: int) -> float:
            units = torch.from_numpy(dense(self._data.units[division.hospitals[place]]))
            settings = _settings(plan, units=counts[place])
            correction = aggregator.correction(NAMES[place], like=model.state_dict())
            train_dp(
                model,
                losses=losses[place],
                units=units.repeat_interleave(_views(plan)),
                settings=settings,
                optimizer=lambda parameters: Sgd(
                    parameters, lr=study.train.learning_rate, momentum=plan.train.momentum
                ),
                sampling=sampling,
                noise=noise,
                public_rows=public_rows(
                    model,
                    size=self._data.image_size,
                    classes=len(plan.classes),
                    rows=settings.rows,
                    kept=isinstance(model, FrozenStart) and plan.train.augment is None,
                ),
                public_loss=_correction_loss(correction),
            )
            return counts[place]

        federate(
            model,
            local,
            rounds=study.rounds,
            average_last=study.strategy.average_last,
            aggregator=aggregator,
        )
        probabilities = self._probabilities(model, plan, division.judged)
        return probabilities, plan.train.noise_multiplier, study.rounds

    # --- inside ---------------------------------------------------------------------------

    def _model(self, plan: Plan, *, seed: int) -> nn.Module:
        """The classifier, from the weights that a study's seed gives."""
        name, size, classes = plan.model.name, plan.model.image_size, len(plan.classes)
        model = build_model(name, text=None, classes=classes, image_size=size)
        start = initial_weights(name, text=None, classes=classes, image_size=size, seed=seed)
        model.load_state_dict(start)
        return model.train()

    def _losses(
        self, model: nn.Module, plan: Plan, rows: NDArray[np.int64], draws: torch.Generator
    ) -> Callable[[nn.Module, Tensor], Tensor]:
        place, labels = torch.from_numpy(rows), torch.from_numpy(self._data.labels[rows])
        if isinstance(model, FrozenStart) and plan.train.augment is None:
            features = self._features(model, plan)
            return lambda _network, index: functional.cross_entropy(
                model.from_features(features[place[index]]), labels[index], reduction="none"
            )
        vary, views = _augmentation(plan, draws), _views(plan)
        images = torch.from_numpy(self._data.images)

        def losses(network: nn.Module, row: Tensor) -> Tensor:
            index = row // views
            shown = vary(normalise(images[place[index]]))
            return functional.cross_entropy(network(shown), labels[index], reduction="none")

        return losses

    def _features(self, model: FrozenStart, plan: Plan) -> Tensor:
        """Of all images; the last frozen part's are kept."""
        name = plan.model.name
        if self._kept is None or self._kept[0] != name:
            self._kept = None  # room for the next one's first
            self._kept = (name, torch.from_numpy(model.stored_features(self._data.images)))
        return self._kept[1]

    @torch.no_grad()
    def _probabilities(
        self, model: nn.Module, plan: Plan, rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        judged = torch.from_numpy(rows)
        if isinstance(model, FrozenStart):
            logits = model.stored_logits(self._features(model, plan)[judged])
        else:
            images = torch.from_numpy(self._data.images)
            logits = torch.cat([model(normalise(images[some])) for some in judged.split(_IMAGES)])
        return torch.softmax(logits.double(), dim=1).numpy()


def _augmentation(plan: Plan, draws: torch.Generator) -> Callable[[Tensor], Tensor]:
    if plan.train.augment is None:
        return lambda images: images
    return build_augment(AugmentSettings(**plan.train.augment.variation()), generator=draws)


def _correction_loss(correction: dict[str, Tensor]) -> Callable[[nn.Module], Tensor] | None:
    """What a job adds to the loss where the plan's strategy corrects a hospital's steps."""
    return (lambda network: correction_term(network, correction)) if correction else None


def _views(plan: Plan) -> int:
    return plan.train.augment.views if plan.train.augment is not None else 1


def _settings(plan: Plan, *, units: float) -> DpSgdSettings:
    train = plan.train
    return DpSgdSettings(
        sampling_rate=train.sampling_rate,
        noise_multiplier=train.noise_multiplier,
        clipping_norm=train.clipping_norm,
        expected_units=train.sampling_rate * units,
        steps=train.steps,
        chunk_images=MOST_ROWS,
        max_images_per_unit=min(MOST_ROWS, MOST_IMAGES * _views(plan)),
    )
