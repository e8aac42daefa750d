"""Gradient descent with momentum: what a training job steps with.

The arithmetic of `torch.optim.SGD` (without dampening, Nesterov or weight decay), bit for bit; a
test holds one against the other. PyTorch's own optimizers import its compiler when the first one
is made. A job never compiles anything, takes a step or a few, and is a fresh process each time, so
it would pay for that import in every round.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from privacy.errors import SettingsError


class Sgd:
    """Steps parameters against their gradients; has what Opacus' optimizer asks of one.

    Args:
        parameters: what is stepped.
        lr: learning rate, finite, >= 0.
        momentum: share of the former step that is kept, in [0, 1).

    Raises:
        SettingsError: a value is out of range.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.0):
        if not (math.isfinite(lr) and lr >= 0):
            raise SettingsError(f"a learning rate must be finite and >= 0, got {lr}")
        if not 0 <= momentum < 1:
            raise SettingsError(f"momentum must lie in [0, 1), got {momentum}")
        self.defaults: dict[str, Any] = {"lr": lr, "momentum": momentum}
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), **self.defaults}]
        self.state: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Take one step; a parameter without a gradient stays."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(self._velocity(parameter, group), alpha=-group["lr"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none or parameter.grad is None:
                    parameter.grad = None
                else:
                    parameter.grad.zero_()

    def _velocity(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient: Tensor = parameter.grad  # type: ignore[assignment]
        if group["momentum"] == 0:
            return gradient
        if parameter in self.state:
            self.state[parameter].mul_(group["momentum"]).add_(gradient)
        else:
            self.state[parameter] = gradient.clone()
        return self.state[parameter]
