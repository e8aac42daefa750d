"""`dura bench accuracy`: what a study's plan gets right, for what epsilon, on whose data.

The hospitals are parts of one data set in this process; nothing is sent, approved or spent. The
rest is a study's own: privacy units and folders as ingest makes them, the plan that `dura study
init` writes with its noise calibrated for epsilon at delta, `privacy.train_dp` at each hospital
with noise of its own, published counts with the data card's noise, Flower's aggregation, the mean
of the last rounds. Noise is drawn from a seed, so that a figure can be had again: here, never in a
hospital.

Judged on images that no hospital holds: a test folder, or a fifth of the data set's units held out.
With `validation`, on a fifth of the training units instead, and the test images are not looked at:
this is how settings are chosen.

Recipes without noise (epsilon None) tell what privacy costs, and are run nowhere else:
`encoder_head` with the noise left out, and `tuned`, the late blocks of the encoder trained along by
FedAvg or FedProx (`models.encoder_tuned`).

A hospital's figure is the recall of each class weighted by that hospital's mix of classes: what its
patients can expect of the global model. The worst one stands beside the mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites import NOISE_MULTIPLIER, Plan, plan_split, read_labelled, read_shard
from models import EncoderTuned, Evaluation, TunedStart, build_model, evaluate, tune
from orchestrator.aggregation import Aggregator
from orchestrator.strategies import StrategySettings
from orchestrator.study import Study, study_plan
from orchestrator.template import recipe_for, study_template
from orchestrator.update_checks import Update
from privacy import DpSgdSettings, noised_counts, train_dp, unit_counts

HOSPITALS = 5
DELTA = 1e-5
HELD_OUT = 0.2
HEAD, TUNED = "encoder_head", "tuned"
_CHUNK = 512
_TUNED_ROUNDS, _TUNED_AVERAGED = 16, 4
_TUNED_RATE, _TUNED_LEAST = 1.5e-3, 1e-5
_PROXIMAL_MU = 0.01
WITHOUT = 8.0
"""The epsilon whose recipe is run without noise, to compare."""

_BARE_NOISE = 1e-9
"""Of the head without DP: the trainer takes no zero, and this moves no weight."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure.

    Attributes:
        recipe: `encoder_head` or `tuned`.
        alpha: of the Dirichlet draw that divides each class among hospitals; None for equal shares.
        epsilon: of the whole study, None without differential privacy.
        seed: of the division, the noise and the order.
        proximal_mu: FedProx' term, of `tuned` only.
    """

    recipe: str
    alpha: float | None
    epsilon: float | None
    seed: int
    proximal_mu: float = 0.0

    @property
    def name(self) -> str:
        """The recipe in words."""
        if self.recipe == HEAD:
            return "linear head on the frozen encoder, DP-FedSGD (default plan)"
        how = "FedProx" if self.proximal_mu else "FedAvg"
        return f"encoder's late blocks trained along, {how}"

    @property
    def partition(self) -> str:
        """The division in words."""
        return "IID" if self.alpha is None else f"Dirichlet {self.alpha:g}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured: the case, what it took, and how the global model did.

    Attributes:
        case: what.
        evaluation: on the judged images.
        hospitals: hospital to accuracy by its mix of classes.
        noise_multiplier: of each step, 0 without DP.
        rounds: taken.
        train_s: seconds of training in this process, features not included.
    """

    case: Case
    evaluation: Evaluation
    hospitals: Mapping[str, float]
    noise_multiplier: float
    rounds: int
    train_s: float


@dataclass(frozen=True)
class Division:
    """Rows of the data set: one array for each hospital, and those that are judged."""

    hospitals: tuple[NDArray[np.int64], ...]
    judged: NDArray[np.int64]


class AccuracyBench:
    """Measures cases on one data set; features are computed once for all of them.

    Args:
        data: folder with one folder a class.
        test: another one to judge on; a fifth of `data` without it.
        validation: judge on a fifth of the training units instead.

    Raises:
        IngestError: a folder cannot be used.
    """

    def __init__(self, data: Path, *, test: Path | None = None, validation: bool = False) -> None:
        self._recipe = recipe_for()
        size = self._recipe.image_size
        shard = read_shard(data, image_size=size)
        self.classes, self.version, self.unit = shard.classes, shard.version, shard.unit_kind
        self.train_images = len(shard.labels)
        self.units: NDArray[np.int64] = np.asarray(shard.units)
        self.validation = validation
        images, labels = np.array(shard.images), np.array(shard.labels)
        self._held_out = test is None
        if test is not None:
            more, more_labels = read_labelled(test, classes=self.classes, image_size=size)
            images = np.concatenate([images, more])
            labels = np.concatenate([labels, more_labels])
        self._images: NDArray[np.uint8] = images
        self.labels: NDArray[np.int64] = labels

    def measure(self, case: Case) -> Row:
        """Train and judge one case."""
        division = self._divide(case)
        started = time.perf_counter()
        train = self._train_tuned if case.recipe == TUNED else self._train_head
        probabilities, noise, rounds = train(case, division)
        evaluation = evaluate(probabilities, self.labels[division.judged], self.classes)
        return Row(
            case=case,
            evaluation=evaluation,
            hospitals=self._by_hospital(evaluation, division),
            noise_multiplier=noise,
            rounds=rounds,
            train_s=time.perf_counter() - started,
        )

    # --- inside ---------------------------------------------------------------------------

    def _divide(self, case: Case) -> Division:
        rows = np.arange(self.train_images)
        judged = np.arange(self.train_images, len(self.labels))
        if self._held_out:
            rows, judged = self._split_off(rows, case)
        if self.validation:
            rows, judged = self._split_off(rows, case)
        plan = plan_split(
            self.labels[rows],
            _dense(self.units[rows]),
            clients=HOSPITALS,
            test=0.0,
            alpha=case.alpha,
            seed=case.seed,
        )
        parts = tuple(rows[plan.part_of == part] for part in range(HOSPITALS))
        return Division(parts, judged)

    def _split_off(
        self, rows: NDArray[np.int64], case: Case
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that stay, and a fifth of the units' that are held out."""
        plan = plan_split(
            self.labels[rows],
            _dense(self.units[rows]),
            clients=1,
            test=0.0,
            holdout=HELD_OUT,
            seed=case.seed,
        )
        return rows[plan.part_of != 0], rows[plan.part_of == 0]

    @cached_property
    def _features(self) -> Tensor:
        model = build_model(HEAD, text=None, classes=len(self.classes), image_size=self._size)
        return torch.from_numpy(model.stored_features(self._images))  # type: ignore[operator]

    @cached_property
    def _start(self) -> TunedStart:
        return TunedStart.of(self._images)

    @property
    def _size(self) -> int:
        return self._recipe.image_size

    def _train_head(self, case: Case, division: Division) -> tuple[NDArray[np.float64], float, int]:
        study, plan = default_study(epsilon=case.epsilon or WITHOUT, classes=self.classes)
        noise = plan.train.noise_multiplier if case.epsilon else _BARE_NOISE
        generator = torch.Generator().manual_seed(case.seed)
        counts = [self._published(rows, seed=case.seed) for rows in division.hospitals]
        aggregator = Aggregator(study.strategy.settings())
        head = nn.Linear(self._features.shape[1], len(self.classes), bias=False)
        weights = {"weight": torch.zeros_like(head.weight)}
        after = []
        for number in range(1, study.rounds + 1):
            updates = []
            for place, rows in enumerate(division.hospitals):
                head.load_state_dict(weights)
                settings = _settings(study, noise=noise, units=counts[place])
                self._step(head, rows, settings, study.train.learning_rate, generator)
                updates.append(_update(place, head, units=counts[place]))
            weights = aggregator.aggregate(
                round_number=number, global_weights=weights, updates=updates
            )
            after.append(weights["weight"])
        mean = torch.stack(after[-study.strategy.average_last :]).mean(0)
        logits = self._features[torch.from_numpy(division.judged)] @ mean.T
        return torch.softmax(logits.double(), dim=1).numpy(), noise if case.epsilon else 0.0, number

    def _step(
        self,
        head: nn.Linear,
        rows: NDArray[np.int64],
        settings: DpSgdSettings,
        rate: float,
        generator: torch.Generator,
    ) -> None:
        features = self._features[torch.from_numpy(rows)]
        labels = torch.from_numpy(self.labels[rows])
        train_dp(
            head,
            losses=lambda network, index: functional.cross_entropy(
                network(features[index]), labels[index], reduction="none"
            ),
            units=torch.from_numpy(_dense(self.units[rows])),
            settings=settings,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate),
            sampling=generator,
            noise=generator,
        )

    def _published(self, rows: NDArray[np.int64], *, seed: int) -> float:
        """The number of units as a data card would tell it."""
        exact = unit_counts(
            self.labels[rows], _dense(self.units[rows]), n_classes=len(self.classes)
        )
        rng = np.random.default_rng((seed, int(rows[0])))
        noised = noised_counts(exact, noise_multiplier=NOISE_MULTIPLIER, rng=rng)
        return max(1.0, float(noised.sum()))

    def _train_tuned(
        self, case: Case, division: Division
    ) -> tuple[NDArray[np.float64], float, int]:
        torch.manual_seed(case.seed)
        model = EncoderTuned(classes=len(self.classes))
        generator = torch.Generator().manual_seed(case.seed)
        labels = torch.from_numpy(self.labels)
        aggregator = Aggregator(StrategySettings(name="fedavg"))
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        after: list[dict[str, Tensor]] = []
        for number in range(1, _TUNED_ROUNDS + 1):
            rate = _TUNED_RATE * (1 - (number - 1) / _TUNED_ROUNDS) + _TUNED_LEAST
            updates = []
            for place, rows in enumerate(division.hospitals):
                model.load_state_dict(weights)
                tune(
                    model,
                    self._start,
                    labels,
                    torch.from_numpy(rows),
                    learning_rate=rate,
                    proximal_mu=case.proximal_mu,
                    generator=generator,
                )
                updates.append(_update(place, model, units=float(len(rows))))
            weights = aggregator.aggregate(
                round_number=number, global_weights=weights, updates=updates
            )
            after = [*after, weights][-_TUNED_AVERAGED:]
        model.load_state_dict(
            {name: torch.stack([each[name] for each in after]).mean(0) for name in weights}
        )
        judged = torch.from_numpy(division.judged)
        start = TunedStart(self._start.plain[judged], self._start.mirrored[judged])
        return model.probabilities(start), 0.0, _TUNED_ROUNDS

    def _by_hospital(self, evaluation: Evaluation, division: Division) -> dict[str, float]:
        recall = np.array([score.recall for score in evaluation.per_class])
        found = {}
        for place, rows in enumerate(division.hospitals):
            mix = np.bincount(self.labels[rows], minlength=len(self.classes)) / len(rows)
            found["ABCDE"[place]] = float(mix @ recall)
        return found


def cases(*, quick: bool, seeds: int, tuned: int) -> list[Case]:
    """What is measured: the whole table, or what ten minutes allow."""
    epsilons = (8.0, 3.0, 1.0, None)
    alphas = (None, 0.1) if quick else (None, 0.5, 0.1)
    heads = [
        Case(recipe=HEAD, alpha=alpha, epsilon=epsilon, seed=seed)
        for alpha in alphas
        for epsilon in epsilons
        for seed in range(seeds)
    ]
    return heads + [
        Case(recipe=TUNED, alpha=alpha, epsilon=None, seed=seed, proximal_mu=mu)
        for alpha, mu in ((None, 0.0), (0.1, 0.0), (0.1, _PROXIMAL_MU))
        for seed in range(tuned)
    ]


def run(bench: AccuracyBench, wanted: Sequence[Case], *, say: Callable[[Row], None]) -> list[Row]:
    """Measure the cases one after another."""
    rows = []
    for case in wanted:
        rows.append(bench.measure(case))
        say(rows[-1])
    return rows


def default_study(*, epsilon: float, classes: Sequence[str]) -> tuple[Study, Plan]:
    """The study that `dura study init` writes, and its plan with calibrated noise."""
    import tomllib

    text = study_template(
        name="bench",
        email="bench@bench.example",
        relay="file:///nowhere",
        hospitals=[f"{letter}@bench.example" for letter in "abcde"],
        epsilon=epsilon,
        delta=DELTA,
        recipe=recipe_for(epsilon=epsilon),
    )
    study = Study.model_validate(tomllib.loads(text) | {"classes": list(classes)})
    return study, study_plan(study)


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


def _update(place: int, model: nn.Module, *, units: float) -> Update:
    weights: dict[str, Any] = {n: t.detach().clone() for n, t in model.state_dict().items()}
    return Update(
        hospital="ABCDE"[place],
        weights=weights,
        units=units,
        epsilon=0.0,
        delta=DELTA,
        receipt_sha256="0" * 64,
        wall_s=0.0,
    )


def _dense(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same units, numbered without a gap."""
    return np.unique(units, return_inverse=True)[1].astype(np.int64)
