"""What a classifier says of stored images: logits, and the probabilities they stand for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.classifiers import normalise


def predict_logits(
    model: nn.Module, images: NDArray[np.uint8], *, batch: int = 256
) -> torch.Tensor:
    """Logits float64 [N, C] for images uint8 [N, S, S], in evaluation mode; no gradient."""
    model.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            chunk = torch.from_numpy(np.array(images[start : start + batch]))
            parts.append(model(normalise(chunk)).double())
    return torch.cat(parts)


def predict(
    model: nn.Module, images: NDArray[np.uint8], *, batch: int = 256
) -> NDArray[np.float64]:
    """Softmax probabilities float64 [N, C] for images uint8 [N, S, S], in evaluation mode."""
    return torch.softmax(predict_logits(model, images, batch=batch), dim=1).numpy()
