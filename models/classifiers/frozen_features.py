"""A classifier whose first part is frozen: an image has the same features in every round.

So they may be computed once and kept, and training and scoring begin from them. What is trained
lies behind them and is all that the module holds as parameters, so it alone is noised, sent and
aggregated; the frozen part comes with the installed release, and its hash is in its card.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.images import each_alone, normalise


class FrozenStart(nn.Module, ABC):
    """[B, 1, S, S] to logits [B, classes], by way of frozen features [B, D]."""

    @property
    @abstractmethod
    def feature_size(self) -> int:
        """D, numbers an image."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """[B, 1, S, S] to [B, D], without gradients; no weight that is trained changes them."""

    @abstractmethod
    def from_features(self, features: Tensor) -> Tensor:
        """[B, D] to logits [B, classes]."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, S, S] to [B, classes]."""
        return self.from_features(self.features(images))

    def stored_features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of stored images uint8 [N, S, S], one at a time (`models.images.alone`)."""
        return each_alone(lambda image: self.features(normalise(image)), images).numpy()

    @torch.no_grad()
    def stored_logits(self, features: Tensor) -> Tensor:
        """Logits of features [N, D], one row at a time."""
        return torch.cat([self.from_features(row) for row in features.split(1)])
