"""Class probabilities of a classifier for stored images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.classifiers import normalise


def predict(
    model: nn.Module, images: NDArray[np.uint8], *, batch: int = 256
) -> NDArray[np.float64]:
    """Softmax probabilities float64 [N, C] for images uint8 [N, S, S], in evaluation mode."""
    model.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            chunk = torch.from_numpy(np.array(images[start : start + batch]))
            logits = model(normalise(chunk))
            parts.append(torch.softmax(logits.double(), dim=1).numpy())
    return np.concatenate(parts)
