"""The encoder's late blocks trained along without privacy, over hospitals: what noise takes.

FedAvg and FedProx of `models.encoder.finetune` take one pass over each hospital's images a round.
Where hospitals are unlike, whole passes drift apart; the remedy measured beside them takes one step
a round on a batch of images in proportion to what each hospital has, and steps by Adam
at the server (Reddi et al. 2020): its mean gradient is that of all images together, at the price of
many more rounds. SCAFFOLD, which corrects local steps, is for plans:
`orchestrator.aggregation.scaffold`.

Settings were chosen on the part that `--validation` judges on.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from models import EncoderTuned, TunedStart, one_step, tune
from orchestrator.aggregation import Aggregator
from orchestrator.bench.data import BenchData, Division
from orchestrator.bench.measured import Case
from orchestrator.bench.rounds import federate
from orchestrator.study import StrategySettings

_PASSES = 24
_RATE, _LEAST, _AVERAGED = 1.5e-3, 1e-5, 4
_PROXIMAL_MU = 0.01
_BATCH = 128
_SERVER_TAU = 1e-8
_SERVER = ((1e-3, 12), (2e-4, 4))
"""Adam's rate at the server, and for how many passes; the last rate's weights are averaged."""


class TunedBench:
    """Trains late blocks; the early blocks' maps are computed once for all cases."""

    def __init__(self, data: BenchData) -> None:
        self._data = data

    def train(self, case: Case, division: Division) -> tuple[NDArray[np.float64], float, int]:
        """Probabilities [J, C] of the judged images, no noise, and the rounds taken."""
        torch.manual_seed(case.seed)
        model = EncoderTuned(classes=len(self._data.classes))
        generator = torch.Generator().manual_seed(case.seed)
        by_steps = case.strategy == "fedadam"
        train = self._steps if by_steps else self._passes
        rounds = train(case, division, model, generator)
        return model.probabilities(self._start.rows(division.judged)), 0.0, rounds

    # --- inside ---------------------------------------------------------------------------

    def _passes(
        self, case: Case, division: Division, model: EncoderTuned, generator: torch.Generator
    ) -> int:
        def local(place: int, number: int) -> float:
            rows = division.hospitals[place]
            tune(
                model,
                self._start,
                self._labels,
                torch.from_numpy(rows),
                learning_rate=_RATE * (1 - (number - 1) / _PASSES) + _LEAST,
                proximal_mu=_PROXIMAL_MU if case.strategy == "fedprox" else 0.0,
                generator=generator,
            )
            return float(len(rows))

        federate(model, local, rounds=_PASSES, average_last=_AVERAGED)
        return _PASSES

    def _steps(
        self, case: Case, division: Division, model: EncoderTuned, generator: torch.Generator
    ) -> int:
        images = sum(map(len, division.hospitals))

        def local(place: int, _round: int) -> float:
            rows = torch.from_numpy(division.hospitals[place])
            taken = max(1, round(_BATCH * len(rows) / images))
            batch = rows[torch.randperm(len(rows), generator=generator)[:taken]]
            one_step(model, self._start, self._labels, batch, generator=generator)
            return float(len(rows))

        taken = 0
        for rate, passes in _SERVER:
            rounds = max(1, passes * images // _BATCH)
            federate(
                model,
                local,
                rounds=rounds,
                average_last=rounds if (rate, passes) == _SERVER[-1] else 1,
                aggregator=Aggregator(
                    StrategySettings(name=case.strategy, server_learning_rate=rate, tau=_SERVER_TAU)
                ),
            )
            taken += rounds
        return taken

    @cached_property
    def _labels(self) -> torch.Tensor:
        return torch.from_numpy(self._data.labels)

    @cached_property
    def _start(self) -> TunedStart:
        return TunedStart.of(self._data.images)
