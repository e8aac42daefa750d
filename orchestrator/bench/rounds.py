"""Federated rounds in one process: what a benchmark has in place of hospitals, relay and agents.

Aggregation, and the averaging of the last rounds, are a study's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.aggregation import Aggregator, Update
from orchestrator.bench.data import DELTA, NAMES
from orchestrator.study import StrategySettings

Local = Callable[[int, int], float]
"""Trains the model in place at a hospital in a round, counted from 1; tells its weight."""


def federate(
    model: nn.Module,
    local: Local,
    *,
    rounds: int,
    average_last: int,
    aggregator: Aggregator | None = None,
) -> None:
    """Train a model in place over all hospitals.

    Args:
        model: what every round begins from, and at last holds the result.
        local: called for each hospital in each round with the global weights in `model`.
        rounds: how many.
        average_last: rounds at the end whose global weights are averaged.
        aggregator: FedAvg without.
    """
    aggregator = aggregator or Aggregator(StrategySettings(name="fedavg"))
    weights = _copied(model)
    last: list[Mapping[str, Tensor]] = []
    for number in range(1, rounds + 1):
        updates = []
        for place, _ in enumerate(NAMES):
            model.load_state_dict(weights)
            updates.append(_update(place, model, units=local(place, number)))
        weights = aggregator.aggregate(round_number=number, global_weights=weights, updates=updates)
        last = [*last, weights][-average_last:]
    model.load_state_dict({name: torch.stack([w[name] for w in last]).mean(0) for name in weights})


def _update(place: int, model: nn.Module, *, units: float) -> Update:
    return Update(
        hospital=NAMES[place],
        weights=_copied(model),
        units=units,
        epsilon=0.0,
        delta=DELTA,
        receipt_sha256="0" * 64,
        wall_s=0.0,
    )


def _copied(model: nn.Module) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
