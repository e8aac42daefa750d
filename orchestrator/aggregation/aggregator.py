"""From the updates of one round to the next global weights, by Flower's own strategies.

Only the aggregating half of Flower is used (`Strategy.aggregate_train` on `Message` objects, in
this process): no server, no transport, no clock. What this adapter adds, and why:

- **Deterministic, whatever the order of arrival.** Updates are sorted by hospital's name first;
  ties in Krum's scores therefore go to the name that sorts first.
- **Differences, in float64.** Strategies get `update - global` instead of weights, and the result
  is added to the global weights. Every strategy here commutes with such a shift; but Flower's
  Krum computes distances as |x|^2 + |y|^2 - 2 x.y, which in float32 on whole weights cancels to
  noise as soon as updates lie closer together than about a thousandth of their length.
- **Claims of units are bounded** before they become weights (`orchestrator.aggregation.weighting`),
and
  Multi-Krum's mean is plain, as in its paper: a liar must not set the weights of a strategy that
  is there because of liars.
- **One order of tensors.** Flower compares the sets of names, then pairs tensors by position.
- **Fresh copies.** FedMedian, FedTrimmedAvg and Bulyan empty the replies they are given.
- **A fresh strategy each round.** FedAdam's moments are held here as values and handed in, so
  that `state()` is all there is to save: restored, a run continues bit for bit. SCAFFOLD is FedAvg
  in Flower's hands; its control variates are held beside it (`orchestrator.aggregation.scaffold`).
- **Refusals instead of fall-backs**: no updates, too few for the strategy's promise, a hospital
  twice, an update that breaks a rule of `update_checks`, a result that is not finite.

Tensors that are not floating are not learned: they are the global ones, and the checks hold
updates to that. FedAdam follows Flower: m and v start at zero and the step is bias-corrected with
exponent `round_number + 1` (Reddi et al. 2020, algorithm 2, has neither). Rounds count from 1.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.app.exception import AppExitException
from flwr.serverapp import strategy as flower
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from orchestrator.aggregation.scaffold import ControlVariates
from orchestrator.aggregation.update_checks import (
    Update,
    Weights,
    as_array,
    check_update,
    differences,
    is_learned,
)
from orchestrator.aggregation.weighting import counted_units
from orchestrator.errors import AggregationError, QuorumError
from orchestrator.study import SCAFFOLD, StrategySettings

_WEIGHT_KEY = "units"
_MEAN, _SQUARE = "fedadam.m.", "fedadam.v."


@dataclass(frozen=True)
class _Moments:
    """FedAdam's memory: running means of the changes and of their squares, by tensor name."""

    mean: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    square: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class Aggregator:
    """Aggregates round after round with one strategy.

    Args:
        settings: the strategy and its settings.
        travel: a hospital's steps of a round times its learning rate; of use to `scaffold` only.
    """

    def __init__(self, settings: StrategySettings, *, travel: float = 1.0) -> None:
        self.settings = settings
        self._moments = _Moments()
        self._variates = ControlVariates(travel=travel)

    def correction(self, hospital: str, *, like: Weights) -> dict[str, torch.Tensor]:
        """What a hospital is to add to each step's gradient in the next round.

        Args:
            hospital: whose.
            like: the global weights, for their dtypes.

        Returns:
            By tensor name; empty where there is nothing to add
            (`orchestrator.aggregation.scaffold`).
        """
        found = self._variates.correction(hospital) or {}
        return {n: t.to(torch.as_tensor(like[n]).dtype) for n, t in found.items()}

    def aggregate(
        self, *, round_number: int, global_weights: Weights, updates: Sequence[Update]
    ) -> dict[str, torch.Tensor]:
        """The next global weights. The aggregator's state changes only if this returns.

        Args:
            round_number: the study's round, from 1; FedAdam's bias correction depends on it.
            global_weights: what the hospitals started from.
            updates: at most one for each hospital, in any order.

        Returns:
            New tensors with the names, order, shapes and dtypes of `global_weights`, on the CPU.

        Raises:
            QuorumError: fewer updates than the strategy needs.
            UpdateRefusedError: an update breaks a rule (norms are the caller's to bound).
            AggregationError: two updates of one hospital, or no finite result.
        """
        ordered = self._checked(round_number, global_weights, updates)
        strategy = _build(self.settings, received=len(ordered))
        self._hand_in(strategy, global_weights)
        try:
            with _flower(), np.errstate(over="raise", invalid="raise", divide="raise"):
                replies = [
                    _reply(update, global_weights, units=units)
                    for update, units in zip(ordered, self._weights(ordered), strict=True)
                ]
                arrays, _ = strategy.aggregate_train(round_number, replies)
        except (AppExitException, FloatingPointError) as error:
            message = f"round {round_number}: {self.settings.name} cannot aggregate: {error}"
            raise AggregationError(message) from error
        if arrays is None:
            raise AggregationError(f"round {round_number}: {self.settings.name} gave no result")
        result = _shifted(global_weights, arrays, round_number)
        if isinstance(strategy, flower.FedAdam):
            self._moments = _Moments(mean=strategy.m_t or {}, square=strategy.v_t or {})
        if self.settings.name == SCAFFOLD:
            self._variates.learn(global_weights=global_weights, updates=ordered)
        return result

    def state(self) -> dict[str, torch.Tensor]:
        """All that must be saved between rounds, float64; FedAdam and SCAFFOLD have some."""
        named = {_MEAN + name: array for name, array in self._moments.mean.items()}
        named |= {_SQUARE + name: array for name, array in self._moments.square.items()}
        moments = {name: torch.from_numpy(np.array(array)) for name, array in named.items()}
        return moments | self._variates.state()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up a saved state; an empty one is that of a fresh aggregator.

        Raises:
            AggregationError: the state is not one that `state` of the same strategy gave.
        """
        if self.settings.name == SCAFFOLD:
            self._variates.restore(state)
            return
        mean = {n.removeprefix(_MEAN): t for n, t in state.items() if n.startswith(_MEAN)}
        square = {n.removeprefix(_SQUARE): t for n, t in state.items() if n.startswith(_SQUARE)}
        if len(mean) + len(square) != len(state) or set(mean) != set(square):
            raise AggregationError("saved strategy state has unknown or missing tensors")
        if state and self.settings.name != "fedadam":
            message = f"saved strategy state is of fedadam, the study says {self.settings.name}"
            raise AggregationError(message)
        for name, tensor in state.items():
            if tensor.dtype != torch.float64 or not bool(torch.isfinite(tensor).all()):
                raise AggregationError(f"saved strategy state: {name!r} is not finite float64")
        self._moments = _Moments(
            mean={name: np.array(tensor.numpy()) for name, tensor in mean.items()},
            square={name: np.array(tensor.numpy()) for name, tensor in square.items()},
        )

    def _checked(
        self, round_number: int, global_weights: Weights, updates: Sequence[Update]
    ) -> list[Update]:
        """The updates, checked and sorted by hospital."""
        if round_number < 1:
            raise AggregationError(f"round is {round_number}; rounds count from 1")
        if not any(is_learned(tensor) for tensor in global_weights.values()):
            raise AggregationError("the global weights hold no floating tensor to aggregate")
        needed = self.settings.minimum_updates
        if len(updates) < needed:
            message = (
                f"round {round_number}: {self.settings.describe()} needs at least {needed} updates,"
                f" {len(updates)} arrived; wait for more hospitals or choose another strategy"
            )
            raise QuorumError(message, needed=needed, received=len(updates))
        ordered = sorted(updates, key=lambda update: update.hospital)
        for before, after in pairwise(ordered):
            if before.hospital == after.hospital:
                raise AggregationError(f"round {round_number}: two updates of {after.hospital}")
        for update in ordered:
            check_update(update, global_weights=global_weights, max_norm=None)
        return ordered

    def _weights(self, updates: Sequence[Update]) -> list[float]:
        """What each update weighs: its units as far as they count, or the same for all."""
        if not self.settings.weighted:
            return [1.0] * len(updates)
        return list(counted_units({one.hospital: one.units for one in updates}).values())

    def _hand_in(self, strategy: flower.Strategy, global_weights: Weights) -> None:
        """Give FedAdam its moments and, since it sees differences, an origin of zeros."""
        if not isinstance(strategy, flower.FedAdam):
            return
        learned = {name: t for name, t in global_weights.items() if is_learned(t)}
        shapes = {name: tuple(t.shape) for name, t in learned.items()}
        moments = self._moments
        for held in (moments.mean, moments.square):
            if held and {name: array.shape for name, array in held.items()} != shapes:
                raise AggregationError("the strategy's state belongs to another model")
        strategy.current_arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
        strategy.m_t = dict(moments.mean) or None
        strategy.v_t = dict(moments.square) or None


def _build(settings: StrategySettings, *, received: int) -> flower.Strategy:
    """Flower's strategy for this many updates."""
    liars = {"num_malicious_nodes": settings.byzantine}
    adam = {
        "eta": settings.server_learning_rate,
        "beta_1": settings.beta_1,
        "beta_2": settings.beta_2,
        "tau": settings.tau,
    }
    # Multi-Krum averages as many as it may with f liars about and its guarantee kept.
    selected = received - settings.byzantine - 2
    known: dict[str, Callable[..., flower.Strategy]] = {
        "fedavg": partial(flower.FedAvg),
        "fedprox": partial(flower.FedProx, proximal_mu=settings.proximal_mu),
        SCAFFOLD: partial(flower.FedAvg),
        "fedadam": partial(flower.FedAdam, **adam),
        "fedmedian": partial(flower.FedMedian),
        "fedtrimmedavg": partial(flower.FedTrimmedAvg, beta=settings.trimmed_fraction),
        "krum": partial(flower.Krum, **liars),
        "multikrum": partial(flower.MultiKrum, **liars, num_nodes_to_select=selected),
        "bulyan": partial(flower.Bulyan, **liars),
    }
    return known[settings.name](weighted_by_key=_WEIGHT_KEY)


def _reply(update: Update, global_weights: Weights, *, units: float) -> Message:
    """One hospital's update as the message that Flower expects; shares no memory with it."""
    changes = differences(update.weights, global_weights)
    arrays = ArrayRecord({name: Array(np.asarray(change)) for name, change in changes})
    metrics = MetricRecord({_WEIGHT_KEY: units})
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    return Message(content=content, dst_node_id=1, message_type=MessageType.TRAIN)


def _shifted(
    global_weights: Weights, change: Mapping[str, Array], round_number: int
) -> dict[str, torch.Tensor]:
    """Global weights plus the aggregated change, in the global dtypes."""
    result: dict[str, torch.Tensor] = {}
    for name, start in global_weights.items():
        # Copied first: an array may be read-only, and torch cannot say so.
        origin = torch.as_tensor(np.array(start) if isinstance(start, np.ndarray) else start)
        if not is_learned(start):
            result[name] = origin.detach().cpu().clone()
            continue
        moved = torch.from_numpy(np.asarray(as_array(start) + change[name].numpy()))
        result[name] = moved.to(origin.dtype)
        if not bool(torch.isfinite(result[name]).all()):
            message = f"round {round_number}: the aggregate of {name!r} does not fit {origin.dtype}"
            raise AggregationError(message)
    return result


@contextmanager
def _flower() -> Iterator[None]:
    """What Flower needs to make messages outside its own server, and its log kept quiet."""
    for part in ("run_id", "node_id", "task_id"):
        try:
            getattr(TaskIdentity, part)
        except RuntimeError:  # not set; a Flower simulation in this process would have set it
            setattr(TaskIdentity, part, 1)
    log = logging.getLogger("flwr")
    before = log.level
    log.setLevel(logging.CRITICAL)
    # Bulyan runs a full garbage collection for each tensor of each update: seconds with torch
    # loaded, unless all that lives by now is set aside.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        log.setLevel(before)
