"""SCAFFOLD's control variates, kept by the researcher: so unlike hospitals do not drift apart.

Where a hospital takes several local steps, each leads towards its own optimum. SCAFFOLD
(Karimireddy et al. 2020, arXiv 1910.06378) adds c - c_i to every step's gradient: c_i is the mean
gradient that hospital i followed in its last round, c the mean over hospitals, by units. There,
hospitals hold their c_i and send them; here the researcher reads them off the weights that left
(option II of the paper), so a hospital keeps nothing and sends nothing more:

    c_i = (global weights - hospital's weights) / (steps * learning rate) - (what was added)

Under differential privacy this costs no epsilon: all of it is made from released weights
(post-processing). Its noise is that of the steps it was read off; by units it sums to zero over the
hospitals of a round, so it does not move their mean. Steps must be plain: momentum would keep what
earlier steps added.

A hospital that has not answered yet gets no correction; one that misses a round keeps its last c_i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from orchestrator.aggregation.update_checks import Update, Weights, as_array, is_learned
from orchestrator.aggregation.weighting import weights_by_units
from orchestrator.errors import AggregationError

PREFIX = "scaffold."
_UNITS = "/units"


class ControlVariates:
    """The control variates of one study.

    Args:
        travel: steps of a round times the learning rate; > 0.
    """

    def __init__(self, *, travel: float) -> None:
        self._travel = travel
        self._own: dict[str, dict[str, Tensor]] = {}
        self._units: dict[str, float] = {}
        self._mean: dict[str, Tensor] = {}

    def correction(self, hospital: str) -> dict[str, Tensor] | None:
        """What its next round adds, c - c_i: float64, by tensor name; None before its first."""
        own = self._own.get(hospital)
        if own is None:
            return None
        return {name: self._mean[name] - tensor for name, tensor in own.items()}

    def learn(self, *, global_weights: Weights, updates: Sequence[Update]) -> None:
        """Take in a round: every update was trained with `correction` as it was before this call.

        Args:
            global_weights: what the hospitals started from.
            updates: checked.
        """
        found = {}
        for update in updates:
            added = self.correction(update.hospital) or {}
            found[update.hospital] = {
                name: torch.from_numpy(np.asarray(as_array(start) - as_array(update.weights[name])))
                / self._travel
                - added.get(name, torch.zeros(()))
                for name, start in global_weights.items()
                if is_learned(start)
            }
        units = {update.hospital: float(update.units) for update in updates}
        self._hold(self._own | found, self._units | units)

    def state(self) -> dict[str, Tensor]:
        """All that must be saved between rounds: float64 tensors, their names with `PREFIX`."""
        named = {
            f"{PREFIX}{site}/{name}": tensor
            for site, own in self._own.items()
            for name, tensor in own.items()
        }
        return named | {
            f"{PREFIX}{site}{_UNITS}": torch.tensor(units, dtype=torch.float64)
            for site, units in self._units.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up a saved state.

        Raises:
            AggregationError: it is not one that `state` gave.
        """
        own: dict[str, dict[str, Tensor]] = {}
        units: dict[str, float] = {}
        for key, tensor in state.items():
            site, slash, name = key.removeprefix(PREFIX).partition("/")
            finite = tensor.dtype == torch.float64 and bool(torch.isfinite(tensor).all())
            if not (key.startswith(PREFIX) and slash and finite):
                raise AggregationError(f"saved strategy state: {key!r} is no control variate")
            if f"/{name}" == _UNITS:
                units[site] = float(tensor)
            else:
                own.setdefault(site, {})[name] = tensor
        if set(own) != set(units):
            raise AggregationError("saved strategy state: control variates without their units")
        self._hold(own, units)

    def _hold(self, own: dict[str, dict[str, Tensor]], units: dict[str, float]) -> None:
        """Keep these, in an order that does not depend on who answered first, and their mean."""
        weights = weights_by_units({site: units[site] for site in sorted(units)})
        mean: dict[str, Tensor] = {}
        for site in sorted(own):
            for name, tensor in own[site].items():
                mean[name] = mean.get(name, torch.zeros(())) + tensor * weights[site]
        self._own, self._units, self._mean = own, units, mean
