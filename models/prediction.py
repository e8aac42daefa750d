"""What a classifier says of stored images: logits, and the probabilities they stand for.

One image at a time: kernels choose the order of their additions by the shape of a batch, so in a
batch the last bits of one image's logits depend on who is beside it, and what is counted of them
would (`privacy.grid`). Several images are computed side by side, each by one thread: that is faster
than one image by several, and its bits do not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.classifiers import normalise


def each_alone(function: Callable[[Tensor], Tensor], images: NDArray[np.uint8]) -> list[Tensor]:
    """What `function` makes of each image by itself, without gradients.

    Args:
        function: float32 [1, 1, S, S] from `normalise` to [1, ...]; called from several threads.
        images: uint8 [N, S, S].

    Returns:
        One tensor an image, in order.
    """

    @torch.no_grad()
    def alone(image: NDArray[np.uint8]) -> Tensor:
        return function(normalise(torch.from_numpy(np.array(image))[None]))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1 or len(images) < 2:
            return [alone(image) for image in images]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, images))
    finally:
        torch.set_num_threads(threads)


def predict_logits(model: nn.Module, images: NDArray[np.uint8]) -> torch.Tensor:
    """Logits float64 [N, C] for images uint8 [N, S, S], in evaluation mode; no gradient."""
    model.eval()
    parts = each_alone(lambda one: model(one).double(), images)
    with torch.no_grad():
        return torch.cat(parts or [model(normalise(torch.from_numpy(np.array(images)))).double()])


def predict(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Softmax probabilities float64 [N, C] for images uint8 [N, S, S], in evaluation mode."""
    return torch.softmax(predict_logits(model, images), dim=1).numpy()
