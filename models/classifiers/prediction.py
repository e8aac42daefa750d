"""What a classifier says of stored images, one at a time: logits, and their probabilities."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.images import each_alone, normalise


def predict_logits(model: nn.Module, images: NDArray[np.uint8]) -> torch.Tensor:
    """Logits float64 [N, C] for images uint8 [N, S, S], in evaluation mode; NaN where none are."""
    model.eval()
    return each_alone(lambda image: model(normalise(image)).double(), images)


def predict(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Softmax probabilities float64 [N, C] for images uint8 [N, S, S], in evaluation mode."""
    return torch.softmax(predict_logits(model, images), dim=1).numpy()
