"""What a classifier says of stored images: logits, and the probabilities they stand for.

One image at a time: kernels choose the order of their additions by the shape of a batch, so in a
batch the last bits of one image's logits depend on who is beside it, and what is counted of them
would (`privacy.grid`). On a processor it costs little: a batch of one fits its cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.classifiers import normalise


def predict_logits(model: nn.Module, images: NDArray[np.uint8]) -> torch.Tensor:
    """Logits float64 [N, C] for images uint8 [N, S, S], in evaluation mode; no gradient."""
    model.eval()
    with torch.no_grad():
        parts = [model(normalise(one)).double() for one in _singles(images)]
        return torch.cat(parts or [model(normalise(torch.from_numpy(np.array(images)))).double()])


def predict(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Softmax probabilities float64 [N, C] for images uint8 [N, S, S], in evaluation mode."""
    return torch.softmax(predict_logits(model, images), dim=1).numpy()


def _singles(images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    return (torch.from_numpy(np.array(image))[None] for image in images)
