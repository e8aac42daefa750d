"""`dura bench accuracy`: what a study's plan gets right, for what epsilon, on whose data.

The hospitals are parts of one data set in this process; nothing is sent, approved or spent. The
rest is a study's own: privacy units and folders as ingest makes them, the plan that `dura study
init` writes with its noise calibrated for epsilon at delta, `privacy.train_dp` at each hospital
with noise of its own, published counts with the data card's noise, Flower's aggregation, the mean
of the last rounds. Noise is drawn from a seed, so that a figure can be had again: here, never in a
hospital.

Judged on images that no hospital holds (`orchestrator.bench.data`). With `validation`, on a
fifth of the training units instead, and the test images are not looked at: this is how settings
are chosen.

Any recipe of `dura study init` can be measured (`orchestrator.bench.recipes`). Those without
noise (epsilon None) tell what privacy costs, and are run nowhere else:
`encoder_head` with the noise left out, and `tuned` (`orchestrator.bench.tuned`).

A hospital's figure is the recall of each class weighted by that hospital's mix of classes: what its
patients can expect of the global model. The worst one stands beside the mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import Evaluation, evaluate
from orchestrator.bench.data import BenchData
from orchestrator.bench.head import HeadBench
from orchestrator.bench.measured import HEAD, TUNED, Case
from orchestrator.bench.recipes import RecipesBench
from orchestrator.bench.tuned import TunedBench
from orchestrator.study import recipe_for, recipe_names


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured: the case, what it took, and how the global model did.

    Attributes:
        case: what.
        evaluation: on the judged images.
        hospitals: hospital to accuracy by its mix of classes.
        noise_multiplier: of each step, 0 without DP.
        rounds: taken.
        train_s: seconds of training in this process; shared features and generators count for
            the first case that needs them.
    """

    case: Case
    evaluation: Evaluation
    hospitals: Mapping[str, float]
    noise_multiplier: float
    rounds: int
    train_s: float


class AccuracyBench:
    """Measures cases on one data set.

    Args:
        data: folder with one folder a class.
        test: another one to judge on; a fifth of `data` without it.
        validation: judge on a fifth of the training units instead.

    Raises:
        IngestError: a folder cannot be used.
    """

    def __init__(self, data: Path, *, test: Path | None = None, validation: bool = False) -> None:
        self.data = BenchData(
            data, image_size=recipe_for().image_size, test=test, validation=validation
        )
        self._trainers = {
            HEAD: HeadBench(self.data).train,
            TUNED: TunedBench(self.data).train,
            **dict.fromkeys(recipe_names(), RecipesBench(self.data).train),
        }

    def measure(self, case: Case) -> Row:
        """Train and judge one case."""
        division = self.data.divide(alpha=case.alpha, seed=case.seed, share=case.share)
        started = time.perf_counter()
        probabilities, noise, rounds = self._trainers[case.recipe](case, division)
        taken = time.perf_counter() - started
        truth = self.data.labels[division.judged]
        evaluation = evaluate(probabilities, truth, self.data.classes)
        return Row(
            case=case,
            evaluation=evaluation,
            hospitals=self.data.by_hospital(evaluation, division),
            noise_multiplier=noise,
            rounds=rounds,
            train_s=taken,
        )


def run(bench: AccuracyBench, wanted: Sequence[Case], *, say: Callable[[Row], None]) -> list[Row]:
    """Measure the cases one after another."""
    rows = []
    for case in wanted:
        rows.append(bench.measure(case))
        say(rows[-1])
    return rows
