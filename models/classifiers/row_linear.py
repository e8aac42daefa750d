"""A linear layer whose rows do not know of each other, to the last bit.

A matrix product chooses the order of its additions by a row's place in the batch. Here each logit
is a sum of products along its own row, so that an image's gradient is the same in any company
(`privacy.training.rehearsal` finds that out, and lets such layers train in chunks).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class RowLinear(nn.Linear):
    """`nn.Linear` without a bias, for few outputs: [B, D] to [B, C], row by row.

    Attributes:
        same_gradient_as: the layer whose per-sample gradient this one has.
    """

    same_gradient_as: ClassVar[type[nn.Module]] = nn.Linear

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """[B, D] to [B, C]."""
        return (input[:, None, :] * self.weight).sum(-1)
