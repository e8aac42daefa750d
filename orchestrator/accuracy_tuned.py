"""The encoder's late blocks trained along without privacy, over hospitals: what noise takes.

FedAvg or FedProx of `models.encoder_tuned`, one pass over each hospital's images a round. Rounds
were chosen between 12 and 24 on the part that `--validation` judges on, with seed 0; rate, dropout
and smoothing before that, by trials with held-out images in sight, and kept.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from models import EncoderTuned, TunedStart, tune
from orchestrator.accuracy_cases import Case
from orchestrator.accuracy_data import BenchData, Division
from orchestrator.accuracy_rounds import federate

_ROUNDS, _AVERAGED = 24, 4
_RATE, _LEAST = 1.5e-3, 1e-5


class TunedBench:
    """Trains late blocks; the early blocks' maps are computed once for all cases."""

    def __init__(self, data: BenchData) -> None:
        self._data = data

    def train(self, case: Case, division: Division) -> tuple[NDArray[np.float64], float, int]:
        """Probabilities [J, C] of the judged images, no noise, and the rounds taken."""
        torch.manual_seed(case.seed)
        model = EncoderTuned(classes=len(self._data.classes))
        generator = torch.Generator().manual_seed(case.seed)
        labels = torch.from_numpy(self._data.labels)

        def local(place: int, number: int) -> float:
            rows = division.hospitals[place]
            tune(
                model,
                self._start,
                labels,
                torch.from_numpy(rows),
                learning_rate=_RATE * (1 - (number - 1) / _ROUNDS) + _LEAST,
                proximal_mu=case.proximal_mu,
                generator=generator,
            )
            return float(len(rows))

        federate(model, local, rounds=_ROUNDS, average_last=_AVERAGED)
        return model.probabilities(self._start.rows(division.judged)), 0.0, _ROUNDS

    @cached_property
    def _start(self) -> TunedStart:
        return TunedStart.of(self._data.images)
