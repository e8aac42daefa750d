"""Classical augmentation as torchvision v2 transforms that draw for every image of a batch.

torchvision's own v2 transforms draw once per call, so that a whole batch would be turned by one
angle. The transforms here follow the same protocol (`make_params`, then `transform`) but draw one
value per image and work on the batch at once. Image by image they agree with torchvision's
`v2.functional`. All randomness comes from the generator passed in; torch's global generator is not
touched. Where an image is moved away, `models.classifiers.registry.BLACK` comes in. Each output row
depends on its own input row only, so that augmentation does not change what DP-SGD guarantees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from models.errors import AugmentError
from models.images.augment_settings import AugmentSettings
from models.images.pixels import BLACK

__all__ = ["AugmentSettings", "build_augment"]


def build_augment(
    settings: AugmentSettings, *, generator: torch.Generator
) -> Callable[[Tensor], Tensor]:
    """Make the augmentation of a training run.

    Args:
        settings: how far to vary.
        generator: CPU generator, source of all randomness; advanced by each call.

    Returns:
        A function from normalised float images [B, 1, S, S] on the CPU to a new tensor of that
        shape. It raises AugmentError for any other shape or an integer type.
    """
    chain = v2.Compose([v2.Identity(), *_transforms(settings, generator)])

    def augment(images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 1 or not images.is_floating_point():
            raise AugmentError(
                f"images are {images.dtype} {list(images.shape)}; give floats [B, 1, S, S]"
            )
        if len(images) == 0:
            return images.clone()
        return chain(images.clone())

    return augment


def _transforms(settings: AugmentSettings, generator: torch.Generator) -> list[v2.Transform]:
    chain: list[v2.Transform] = []
    if settings.horizontal_flip:
        chain.append(_BatchFlip(generator))
    if settings.shift or settings.rotate_deg or settings.scale:
        chain.append(_BatchAffine(settings, generator))
    if settings.brightness:
        chain.append(_BatchBrightness(settings.brightness, generator))
    return chain


class _BatchTransform(v2.Transform):
    """A transform that draws one value per image from an explicit generator."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def _draw(self, images: Tensor, most: float) -> Tensor:
        """Uniform values [B] between -most and most."""
        return (torch.rand(len(images), generator=self._generator) * 2 - 1) * most


class _BatchFlip(_BatchTransform):
    """Mirror each image left to right with probability one half."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Which images to mirror: bool [B]."""
        return {"mirrored": self._draw(flat_inputs[0], 1.0) < 0}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """[B, 1, S, S] to [B, 1, S, S]."""
        mirrored = params["mirrored"][:, None, None, None]
        return torch.where(mirrored, v2.functional.horizontal_flip(inpt), inpt)


class _BatchAffine(_BatchTransform):
    """Rotate about the centre, scale and shift each image."""

    def __init__(self, settings: AugmentSettings, generator: torch.Generator) -> None:
        super().__init__(generator)
        self._settings = settings

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Angle (radians, clockwise), scale and shifts (fractions of the image), each [B]."""
        images = flat_inputs[0]
        return {
            "angle": torch.deg2rad(self._draw(images, self._settings.rotate_deg)),
            "scale": 1 + self._draw(images, self._settings.scale),
            "dx": self._draw(images, self._settings.shift),
            "dy": self._draw(images, self._settings.shift),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """[B, 1, S, S] to [B, 1, S, S], bilinear, black outside."""
        cos = torch.cos(params["angle"]) / params["scale"]
        sin = torch.sin(params["angle"]) / params["scale"]
        # The grid says where each output pixel comes from; coordinates run from -1 to 1.
        dx, dy = 2 * params["dx"], 2 * params["dy"]
        top = torch.stack([cos, sin, -cos * dx - sin * dy], dim=1)
        bottom = torch.stack([-sin, cos, sin * dx - cos * dy], dim=1)
        matrix = torch.stack([top, bottom], dim=1).to(inpt.dtype)
        grid = F.affine_grid(matrix, list(inpt.shape), align_corners=False)
        return F.grid_sample(inpt - BLACK, grid, align_corners=False) + BLACK


class _BatchBrightness(_BatchTransform):
    """Scale what lies above black; torchvision's own ColorJitter would clip to [0, 1]."""

    def __init__(self, most: float, generator: torch.Generator) -> None:
        super().__init__(generator)
        self._most = most

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """One factor per image, [B]."""
        return {"factor": 1 + self._draw(flat_inputs[0], self._most)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """[B, 1, S, S] to [B, 1, S, S]."""
        factor = params["factor"][:, None, None, None].to(inpt.dtype)
        return BLACK + (inpt - BLACK) * factor
