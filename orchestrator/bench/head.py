"""The default plan in a benchmark: a linear head on the frozen encoder's features.

The plan is that of `dura study init`, its noise calibrated for epsilon; training is
`privacy.train_dp` at each hospital, with noise of its own, from a seed so that a figure can be had
again. Only synthetic images are from the operating system's randomness, as a job draws them
(`orchestrator.bench.ablation`).

What is added to real images enters as in a job: synthetic images by the public part of the loss,
the generator's spend by the plan's calibration, which leaves more noise to the head; classical
variants in the place of the image they vary. A job varies an image anew in every step; here each
step picks one of a few variants that were drawn before, because features cost most of the time.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites import (
    MOST_KEPT_ROWS,
    SYNTHETIC_BATCH,
    AugmentPart,
    GeneratorPart,
    Plan,
    StableDiffusionPart,
)
from models import AugmentSettings, EncoderHead, build_augment, build_model, normalise
from orchestrator.aggregation import Aggregator
from orchestrator.bench.ablation import Ablation, Extra, HospitalImages, Synthetic
from orchestrator.bench.data import DELTA, BenchData, Division, dense
from orchestrator.bench.measured import HEAD, Case
from orchestrator.bench.rounds import federate
from orchestrator.errors import StudyError
from orchestrator.study import DEFAULT, Study, recipe_for, study_plan, study_template
from privacy import (
    DpSgdSettings,
    UnsafeNoNoise,
    UnsafeSeededNoise,
    UnsafeSeededStream,
    train_dp,
)

WITHOUT = 8.0
"""The epsilon whose recipe is run without noise, to compare."""

_CHUNK = MOST_KEPT_ROWS
_IMAGES = 64
_VARIANTS = 4
_SPENDS = (Synthetic.LOCAL_DP, Synthetic.POOLED_DP)


def default_study(
    *,
    epsilon: float,
    classes: Sequence[str],
    generator: bool | None = None,
    recipe: str = DEFAULT,
) -> tuple[Study, Plan]:
    """The study that `dura study init` writes, and its plan with calibrated noise."""
    text = study_template(
        name="bench",
        email="bench@bench.example",
        relay="file:///nowhere",
        hospitals=[f"{letter}@bench.example" for letter in "abcde"],
        epsilon=epsilon,
        delta=DELTA,
        recipe=recipe_for(recipe=recipe, epsilon=epsilon, generator=generator),
    )
    study = Study.model_validate(tomllib.loads(text) | {"classes": list(classes)})
    return study, study_plan(study)


class HeadBench:
    """Trains the default plan's head; features are computed once for all cases."""

    def __init__(self, data: BenchData) -> None:
        self._data = data
        self._ablations: dict[tuple[float | None, int, float], Ablation] = {}

    def train(self, case: Case, division: Division) -> tuple[NDArray[np.float64], float, int]:
        """Probabilities [J, C] of the judged images, the noise multiplier, and the rounds taken."""
        study, plan = default_study(
            epsilon=case.epsilon or WITHOUT,
            classes=self._data.classes,
            generator=case.added in _SPENDS,
        )
        multiplier = plan.train.noise_multiplier
        noise = UnsafeSeededNoise(case.seed) if case.epsilon else UnsafeNoNoise()
        sampling = UnsafeSeededStream(case.seed)
        generator = torch.Generator().manual_seed(case.seed)
        counts = [self._data.published_units(r, seed=case.seed) for r in division.hospitals]
        losses = [self._losses(case, rows, generator) for rows in division.hospitals]
        public = self._public_losses(case, division, counts, generator)
        head = copy.deepcopy(self._model.head)

        def local(place: int, _round: int) -> float:
            train_dp(
                head,
                losses=losses[place],
                units=torch.from_numpy(dense(self._data.units[division.hospitals[place]])),
                settings=_settings(study, noise=multiplier, units=counts[place]),
                optimizer=lambda p: torch.optim.SGD(p, lr=study.train.learning_rate),
                sampling=sampling,
                noise=noise,
                public_rows=_public_rows(head),
                public_loss=public[place],
            )
            return counts[place]

        federate(
            head,
            local,
            rounds=study.rounds,
            average_last=study.strategy.average_last,
            aggregator=Aggregator(study.strategy.settings()),
        )
        with torch.no_grad():
            logits = head(self._features[torch.from_numpy(division.judged)])
        stated = multiplier if case.epsilon else 0.0
        return torch.softmax(logits.double(), dim=1).numpy(), stated, study.rounds

    # --- inside ---------------------------------------------------------------------------

    @cached_property
    def _model(self) -> EncoderHead:
        classes = len(self._data.classes)
        model = build_model(HEAD, text=None, classes=classes, image_size=self._data.image_size)
        if not isinstance(model, EncoderHead):
            raise StudyError(f"{HEAD} has no features that could be kept")
        return model

    @cached_property
    def _features(self) -> Tensor:
        return torch.from_numpy(self._model.stored_features(self._data.images))

    @cached_property
    def _variants(self) -> Tensor:
        """Features of varied images: [`_VARIANTS`, N, D]."""
        draws = torch.Generator().manual_seed(0)
        vary = build_augment(AugmentSettings(**AugmentPart().variation()), generator=draws)

        def once() -> Tensor:
            chunks = torch.from_numpy(self._data.images).split(_IMAGES)
            return torch.cat([self._model.features(vary(normalise(chunk))) for chunk in chunks])

        return torch.stack([once() for _ in range(_VARIANTS)])

    def _losses(
        self, case: Case, rows: NDArray[np.int64], generator: torch.Generator
    ) -> Callable[[nn.Module, Tensor], Tensor]:
        place = torch.from_numpy(rows)
        labels = torch.from_numpy(self._data.labels[rows])
        if case.added is not Synthetic.CLASSICAL:
            features = self._features[place]
            return lambda network, index: functional.cross_entropy(
                network(features[index]), labels[index], reduction="none"
            )
        variants = self._variants[:, place]

        def varied(network: nn.Module, index: Tensor) -> Tensor:
            pick = torch.randint(_VARIANTS, (len(index),), generator=generator)
            chosen = variants[pick, index]
            return functional.cross_entropy(network(chosen), labels[index], reduction="none")

        return varied

    def _public_losses(
        self, case: Case, division: Division, counts: list[float], generator: torch.Generator
    ) -> list[Callable[[nn.Module], Tensor] | None]:
        """For each hospital the loss on what is added to its images, if anything is."""
        if case.added in (Synthetic.NONE, Synthetic.CLASSICAL):
            return [None] * len(counts)
        ablation = self._ablation(case, division, counts)
        places = range(len(counts))
        return [self._public_loss(ablation.added(n, case.added), generator) for n in places]

    def _public_loss(
        self, extra: Extra, generator: torch.Generator
    ) -> Callable[[nn.Module], Tensor]:
        weight, _ = self._generating
        features, labels = self._synthetic(extra), torch.from_numpy(extra.labels)

        def loss(network: nn.Module) -> Tensor:
            pick = torch.randint(len(labels), (SYNTHETIC_BATCH,), generator=generator)
            entropy = functional.cross_entropy(network(features[pick]), labels[pick])
            return weight * entropy

        return loss

    def _synthetic(self, extra: Extra) -> Tensor:
        size = (self._data.image_size,) * 2
        images = normalise(torch.from_numpy(extra.images))
        return self._model.features(functional.interpolate(images, size=size, mode="bilinear"))

    def _ablation(self, case: Case, division: Division, counts: list[float]) -> Ablation:
        """That of a division; the last one's generators are kept."""
        key = (case.alpha, case.seed, case.share)
        if key not in self._ablations:
            data = self._data
            hospitals = [
                HospitalImages(
                    images=data.images[rows],
                    labels=data.labels[rows],
                    units=dense(data.units[rows]),
                    published_units=count,
                )
                for rows, count in zip(division.hospitals, counts, strict=True)
            ]
            _, part = self._generating
            self._ablations = {key: Ablation(hospitals, part, classes=tuple(data.classes))}
        return self._ablations[key]

    @cached_property
    def _generating(self) -> tuple[float, GeneratorPart | StableDiffusionPart]:
        """Of the default study with a generator: the weight of its images, and its settings."""
        study, plan = default_study(epsilon=WITHOUT, classes=self._data.classes, generator=True)
        if plan.generator is None:
            raise StudyError("the default plan with a generator has none")
        return study.train.synthetic_weight, plan.generator


def _public_rows(head: nn.Linear) -> Callable[[nn.Module, Tensor], Tensor]:
    draws = torch.Generator().manual_seed(0)
    features = torch.randn((_CHUNK, head.in_features), generator=draws)
    labels = torch.arange(_CHUNK) % head.out_features
    return lambda model, index: functional.cross_entropy(
        model(features[index]), labels[index], reduction="none"
    )


def _settings(study: Study, *, noise: float, units: float) -> DpSgdSettings:
    train = study.train
    return DpSgdSettings(
        sampling_rate=train.sampling_rate,
        noise_multiplier=noise,
        clipping_norm=train.clipping_norm,
        expected_units=train.sampling_rate * units,
        steps=train.steps,
        chunk_images=_CHUNK,
    )
