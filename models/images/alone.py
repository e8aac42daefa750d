"""One image at a time: what a function makes of each, whatever the others are.

Kernels choose the order of their additions by the shape of a batch, so in a batch the last bits of
one image's numbers depend on who is beside it, and what is counted of them would
(`privacy.mechanism.grid`). Several images are computed side by side, each by one thread: that is
faster than one image by several, and its bits do not depend on how many threads there are.

What is wrong with a function raises on a black image, before any image is looked at. On an image
nothing raises: where the function does, NaN stands, for that image alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger("dura.models")


@torch.no_grad()
def each_alone(function: Callable[[Tensor], Tensor], images: NDArray[np.uint8]) -> Tensor:
    """What `function` makes of each image by itself, without gradients.

    Args:
        function: uint8 [1, S, S] to floating point [1, ...]; called from several threads.
        images: uint8 [N, S, S].

    Returns:
        [N, ...]: a row an image, in order; NaN where `function` raised.

    Raises:
        Exception: what `function` raises on a black image.
    """
    black = function(torch.zeros((1, *images.shape[1:]), dtype=torch.uint8))
    shape = black.shape[1:]

    failed: list[Exception] = []

    @torch.no_grad()
    def alone(image: NDArray[np.uint8]) -> Tensor:
        try:
            return function(torch.from_numpy(np.array(image))[None]).reshape(1, *shape)
        except Exception as error:  # whatever one image does, it does to itself
            failed.append(error)
            return torch.full_like(black, math.nan)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1 or len(images) < 2:
            return torch.cat([black[:0], *map(alone, images)])
        with ThreadPoolExecutor(threads) as pool:
            return torch.cat([black[:0], *pool.map(alone, images)])
    finally:
        torch.set_num_threads(threads)
        if failed:  # one entry, however many: a line an image could fill a disk, and end the job
            log.error("%d images cannot be computed; NaN stands", len(failed), exc_info=failed[0])
