"""Stored images as classifiers take them, and the sizes that any classifier is built for.

Importing this module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import UnknownModelError

if TYPE_CHECKING:
    from torch import Tensor

MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 16, 512


MAX_CLASSES = 256


BLACK = -1.0
"""What `normalise` makes of a black pixel; augmentation fills with it."""


def check_sizes(*, classes: int, image_size: int) -> None:
    """Refuse a number of classes or an image size no classifier is built for.

    Raises:
        UnknownModelError: a size is out of range.
    """
    if not 2 <= classes <= MAX_CLASSES:
        raise UnknownModelError(f"{classes} classes are out of range; have 2 to {MAX_CLASSES}")
    if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise UnknownModelError(
            f"image size {image_size} px is out of range; "
            f"choose {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}"
        )


def normalise(images: Tensor) -> Tensor:
    """Grey images as a classifier takes them: (value / 255 - 0.25) / 0.25.

    The two constants are fixed. Statistics of a shard would be a release of private data.

    Args:
        images: uint8 [N, S, S].

    Returns:
        float32 [N, 1, S, S], from `BLACK` (-1) to 3.

    Raises:
        UnknownModelError: the tensor is not uint8 [N, S, S].
    """
    import torch

    if images.dtype != torch.uint8 or images.ndim != 3:
        raise UnknownModelError(
            f"images are {images.dtype} {list(images.shape)}; give uint8 [N, S, S]"
        )
    return images.to(torch.float32).div(63.75).sub(1.0).unsqueeze(1)
