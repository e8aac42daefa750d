"""Each image cut to the head in it and brought to one size and one brightness.

Collections differ in how much black they leave round the head and how they window it; an encoder
need not learn that. Everything here looks at one image at a time, so that no image's features
depend on another's, and is fixed: it costs no privacy.

1. The box. A pixel is bright if it is above 12 of 255 and above 12 % of what 95 % of such pixels
   stay under; a row or column belongs to the head if it has at least 8 % as many bright pixels as
   the one with most. Black margins change nothing. Where the box would be less than an eighth of
   the image on a side, the side is kept whole.
2. Padded to a square with black, resized (bilinear, antialiased).
3. Divided by its own 99.3rd percentile, cut off at 1.05: most of the image lies in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_FLOOR = 12 / 255
_SHARE_OF_BRIGHT = 0.12
_SHARE_OF_LINE = 0.08
_LEAST_SHARE = 8
_DARKEST_WHITE = 30 / 255
_CEILING = 1.05


Box = tuple[slice, slice]
"""Rows and columns."""


def cut_to_head(images: Tensor, *, side: int) -> Tensor:
    """Bring images to the head in them.

    Args:
        images: float [B, 1, S, S], 0 black to 1 white.
        side: side of the result, pixels.

    Returns:
        float [B, 1, side, side], from 0 to 1.05.
    """
    if len(images) == 0:
        return images.new_zeros((0, 1, side, side))
    cut = cut_out(images, [head_box(image[0]) for image in images], side=side)
    white = torch.quantile(cut.flatten(1), 0.993, dim=1).clamp(min=_DARKEST_WHITE)
    return (cut / white[:, None, None, None]).clamp(0.0, _CEILING)


def cut_out(images: Tensor, boxes: Sequence[Box], *, side: int) -> Tensor:
    """Each image's box, padded to a square and resized: [B, 1, S, S] to [B, 1, side, side]."""
    parts = [_resized(image[0][box], side) for image, box in zip(images, boxes, strict=True)]
    return torch.cat(parts)


def head_box(image: Tensor) -> Box:
    """Where the head lies in an image [S, S]."""
    lit = image[image > _FLOOR]
    if len(lit) == 0:
        return slice(None), slice(None)
    bright = torch.quantile(lit, 0.95) * _SHARE_OF_BRIGHT
    shown = (image > bright.clamp(min=_FLOOR)).float()
    return _span(shown.sum(1)), _span(shown.sum(0))


def _span(bright: Tensor) -> slice:
    """From the first to the last line of the head, by the bright pixels of each line."""
    lines = torch.nonzero(bright >= _SHARE_OF_LINE * bright.max()).flatten()
    if len(lines) * _LEAST_SHARE <= len(bright):
        return slice(None)
    return slice(int(lines[0]), int(lines[-1]) + 1)


def _resized(image: Tensor, side: int) -> Tensor:
    """Pad [H, W] to a square and resize it to [1, 1, side, side]."""
    height, width = image.shape
    longest = max(height, width)
    top, left = (longest - height) // 2, (longest - width) // 2
    edges = [left, longest - width - left, top, longest - height - top]
    square = F.pad(image, edges)[None, None]
    return F.interpolate(
        square, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
