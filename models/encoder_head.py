"""A classifier that is a linear head on the frozen encoder, with few weights for noise to hide.

Only the head is a parameter, so only the head is trained, noised, sent and aggregated: some
thousand bytes a round. The encoder is no registered part of the module; it comes with the
installed release, and its hash is in its card.

Features of an image do not change while a head is trained: `features` gives them once, and
`head` takes them from there. The head has no bias; a small constant stands beside the features
instead. Gradient descent on a vector of length 1 with a bias of weight 1 is badly conditioned: the
constant keeps the largest eigenvalue small, so that few and large steps get far.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.classifiers import normalise
from models.encoder import Encoder, load_encoder

CONSTANT = 0.2
"""What stands beside the features in place of a bias."""

_CHUNK = 256


class EncoderHead(nn.Module):
    """[B, 1, S, S] to logits [B, classes]; starts undecided, all weights zero."""

    def __init__(self, encoder: Encoder, *, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(encoder.dimension + 1, classes, bias=False)
        nn.init.zeros_(self.head.weight)
        self._hidden = (encoder,)  # in a tuple, where torch does not look for parts of a module

    def features(self, images: Tensor) -> Tensor:
        """What the head takes: [B, 1, S, S] to [B, dimension + 1], without gradients."""
        return F.pad(self._hidden[0](images), [0, 1], value=CONSTANT)

    def stored_features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for stored images uint8 [N, S, S], a few at a time."""
        parts = [
            self.features(normalise(torch.from_numpy(np.array(images[start : start + _CHUNK]))))
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate([part.numpy() for part in parts])

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, S, S] to [B, classes]."""
        logits: Tensor = self.head(self.features(images))
        return logits


def encoder_head(classes: int) -> EncoderHead:
    """A fresh head on the shipped encoder.

    Args:
        classes: number of logits.

    Raises:
        models.errors.WeightsError: the shipped encoder is damaged.
    """
    return EncoderHead(load_encoder(), classes=classes)
