"""Any recipe in a benchmark: the plan that `dura study init --recipe` writes, in one process.

As in `orchestrator.bench.head`, which is the default recipe with all that may be added to it:
the study's own plan with its noise calibrated for epsilon, `privacy.train_dp` at each hospital
with noise of its own, Flower's aggregation by the plan's strategy, the mean of the last rounds.
Every recipe trains behind the frozen encoder and varies no image, so features are computed once for
all cases; one that would not is refused.

Settings stand in `orchestrator.study.recipes`; where they were searched, on the validation part.
What was tried, and what was not, stands in `docs/recipes.md`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites import MOST_IMAGES, MOST_ROWS, Plan, correction_term, public_rows
from models import FrozenStart, build_model, initial_weights
from orchestrator.aggregation import Aggregator
from orchestrator.bench.data import NAMES, BenchData, Division, dense
from orchestrator.bench.head import default_study
from orchestrator.bench.measured import Case
from orchestrator.bench.rounds import federate
from orchestrator.errors import StudyError
from privacy import DpSgdSettings, Sgd, UnsafeSeededNoise, UnsafeSeededStream, train_dp


class RecipesBench:
    """Trains any recipe; features are kept."""

    def __init__(self, data: BenchData) -> None:
        self._data = data
        self._kept: Tensor | None = None

    def train(self, case: Case, division: Division) -> tuple[NDArray[np.float64], float, int]:
        """Probabilities [J, C] of the judged images, the noise multiplier, and the rounds taken."""
        if case.epsilon is None:
            raise StudyError("a recipe is measured for an epsilon; give one")
        study, plan = default_study(
            epsilon=case.epsilon, classes=self._data.classes, recipe=case.recipe
        )
        model = _model(plan, seed=case.seed)
        sampling, noise = UnsafeSeededStream(case.seed), UnsafeSeededNoise(case.seed)
        counts = [self._data.published_units(r, seed=case.seed) for r in division.hospitals]
        losses = [self._losses(model, rows) for rows in division.hospitals]
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
                units=units,
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
                    kept=True,
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
        probabilities = self._probabilities(model, division.judged)
        return probabilities, plan.train.noise_multiplier, study.rounds

    # --- inside ---------------------------------------------------------------------------

    def _losses(
        self, model: FrozenStart, rows: NDArray[np.int64]
    ) -> Callable[[nn.Module, Tensor], Tensor]:
        features = self._features(model)[torch.from_numpy(rows)]
        labels = torch.from_numpy(self._data.labels[rows])
        return lambda _network, index: functional.cross_entropy(
            model.from_features(features[index]), labels[index], reduction="none"
        )

    def _features(self, model: FrozenStart) -> Tensor:
        """Of all images, behind the shipped encoder."""
        if self._kept is None:
            self._kept = torch.from_numpy(model.stored_features(self._data.images))
        return self._kept

    def _probabilities(self, model: FrozenStart, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = model.stored_logits(self._features(model)[torch.from_numpy(rows)])
        return torch.softmax(logits.double(), dim=1).numpy()


def _model(plan: Plan, *, seed: int) -> FrozenStart:
    """The classifier, from the weights that a study's seed gives.

    Raises:
        StudyError: it has no frozen features, or its images are varied.
    """
    name, size, classes = plan.model.name, plan.model.image_size, len(plan.classes)
    model = build_model(name, text=None, classes=classes, image_size=size)
    if not isinstance(model, FrozenStart) or plan.train.augment is not None:
        raise StudyError(
            f"a recipe that trains {name} on images, not on kept features, cannot be measured "
            "here; only recipes on the frozen encoder without augmentation can"
        )
    model.load_state_dict(
        initial_weights(name, text=None, classes=classes, image_size=size, seed=seed)
    )
    return model.train()


def _correction_loss(correction: dict[str, Tensor]) -> Callable[[nn.Module], Tensor] | None:
    """What a job adds to the loss where the plan's strategy corrects a hospital's steps."""
    return (lambda network: correction_term(network, correction)) if correction else None


def _settings(plan: Plan, *, units: float) -> DpSgdSettings:
    train = plan.train
    return DpSgdSettings(
        sampling_rate=train.sampling_rate,
        noise_multiplier=train.noise_multiplier,
        clipping_norm=train.clipping_norm,
        expected_units=train.sampling_rate * units,
        steps=train.steps,
        chunk_images=MOST_ROWS,
        max_images_per_unit=MOST_IMAGES,
    )
